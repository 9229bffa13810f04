//! TLS of one listener, ready to accept with.

use std::sync::Arc;

use rustls::ServerConfig;

use super::error::TlsError;
use super::identity::SniResolver;
use super::tls_conn::TlsConn;

/// Certificates, versions and resumption of one listener, compiled once and shared.
#[derive(Clone, Debug)]
pub struct ServerProfile {
    config: Arc<ServerConfig>,
    resolver: Arc<SniResolver>,
    strict_sni: bool,
}

impl ServerProfile {
    /// A profile that answers names `resolver` does not know only when `strict_sni` is off.
    pub fn new(config: Arc<ServerConfig>, resolver: Arc<SniResolver>, strict_sni: bool) -> Self {
        Self { config, resolver, strict_sni }
    }

    /// A session for a new connection.
    ///
    /// # Errors
    /// As [`TlsConn::new`].
    pub fn accept(&self) -> Result<TlsConn, TlsError> {
        TlsConn::new(Arc::clone(&self.config))
    }

    pub fn strict_sni(&self) -> bool {
        self.strict_sni
    }

    /// Whether a certificate names `name`.
    pub fn covers(&self, name: &str) -> bool {
        self.resolver.covers(name)
    }
}
