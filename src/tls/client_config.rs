//! From what the configuration says about TLS towards components to what rustls takes.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};

use super::modern::key_log;
use super::provider::protocol_versions;
use super::resumption::Attempt;
use super::trust::sha256;
use crate::config::model::TlsVersion;

/// The TLS that one endpoint of a component is dialled with.
#[derive(Debug)]
pub struct ClientSettings {
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// Protocols to offer, in order of preference; none for no ALPN.
    pub alpn: Vec<String>,
    /// Whether the server is told by SNI which name is meant.
    pub send_sni: bool,
    /// The certificate to show when the server asks for one.
    pub identity: Option<Arc<CertifiedKey>>,
    /// Where sessions are kept. They are found by the name that is dialled, so endpoints that must
    /// not resume each other's sessions need a store each.
    pub resumption: Resumption,
}

/// Makes the TLS of one endpoint, to be shared by its connections. `verifier` knows which name is
/// to be on the certificate; it need not be the one that SNI says. Early data is never sent: it can
/// be replayed (RFC 8446 §8).
///
/// # Errors
/// When `min_version` is above `max_version`, or an identity has no certificate.
pub fn client_config(
    settings: ClientSettings,
    verifier: Arc<dyn ServerCertVerifier>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let versions = protocol_versions(settings.min_version..=settings.max_version);
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match settings.identity {
        Some(key) => {
            let fingerprint = sha256(key.end_entity_cert()?);
            builder.with_client_cert_resolver(Arc::new(Identity { key, fingerprint }))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = settings.alpn.into_iter().map(String::into_bytes).collect();
    config.enable_sni = settings.send_sni;
    config.enable_early_data = false;
    // The record layer is ours, and takes tickets without rustls' connection: see `modern`.
    config.enable_secret_extraction = true;
    config.key_log = key_log();
    config.resumption = settings.resumption;
    Ok(Arc::new(config))
}

/// A client's certificate, which tells the connection that it was asked for.
#[derive(Debug)]
struct Identity {
    key: Arc<CertifiedKey>,
    /// SHA-256 of the certificate.
    fingerprint: [u8; 32],
}

impl ResolvesClientCert for Identity {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        // With a key that cannot sign for this server, an empty certificate is what it gets.
        self.key.key.choose_scheme(schemes)?;
        Attempt::note_client(self.fingerprint);
        Some(Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
