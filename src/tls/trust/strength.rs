//! How weak signatures of certificates and CRLs may be.

use std::sync::LazyLock;

use ring::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters, UnparsedPublicKey,
};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

use crate::tls::provider::provider;

/// Which signatures count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strength {
    /// SHA-2, and RSA keys of 2,048 bits and more.
    #[default]
    Usual,
    /// RSA with SHA-1 as well, and RSA keys of 1,024 bits and more: for the legacy lane.
    Weak,
}

impl Strength {
    /// What signatures are verified with; `usual` are those of rustls' provider.
    pub(super) fn algorithms(self, usual: WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
        match self {
            Self::Usual => usual,
            Self::Weak => WebPkiSupportedAlgorithms { all: &WEAK, ..usual },
        }
    }
}

/// The weak ones come first: of two for one kind of signature, the first is asked.
static WEAK: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = LazyLock::new(|| {
    let usual = provider().signature_verification_algorithms.all;
    let weak = RSA.iter().map(|one| one as &dyn SignatureVerificationAlgorithm);
    weak.chain(usual.iter().copied()).collect()
});

static RSA: [Rsa; 3] = [
    Rsa { parameters: &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, signature: SHA1_WITH_RSA },
    Rsa {
        parameters: &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        signature: alg_id::RSA_PKCS1_SHA256,
    },
    Rsa {
        parameters: &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        signature: alg_id::RSA_PKCS1_SHA512,
    },
];

/// sha1WithRSAEncryption (RFC 3279 §2.2.1), with its NULL parameters.
const SHA1_WITH_RSA: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00,
]);

/// RSA as in PKCS #1 version 1.5.
#[derive(Debug)]
struct Rsa {
    parameters: &'static RsaParameters,
    signature: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for Rsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = UnparsedPublicKey::new(self.parameters, public_key);
        key.verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}
