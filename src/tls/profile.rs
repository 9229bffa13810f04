//! TLS of one listener, ready to accept with.

use std::sync::Arc;

use rustls::ServerConfig;

use super::error::TlsError;
use super::identity::SniResolver;
use super::tls_conn::TlsConn;
use crate::config::model::{DownstreamTls, TlsVersion};

/// Certificates, versions and resumption of one listener, compiled once and shared.
#[derive(Clone, Debug)]
pub struct ServerProfile {
    config: Arc<ServerConfig>,
    resolver: Arc<SniResolver>,
    strict_sni: bool,
    tls12: bool,
    tls13: bool,
}

impl ServerProfile {
    /// The profile of a listener whose TLS section is `tls`, from what was made of it.
    pub fn new(config: Arc<ServerConfig>, resolver: Arc<SniResolver>, tls: &DownstreamTls) -> Self {
        let versions = tls.min_version..=tls.max_version;
        Self {
            config,
            resolver,
            strict_sni: tls.strict_sni,
            tls12: versions.contains(&TlsVersion::V1_2),
            tls13: versions.contains(&TlsVersion::V1_3),
        }
    }

    /// Whether a peer that offers these versions can be spoken to.
    pub fn speaks(&self, tls12: bool, tls13: bool) -> bool {
        self.tls12 && tls12 || self.tls13 && tls13
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
