//! A client's cache of sessions.

use std::sync::atomic::{AtomicU64, Ordering};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use super::ca::NAME;

/// Client sessions in memory that count how often one was there to be offered.
#[derive(Debug)]
pub(crate) struct Offers {
    sessions: ClientSessionMemoryCache,
    count: AtomicU64,
}

impl Offers {
    pub(crate) fn new() -> Self {
        Self { sessions: ClientSessionMemoryCache::new(32), count: AtomicU64::new(0) }
    }

    /// How often a session was offered.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Gives up all sessions.
    pub(crate) fn forget(&self) {
        let name = ServerName::try_from(NAME).expect("a name");
        self.sessions.remove_tls12_session(&name);
        while self.sessions.take_tls13_ticket(&name).is_some() {}
    }
}

impl ClientSessionStore for Offers {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.sessions.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.sessions.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.sessions.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let session = self.sessions.tls12_session(name);
        self.count.fetch_add(u64::from(session.is_some()), Ordering::Relaxed);
        session
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.sessions.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let ticket = self.sessions.take_tls13_ticket(name);
        self.count.fetch_add(u64::from(ticket.is_some()), Ordering::Relaxed);
        ticket
    }
}
