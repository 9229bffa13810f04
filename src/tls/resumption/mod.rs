//! How peers come back without a full handshake: a store of sessions, and tickets.
//!
//! Invariants:
//! - A session is resumed in the resumption domain that it was made in and in no other. Domains
//!   differ in policy, names, trust or client authentication ([`DomainId`]).
//! - A session is resumed only while the CRLs are those of its full handshake ([`CrlEpoch`]).
//! - No session is resumed after its lifetime, which begins with its full handshake, however often
//!   it is renewed.
//! - Memory is bounded in entries and in bytes, over all domains together, and secrets are wiped
//!   when their memory is given back.
//!
//! Time is Unix time in seconds, from a [`Clock`] that tests can move.

mod attempt;
mod binding;
mod counters;
mod crl_epoch;
mod domain_id;
mod epoch_keys;
mod key_names;
mod keys;
mod noting;
#[cfg(test)]
mod policy_tests;
mod secrets;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod ticket_tests;
mod tickets;
mod upstream;
#[cfg(test)]
mod upstream_tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;

pub use attempt::Attempt;
pub use binding::Binding;
pub use counters::{Epoch, Rank, Refusal, Refusals, TicketStats};
pub use crl_epoch::{CrlDigest, CrlEpoch};
pub use domain_id::{DomainId, DomainParts, PolicyId, UpstreamParts};
pub use keys::{BadExport, TicketKeys};
pub use secrets::{MAX_SECRETS, Secret, Secrets};
pub use store::{BadChunk, SessionStore, Sessions, StoreStats};
pub use tickets::Tickets;
pub use upstream::{DEFAULT_SERVERS, UpstreamDomain, UpstreamSessions, UpstreamStats};

use crate::config::model::{self, ResumptionMode};

/// Tells the Unix time in seconds.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock of the caller's own.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clock")
    }
}

/// What all domains resume from. Made once and kept for the life of the process; a reload changes
/// what can change with [`Resumption::set`].
#[derive(Clone, Debug)]
pub struct Resumption {
    pub store: Arc<SessionStore>,
    pub keys: Arc<TicketKeys>,
    /// Those that components gave us.
    pub upstream: Arc<UpstreamSessions>,
}

impl Resumption {
    /// An empty store and ticket keys from a random secret.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(limits: &model::Resumption, clock: Clock) -> Result<Self, rustls::Error> {
        let keys = TicketKeys::new(limits.lifetime, clock.clone())?;
        let upstream = UpstreamSessions::new(DEFAULT_SERVERS, limits.lifetime, clock.clone());
        Ok(Self { store: SessionStore::new(limits, clock), keys, upstream })
    }

    /// Changes secrets (`None`: random ones) and lifetime, while shards use both. See
    /// [`TicketKeys::set`].
    ///
    /// # Errors
    /// When the system has no random numbers; nothing is changed then.
    pub fn set(&self, secrets: Option<Secrets>, lifetime: Duration) -> Result<(), rustls::Error> {
        self.keys.set(secrets, lifetime)?;
        self.store.set_lifetime(lifetime);
        self.upstream.set_lifetime(lifetime);
        Ok(())
    }
}

/// One resumption domain, as the configuration of a listener uses it.
#[derive(Clone, Debug)]
pub enum Domain {
    /// Tickets that carry the session; a TLS 1.2 peer without tickets gets a session id.
    Tickets {
        tickets: Arc<Tickets>,
        sessions: Arc<Sessions>,
    },
    /// Session ids, and TLS 1.3 tickets that name a stored session and work once.
    Store {
        sessions: Arc<Sessions>,
    },
    Off,
}

impl Domain {
    /// The domain of `binding`. Two of the same id read each other's sessions and tickets.
    pub fn new(mode: ResumptionMode, binding: Binding, resumption: &Resumption) -> Self {
        let sessions = resumption.store.domain(binding.clone());
        match mode {
            ResumptionMode::Tickets => {
                let tickets = Tickets::new(binding, Arc::clone(&resumption.keys));
                Self::Tickets { tickets: Arc::new(tickets), sessions }
            }
            ResumptionMode::Store => Self::Store { sessions },
            ResumptionMode::Off => Self::Off,
        }
    }

    /// `verifier`, so that sessions of this domain carry whom it let in.
    pub(super) fn noting(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Arc<dyn ClientCertVerifier> {
        match self {
            Self::Tickets { sessions, .. } | Self::Store { sessions }
                if verifier.offer_client_auth() =>
            {
                Arc::new(sessions.noting(verifier))
            }
            _ => verifier,
        }
    }

    /// Makes `config`, which has no ticketer yet, resume in this domain.
    /// `tls13_tickets` is how many a TLS 1.3 handshake sends, 0 to 4.
    pub(super) fn apply(&self, config: &mut ServerConfig, tls13_tickets: u8) {
        config.send_tls13_tickets = usize::from(tls13_tickets);
        match self {
            Self::Tickets { tickets, sessions } => {
                config.ticketer = Arc::<Tickets>::clone(tickets);
                config.session_storage = Arc::<Sessions>::clone(sessions);
            }
            Self::Store { sessions } => {
                config.session_storage = Arc::<Sessions>::clone(sessions);
            }
            Self::Off => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
    }
}
