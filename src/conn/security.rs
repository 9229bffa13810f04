//! What was agreed on with either side, told at the end.

use super::outcome::{Security, TlsFacts, UpstreamTls};
use super::{Connection, Phase};
use crate::policy::Downstream;
use crate::tls::identity;

/// What was agreed on with either side.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) tls: Option<TlsFacts>,
    pub(super) downstream: Option<Security>,
    pub(super) upstream_tls: Option<UpstreamTls>,
    pub(super) upstream: Option<Security>,
}

impl Connection {
    pub(super) fn agreed(&self) -> Agreed {
        Agreed {
            tls: self.tls_facts(),
            downstream: self.downstream_security(),
            upstream_tls: self.upstream_tls(),
            upstream: self.upstream_security(),
        }
    }

    fn tls_facts(&self) -> Option<TlsFacts> {
        let relays = matches!(self.phase, Phase::Relay);
        let tls = self.downstream.tls.as_ref().filter(|_| relays)?;
        Some(tls.facts())
    }

    fn upstream_tls(&self) -> Option<UpstreamTls> {
        let tls = self.upstream.tls.as_ref().filter(|_| self.upstream.has_keys())?;
        let subject = tls.peer_certificates().first().and_then(identity::subject);
        Some(UpstreamTls { facts: tls.facts(), subject: subject.map(Into::into) })
    }

    fn downstream_security(&self) -> Option<Security> {
        if !matches!(self.phase, Phase::Relay) {
            return None;
        }
        let Some(tls) = &self.downstream.tls else { return Some(self.unterminated()) };
        let verified = self.route.tls.as_ref().is_some_and(|profile| profile.verifies_peers());
        let mutual = verified && !tls.peer_certificates().is_empty();
        Some(if mutual { Security::Mutual } else { Security::ServerAuthenticated })
    }

    fn upstream_security(&self) -> Option<Security> {
        let Some(profile) = &self.route.upstream_tls else {
            // It was connected, or there is nothing to tell of.
            self.times.connect?;
            return Some(match self.policy.downstream {
                Downstream::Passthrough => Security::Unread,
                _ => Security::Plaintext,
            });
        };
        let tls = self.upstream.tls.as_ref().filter(|_| self.upstream.has_keys())?;
        Some(if !profile.authenticates() {
            Security::Unauthenticated
        } else if tls.has_shown_certificate() {
            Security::Mutual
        } else {
            Security::ServerAuthenticated
        })
    }

    fn unterminated(&self) -> Security {
        match self.policy.downstream {
            Downstream::Passthrough => Security::Unread,
            _ => Security::Plaintext,
        }
    }
}
