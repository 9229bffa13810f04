//! The rules of a listener, and where each of them leads.

use std::net::IpAddr;
use std::sync::Arc;

use super::rules::{ClientFacts, CompileError, Facts, RuleId, RuleSpec, RuleTable};
use super::{Decision, Downstream, ListenerPolicy, Route};
use crate::tls::trust::PeerIdentity;

/// Compiled rules with what they lead to; none by default.
#[derive(Debug, Default)]
pub struct Rules {
    table: RuleTable,
    /// As written: for `explain`.
    pub(super) specs: Vec<RuleSpec>,
    outcomes: Vec<Outcome>,
    asks_hello: bool,
    asks_client: bool,
}

/// What a rule leads to.
#[derive(Clone, Debug)]
pub enum Outcome {
    Deny,
    Follow(Arc<Route>),
}

impl Rules {
    /// The rules in `specs`, whose outcomes are positions in `outcomes`.
    ///
    /// # Errors
    /// When two of them are ambiguous, or there is too much of them.
    pub fn compile(specs: Vec<RuleSpec>, outcomes: Vec<Outcome>) -> Result<Self, CompileError> {
        let table = RuleTable::compile(&specs)?;
        let asks = |spec: &RuleSpec| {
            !(spec.sni.is_empty() && spec.alpn.is_empty() && spec.versions.is_empty())
        };
        let asks_client = specs.iter().any(|spec| !spec.client.is_empty());
        let asks_hello = asks_client || specs.iter().any(asks);
        Ok(Self { table, specs, outcomes, asks_hello, asks_client })
    }

    /// The rule that wins, and what it leads to.
    pub(super) fn lookup(&self, facts: &Facts<'_>) -> Option<(RuleId, &Outcome)> {
        let rule = self.table.lookup(facts)?;
        let outcome = self.outcomes.get(self.table.outcome(rule) as usize)?;
        Some((rule, outcome))
    }

    /// Where the rule of this name leads, if there is one and it does not turn connections away.
    pub fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Follow(route) if *route.name == *name => Some(route),
            _ => None,
        })
    }
}

impl ListenerPolicy {
    /// The route of connections of which nothing is known yet.
    pub fn route(&self) -> &Arc<Route> {
        self.routes.first().expect("a listener has a route of its own")
    }

    /// The first look: at the source, before anything is read. Whom a rule about more could still
    /// let in is not turned away.
    pub fn at_accept(&self, source: Option<IpAddr>) -> Decision<'_> {
        let reads_hello = self.downstream != Downstream::Plaintext;
        match self.plaintext(source) {
            Decision::Deny if reads_hello && self.rules.asks_hello => {
                Decision::Follow(self.route())
            }
            decision => decision,
        }
    }

    /// The only look at a peer that speaks plaintext.
    pub fn plaintext(&self, source: Option<IpAddr>) -> Decision<'_> {
        self.decide(&Facts { source, ..Facts::default() })
    }

    /// The second look: at what the ClientHello says.
    pub fn after_hello(&self, facts: &Facts<'_>) -> Decision<'_> {
        match self.decide(facts) {
            // Who the peer is may still speak for it.
            Decision::Deny if self.rules.asks_client => Decision::Follow(self.route()),
            decision => decision,
        }
    }

    /// Whether there is a third look, for which the ClientHello is kept until the handshake is done.
    pub fn asks_for_identity(&self) -> bool {
        self.rules.asks_client
    }

    /// The third look: at who the peer is, if it has proved that. A route other than the one before
    /// it is followed only if nothing was dialled yet.
    pub fn after_handshake(
        &self,
        facts: &Facts<'_>,
        proved: Option<&PeerIdentity>,
    ) -> Decision<'_> {
        self.decide(&Facts { client: proved.map(client_facts), ..*facts })
    }

    fn decide(&self, facts: &Facts<'_>) -> Decision<'_> {
        match self.rules.lookup(facts) {
            Some((_, Outcome::Deny)) => Decision::Deny,
            Some((_, Outcome::Follow(route))) => Decision::Follow(route),
            None => Decision::Follow(self.route()),
        }
    }
}

/// What rules may ask of a certificate.
pub(super) fn client_facts(peer: &PeerIdentity) -> ClientFacts<'_> {
    ClientFacts {
        fingerprint: &peer.fingerprint,
        spki: &peer.spki,
        subject: &peer.subject,
        issuer: &peer.issuer,
        common_name: peer.cn.as_deref(),
        dns: &peer.dns,
        uris: &peer.uris,
        ips: &peer.ips,
    }
}
