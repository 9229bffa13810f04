//! Signatures of handshakes, for verifiers that accept certificates which webpki does not read.
//!
//! Whoever shows a certificate must prove to have its key, whatever else is let pass: without
//! that, anybody could show anybody's (RFC 8446 §4.4.3, RFC 5246 §7.4.3).

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::problem::rustls_error;

pub(super) fn check_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    match old_key(certificate)? {
        None => verify_tls13_signature(message, certificate, signed, algorithms),
        Some(key) => verify_tls13_signature_with_raw_key(message, &key, signed, algorithms),
    }
}

pub(super) fn check_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let Some(key) = old_key(certificate)? else {
        return verify_tls12_signature(message, certificate, signed, algorithms);
    };
    let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(rustls_error)?;
    let (_, possible) = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    // TLS 1.2 does not say which curve: whichever is the key's.
    let mut last = webpki::Error::InvalidSignatureForPublicKey;
    for algorithm in *possible {
        last = match key.verify_signature(*algorithm, message, signed.signature()) {
            Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
            Err(error @ webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {
                error
            }
            Err(error) => return Err(rustls_error(error)),
        };
    }
    Err(rustls_error(last))
}

/// The key of a certificate of X.509 version 1, which `openssl x509 -req` used to make and webpki
/// does not read. `None` if webpki does.
fn old_key(
    certificate: &CertificateDer<'_>,
) -> Result<Option<SubjectPublicKeyInfoDer<'static>>, Error> {
    let unreadable = |_| Error::from(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(unreadable)?;
    Ok((parsed.version() != X509Version::V3).then(|| parsed.public_key().raw.to_vec().into()))
}
