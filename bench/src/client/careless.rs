//! Clients that spend as little on a handshake as they can, so that one CPU of them outruns a server:
//! they look at no certificate and verify no signature, and all of them have one key share of X25519.
//! What the server does for them is all that it does for others, and the handshake is a whole one: both
//! agree on a secret, and each checks the other's Finished.

use std::sync::LazyLock;

use aws_lc_rs::agreement::{PrivateKey, PublicKey, UnparsedPublicKey, X25519, agree};
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved, SignatureScheme};

/// Agrees by the one key where `provider` would by a new one of X25519.
pub(super) fn with_one_key(mut provider: CryptoProvider) -> CryptoProvider {
    for group in &mut provider.kx_groups {
        if group.name() == NamedGroup::X25519 {
            *group = &OneKey;
        }
    }
    provider
}

#[derive(Debug)]
struct OneKey;

/// Made when the first client needs it; none where there are no random numbers.
static KEY: LazyLock<Option<(PrivateKey, PublicKey)>> = LazyLock::new(|| {
    let private = PrivateKey::generate(&X25519).ok()?;
    let public = private.compute_public_key().ok()?;
    Some((private, public))
});

impl SupportedKxGroup for OneKey {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let (private, public) = KEY.as_ref().ok_or(Error::FailedToGetRandomBytes)?;
        Ok(Box::new(Share { private, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Share {
    private: &'static PrivateKey,
    public: &'static PublicKey,
}

impl ActiveKeyExchange for Share {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = Error::from(PeerMisbehaved::InvalidKeyShare);
        let peer = UnparsedPublicKey::new(&X25519, peer);
        agree(self.private, peer, invalid, |secret| Ok(SharedSecret::from(secret)))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// Signatures that are offered and looked at by nobody.
pub(super) const SCHEMES: [SignatureScheme; 5] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA256,
];

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;

    #[test]
    fn all_have_one_key_and_agree_with_everybody() {
        let provider = with_one_key(aws_lc_rs::default_provider());
        let group = provider.kx_groups.iter().find(|group| group.name() == NamedGroup::X25519);
        let group = group.expect("it has X25519");
        let [one, other] = [group.start(), group.start()].map(|share| share.expect("a share"));
        assert_eq!(one.pub_key(), other.pub_key());
        for share in [one, other] {
            let server = aws_lc_rs::kx_group::X25519.start().expect("a share");
            let [of_client, of_server] = [share.pub_key().to_vec(), server.pub_key().to_vec()];
            let [ours, theirs] = [share.complete(&of_server), server.complete(&of_client)];
            let [ours, theirs] = [ours, theirs].map(|secret| secret.expect("they agree"));
            assert_eq!(ours.secret_bytes(), theirs.secret_bytes());
        }
        assert!(group.start().expect("a share").complete(&[1; 31]).is_err());
    }
}
