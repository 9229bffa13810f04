//! What was agreed on with either side: told at the end, and to whoever asks meanwhile.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::outcome::{Security, Shown, Stage, TlsFacts, UpstreamTls};
use super::{Connection, Phase};
use crate::engine::Side;
use crate::policy::Downstream;
use crate::time::Time;
use crate::tls::lane::Lane;
use crate::tls::trust::{Verify, subject_and_serial};
use crate::upstream::Destination;

/// How a side speaks, and with whom.
#[derive(Debug)]
pub struct SideFacts<'a> {
    pub security: Security,
    /// Where TLS ends here.
    pub tls: Option<TlsFacts>,
    /// What speaks it.
    pub lane: Option<Lane>,
    /// `client_cert` or `verify`, as the configuration spells it; empty where no TLS ends here.
    pub checks: &'static str,
    /// What a peer that was asked has shown.
    pub shown: Option<Shown>,
    /// Its own certificate, if it has shown one.
    pub certificate: Option<&'a CertificateDer<'static>>,
}

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

    /// True while it relays: both sides have agreed on all that they will.
    pub fn is_settled(&self) -> bool {
        self.ending.is_none() && self.upstream.is_ready() && matches!(self.phase, Phase::Relay)
    }

    /// How far it is.
    pub fn progress(&self) -> Stage {
        self.stage()
    }

    /// Subject of the certificate that the peer has shown, where it was asked for one.
    pub fn client_subject(&self) -> Option<&str> {
        self.client()?.subject.as_deref()
    }

    pub fn accepted_at(&self) -> Time {
        self.accepted_at
    }

    /// SNI as the peer sent it.
    pub fn sni(&self) -> Option<&Arc<str>> {
        self.sni.as_ref()
    }

    /// Position of the endpoint in the route's list, and its address, once one was dialled.
    pub fn dialled(&self) -> Option<(usize, &Arc<Destination>)> {
        self.dial.endpoint().zip(self.dial.destination())
    }

    /// What a side has come to; `None` while that is open.
    pub fn side_facts(&self, side: Side) -> Option<SideFacts<'_>> {
        let (security, tls, checks) = match side {
            Side::Downstream => {
                let client_cert = self.route.tls.as_ref().map(|tls| tls.client_cert().as_str());
                (self.downstream_security()?, self.tls_facts(), client_cert)
            }
            Side::Upstream => {
                let verify = self.route.upstream_tls.as_ref().map(|tls| tls.verify().as_str());
                (self.upstream_security()?, self.upstream_tls_facts(), verify)
            }
        };
        let shown = self.client().map(|client| client.shown);
        let known = self.side(side).tls.as_ref().filter(|_| tls.is_some());
        Some(SideFacts {
            security,
            checks: checks.filter(|_| tls.is_some()).unwrap_or_default(),
            tls,
            lane: known.map(|tls| tls.lane()),
            shown: shown.filter(|_| side == Side::Downstream),
            certificate: known.and_then(|tls| tls.peer_certificates().first()),
        })
    }

    /// The peer's certificate, if it is who that says.
    pub fn proved_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.client().filter(|client| client.shown == Shown::Verified)?;
        self.downstream.tls.as_ref()?.peer_certificates().first()
    }

    fn tls_facts(&self) -> Option<TlsFacts> {
        let relays = matches!(self.phase, Phase::Relay);
        let tls = self.downstream.tls.as_ref().filter(|_| relays)?;
        Some(tls.facts())
    }

    fn upstream_tls(&self) -> Option<UpstreamTls> {
        let facts = self.upstream_tls_facts()?;
        let tls = self.upstream.tls.as_ref()?;
        let named = tls.peer_certificates().first().and_then(subject_and_serial);
        let (subject, serial) = named.unzip();
        Some(UpstreamTls {
            facts,
            lane: tls.lane(),
            subject: subject.map(Into::into),
            serial: serial.map(Into::into),
        })
    }

    fn upstream_tls_facts(&self) -> Option<TlsFacts> {
        let tls = self.upstream.tls.as_ref().filter(|_| self.upstream.has_keys())?;
        Some(tls.facts())
    }

    fn downstream_security(&self) -> Option<Security> {
        if !matches!(self.phase, Phase::Relay) {
            return None;
        }
        let Some(tls) = &self.downstream.tls else {
            // A session that has ended with an alert is gone, and was no plaintext.
            return (!self.downstream.is_secure()).then(|| self.unterminated());
        };
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
        Some(if profile.verify() == Verify::None {
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
