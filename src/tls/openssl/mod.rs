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
mod tests;
mod verify;

use std::collections::VecDeque;
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ssl::{SslContext, SslVerifyMode};
use rustls::pki_types::UnixTime;

use super::error::TlsError;
use super::lane::Lane;
use crate::buf::{Buf, Pool};
use crate::tls::trust::ClientCert;
use spec::{ClientSpec, ServerSpec};

pub use session::WeakConn;
pub use verify::Verifier;

/// A weak lane that accepts; its sessions live as long as it.
#[derive(Debug)]
pub struct Server {
    lane: Lane,
    client_cert: ClientCert,
    /// With the names that each is for; the first is the default.
    contexts: Vec<(Vec<String>, SslContext)>,
}

/// A weak lane that connects.
#[derive(Debug)]
pub struct Client {
    lane: Lane,
    sni: Option<String>,
    context: SslContext,
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
    pub fn new(spec: &ServerSpec) -> Result<Self, Unusable> {
        let mut contexts = Vec::new();
        for identity in &spec.identities {
            contexts.push((identity.names.clone(), context::server(spec, identity)?));
        }
        Ok(Self { lane: spec.parameters.lane, client_cert: spec.client_cert, contexts })
    }

    /// A session for a new connection, whose ClientHello says `sni`. Clients that show a certificate
    /// are let in if `verifier` takes it as of then; all are without one.
    ///
    /// # Errors
    /// When OpenSSL has no memory.
    pub fn accept(
        &self,
        sni: Option<&str>,
        verifier: Option<(Verifier, UnixTime)>,
    ) -> Result<WeakConn, TlsError> {
        WeakConn::new(self.context_for(sni)?, self.lane, |ssl| {
            ssl.set_accept_state();
            Ok(verify::install(ssl, verify::mode_of(self.client_cert), verifier))
        })
    }

    /// Exactly the name, then a wildcard for its first label (RFC 9525 §6.3), then the default.
    fn context_for(&self, sni: Option<&str>) -> Result<&SslContext, TlsError> {
        let name = sni.map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase());
        let named = |wanted: &str| {
            self.contexts.iter().find(|(names, _)| names.iter().any(|name| name == wanted))
        };
        let exact = name.as_deref().and_then(named);
        let wildcard = || {
            let (first, parent) = name.as_deref()?.split_once('.')?;
            if first.is_empty() { None } else { named(&format!("*.{parent}")) }
        };
        let found = exact.or_else(wildcard).or(self.contexts.first());
        let found = found.ok_or_else(|| TlsError::local("a lane without a certificate"))?;
        Ok(&found.1)
    }
}

impl Client {
    /// # Errors
    /// As [`Server::new`].
    pub fn new(spec: &ClientSpec) -> Result<Self, Unusable> {
        let context = context::client(spec)?;
        Ok(Self { lane: spec.parameters.lane, sni: spec.sni.clone(), context })
    }

    /// A session with a server, whose ClientHello goes into `records`. It is accepted if `verifier`
    /// takes its certificate as of then; whoever it is without one.
    ///
    /// # Errors
    /// When OpenSSL has no memory, or nothing to offer.
    pub fn connect(
        &self,
        verifier: Option<(Verifier, UnixTime)>,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<WeakConn, TlsError> {
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
