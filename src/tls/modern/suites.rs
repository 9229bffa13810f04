//! ring's cipher suites, which let be seen what keys rustls makes its ciphers of ([`seen`](super::seen)),
//! and compute the secrets of TLS 1.2 by [`prf`](crate::tls::prf). All else is ring's.

use std::sync::Arc;

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter,
    MessageEncrypter, OutboundOpaqueMessage, OutboundPlainMessage, Tls12AeadAlgorithm,
    Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, Error, SupportedCipherSuite,
    Tls12CipherSuite, Tls13CipherSuite,
};

use super::seen::{Key, Way};
use crate::tls::prf;
use crate::tls::record::{Aead, Cipher, Version};

/// What `suites` are with us in between; one whose cipher we do not have is left as it is, and so are
/// the records of its sessions. They stay for as long as the process.
pub(in crate::tls) fn watched(suites: Vec<SupportedCipherSuite>) -> Vec<SupportedCipherSuite> {
    suites.into_iter().map(|suite| watched_suite(suite).unwrap_or(suite)).collect()
}

fn watched_suite(suite: SupportedCipherSuite) -> Option<SupportedCipherSuite> {
    let aead = aead(suite.suite())?;
    Some(match suite {
        SupportedCipherSuite::Tls12(suite) => {
            let cipher = Cipher { version: Version::Tls12, aead };
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: prf::with(suite.common.hash_provider),
                aead_alg: Box::leak(Box::new(Watched { cipher, ring: suite.aead_alg })),
                ..*suite
            })))
        }
        SupportedCipherSuite::Tls13(suite) => {
            let cipher = Cipher { version: Version::Tls13, aead };
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                aead_alg: Box::leak(Box::new(Watched { cipher, ring: suite.aead_alg })),
                ..*suite
            })))
        }
    })
}

fn common(of: &CipherSuiteCommon) -> CipherSuiteCommon {
    let CipherSuiteCommon { suite, hash_provider, confidentiality_limit } = *of;
    CipherSuiteCommon { suite, hash_provider, confidentiality_limit }
}

/// As its name says (RFC 5246 appendix C).
fn aead(suite: CipherSuite) -> Option<Aead> {
    let name = suite.as_str()?;
    let aeads = [
        ("_AES_128_GCM_", Aead::Aes128Gcm),
        ("_AES_256_GCM_", Aead::Aes256Gcm),
        ("_CHACHA20_POLY1305_", Aead::ChaCha20Poly1305),
    ];
    aeads.into_iter().find_map(|(part, aead)| name.contains(part).then_some(aead))
}

/// Makes ring's ciphers.
struct Watched<A: ?Sized + 'static> {
    cipher: Cipher,
    ring: &'static A,
}

/// One of ring's, where its key was kept.
struct Watcher<C: ?Sized> {
    key: Arc<Key>,
    ring: Box<C>,
}

fn encrypter(key: Option<Arc<Key>>, ring: Box<dyn MessageEncrypter>) -> Box<dyn MessageEncrypter> {
    match key {
        Some(key) => Box::new(Watcher { key, ring }),
        None => ring,
    }
}

fn decrypter(key: Option<Arc<Key>>, ring: Box<dyn MessageDecrypter>) -> Box<dyn MessageDecrypter> {
    match key {
        Some(key) => Box::new(Watcher { key, ring }),
        None => ring,
    }
}

impl Tls13AeadAlgorithm for Watched<dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        let kept = Key::keep(Way::Write, self.cipher, key.as_ref(), [iv.as_ref(), &[]]);
        encrypter(kept, self.ring.encrypter(key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        let kept = Key::keep(Way::Read, self.cipher, key.as_ref(), [iv.as_ref(), &[]]);
        decrypter(kept, self.ring.decrypter(key, iv))
    }

    fn key_len(&self) -> usize {
        self.ring.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.ring.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.ring.fips()
    }
}

impl Tls12AeadAlgorithm for Watched<dyn Tls12AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        // ring begins with what was agreed on, and changes it with the sequence number as in TLS 1.3.
        let kept = Key::keep(Way::Write, self.cipher, key.as_ref(), [iv, extra]);
        encrypter(kept, self.ring.encrypter(key, iv, extra))
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        let kept = Key::keep(Way::Read, self.cipher, key.as_ref(), [iv, &[]]);
        decrypter(kept, self.ring.decrypter(key, iv))
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.ring.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.ring.extract_keys(key, iv, explicit)
    }

    fn fips(&self) -> bool {
        self.ring.fips()
    }
}

impl MessageEncrypter for Watcher<dyn MessageEncrypter> {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        self.key.used(sequence);
        self.ring.encrypt(message, sequence)
    }

    fn encrypted_payload_len(&self, payload: usize) -> usize {
        self.ring.encrypted_payload_len(payload)
    }
}

impl MessageDecrypter for Watcher<dyn MessageDecrypter> {
    fn decrypt<'a>(
        &mut self,
        message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let opened = self.ring.decrypt(message, sequence)?;
        self.key.used(sequence);
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring;

    use super::*;

    #[test]
    fn every_suite_is_watched() {
        let of_ring = ring::default_provider().cipher_suites;
        for suite in &of_ring {
            assert!(watched_suite(*suite).is_some(), "{suite:?}");
        }
        assert_eq!(watched(of_ring.clone()), of_ring, "the same, in the same order");
    }
}
