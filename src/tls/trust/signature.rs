//! Signatures of files: webpki checks those of certificates and handshakes, and only there.

use rustls::pki_types::SignatureVerificationAlgorithm;

use super::der::{Der, Malformed, SEQUENCE};

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadSignature {
    /// An algorithm, or a key, that we do not verify with: SHA-1, short RSA keys and the like.
    Unsupported,
    /// Made by another key, or over other bytes.
    Wrong,
}

impl From<Malformed> for BadSignature {
    fn from(_: Malformed) -> Self {
        Self::Unsupported
    }
}

/// Checks that the owner of the key in `spki` signed `message`. `spki` is the content of a
/// SubjectPublicKeyInfo (RFC 5280 §4.1), `algorithm` that of an AlgorithmIdentifier.
pub(super) fn verify(
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    spki: &[u8],
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let mut spki = Der::new(spki);
    let key_algorithm = spki.take(SEQUENCE)?.bytes();
    let key = spki.bits()?.bytes();
    let chosen = algorithms.iter().find(|known| {
        known.signature_alg_id().as_ref() == algorithm
            && known.public_key_alg_id().as_ref() == key_algorithm
    });
    let chosen = chosen.ok_or(BadSignature::Unsupported)?;
    chosen.verify_signature(key, message, signature).map_err(|_| BadSignature::Wrong)
}
