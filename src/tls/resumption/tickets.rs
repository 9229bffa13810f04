//! Tickets that carry a session, encrypted under a key that only this process has.
//!
//! Encryption and keys are rustls's (ChaCha20-Poly1305). Added here: the time of issue, inside
//! the encryption, so that tickets expire to the second; keys that are forgotten in step with the
//! configured lifetime; counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::TicketRotator;
use rustls::crypto::ring::Ticketer;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use super::Clock;

/// Longest lifetime, in seconds: rustls may forget a key six hours after its last use.
const MAX_LIFETIME: u32 = 6 * 3600;
/// The time of issue, before the session.
const TIME: usize = size_of::<u64>();

/// Makes and reads the tickets of one domain.
#[derive(Debug)]
pub struct Tickets {
    keys: TicketRotator,
    lifetime: u32,
    clock: Clock,
    issued: AtomicU64,
    accepted: AtomicU64,
    expired: AtomicU64,
    rejected: AtomicU64,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TicketStats {
    pub issued: u64,
    /// Decrypted and young enough. rustls may still prefer a full handshake, because of another
    /// server name or cipher suite.
    pub accepted: u64,
    /// Decrypted and too old.
    pub expired: u64,
    /// Not encrypted by a key that we still have.
    pub rejected: u64,
}

impl Tickets {
    /// Tickets under new keys. `lifetime` is cut to six hours; a key makes tickets for that long
    /// and reads them for as long again.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(lifetime: Duration, clock: Clock) -> Result<Self, rustls::Error> {
        let lifetime = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).min(MAX_LIFETIME);
        let keys = TicketRotator::new(lifetime.max(1), || match Ticketer::new() {
            Ok(ticketer) => Ok(Box::new(Generation(ticketer))),
            Err(_) => Err(rustls::crypto::GetRandomFailed),
        })?;
        Ok(Self {
            keys,
            lifetime,
            clock,
            issued: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        })
    }

    /// The counters now; not one moment for all of them.
    pub fn stats(&self) -> TicketStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TicketStats {
            issued: read(&self.issued),
            accepted: read(&self.accepted),
            expired: read(&self.expired),
            rejected: read(&self.rejected),
        }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::with_capacity(TIME + session.len()));
        plain.extend_from_slice(&self.clock.now().to_be_bytes());
        plain.extend_from_slice(session);
        let ticket = self.keys.encrypt(&plain)?;
        self.issued.fetch_add(1, Ordering::Relaxed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let plain = self.keys.decrypt(ticket).map(Zeroizing::new);
        let parts = plain.as_ref().and_then(|plain| plain.split_first_chunk::<TIME>());
        let Some((issued, session)) = parts else {
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let age = self.clock.now().saturating_sub(u64::from_be_bytes(*issued));
        if age >= u64::from(self.lifetime) {
            self.expired.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Some(session.to_vec())
    }
}

/// One key, in the form that the rotator wants.
#[derive(Debug)]
struct Generation(Arc<dyn ProducesTickets>);

impl ProducesTickets for Generation {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(ticket)
    }
}
