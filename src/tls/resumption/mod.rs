//! How peers come back without a full handshake: a store of sessions, and tickets.
//!
//! Invariants:
//! - A session is resumed in the resumption domain that it was made in and in no other. Domains
//!   differ in identity, trust or client authentication; what is one is decided elsewhere.
//! - No session is resumed after its lifetime.
//! - Memory is bounded in entries and in bytes, over all domains together, and secrets are wiped
//!   when their memory is given back.
//!
//! Time is Unix time in seconds, from a [`Clock`] that tests can move.

mod store;
#[cfg(test)]
mod tests;
mod tickets;

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, StoresServerSessions};

pub use store::{SessionStore, StoreStats};
pub use tickets::{TicketStats, Tickets};

use crate::config::model::ResumptionMode;

/// Tells the Unix time in seconds.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock of the caller's own.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The clock of the system.
    pub fn system() -> Self {
        Self::new(|| rustls::pki_types::UnixTime::now().as_secs())
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

/// One resumption domain. It outlives configurations that do not change what it stands for, and
/// with it the sessions and tickets of the peers.
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
    /// Domain `id` of `store`, with ticket keys of its own.
    ///
    /// # Errors
    /// When the system has no random numbers for ticket keys.
    pub fn new(
        mode: ResumptionMode,
        store: &Arc<SessionStore>,
        id: u64,
    ) -> Result<Self, rustls::Error> {
        let sessions = store.domain(id);
        Ok(match mode {
            ResumptionMode::Tickets => {
                let tickets = Tickets::new(store.lifetime(), store.clock().clone())?;
                Self::Tickets { tickets: Arc::new(tickets), sessions }
            }
            ResumptionMode::Store => Self::Store { sessions },
            ResumptionMode::Off => Self::Off,
        })
    }

    /// Counters of the tickets, where there are any.
    pub fn ticket_stats(&self) -> Option<TicketStats> {
        match self {
            Self::Tickets { tickets, .. } => Some(tickets.stats()),
            Self::Store { .. } | Self::Off => None,
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
