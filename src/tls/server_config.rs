//! From what the configuration says about TLS to what rustls takes.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::identity::Identities;
use super::resumption::Domain;
use crate::config::model::{DownstreamTls, TlsVersion};

/// The TLS of one listener, shared by its connections. Early data is never taken: it can be
/// replayed (RFC 8446 §8), and what components say is not idempotent.
///
/// # Errors
/// When `min_version` is above `max_version`.
pub fn server_config(
    tls: &DownstreamTls,
    identities: &Identities,
    domain: &Domain,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let allowed = tls.min_version..=tls.max_version;
    let versions: Vec<&'static SupportedProtocolVersion> =
        [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)]
            .into_iter()
            .filter_map(|(version, supported)| allowed.contains(&version).then_some(supported))
            .collect();
    let resolver = Arc::clone(&identities.resolver) as Arc<dyn ResolvesServerCert>;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions)?
        .with_client_cert_verifier(domain.noting(identities.trust.verifier()))
        .with_cert_resolver(resolver);
    config.alpn_protocols = tls.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.max_early_data_size = 0;
    // A list of suites is one of preferences.
    config.ignore_client_order = !tls.ciphers.is_empty();
    domain.apply(&mut config, tls.tls13_tickets);
    Ok(Arc::new(config))
}
