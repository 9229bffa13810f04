//! Why a connection would be treated as it would: the same decisions as a shard's, in words.

use std::borrow::Cow;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::decide::{self, Outcome};
use super::rules::{Facts, Version, naive};
use super::{Decision, Downstream, ListenerPolicy, Route, Verdict, facts};
use crate::config::model::ConnectWhen;
use crate::tls::hello::{Hello, Usual, usual_suites};
use crate::tls::lane::{Choice, Lane, NoLane};
use crate::tls::trust::PeerIdentity;

/// A connection that may be.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub source: Option<IpAddr>,
    /// SNI.
    pub server_name: Option<&'a str>,
    /// Most preferred first.
    pub alpn: &'a [String],
    /// Newest version that it offers; `None` where that is none that rules know.
    pub version: Option<Version>,
    pub lane: AskedLane<'a>,
    /// Speaks plaintext where TLS could come, too.
    pub plaintext: bool,
    /// That the peer shows; taken to be one that the handshake accepts.
    pub certificate: Option<&'a CertificateDer<'a>>,
}

/// Where its lane is from.
#[derive(Clone, Copy, Debug)]
pub enum AskedLane<'a> {
    /// Chosen for a client that offers these suites by their numbers, and else what is
    /// [usual](Usual).
    Offering(&'a [u16]),
    /// It is open, and took this one.
    Taken(Option<Choice>),
}

/// What a peer said in its ClientHello, as far as it is kept: for [`Asked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub server_name: Option<String>,
    /// Most preferred first.
    pub alpn: Vec<String>,
    pub version: Option<Version>,
}

/// What would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `admit`, `deny` by a rule, or `refuse` for what `refused` says.
    pub verdict: Cow<'static, str>,
    pub refused: Option<Refusal>,
    /// What speaks TLS with the peer, where that ends here.
    pub lane: Option<TakenLane>,
    /// What speaks TLS with the component, where that is not the modern lane.
    pub upstream_lane: Option<UpstreamLane>,
    /// Name of the rule that wins; `None` where none matches.
    pub rule: Option<String>,
    /// Where it goes, if it is admitted.
    pub route: Option<String>,
    /// When the component is dialled: where a certificate decides, after the handshake, unless the
    /// file says otherwise.
    pub dials: Option<Cow<'static, str>>,
    /// Every rule of the listener: the one that wins first, then those that match, then the others.
    pub rules: Vec<RuleFate>,
}

/// Why nothing speaks with a peer that no rule denies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// As in the access log.
    pub reason: Cow<'static, str>,
    pub detail: Cow<'static, str>,
}

/// The lane of a peer, in the words of the access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenLane {
    pub lane: Cow<'static, str>,
    pub reason: Cow<'static, str>,
}

/// The weak lane of a route's upstream side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamLane {
    pub lane: Cow<'static, str>,
    /// Of the legacy lane: `legacy_until`.
    pub last_day: Option<String>,
}

/// What all looks of a shard come to.
enum Fate<'a> {
    Denied,
    Refused(&'a Route, Refusal),
    Admitted(&'a Route, Option<Choice>),
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
        let message = asked.hello()?;
        let hello = Hello::parse(&message).map_err(|error| error.to_string())?;
        let peer = asked.certificate.and_then(PeerIdentity::of).filter(|_| speaks_tls);
        let said = match speaks_tls {
            true => facts(asked.source, &hello),
            false => Facts { source: asked.source, ..Facts::default() },
        };
        let facts = Facts { client: peer.as_ref().map(decide::client_facts), ..said };
        let fates = naive::explain(&self.rules.specs, &facts);
        let fate = match speaks_tls {
            true => self.fate(&said, &hello, asked, peer.as_ref()),
            false => self.fate_of_plaintext(asked),
        };
        let mut explanation = self.in_words(fate, speaks_tls);
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
        explanation.rule = rule.map(|(id, _)| name(id));
        Ok(Explanation { rules, ..explanation })
    }

    /// But for the rules.
    fn in_words(&self, fate: Fate<'_>, speaks_tls: bool) -> Explanation {
        let (verdict, refused, route, choice) = match fate {
            Fate::Denied => ("deny", None, None, None),
            Fate::Refused(route, refusal) => ("refuse", Some(refusal), Some(route), None),
            Fate::Admitted(route, choice) => ("admit", None, Some(route), choice),
        };
        let followed = route.filter(|_| verdict == "admit");
        let dials = followed.map(|route| if speaks_tls { self.dials(route) } else { "at accept" });
        Explanation {
            verdict: verdict.into(),
            refused,
            lane: choice.map(TakenLane::from),
            upstream_lane: route.and_then(upstream_lane),
            rule: None,
            route: followed.map(|route| route.name.to_string()),
            dials: dials.map(Cow::from),
            rules: Vec::new(),
        }
    }

    fn dials(&self, route: &Route) -> &'static str {
        match (self.downstream, route.connect) {
            (Downstream::Passthrough, _) | (_, ConnectWhen::AfterHello) => "after_hello",
            (_, ConnectWhen::AfterHandshake) => "after_handshake",
        }
    }

    /// All looks of a shard at a peer that speaks TLS, one after the other.
    fn fate(
        &self,
        said: &Facts<'_>,
        hello: &Hello<'_>,
        asked: &Asked<'_>,
        peer: Option<&PeerIdentity>,
    ) -> Fate<'_> {
        let Decision::Follow(_) = self.at_accept(asked.source) else { return Fate::Denied };
        let Decision::Follow(first) = self.after_hello(said) else { return Fate::Denied };
        let choice = match asked.lane {
            AskedLane::Taken(choice) => choice,
            AskedLane::Offering(_) => match first.admit(hello, asked.source) {
                Verdict::Admit(choice) => first.tls.is_some().then_some(choice),
                Verdict::NoLane(why) => return Fate::Refused(first, why.into()),
                Verdict::UnrecognizedName => return Fate::Refused(first, Refusal::of_name()),
            },
        };
        if !self.asks_for_identity() {
            return Fate::Admitted(first, choice);
        }
        match self.after_handshake(said, peer) {
            Decision::Deny => Fate::Denied,
            Decision::Follow(route) => open_to(route, asked, choice),
        }
    }

    fn fate_of_plaintext(&self, asked: &Asked<'_>) -> Fate<'_> {
        match self.plaintext(asked.source) {
            Decision::Deny => Fate::Denied,
            Decision::Follow(route) => open_to(route, asked, None),
        }
    }
}

/// Whether the component of `route` may be spoken to for it.
fn open_to<'r>(route: &'r Route, asked: &Asked<'_>, choice: Option<Choice>) -> Fate<'r> {
    match (asked.lane, route.allows_upstream(asked.source)) {
        (AskedLane::Offering(_), Err(why)) => Fate::Refused(route, why.into()),
        _ => Fate::Admitted(route, choice),
    }
}

fn upstream_lane(route: &Route) -> Option<UpstreamLane> {
    let side = route.upstream_tls.as_ref().filter(|side| side.lane() != Lane::Modern)?;
    let last_day = side.last_day().map(|day| day.to_string());
    Some(UpstreamLane { lane: side.lane().as_str().into(), last_day })
}

impl Asked<'_> {
    /// The ClientHello of such a client.
    fn hello(&self) -> Result<Vec<u8>, String> {
        let version = self.version.map_or(SSL_3, Version::number);
        let usual;
        let suites = match self.lane {
            AskedLane::Offering(suites) => suites,
            AskedLane::Taken(_) => {
                usual = usual_suites(version);
                &usual
            }
        };
        Usual { version, server_name: self.server_name, alpn: self.alpn, suites }.message()
    }
}

impl Refusal {
    fn of_name() -> Self {
        let detail = "no certificate here is for that name, and strict_sni is on";
        Self { reason: "unrecognized_name".into(), detail: detail.into() }
    }
}

impl From<NoLane> for Refusal {
    fn from(why: NoLane) -> Self {
        Self { reason: why.reason().as_str().into(), detail: why.to_string().into() }
    }
}

impl From<Choice> for TakenLane {
    fn from(Choice { lane, why }: Choice) -> Self {
        Self { lane: lane.as_str().into(), reason: why.as_str().into() }
    }
}

impl Heard {
    /// What these facts say of it.
    pub fn of(facts: &Facts<'_>) -> Self {
        let text = |name| String::from_utf8_lossy(name).into_owned();
        Self {
            server_name: facts.sni.map(str::to_owned),
            alpn: facts.alpn.iter().map(text).collect(),
            version: facts.version,
        }
    }
}

/// What rules know no name for.
const SSL_3: u16 = 0x0300;
