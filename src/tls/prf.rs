//! The pseudo-random function of TLS 1.2 (RFC 5246 §5), on ring's HMAC. rustls' own goes a step further
//! than its output and keeps the key and each step on the heap: of the two HMACs that make one block,
//! it computes three.

use ring::hmac;
use rustls::Error;
use rustls::crypto::ActiveKeyExchange;
use rustls::crypto::hash::{Hash, HashAlgorithm};
use rustls::crypto::tls12::Prf;
use rustls::version::TLS12;

/// With the hash of a suite: SHA-384, or SHA-256.
pub(super) fn with(hash: &dyn Hash) -> &'static dyn Prf {
    match hash.algorithm() {
        HashAlgorithm::SHA384 => &SHA384,
        _ => &SHA256,
    }
}

struct Hmac(&'static hmac::Algorithm);

static SHA256: Hmac = Hmac(&hmac::HMAC_SHA256);
static SHA384: Hmac = Hmac(&hmac::HMAC_SHA384);

impl Prf for Hmac {
    fn for_key_exchange(
        &self,
        output: &mut [u8; 48],
        exchange: Box<dyn ActiveKeyExchange>,
        peer: &[u8],
        label: &[u8],
        seed: &[u8],
    ) -> Result<(), Error> {
        let secret = exchange.complete_for_tls_version(peer, &TLS12)?;
        self.for_secret(output, secret.secret_bytes(), label, seed);
        Ok(())
    }

    fn for_secret(&self, output: &mut [u8], secret: &[u8], label: &[u8], seed: &[u8]) {
        let key = hmac::Key::new(*self.0, secret);
        let sign = |parts: [&[u8]; 3]| {
            let mut context = hmac::Context::with_key(&key);
            parts.into_iter().for_each(|part| context.update(part));
            context.sign()
        };
        // A(1), A(2) and so on: each is the HMAC of the one before.
        let mut step = sign([label, seed, &[]]);
        let length = self.0.digest_algorithm().output_len();
        let mut blocks = output.chunks_mut(length).peekable();
        while let Some(block) = blocks.next() {
            let made = sign([step.as_ref(), label, seed]);
            block.copy_from_slice(&made.as_ref()[..block.len()]);
            if blocks.peek().is_some() {
                step = sign([step.as_ref(), &[], &[]]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::SupportedCipherSuite;
    use rustls::crypto::ring::ALL_CIPHER_SUITES;

    use super::*;

    #[test]
    fn it_is_the_function_that_rustls_has() {
        let mut seen = 0;
        for suite in ALL_CIPHER_SUITES {
            let SupportedCipherSuite::Tls12(suite) = suite else { continue };
            seen += 1;
            for length in [12, 32, 40, 48, 88, 200] {
                let [mut theirs, mut ours] = [vec![0; length], vec![1; length]];
                let of = (&[7; 48], b"key expansion", &[9; 64]);
                suite.prf_provider.for_secret(&mut theirs, of.0, of.1, of.2);
                with(suite.common.hash_provider).for_secret(&mut ours, of.0, of.1, of.2);
                assert_eq!(ours, theirs, "{length} bytes of {:?}", suite.common.suite);
            }
        }
        assert_eq!(seen, 6);
    }
}
