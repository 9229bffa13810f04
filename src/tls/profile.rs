//! TLS of the two sides of a route, ready to accept and to dial with.

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};

use super::error::TlsError;
use super::identity::{Identities, SniResolver};
use super::tls_conn::TlsConn;
use super::trust::{ClientTrust, ClientVerification};
use crate::buf::{Buf, Pool};
use crate::config::model::{ClientCert, DownstreamTls, TlsVersion, Verify};

/// Certificates, versions and resumption of one listener, compiled once and shared.
#[derive(Clone, Debug)]
pub struct ServerProfile {
    config: Arc<ServerConfig>,
    resolver: Arc<SniResolver>,
    strict_sni: bool,
    tls12: bool,
    tls13: bool,
    verifies_peers: bool,
    trust: ClientTrust,
}

/// TLS of a route's upstream side, compiled once and shared.
#[derive(Clone, Debug)]
pub struct ClientProfile {
    /// By the position of the endpoint: the TLS, and the name that SNI says.
    endpoints: Arc<[(Arc<ClientConfig>, ServerName<'static>)]>,
    verify: Verify,
}

impl ServerProfile {
    /// The profile of a listener whose TLS section is `tls`, from what was made of it.
    pub fn new(config: Arc<ServerConfig>, identities: &Identities, tls: &DownstreamTls) -> Self {
        let versions = tls.min_version..=tls.max_version;
        Self {
            config,
            resolver: Arc::clone(&identities.resolver),
            trust: identities.trust.clone(),
            strict_sni: tls.strict_sni,
            tls12: versions.contains(&TlsVersion::V1_2),
            tls13: versions.contains(&TlsVersion::V1_3),
            verifies_peers: matches!(tls.client_cert, ClientCert::Optional | ClientCert::Required),
        }
    }

    /// What a peer has shown, by the certificates that rustls has of it; `None` where it was not
    /// asked. To be asked after every handshake, whether full or resumed.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Option<ClientVerification> {
        if self.trust.mode() == ClientCert::None {
            return None;
        }
        // Without a clock rustls would not have let the peer in.
        let now = self.config.time_provider.current_time()?;
        Some(self.trust.judge(chain, now))
    }

    /// What peers are asked for.
    pub fn client_cert(&self) -> ClientCert {
        self.trust.mode()
    }

    /// Whether a peer that has shown a certificate is who that says.
    pub fn verifies_peers(&self) -> bool {
        self.verifies_peers
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

impl ClientProfile {
    /// For each endpoint of the route, in its order, what it is dialled with and the name that SNI
    /// says. Which name has to be on the certificate is the verifier's matter.
    pub fn new(endpoints: Vec<(Arc<ClientConfig>, ServerName<'static>)>) -> Self {
        Self { endpoints: endpoints.into(), verify: Verify::Full }
    }

    /// The same for verifiers that look at this much; connections of those that look at nothing are
    /// reported as unauthenticated.
    #[must_use]
    pub fn verifying(self, verify: Verify) -> Self {
        Self { verify, ..self }
    }

    /// What the verifier looks at.
    pub fn verify(&self) -> Verify {
        self.verify
    }

    /// What a check of this endpoint shakes hands with: each time in full, so that its certificate is
    /// looked at. `None` when the route has more endpoints than the profile.
    pub fn for_checks(&self, endpoint: usize) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let (config, name) = self.endpoints.get(endpoint)?;
        let mut config = ClientConfig::clone(config);
        config.resumption = Resumption::disabled();
        Some((Arc::new(config), name.clone()))
    }

    /// A session with this endpoint, whose ClientHello goes into `records`.
    ///
    /// # Errors
    /// As [`TlsConn::connect`].
    ///
    /// # Panics
    /// When the route has more endpoints than the profile.
    pub fn connect(
        &self,
        endpoint: usize,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<TlsConn, TlsError> {
        let (config, name) = &self.endpoints[endpoint];
        TlsConn::connect(Arc::clone(config), name.clone(), pool, records)
    }
}
