//! How peers come back without a full handshake: a store of sessions, and tickets.
//!
//! Invariants:
//! - A session is resumed in the resumption domain that it was made in and in no other. Domains
//!   differ in listener, names, trust or client authentication ([`DomainId`]).
//! - No session is resumed after its lifetime.
//! - Memory is bounded in entries and in bytes, over all domains together, and secrets are wiped
//!   when their memory is given back.
//!
//! Time is Unix time in seconds, from a [`Clock`] that tests can move.

mod counters;
mod domain_id;
mod epoch_keys;
mod keys;
mod secrets;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod ticket_tests;
mod tickets;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, StoresServerSessions};

pub use counters::{Epoch, Rank, TicketStats};
pub use domain_id::DomainId;
pub use keys::{BadExport, TicketKeys};
pub use secrets::{MAX_SECRETS, Secret, Secrets};
pub use store::{BadChunk, SessionStore, StoreStats};
pub use tickets::Tickets;

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
}

impl Resumption {
    /// An empty store and ticket keys from a random secret.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(limits: &model::Resumption, clock: Clock) -> Result<Self, rustls::Error> {
        let keys = TicketKeys::new(limits.lifetime, clock.clone())?;
        Ok(Self { store: SessionStore::new(limits, clock), keys })
    }

    /// Changes secrets (`None`: random ones) and lifetime, while shards use both. See
    /// [`TicketKeys::set`].
    ///
    /// # Errors
    /// When the system has no random numbers; nothing is changed then.
    pub fn set(&self, secrets: Option<Secrets>, lifetime: Duration) -> Result<(), rustls::Error> {
        self.keys.set(secrets, lifetime)?;
        self.store.set_lifetime(lifetime);
        Ok(())
    }
}

/// One resumption domain, as the configuration of a listener uses it.
#[derive(Clone, Debug)]
pub enum Domain {
    /// Tickets that carry the session; a TLS 1.2 peer without tickets gets a session id.
    Tickets {
        tickets: Arc<Tickets>,
        sessions: Arc<dyn StoresServerSessions>,
    },
    /// Session ids, and TLS 1.3 tickets that name a stored session and work once.
    Store {
        sessions: Arc<dyn StoresServerSessions>,
    },
    Off,
}

impl Domain {
    /// Domain `id`. Two with the same `id` read each other's sessions and tickets.
    pub fn new(mode: ResumptionMode, id: DomainId, resumption: &Resumption) -> Self {
        let sessions = resumption.store.domain(id);
        match mode {
            ResumptionMode::Tickets => {
                let tickets = Tickets::new(id, Arc::clone(&resumption.keys));
                Self::Tickets { tickets: Arc::new(tickets), sessions }
            }
            ResumptionMode::Store => Self::Store { sessions },
            ResumptionMode::Off => Self::Off,
        }
    }

    /// Makes `config`, which has no ticketer yet, resume in this domain.
    /// `tls13_tickets` is how many a TLS 1.3 handshake sends, 0 to 4.
    pub(super) fn apply(&self, config: &mut ServerConfig, tls13_tickets: u8) {
        config.send_tls13_tickets = usize::from(tls13_tickets);
        match self {
            Self::Tickets { tickets, sessions } => {
                config.ticketer = Arc::<Tickets>::clone(tickets);
                config.session_storage = Arc::clone(sessions);
            }
            Self::Store { sessions } => config.session_storage = Arc::clone(sessions),
            Self::Off => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
    }
}
