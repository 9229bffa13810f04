//! The session store: one for the process, shared by all shards and all domains.
//!
//! It is split into parts with a lock each, by session id; ids are random, so the parts fill
//! evenly. Each part has its share of the limits, drops what expired and then what was used
//! least recently.

mod transfer;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use rustls::server::StoresServerSessions;
use rustls::server::danger::ClientCertVerifier;
use zeroize::Zeroizing;

pub use transfer::BadChunk;

use super::attempt::current;
use super::binding::{Binding, Origin};
use super::counters::{Refusal, RefusalCounters, Refusals};
use super::noting::Noting;
use super::{Clock, DomainId};
use crate::config::model;

/// Most parts of a store; fewer when its limits are small, so that each part has a useful share.
const MAX_PARTS: usize = 64;
const MIN_PART_ENTRIES: usize = 16;
const MIN_PART_BYTES: usize = 64 * 1024;
/// Longest session id (RFC 5246 §7.4.1.2); ours in TLS 1.3 are as long.
const MAX_ID: usize = 32;
/// What an entry costs besides its value: itself, and about 64 bytes of list and table.
const ENTRY_OVERHEAD: usize = size_of::<Key>() + size_of::<Entry>() + 64;

/// Sessions of all domains, bounded in number, bytes and age.
pub struct SessionStore {
    parts: Vec<Mutex<Part>>,
    part_entries: usize,
    part_bytes: usize,
    /// In seconds.
    lifetime: AtomicU64,
    clock: Clock,
    counters: Counters,
}

/// Counters since the start, and how full the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Sessions in the store, those expired but not found out yet included.
    pub entries: u64,
    /// Bytes of memory they take, about.
    pub bytes: u64,
    pub stored: u64,
    pub hits: u64,
    /// Lookups that found nothing, or (counted besides) something that was rejected.
    pub misses: u64,
    /// Entries dropped because of their age, found out by whatever came across them.
    pub expired: u64,
    /// Entries dropped to make room.
    pub evicted: u64,
    /// Sessions not stored because they alone are over the limits of their part.
    pub refused: u64,
    /// Sessions that were found and may not be resumed.
    pub rejected: Refusals,
}

#[derive(Debug, Default)]
struct Counters {
    entries: AtomicU64,
    bytes: AtomicU64,
    stored: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    rejected: RefusalCounters,
}

struct Part {
    sessions: LruCache<Key, Entry>,
    bytes: usize,
}

/// Of fixed size: a lookup copies at most 32 bytes, however long the name that a peer sends. Ids are
/// random, so no two domains have the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    id: [u8; MAX_ID],
    length: u8,
}

struct Entry {
    domain: DomainId,
    value: Zeroizing<Vec<u8>>,
    /// The second in which the session was stored.
    made: u64,
    origin: Origin,
}

impl SessionStore {
    /// An empty store. Its memory grows with what it holds.
    pub fn new(limits: &model::Resumption, clock: Clock) -> Arc<Self> {
        let parts = MAX_PARTS
            .min(limits.max_entries / MIN_PART_ENTRIES)
            .min(limits.max_bytes / MIN_PART_BYTES)
            .max(1);
        let part = || Mutex::new(Part { sessions: LruCache::unbounded(), bytes: 0 });
        Arc::new(Self {
            parts: (0..parts).map(|_| part()).collect(),
            part_entries: limits.max_entries / parts,
            part_bytes: limits.max_bytes / parts,
            lifetime: AtomicU64::new(limits.lifetime.as_secs()),
            clock,
            counters: Counters::default(),
        })
    }

    /// The sessions of one resumption domain; the same ones for the same id.
    pub fn domain(self: &Arc<Self>, binding: Binding) -> Arc<Sessions> {
        Arc::new(Sessions { store: Arc::clone(self), binding })
    }

    /// The counters now; not one moment for all of them.
    pub fn stats(&self) -> StoreStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        StoreStats {
            entries: read(&counters.entries),
            bytes: read(&counters.bytes),
            stored: read(&counters.stored),
            hits: read(&counters.hits),
            misses: read(&counters.misses),
            expired: read(&counters.expired),
            evicted: read(&counters.evicted),
            refused: read(&counters.refused),
            rejected: counters.rejected.read(),
        }
    }

    /// How long a session may be resumed after its full handshake.
    pub fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime.load(Ordering::Relaxed))
    }

    /// Changes the lifetime of all sessions, those in the store included. Whole seconds count.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    fn put(&self, key: Key, entry: Entry) -> bool {
        let stored = self.insert(&mut self.part(&key), key, entry);
        if stored {
            count(&self.counters.stored);
        }
        stored
    }

    /// Makes room in the part of `key` and puts the entry there.
    fn insert(&self, part: &mut Part, key: Key, entry: Entry) -> bool {
        if entry.size() > self.part_bytes || self.part_entries == 0 {
            count(&self.counters.refused);
            return false;
        }
        // Replacing means removing first, so that the sums below hold for both.
        self.remove(part, &key);
        while let Some((oldest, session)) = part.sessions.peek_lru() {
            let counter = if self.is_expired(session) {
                &self.counters.expired
            } else if part.sessions.len() >= self.part_entries
                || part.bytes + entry.size() > self.part_bytes
            {
                &self.counters.evicted
            } else {
                break;
            };
            count(counter);
            let oldest = *oldest;
            self.remove(part, &oldest);
        }
        part.bytes += entry.size();
        self.counters.bytes.fetch_add(entry.size() as u64, Ordering::Relaxed);
        count(&self.counters.entries);
        part.sessions.put(key, entry);
        true
    }

    /// Finds a session that may be resumed, and lets `use_entry` make the answer of it. Leaves with
    /// the connection where the session comes from, or why it was refused.
    fn find<T>(
        &self,
        binding: &Binding,
        key: Option<Key>,
        use_entry: impl FnOnce(&mut Part, &Key) -> Option<T>,
    ) -> Option<T> {
        let found = key.and_then(|key| {
            let mut part = self.part(&key);
            match self.admit(binding, part.sessions.peek(&key)?) {
                Ok(origin) => {
                    current(|connection| connection.found(origin))?;
                    use_entry(&mut part, &key)
                }
                Err(cause) => {
                    self.counters.rejected.count(cause);
                    if matches!(cause, Refusal::Expired | Refusal::AbsoluteLifetime) {
                        count(&self.counters.expired);
                    }
                    // It is good for nobody, unless it is another domain's.
                    if cause != Refusal::OtherDomain {
                        self.remove(&mut part, &key);
                    }
                    current(|connection| connection.refuse(cause))?;
                    None
                }
            }
        });
        count(if found.is_some() { &self.counters.hits } else { &self.counters.misses });
        found
    }

    fn admit(&self, binding: &Binding, entry: &Entry) -> Result<Origin, Refusal> {
        if entry.domain != binding.id {
            return Err(Refusal::OtherDomain);
        }
        let lifetime = self.lifetime.load(Ordering::Relaxed);
        binding.admit(entry.origin, entry.made, self.clock.now(), lifetime)
    }

    fn is_expired(&self, entry: &Entry) -> bool {
        let age = self.clock.now().saturating_sub(entry.origin.authenticated.min(entry.made));
        age >= self.lifetime.load(Ordering::Relaxed)
    }

    fn remove(&self, part: &mut Part, key: &Key) -> Option<Entry> {
        let entry = part.sessions.pop(key)?;
        part.bytes -= entry.size();
        self.counters.bytes.fetch_sub(entry.size() as u64, Ordering::Relaxed);
        self.counters.entries.fetch_sub(1, Ordering::Relaxed);
        Some(entry)
    }

    fn part(&self, key: &Key) -> MutexGuard<'_, Part> {
        let start = key.id.first_chunk::<2>().expect("an id has 32 bytes of space");
        let position = usize::from(u16::from_be_bytes(*start)) % self.parts.len();
        // A part is consistent between any two calls that could panic.
        self.parts[position].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SessionStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what is stored, which is secret.
        formatter.debug_struct("SessionStore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Key {
    /// `None` for ids that are too long to be ours.
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut id = [0; MAX_ID];
        id.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { id, length: u8::try_from(bytes.len()).ok()? })
    }
}

impl Entry {
    fn size(&self) -> usize {
        self.value.capacity() + ENTRY_OVERHEAD
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What one domain sees of the store.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<SessionStore>,
    binding: Binding,
}

impl Sessions {
    /// `verifier`, which leaves with the connection whom it let in.
    pub(super) fn noting(&self, verifier: Arc<dyn ClientCertVerifier>) -> Noting {
        let crl_epoch = Arc::clone(&self.binding.crl_epoch);
        Noting { verifier, crl_epoch, clock: self.store.clock.clone() }
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, id: Vec<u8>, value: Vec<u8>) -> bool {
        let (made, crl_epoch) = (self.store.clock.now(), self.binding.crl_epoch.get());
        let value = Zeroizing::new(value);
        let origin = current(|connection| connection.origin(made, crl_epoch));
        match (Key::new(&id), origin) {
            (Some(key), Some(origin)) => {
                self.store.put(key, Entry { domain: self.binding.id, value, made, origin })
            }
            _ => false,
        }
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.store.find(&self.binding, Key::new(id), |part, key| {
            part.sessions.get(key).map(|entry| entry.value.to_vec())
        })
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.store.find(&self.binding, Key::new(id), |part, key| {
            self.store.remove(part, key).map(|mut entry| std::mem::take(&mut *entry.value))
        })
    }

    fn can_cache(&self) -> bool {
        self.store.part_entries > 0
    }
}
