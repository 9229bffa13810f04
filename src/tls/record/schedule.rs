//! Keys from traffic secrets (RFC 8446 §7).

use ring::hkdf::{KeyType, Prk};
use zeroize::Zeroizing;

use super::cipher::Cipher;
use super::keys::{MAX_HASH, MAX_KEY, NONCE};

/// The traffic secret that follows upon this one (RFC 8446 §7.2).
pub(super) fn next(cipher: Cipher, secret: &[u8; MAX_HASH]) -> Zeroizing<[u8; MAX_HASH]> {
    let mut next = Zeroizing::new([0; MAX_HASH]);
    let length = cipher.hkdf().len();
    expand(cipher, secret, b"tls13 traffic upd", &mut next[..length]);
    next
}

/// Key and initialization vector of a traffic secret (RFC 8446 §7.3).
pub(super) fn keys(
    cipher: Cipher,
    secret: &[u8; MAX_HASH],
) -> (Zeroizing<[u8; MAX_KEY]>, Zeroizing<[u8; NONCE]>) {
    let (mut key, mut iv) = (Zeroizing::new([0; MAX_KEY]), Zeroizing::new([0; NONCE]));
    expand(cipher, secret, b"tls13 key", &mut key[..cipher.key_length()]);
    expand(cipher, secret, b"tls13 iv", &mut *iv);
    (key, iv)
}

/// HKDF-Expand-Label without context (RFC 8446 §7.1).
fn expand(cipher: Cipher, secret: &[u8; MAX_HASH], label: &[u8], output: &mut [u8]) {
    let hkdf = cipher.hkdf();
    let byte = |length: usize| [u8::try_from(length).expect("labels and hashes are short")];
    let (length, label_length) = (byte(output.len()), byte(label.len()));
    let info = [&[0][..], &length, &label_length, label, &[0]];
    Prk::new_less_safe(hkdf, &secret[..hkdf.len()])
        .expand(&info, Length(output.len()))
        .and_then(|material| material.fill(output))
        .expect("no longer than a hash");
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
