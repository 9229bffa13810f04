//! Why a connection would be treated as it would: the same decisions as a shard's, in words.

use std::borrow::Cow;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::decide::{self, Outcome};
use super::rules::{Facts, Version, naive};
use super::{Decision, Downstream, ListenerPolicy, Route};
use crate::config::model::ConnectWhen;
use crate::tls::hello::AlpnProtocols;
use crate::tls::trust::PeerIdentity;

/// A connection that may be.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub source: Option<IpAddr>,
    /// SNI.
    pub server_name: Option<&'a str>,
    /// Most preferred first.
    pub alpn: &'a [String],
    /// Whether TLS 1.3 is offered besides 1.2.
    pub tls13: bool,
    /// Speaks plaintext where TLS could come, too.
    pub plaintext: bool,
    /// That the peer shows; taken to be one that the handshake accepts.
    pub certificate: Option<&'a CertificateDer<'a>>,
}

/// What a peer said in its ClientHello, as far as it is kept: for [`Asked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub server_name: Option<String>,
    /// Most preferred first.
    pub alpn: Vec<String>,
    pub tls13: bool,
}

/// What would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `admit` or `deny`.
    pub verdict: Cow<'static, str>,
    /// Name of the rule that wins; `None` where none matches.
    pub rule: Option<String>,
    /// Where it goes, unless it is denied.
    pub route: Option<String>,
    /// When the component is dialled: where a certificate decides, after the handshake, unless the
    /// file says otherwise.
    pub dials: Option<Cow<'static, str>>,
    /// Every rule of the listener: the one that wins first, then those that match, then the others.
    pub rules: Vec<RuleFate>,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFate {
    pub name: String,
    /// 1-based line of the file.
    pub line: u32,
    pub fate: String,
}

impl ListenerPolicy {
    /// As a shard decides when it knows all of `asked`. Looks at every rule, which takes its time.
    ///
    /// # Errors
    /// When `asked` is not what a ClientHello can say, in words.
    pub fn explain(&self, asked: &Asked<'_>) -> Result<Explanation, String> {
        let speaks_tls = self.downstream != Downstream::Plaintext && !asked.plaintext;
        let alpn = alpn_list(asked.alpn)?;
        let peer = asked.certificate.and_then(PeerIdentity::of).filter(|_| speaks_tls);
        let facts = Facts {
            source: asked.source,
            sni: asked.server_name.filter(|_| speaks_tls),
            // A ClientHello without protocols has no list.
            alpn: match alpn.as_slice() {
                [] => AlpnProtocols::default(),
                list => AlpnProtocols::parse(list).map_err(|error| error.to_string())?,
            },
            version: speaks_tls.then_some(if asked.tls13 {
                Version::Tls13
            } else {
                Version::Tls12
            }),
            client: peer.as_ref().map(decide::client_facts),
        };
        let fates = naive::explain(&self.rules.specs, &facts);
        let decision = match speaks_tls {
            true => self.final_decision(&facts, asked.source, peer.as_ref()),
            false => self.plaintext(asked.source),
        };
        let (verdict, route, dials) = match decision {
            Decision::Deny => ("deny", None, None),
            Decision::Follow(route) => {
                let dials = if speaks_tls { self.dials(route) } else { "at accept" };
                ("admit", Some(route.name.to_string()), Some(dials.into()))
            }
        };
        let rule = self.rules.lookup(&facts).map(|(rule, outcome)| (rule, outcome.clone()));
        let name = |id: super::rules::RuleId| self.rules.specs[id.0 as usize].name.clone();
        let fate = |id: super::rules::RuleId, fate: String| {
            let spec = &self.rules.specs[id.0 as usize];
            RuleFate { name: spec.name.clone(), line: spec.line, fate }
        };
        let mut rules = Vec::new();
        if let Some((id, outcome)) = &rule {
            let what = match outcome {
                Outcome::Deny => "wins: deny",
                Outcome::Follow(_) => "wins: admit",
            };
            rules.push(fate(*id, what.to_owned()));
        }
        for (id, difference) in fates.beaten {
            let by = difference.map_or("order", naive::Condition::as_str);
            rules.push(fate(id, format!("matches, and is less specific by {by}")));
        }
        for (id, condition) in fates.unmatched {
            rules.push(fate(id, format!("does not match by {}", condition.as_str())));
        }
        let verdict = verdict.into();
        Ok(Explanation { verdict, rule: rule.map(|(id, _)| name(id)), route, dials, rules })
    }

    fn dials(&self, route: &Route) -> &'static str {
        match (self.downstream, route.connect) {
            (Downstream::Passthrough, _) | (_, ConnectWhen::AfterHello) => "after_hello",
            (_, ConnectWhen::AfterHandshake) => "after_handshake",
        }
    }

    /// All looks of a shard at a peer that speaks TLS, one after the other.
    fn final_decision(
        &self,
        facts: &Facts<'_>,
        source: Option<IpAddr>,
        peer: Option<&PeerIdentity>,
    ) -> Decision<'_> {
        let known = Facts { client: None, ..*facts };
        let first = match self.at_accept(source) {
            Decision::Follow(_) => self.after_hello(&known),
            Decision::Deny => Decision::Deny,
        };
        match first {
            Decision::Follow(_) if self.asks_for_identity() => self.after_handshake(&known, peer),
            decision => decision,
        }
    }
}

impl Heard {
    /// What these facts say of it.
    pub fn of(facts: &Facts<'_>) -> Self {
        let text = |name| String::from_utf8_lossy(name).into_owned();
        Self {
            server_name: facts.sni.map(str::to_owned),
            alpn: facts.alpn.iter().map(text).collect(),
            tls13: facts.version == Some(Version::Tls13),
        }
    }
}

/// A list of protocols as a ClientHello has it (RFC 7301 §3.1).
fn alpn_list(protocols: &[String]) -> Result<Vec<u8>, String> {
    let mut list = Vec::new();
    for protocol in protocols {
        let length = u8::try_from(protocol.len()).ok().filter(|length| *length > 0);
        list.push(length.ok_or("a protocol of ALPN has 1 to 255 bytes")?);
        list.extend_from_slice(protocol.as_bytes());
    }
    Ok(list)
}
