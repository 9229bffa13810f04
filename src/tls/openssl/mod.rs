//! The weak lanes: TLS over OpenSSL, for those whom rustls does not speak to. The same code serves
//! `compat12` in the shards and `legacy` in the child.
//!
//! OpenSSL reads and writes memory, through rust-openssl's stream: nothing here is unsafe. What it
//! verifies are signatures of handshakes; who may be trusted is `tls/trust`'s to say (see `verify`).
//!
//! **Limits.** A ClientHello was read by us, to 64 KiB. OpenSSL takes handshake messages up to
//! 100 KiB (a chain of certificates), no compression and no renegotiation, and answers five warnings
//! and 32 empty records in a row at most. Sessions to be resumed are 4,096 a context; an idle
//! connection keeps no buffers.

mod context;
mod error;
mod memory;
mod session;
pub mod spec;
#[cfg(test)]
pub(crate) mod tests;
mod verify;

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use openssl::error::ErrorStack;
use openssl::ssl::{SslContext, SslVerifyMode};
use rustls::pki_types::UnixTime;

use super::error::TlsError;
use super::lane::Lane;
use crate::buf::{Buf, Pool};
use spec::{ClientSpec, ServerSpec};

pub use session::WeakConn;
pub use verify::Verifier;

/// A weak lane that accepts. Its sessions live as long as it, and no longer than their lifetime.
pub struct Server {
    spec: ServerSpec,
    current: RwLock<Made>,
}

/// What peers are accepted with for one lifetime of sessions: then it is made anew, and with it what
/// protects tickets, of which none can outlive that.
#[derive(Clone)]
struct Made {
    /// For the identities, in their order.
    contexts: Arc<[SslContext]>,
    /// Unix time, in seconds; from the first session on.
    until: Option<u64>,
}

/// A weak lane that connects.
#[derive(Debug)]
pub struct Client {
    lane: Lane,
    sni: Option<String>,
    context: SslContext,
}

/// Neither keys nor what OpenSSL keeps.
impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Server({:?})", self.spec.parameters)
    }
}

/// Why a specification cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(Arc<str>);

impl From<ErrorStack> for Unusable {
    fn from(stack: ErrorStack) -> Self {
        Self(error::of_stack(&stack).detail)
    }
}

impl Server {
    /// # Errors
    /// A key that is not the certificate's or that OpenSSL cannot read, no suite that it knows.
    pub fn new(spec: ServerSpec) -> Result<Self, Unusable> {
        let made = Made { contexts: contexts(&spec)?, until: None };
        Ok(Self { spec, current: RwLock::new(made) })
    }

    /// A session for a new connection, whose ClientHello says `sni`. Clients that show a certificate
    /// are let in if `verifier` takes it `now`; all are without one.
    ///
    /// # Errors
    /// When OpenSSL has no memory.
    pub fn accept(
        &self,
        sni: Option<&str>,
        verifier: Option<Verifier>,
        now: UnixTime,
    ) -> Result<WeakConn, TlsError> {
        let contexts = self.contexts_at(now.as_secs());
        let context = contexts.get(self.position(sni));
        let context = context.ok_or_else(|| TlsError::local("a lane without a certificate"))?;
        let verifier = verifier.map(|verifier| (verifier, now));
        WeakConn::new(context, self.spec.parameters.lane, |ssl| {
            ssl.set_accept_state();
            Ok(verify::install(ssl, verify::mode_of(self.spec.client_cert), verifier))
        })
    }

    fn contexts_at(&self, now: u64) -> Arc<[SslContext]> {
        let made = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if made.until.is_some_and(|until| now < until) {
            return made.contexts;
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.until.is_some_and(|until| until <= now) {
            // It was possible before: without memory, those from before go on.
            current.contexts = contexts(&self.spec).unwrap_or(made.contexts);
            current.until = None;
        }
        current.until.get_or_insert(now + u64::from(self.spec.lifetime));
        Arc::clone(&current.contexts)
    }

    /// Whom to be: exactly the name, then a wildcard for its first label (RFC 9525 §6.3), then the
    /// default.
    fn position(&self, sni: Option<&str>) -> usize {
        let name = sni.map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase());
        let named = |wanted: &str| {
            let mut all = self.spec.identities.iter();
            all.position(|identity| identity.names.iter().any(|name| name == wanted))
        };
        let exact = name.as_deref().and_then(named);
        let wildcard = || {
            let (first, parent) = name.as_deref()?.split_once('.')?;
            if first.is_empty() { None } else { named(&format!("*.{parent}")) }
        };
        exact.or_else(wildcard).unwrap_or_default()
    }
}

fn contexts(spec: &ServerSpec) -> Result<Arc<[SslContext]>, Unusable> {
    let all = spec.identities.iter().map(|identity| Ok(context::server(spec, identity)?));
    all.collect()
}

impl Client {
    /// # Errors
    /// As [`Server::new`].
    pub fn new(spec: &ClientSpec) -> Result<Self, Unusable> {
        let context = context::client(spec)?;
        Ok(Self { lane: spec.parameters.lane, sni: spec.sni.clone(), context })
    }

    /// A session with a server, whose ClientHello goes into `records`. It is accepted if `verifier`
    /// takes its certificate `now`; whoever it is without one.
    ///
    /// # Errors
    /// When OpenSSL has no memory, or nothing to offer.
    pub fn connect(
        &self,
        verifier: Option<Verifier>,
        now: UnixTime,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<WeakConn, TlsError> {
        let verifier = verifier.map(|verifier| (verifier, now));
        let mut conn = WeakConn::new(&self.context, self.lane, |ssl| {
            ssl.set_connect_state();
            if let Some(name) = &self.sni {
                ssl.set_hostname(name)?;
            }
            Ok(verify::install(ssl, SslVerifyMode::PEER, verifier))
        })?;
        conn.begin(pool, records)?;
        Ok(conn)
    }
}
