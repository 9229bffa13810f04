//! How records are protected: version and AEAD, and what follows from them.

use ring::aead::{AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305};
use ring::hkdf::{HKDF_SHA256, HKDF_SHA384};

use super::{HEADER, MAX_CONTENT};

/// The versions whose records are protected by an AEAD alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aead {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// What a session's records are protected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher {
    pub version: Version,
    pub aead: Aead,
}

impl Cipher {
    /// Bytes of a record before its content: its header, and in TLS 1.2 with GCM the part of the
    /// nonce that is sent (RFC 5288 §3).
    pub const fn head(self) -> usize {
        if self.sends_nonce() { HEADER + EXPLICIT_NONCE } else { HEADER }
    }

    /// Bytes of a record behind its content: the tag, and in TLS 1.3 the content type before it
    /// (RFC 8446 §5.2). Padding is not sent.
    pub const fn tail(self) -> usize {
        match self.version {
            Version::Tls12 => TAG,
            Version::Tls13 => 1 + TAG,
        }
    }

    /// Records that one key may protect: 2^24 with AES-GCM (RFC 8446 §5.5), for TLS 1.2 as well;
    /// ChaCha20-Poly1305 ends with the sequence numbers.
    pub const fn limit(self) -> u64 {
        match self.aead {
            Aead::Aes128Gcm | Aead::Aes256Gcm => 1 << 24,
            Aead::ChaCha20Poly1305 => u64::MAX - (1 << 16),
        }
    }

    /// Longest body of a record that a peer may send (RFC 5246 §6.2.3, RFC 8446 §5.2).
    pub const fn max_body(self) -> usize {
        match self.version {
            Version::Tls12 => MAX_CONTENT + 2048,
            Version::Tls13 => MAX_CONTENT + 256,
        }
    }

    /// Bytes of a key.
    pub fn key_length(self) -> usize {
        self.algorithm().key_len()
    }

    pub(super) const fn sends_nonce(self) -> bool {
        matches!((self.version, self.aead), (Version::Tls12, Aead::Aes128Gcm | Aead::Aes256Gcm))
    }

    pub(super) fn algorithm(self) -> &'static Algorithm {
        match self.aead {
            Aead::Aes128Gcm => &AES_128_GCM,
            Aead::Aes256Gcm => &AES_256_GCM,
            Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// The hash of the suite in TLS 1.3 (RFC 8446 appendix B.4), which the AEAD tells.
    pub(super) fn hkdf(self) -> ring::hkdf::Algorithm {
        match self.aead {
            Aead::Aes128Gcm | Aead::ChaCha20Poly1305 => HKDF_SHA256,
            Aead::Aes256Gcm => HKDF_SHA384,
        }
    }
}

/// Bytes of the tag, for each of the AEADs.
pub(super) const TAG: usize = 16;
/// Bytes of the nonce that are sent, where some are.
pub(super) const EXPLICIT_NONCE: usize = 8;
