//! What rustls protects a session's records with: the keys that it makes its ciphers of, and traffic
//! secrets of TLS 1.3, which key updates take and rustls tells its key log alone. It could derive the
//! keys for us, once more ("secret extraction"), which takes a fifth of a resumed handshake of TLS 1.2.
//!
//! Suites and logs belong to configurations, so they do not know which session they work for. Whoever
//! calls rustls does so inside [`watch`], which lays the place for secrets into a variable of the
//! thread; outside of it nothing is kept, and nothing ever leaves the session that it is for.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::KeyLog;
use zeroize::Zeroizing;

use crate::tls::record::{Cipher, Keys, Records, Role, Version};

thread_local! {
    static WATCHED: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// What a session protects its records with; empty until the handshake is that far.
#[derive(Default)]
pub(super) struct Seen {
    read: Option<Arc<Key>>,
    write: Option<Arc<Key>>,
    of_client: Zeroizing<Vec<u8>>,
    of_server: Zeroizing<Vec<u8>>,
}

/// The key of one direction that rustls has made last.
pub(super) struct Key {
    cipher: Cipher,
    key: Zeroizing<[u8; MAX_KEY]>,
    iv: Zeroizing<[u8; NONCE]>,
    /// The sequence number of the next record. Nobody waits for it: whoever uses the key says so before
    /// the call into rustls is over.
    next: AtomicU64,
}

/// Which way records go that a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Read,
    Write,
}

impl Seen {
    /// Whether there is all that [`Seen::records`] takes.
    pub(super) fn is_complete(&self) -> bool {
        let (Some(_), Some(write)) = (&self.read, &self.write) else { return false };
        let is_tls12 = write.cipher.version == Version::Tls12;
        is_tls12 || !self.of_client.is_empty() && !self.of_server.is_empty()
    }

    /// What goes on where rustls has stopped. `None` where something is missing.
    pub(super) fn records(&self, role: Role) -> Option<Records> {
        let (read, write) = match role {
            Role::Server => (&self.of_client, &self.of_server),
            Role::Client => (&self.of_server, &self.of_client),
        };
        let read = self.read.as_ref()?.keys(read)?;
        Some(Records::new(role, read, self.write.as_ref()?.keys(write)?))
    }
}

impl Key {
    /// Keeps the key for whom it is made, if anybody watches. The initialization vector is one in two
    /// parts; what it lacks is zero.
    pub(super) fn keep(way: Way, cipher: Cipher, key: &[u8], iv: [&[u8]; 2]) -> Option<Arc<Self>> {
        WATCHED.with_borrow_mut(|watched| {
            let seen = watched.as_mut()?;
            let mut kept = Self {
                cipher,
                key: Zeroizing::new([0; MAX_KEY]),
                iv: Zeroizing::new([0; NONCE]),
                next: AtomicU64::new(0),
            };
            kept.key.get_mut(..key.len())?.copy_from_slice(key);
            let [fixed, rest] = iv;
            let (start, end) = kept.iv.split_at_mut_checked(fixed.len())?;
            start.copy_from_slice(fixed);
            end.get_mut(..rest.len())?.copy_from_slice(rest);
            let kept = Arc::new(kept);
            let place = match way {
                Way::Read => &mut seen.read,
                Way::Write => &mut seen.write,
            };
            *place = Some(Arc::clone(&kept));
            Some(kept)
        })
    }

    /// The record with this number was protected by it.
    pub(super) fn used(&self, sequence: u64) {
        self.next.store(sequence.saturating_add(1), Ordering::Relaxed);
    }

    fn keys(&self, traffic: &[u8]) -> Option<Keys> {
        let key = self.key.get(..self.cipher.key_length())?;
        Keys::new(self.cipher, key, &*self.iv, traffic, self.next.load(Ordering::Relaxed))
    }
}

/// Makes a call into rustls, and keeps in `seen` what it shows.
pub(super) fn watch<T>(seen: &mut Seen, call: impl FnOnce() -> T) -> T {
    let _wiped = WATCHED.replace(Some(std::mem::take(seen)));
    let result = call();
    *seen = WATCHED.take().unwrap_or_default();
    result
}

/// The log for configurations whose sessions go on without rustls.
pub(in crate::tls) fn key_log() -> Arc<dyn KeyLog> {
    Arc::new(Secrets)
}

#[derive(Debug)]
struct Secrets;

impl KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        WATCHED.with_borrow_mut(|watched| {
            let Some(seen) = watched else { return };
            match label {
                OF_CLIENT => seen.of_client = secret.to_vec().into(),
                OF_SERVER => seen.of_server = secret.to_vec().into(),
                _ => {}
            }
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, OF_CLIENT | OF_SERVER) && WATCHED.with_borrow(Option::is_some)
    }
}

/// Labels as they are in the files that SSLKEYLOGFILE names.
const OF_CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const OF_SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

/// Bytes of the longest key, and of an initialization vector.
const MAX_KEY: usize = 32;
const NONCE: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::record::Aead;

    const CIPHER: Cipher = Cipher { version: Version::Tls12, aead: Aead::Aes128Gcm };

    #[test]
    fn secrets_are_those_of_the_session_that_is_watched() {
        let log = key_log();
        assert!(!log.will_log(OF_CLIENT));
        log.log(OF_CLIENT, &[], b"nobody's");
        let [mut one, mut two] = [Seen::default(), Seen::default()];
        watch(&mut one, || {
            assert!(log.will_log(OF_SERVER) && !log.will_log("CLIENT_RANDOM"));
            log.log(OF_SERVER, &[], b"server's");
        });
        watch(&mut two, || log.log("EXPORTER_SECRET", &[], b"none of ours"));
        watch(&mut one, || log.log(OF_CLIENT, &[], b"client's"));
        assert_eq!((&one.of_client[..], &one.of_server[..]), (&b"client's"[..], &b"server's"[..]));
        assert!(two.of_client.is_empty() && two.of_server.is_empty());
    }

    #[test]
    fn keys_are_the_last_ones_of_the_session_that_is_watched() {
        let keep = |way, byte| Key::keep(way, CIPHER, &[byte; 16], [&[byte; 4], &[byte; 2]]);
        assert!(keep(Way::Read, 1).is_none(), "nobody watches");
        let mut seen = Seen::default();
        let early = watch(&mut seen, || keep(Way::Write, 2)).expect("it is watched");
        assert!(!seen.is_complete() && seen.records(Role::Server).is_none());
        let late = watch(&mut seen, || {
            keep(Way::Read, 3);
            keep(Way::Write, 4)
        });
        late.expect("it is watched").used(6);
        early.used(40);
        assert!(seen.is_complete() && seen.records(Role::Server).is_some());
        let write = seen.write.expect("the last one");
        assert_eq!((write.key[15], write.iv[5], write.iv[6]), (4, 4, 0));
        assert_eq!(write.next.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut seen = Seen::default();
        for (key, iv) in [(33, [12, 0]), (32, [13, 0]), (32, [4, 9])] {
            let [key, fixed, rest] = [key, iv[0], iv[1]].map(|length| vec![1; length]);
            let kept = watch(&mut seen, || Key::keep(Way::Read, CIPHER, &key, [&fixed, &rest]));
            assert!(kept.is_none());
        }
        assert!(seen.read.is_none());
    }
}
