//! The tickets of one domain: a session, encrypted under a key of [`TicketKeys`].
//!
//! ```text
//! version 1 │ key name 8 │ nonce 12 │ session … │ time of issue 8 │ tag 16
//! └─────── authenticated ┘          └──────── encrypted ────────┘
//! ```
//!
//! ChaCha20-Poly1305 with random nonces of 96 bits. Among n tickets under one key (a domain, an
//! epoch, all nodes), two have the same nonce with a probability below n² / 2⁹⁷: for n = 2³²,
//! which is 200,000 tickets a second for 6 hours, 2⁻³³. If it happened, the two sessions would be
//! known relative to each other, and tickets with that one nonce could be forged; with AES-GCM it
//! would be tickets with any.

use std::sync::{Arc, PoisonError, RwLock};

use ring::aead::{Aad, NONCE_LEN, Nonce};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use zeroize::{Zeroize, Zeroizing};

use super::DomainId;
use super::counters::{Epoch, Rank, Refused};
use super::epoch_keys::{EpochKeys, NAME};
use super::keys::TicketKeys;

const VERSION: u8 = 1;
/// Version and key name.
const HEAD: usize = 1 + NAME;
/// The time of issue. Behind the session, so that what is left is the session in its place.
const TIME: usize = size_of::<u64>();
const TAG: usize = 16;
/// What a ticket is longer than its session.
const OVERHEAD: usize = HEAD + NONCE_LEN + TIME + TAG;
/// Longest ticket. Four certificates of a client fit; a session that does not gets no ticket.
const MAX_TICKET: usize = 16 * 1024;

/// Makes and reads the tickets of one domain. Used by all shards.
pub struct Tickets {
    domain: DomainId,
    keys: Arc<TicketKeys>,
    /// Read-locked for as long as it takes to count a reference, written once per epoch: readers
    /// do not wait for each other, nor for keys to be derived.
    derived: RwLock<Arc<EpochKeys>>,
}

impl Tickets {
    /// The tickets of `domain`, under `keys`.
    pub fn new(domain: DomainId, keys: Arc<TicketKeys>) -> Self {
        let now = keys.clock().now();
        let derived = EpochKeys::new(&keys.settings(now), &domain, now);
        Self { domain, keys, derived: RwLock::new(Arc::new(derived)) }
    }

    /// The keys that hold at `now`.
    fn derived(&self, now: u64) -> Arc<EpochKeys> {
        let derived = Arc::clone(&self.derived.read().unwrap_or_else(PoisonError::into_inner));
        if derived.are_for(self.keys.version(), now) {
            return derived;
        }
        let derived = Arc::new(EpochKeys::new(&self.keys.settings(now), &self.domain, now));
        let mut slot = self.derived.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::clone(&derived);
        derived
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let length = session.len() + OVERHEAD;
        if length > MAX_TICKET {
            return None;
        }
        let now = self.keys.clock().now();
        let derived = self.derived(now);
        let maker = derived.maker();
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(length);
        ticket.push(VERSION);
        ticket.extend_from_slice(&maker.name);
        let head = Aad::from(head(&ticket)?);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(session);
        ticket.extend_from_slice(&now.to_be_bytes());
        let (_, plain) = ticket.split_at_mut(HEAD + NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let Ok(tag) = maker.key.seal_in_place_separate_tag(nonce, head, plain) else {
            // Only where it is too long for the cipher, by gigabytes.
            ticket.zeroize();
            return None;
        };
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8]) -> Result<(Vec<u8>, Epoch, Rank), Refused> {
        if ticket.len() < OVERHEAD || ticket.len() > MAX_TICKET {
            return Err(Refused::Malformed);
        }
        let head = head(ticket).ok_or(Refused::Malformed)?;
        let [version, name @ ..] = head;
        let (nonce, sealed) =
            ticket[HEAD..].split_first_chunk::<NONCE_LEN>().ok_or(Refused::Malformed)?;
        if version != VERSION {
            return Err(Refused::Malformed);
        }
        let now = self.keys.clock().now();
        let derived = self.derived(now);
        let key = derived.named(&name).ok_or(Refused::UnknownKey)?;
        let mut session = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key
            .key
            .open_in_place(nonce, Aad::from(head), &mut session)
            .map_err(|_| Refused::Malformed)?;
        let (_, issued) = plain.split_last_chunk::<TIME>().ok_or(Refused::Malformed)?;
        let age = now.saturating_sub(u64::from_be_bytes(*issued));
        if age >= u64::from(derived.lifetime) {
            return Err(Refused::Expired(key.epoch));
        }
        let length = plain.len() - TIME;
        session.truncate(length);
        Ok((std::mem::take(&mut *session), key.epoch, key.rank))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.keys.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let ticket = self.seal(session)?;
        self.keys.counters().issued();
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        match self.open(ticket) {
            Ok((session, epoch, rank)) => {
                self.keys.counters().accepted(epoch, rank);
                Some(session)
            }
            Err(why) => {
                self.keys.counters().refused(why);
                None
            }
        }
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tickets").field("domain", &self.domain).finish_non_exhaustive()
    }
}

fn head(ticket: &[u8]) -> Option<[u8; HEAD]> {
    ticket.first_chunk().copied()
}
