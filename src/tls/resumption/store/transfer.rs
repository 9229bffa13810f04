//! Sessions on their way from the store of one process to that of the next, in chunks.
//!
//! A chunk is a version and then entries: domain 16 │ made 8 │ origin 73 │ id length 1 │ value
//! length 4 │ id │ value. Sessions are secret, so chunks are wiped when their memory is given back.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use zeroize::Zeroizing;

use super::{Entry, Key, SessionStore};
use crate::tls::resumption::DomainId;
use crate::tls::resumption::binding::Origin;
use crate::tls::resumption::counters::Refusal;

const VERSION: u8 = 2;
/// Had no origin. Its sessions are not taken: peers shake hands in full once.
const EARLIER: u8 = 1;
/// What an entry takes besides its id and its value.
const FIXED: usize = DomainId::LENGTH + 8 + Origin::LENGTH + 1 + 4;

/// A chunk that is none of ours, or cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a chunk of sessions of this version of tlsgate")]
pub struct BadChunk;

impl SessionStore {
    /// All sessions that are not too old, the least recently used of each part first, in chunks of
    /// at most `chunk_bytes`. Sessions over that size are left out. The store can be used
    /// meanwhile; a part of it is locked while it is copied.
    pub fn export(
        self: &Arc<Self>,
        chunk_bytes: usize,
    ) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + Send + use<> {
        Export { store: Arc::clone(self), chunk_bytes, next_part: 0, ready: VecDeque::new() }
    }

    /// Puts the sessions of a chunk into this store, as the most recently used ones. What is too
    /// old, too large or there already is left out; what is over the limits pushes out others.
    /// Returns how many were taken.
    ///
    /// # Errors
    /// When it is not a chunk; the sessions before the mistake have been taken.
    pub fn import(&self, chunk: &[u8]) -> Result<usize, BadChunk> {
        let mut rest = match chunk.split_first() {
            Some((&VERSION, rest)) => rest,
            Some((&EARLIER, _)) => return Err(self.not_taken(Refusal::OtherFormat)),
            _ => return Err(self.not_taken(Refusal::Malformed)),
        };
        let now = self.clock.now();
        let mut taken = 0;
        while !rest.is_empty() {
            let malformed = || self.not_taken(Refusal::Malformed);
            let (key, mut entry, behind) = read(rest).ok_or_else(malformed)?;
            rest = behind;
            // The clock was set back; sessions do not come from the future.
            entry.made = entry.made.min(now);
            entry.origin.authenticated = entry.origin.authenticated.min(now);
            let mut part = self.part(&key);
            let is_wanted = !self.is_expired(&entry) && !part.sessions.contains(&key);
            taken += usize::from(is_wanted && self.insert(&mut part, key, entry));
        }
        Ok(taken)
    }

    /// Counts a chunk as one refusal: how many sessions were in it cannot be told.
    fn not_taken(&self, cause: Refusal) -> BadChunk {
        self.counters.rejected.count(cause);
        BadChunk
    }

    fn export_part(&self, position: usize, chunk_bytes: usize) -> VecDeque<Zeroizing<Vec<u8>>> {
        let mut chunks: VecDeque<Zeroizing<Vec<u8>>> = VecDeque::new();
        let part = self.parts[position].lock().unwrap_or_else(PoisonError::into_inner);
        // The map iterates from the most recently used one.
        for (key, entry) in part.sessions.iter().rev() {
            let size = FIXED + usize::from(key.length) + entry.value.len();
            if self.is_expired(entry) || 1 + size > chunk_bytes {
                continue;
            }
            let chunk = match chunks.back_mut() {
                Some(last) if last.len() + size <= chunk_bytes => last,
                _ => {
                    // All memory at once: growing would leave copies behind.
                    let mut chunk = Zeroizing::new(Vec::with_capacity(chunk_bytes));
                    chunk.push(VERSION);
                    chunks.push_back(chunk);
                    chunks.back_mut().expect("just put there")
                }
            };
            write(chunk, key, entry);
        }
        chunks
    }
}

struct Export {
    store: Arc<SessionStore>,
    chunk_bytes: usize,
    next_part: usize,
    ready: VecDeque<Zeroizing<Vec<u8>>>,
}

impl Iterator for Export {
    type Item = Zeroizing<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.next_part < self.store.parts.len() {
            self.ready = self.store.export_part(self.next_part, self.chunk_bytes);
            self.next_part += 1;
        }
        self.ready.pop_front()
    }
}

fn write(chunk: &mut Vec<u8>, key: &Key, entry: &Entry) {
    let length = u32::try_from(entry.value.len()).expect("a chunk is smaller than 4 GiB");
    chunk.extend_from_slice(entry.domain.bytes());
    chunk.extend_from_slice(&entry.made.to_be_bytes());
    chunk.extend_from_slice(&entry.origin.to_bytes());
    chunk.push(key.length);
    chunk.extend_from_slice(&length.to_be_bytes());
    chunk.extend_from_slice(&key.id[..usize::from(key.length)]);
    chunk.extend_from_slice(&entry.value);
}

/// The first entry of `bytes`, and what is behind it.
fn read(bytes: &[u8]) -> Option<(Key, Entry, &[u8])> {
    let (domain, rest) = bytes.split_first_chunk::<{ DomainId::LENGTH }>()?;
    let (made, rest) = rest.split_first_chunk()?;
    let (origin, rest) = rest.split_first_chunk()?;
    let (&id_length, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_at_checked(usize::from(id_length))?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    let key = Key::new(id)?;
    let entry = Entry {
        domain: DomainId::from_bytes(*domain),
        value: Zeroizing::new(value.to_vec()),
        made: u64::from_be_bytes(*made),
        origin: Origin::from_bytes(origin)?,
    };
    Some((key, entry, rest))
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
