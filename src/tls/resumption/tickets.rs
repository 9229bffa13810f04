//! The tickets of one domain: a session, encrypted under a key of [`TicketKeys`].
//!
//! ```text
//! version 1 │ key name 8 │ nonce 12 │ session … │ time of issue 8 │ origin 73 │ tag 16
//! └─────── authenticated ┘          └────────────── encrypted ─────────────┘
//! ```
//!
//! The origin is that of the session ([`Origin`]): a ticket that renews another one carries it on.
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

use super::attempt::current;
use super::binding::{Binding, Origin};
use super::counters::{Epoch, Rank, Refusal};
use super::epoch_keys::{EpochKey, EpochKeys, NAME};
use super::keys::TicketKeys;

const VERSION: u8 = 2;
/// Earlier versions, which had no origin.
const EARLIER: u8 = 1;
/// Version and key name.
const HEAD: usize = 1 + NAME;
/// The time of issue. It and the origin are behind the session, so that what is left is the
/// session in its place.
const TIME: usize = size_of::<u64>();
const TAG: usize = 16;
/// What a ticket is longer than its session.
const OVERHEAD: usize = HEAD + NONCE_LEN + TIME + Origin::LENGTH + TAG;
/// Longest ticket. Four certificates of a client fit; a session that does not gets no ticket.
const MAX_TICKET: usize = 16 * 1024;

/// Makes and reads the tickets of one domain. Used by all shards.
pub struct Tickets {
    binding: Binding,
    keys: Arc<TicketKeys>,
    /// Read-locked for as long as it takes to count a reference, written once per epoch: readers
    /// do not wait for each other, nor for keys to be derived.
    derived: RwLock<Arc<EpochKeys>>,
}

impl Tickets {
    /// The tickets of the domain of `binding`, under `keys`.
    pub fn new(binding: Binding, keys: Arc<TicketKeys>) -> Self {
        let now = keys.clock().now();
        let derived = keys.derive(&binding.id, now);
        Self { binding, keys, derived: RwLock::new(Arc::new(derived)) }
    }

    /// The keys that hold at `now`.
    fn derived(&self, now: u64) -> Arc<EpochKeys> {
        let derived = Arc::clone(&self.derived.read().unwrap_or_else(PoisonError::into_inner));
        if derived.are_for(self.keys.version(), now) {
            return derived;
        }
        let derived = Arc::new(self.keys.derive(&self.binding.id, now));
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
        let crl_epoch = self.binding.crl_epoch.get();
        let origin = current(|connection| connection.origin(now, crl_epoch))?;
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
        ticket.extend_from_slice(&origin.to_bytes());
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

    fn open(&self, ticket: &[u8], now: u64) -> Result<Opened, Refused> {
        match ticket.first() {
            Some(&VERSION) => {}
            Some(&EARLIER) => return Err(Refused::from(Refusal::OtherFormat)),
            _ => return Err(Refused::from(Refusal::Malformed)),
        }
        if ticket.len() < OVERHEAD || ticket.len() > MAX_TICKET {
            return Err(Refused::from(Refusal::Malformed));
        }
        let malformed = || Refused::from(Refusal::Malformed);
        let head = head(ticket).ok_or_else(malformed)?;
        let [_version, name @ ..] = head;
        let (nonce, sealed) =
            ticket[HEAD..].split_first_chunk::<NONCE_LEN>().ok_or_else(malformed)?;
        let derived = self.derived(now);
        let Some(EpochKey { key, epoch, rank, .. }) = derived.named(&name) else {
            return Err(self.keys.why_unknown(&name, &self.binding.id).into());
        };
        let mut session = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key
            .open_in_place(nonce, Aad::from(head), &mut session)
            .map_err(|_| Refused::from(Refusal::Malformed))?;
        let (rest, origin) = plain.split_last_chunk().ok_or_else(malformed)?;
        let (rest, issued) = rest.split_last_chunk::<TIME>().ok_or_else(malformed)?;
        let (length, issued) = (rest.len(), u64::from_be_bytes(*issued));
        let origin = Origin::from_bytes(origin).ok_or_else(malformed)?;
        let origin = self
            .binding
            .admit(origin, issued, now, u64::from(derived.lifetime))
            .map_err(|cause| Refused { cause, epoch: Some(*epoch) })?;
        session.truncate(length);
        let session = std::mem::take(&mut *session);
        Ok(Opened { session, origin, epoch: *epoch, rank: *rank })
    }
}

/// A good ticket.
struct Opened {
    session: Vec<u8>,
    origin: Origin,
    epoch: Epoch,
    rank: Rank,
}

/// Why a ticket is not good, and the epoch of its key, if that was found.
struct Refused {
    cause: Refusal,
    epoch: Option<Epoch>,
}

impl From<Refusal> for Refused {
    fn from(cause: Refusal) -> Self {
        Self { cause, epoch: None }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// What is left to the session of the ticket that was made last.
    fn lifetime(&self) -> u32 {
        let (now, crl_epoch) = (self.keys.clock().now(), self.binding.crl_epoch.get());
        let origin = current(|connection| connection.origin(now, crl_epoch));
        let age = origin.map_or(0, |origin| now.saturating_sub(origin.authenticated));
        self.keys.lifetime().saturating_sub(u32::try_from(age).unwrap_or(u32::MAX))
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let ticket = self.seal(session)?;
        self.keys.counters().issued();
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        match self.open(ticket, self.keys.clock().now()) {
            Ok(Opened { session, origin, epoch, rank }) => {
                current(|connection| connection.found(origin))?;
                self.keys.counters().accepted(epoch, rank);
                Some(session)
            }
            Err(Refused { cause, epoch }) => {
                self.keys.counters().refused(cause, epoch);
                current(|connection| connection.refuse(cause))?;
                None
            }
        }
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tickets").field("domain", &self.binding.id).finish_non_exhaustive()
    }
}

fn head(ticket: &[u8]) -> Option<[u8; HEAD]> {
    ticket.first_chunk().copied()
}
