//! The sessions that components have given us, to come back to them without a full handshake.
//!
//! When a session is resumed, rustls looks at no certificate again: not at its time, its name, its
//! CA, nor at CRLs. It only makes sure that verifier and identity are the very same objects. So the
//! cache is cut into domains that differ in whatever the check depended on ([`UpstreamParts`]), and
//! a session dies with its CRL epoch, with its component's certificates, and with its lifetime, which
//! starts with the full handshake. It is then not offered, and the handshake is a full one.
//!
//! [`UpstreamParts`]: super::UpstreamParts

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use super::attempt::{State, current};
use super::binding::Origin;
use super::counters::{Refusal, RefusalCounters, Refusals};
use super::{Clock, CrlEpoch, DomainId};

/// Servers whose sessions are kept when nothing else is said.
pub const DEFAULT_SERVERS: usize = 1024;
/// TLS 1.3 tickets kept of one server: each is used once (RFC 8446 §C.4), and servers send about
/// two at a time.
const TICKETS: usize = 8;

/// Sessions with all components, bounded in number and age. One for the life of the process.
pub struct UpstreamSessions {
    /// By least recent use.
    servers: Mutex<LruCache<Key, Server>>,
    max_servers: usize,
    /// In seconds.
    lifetime: AtomicU64,
    clock: Clock,
    counters: Counters,
}

/// Counters since the start, and how full the cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamStats {
    /// Servers of which something is known.
    pub servers: u64,
    /// Sessions and tickets that components gave us.
    pub stored: u64,
    /// Handshakes that began with a session to resume.
    pub offered: u64,
    /// Servers forgotten to make room.
    pub evicted: u64,
    /// Sessions that we had and did not offer.
    pub rejected: Refusals,
}

/// What one upstream domain sees of the cache.
#[derive(Debug)]
pub struct UpstreamDomain {
    sessions: Arc<UpstreamSessions>,
    id: DomainId,
    crl_epoch: Arc<CrlEpoch>,
}

#[derive(Debug, Default)]
struct Counters {
    stored: AtomicU64,
    offered: AtomicU64,
    evicted: AtomicU64,
    rejected: RefusalCounters,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    domain: DomainId,
    name: ServerName<'static>,
}

#[derive(Default)]
struct Server {
    /// The key exchange that it took last.
    group: Option<NamedGroup>,
    tls12: Option<Held<Tls12ClientSessionValue>>,
    /// The newest is last.
    tls13: VecDeque<Held<Tls13ClientSessionValue>>,
}

/// A session and where it comes from.
struct Held<T> {
    value: T,
    origin: Origin,
    /// The last second in which the component's certificates are valid.
    good_until: Option<u64>,
}

impl UpstreamSessions {
    /// An empty cache for the sessions of at most `max_servers` servers, up to nine of each. A
    /// session may be resumed for `lifetime` after its full handshake, in whole seconds.
    pub fn new(max_servers: usize, lifetime: Duration, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            servers: Mutex::new(LruCache::unbounded()),
            max_servers,
            lifetime: AtomicU64::new(lifetime.as_secs()),
            clock,
            counters: Counters::default(),
        })
    }

    /// The sessions of one domain ([`DomainId::upstream`]), with the CRLs that certificates of
    /// components are checked by.
    pub fn domain(self: &Arc<Self>, id: DomainId, crl_epoch: Arc<CrlEpoch>) -> Arc<UpstreamDomain> {
        Arc::new(UpstreamDomain { sessions: Arc::clone(self), id, crl_epoch })
    }

    /// Changes the lifetime of all sessions, those in the cache included.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// The counters now; not one moment for all of them.
    pub fn stats(&self) -> UpstreamStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UpstreamStats {
            servers: self.lock().len() as u64,
            stored: read(&self.counters.stored),
            offered: read(&self.counters.offered),
            evicted: read(&self.counters.evicted),
            rejected: self.counters.rejected.read(),
        }
    }

    /// Shows the server of `key` to `use_server`; makes it, and room for it, if need be.
    fn update(&self, key: Key, use_server: impl FnOnce(&mut Server)) {
        if self.max_servers == 0 {
            return;
        }
        let mut servers = self.lock();
        use_server(servers.get_or_insert_mut(key, Server::default));
        while servers.len() > self.max_servers && servers.pop_lru().is_some() {
            self.counters.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Key, Server>> {
        // The cache is consistent between any two calls that could panic.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpstreamDomain {
    /// For the configuration of the one endpoint that the domain is of.
    pub fn resumption(self: &Arc<Self>) -> Resumption {
        Resumption::store(Arc::<Self>::clone(self))
    }

    fn key(&self, name: &ServerName<'_>) -> Key {
        Key { domain: self.id, name: name.to_owned() }
    }

    /// Whether a session may still be resumed; if so, the connection is told of it.
    fn admit<T>(&self, held: &Held<T>) -> bool {
        let Held { origin, good_until, .. } = held;
        let now = self.sessions.clock.now();
        let age = now.saturating_sub(origin.authenticated);
        let refusal = if age >= self.sessions.lifetime.load(Ordering::Relaxed) {
            Refusal::AbsoluteLifetime
        } else if origin.crl_epoch != self.crl_epoch.get() {
            Refusal::CrlEpoch
        } else if good_until.is_some_and(|last| now > last) {
            Refusal::CertificateExpired
        } else if self.is_found(held) {
            self.sessions.counters.offered.fetch_add(1, Ordering::Relaxed);
            return true;
        } else {
            return false;
        };
        self.sessions.counters.rejected.count(refusal);
        // Without a connection, nothing is offered either.
        current(|connection| connection.refuse(refusal));
        false
    }

    /// Tells the connection which session it has; says whether there is a connection.
    fn is_found<T>(&self, held: &Held<T>) -> bool {
        let told = current(|connection| {
            connection.found(held.origin);
            connection.is_good_until(held.good_until);
        });
        told.is_some()
    }

    /// Puts a session away, with where it comes from.
    fn keep<T>(&self, name: &ServerName<'_>, value: T, put: impl FnOnce(&mut Server, Held<T>)) {
        let (now, crl_epoch) = (self.sessions.clock.now(), self.crl_epoch.get());
        let known =
            |connection: &mut State| (connection.origin(now, crl_epoch), connection.good_until());
        let Some((origin, good_until)) = current(known) else { return };
        self.sessions.counters.stored.fetch_add(1, Ordering::Relaxed);
        let held = Held { value, origin, good_until };
        self.sessions.update(self.key(name), |server| put(server, held));
    }
}

impl ClientSessionStore for UpstreamDomain {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.sessions.update(self.key(&name), |server| server.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.sessions.lock().get(&self.key(name))?.group
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.keep(&name, value, |server, held| server.tls12 = Some(held));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let mut servers = self.sessions.lock();
        let session = &mut servers.get_mut(&self.key(name))?.tls12;
        session.take_if(|held| !self.admit(held));
        session.as_ref().map(|held| held.value.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        if let Some(server) = self.sessions.lock().get_mut(&self.key(name)) {
            server.tls12 = None;
        }
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.keep(&name, value, |server, held| {
            if server.tls13.len() == TICKETS {
                server.tls13.pop_front();
            }
            server.tls13.push_back(held);
        });
    }

    /// rustls begins each handshake with this call.
    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        // Before the component's certificate is checked: if CRLs are swapped during the handshake,
        // the session is one of the old ones.
        let (authenticated, crl_epoch) = (self.sessions.clock.now(), self.crl_epoch.get());
        // Who we are is part of the domain; whether the component knows it, is told when it asks.
        let origin = Origin { authenticated, crl_epoch, client: None };
        current(|connection| connection.establish(origin))?;
        let mut servers = self.sessions.lock();
        let tickets = &mut servers.get_mut(&self.key(name))?.tls13;
        while let Some(held) = tickets.pop_back() {
            if self.admit(&held) {
                return Some(held.value);
            }
        }
        None
    }
}

impl fmt::Debug for UpstreamSessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what is stored, which is secret.
        let stats = self.stats();
        formatter.debug_struct("UpstreamSessions").field("stats", &stats).finish_non_exhaustive()
    }
}
