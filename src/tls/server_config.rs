//! From what the configuration says about TLS to what rustls takes.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;

use super::identity::Identities;
use super::modern::key_log;
use super::provider::protocol_versions;
use super::resumption::Domain;
use crate::config::model::DownstreamTls;

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
    let mut versions = protocol_versions(tls.min_version..=tls.max_version);
    if versions.is_empty() && tls.legacy.is_some() {
        // There is no modern lane, and nobody is given to it: see `lane::Lanes`.
        versions.push(&rustls::version::TLS12);
    }
    let resolver = Arc::clone(&identities.resolver) as Arc<dyn ResolvesServerCert>;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions)?
        .with_client_cert_verifier(domain.noting(identities.trust.verifier()))
        .with_cert_resolver(resolver);
    config.alpn_protocols = tls.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.max_early_data_size = 0;
    // The record layer is ours: see `modern`.
    config.key_log = key_log();
    // A list of suites is one of preferences.
    config.ignore_client_order = !tls.ciphers.is_empty();
    domain.apply(&mut config, tls.tls13_tickets);
    Ok(Arc::new(config))
}
