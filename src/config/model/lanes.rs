//! The weak lanes of a side: what they may speak, with whom, up to when.

use std::fmt;
use std::net::IpAddr;

use super::{CertificateFiles, Date, TlsVersion};
use crate::policy::rules::Cidr;

/// What `lane = "compat12"` adds to the modern lane, and `lane = "legacy"` with `compat12_ciphers`:
/// TLS 1.2 with suites that rustls does not have, and hellos whose SNI it does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compat12 {
    /// Most preferred first, at least one. The suites of TLS 1.2 in the side's `ciphers` come before
    /// them.
    pub suites: Vec<&'static WeakSuite>,
    /// The lane's own certificate and key; `None` shows what the modern lane shows. As the server it
    /// is there where a suite has static RSA; as the client never.
    pub certificate: Option<CertificateFiles>,
}

/// What `lane = "legacy"` adds: TLS 1.0 and 1.1, hellos without signature algorithms, peers with
/// SHA-1 and 1024 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// The last day, in UTC.
    pub until: Date,
    /// Where connections must be from; at least one.
    pub allow_from: Vec<Cidr>,
    /// Most preferred first, at least one. The suites of TLS 1.2 and, as the client, of TLS 1.3 in
    /// the side's `ciphers` come before them, and those of [`Compat12`] if it is there, too.
    pub suites: Vec<&'static WeakSuite>,
    /// The lane's own certificate and key, which no other lane has. As the server always there; as
    /// the client never, since `certificate` is shown.
    pub certificate: Option<CertificateFiles>,
}

impl Legacy {
    /// Whether a connection from there may take the lane; `None` has no address.
    pub fn is_for(&self, source: Option<IpAddr>) -> bool {
        source.is_some_and(|source| self.allow_from.iter().any(|range| range.contains(source)))
    }

    /// Whether the last day has passed at `now`, Unix time in seconds.
    pub fn is_over(&self, now: i64) -> bool {
        now >= self.until.end()
    }
}

/// A suite of TLS 1.2 and before that only weak lanes speak.
#[derive(Debug, PartialEq, Eq)]
pub struct WeakSuite {
    /// IANA's name.
    pub name: &'static str,
    /// OpenSSL's name.
    pub openssl: &'static str,
    /// Number in the IANA registry.
    pub code: u16,
    pub key_exchange: KeyExchange,
    /// Whether it needs TLS 1.2: AEAD, or a MAC with SHA-2.
    pub only_tls12: bool,
}

/// How keys are agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExchange {
    /// ECDHE, signed by a key of elliptic curves.
    EcdheEcdsa,
    /// ECDHE, signed by an RSA key.
    EcdheRsa,
    /// DHE, signed by an RSA key.
    DheRsa,
    /// Encrypted to the server's RSA key: no forward secrecy, and the key answers decryption
    /// oracles. It wants a key of its own.
    StaticRsa,
}

const fn suite(
    code: u16,
    key_exchange: KeyExchange,
    name: &'static str,
    openssl: &'static str,
) -> WeakSuite {
    let bytes = name.as_bytes();
    // What ends in _SHA is of TLS 1.0.
    let only_tls12 = bytes[bytes.len() - 1] != b'A';
    WeakSuite { name, openssl, code, key_exchange, only_tls12 }
}

/// Every weak suite that may be listed: AES with forward secrecy first, then static RSA. NULL,
/// anonymous, EXPORT, RC4, DES and 3DES are not among them, whatever a file asks for.
pub static WEAK_SUITES: [WeakSuite; 21] = {
    use KeyExchange::{DheRsa, EcdheEcdsa, EcdheRsa, StaticRsa};
    [
        suite(
            0xc024,
            EcdheEcdsa,
            "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
            "ECDHE-ECDSA-AES256-SHA384",
        ),
        suite(
            0xc023,
            EcdheEcdsa,
            "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
            "ECDHE-ECDSA-AES128-SHA256",
        ),
        suite(0xc00a, EcdheEcdsa, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"),
        suite(0xc009, EcdheEcdsa, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"),
        suite(0xc028, EcdheRsa, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", "ECDHE-RSA-AES256-SHA384"),
        suite(0xc027, EcdheRsa, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"),
        suite(0xc014, EcdheRsa, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"),
        suite(0xc013, EcdheRsa, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"),
        suite(0x009f, DheRsa, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "DHE-RSA-AES256-GCM-SHA384"),
        suite(
            0xccaa,
            DheRsa,
            "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "DHE-RSA-CHACHA20-POLY1305",
        ),
        suite(0x009e, DheRsa, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", "DHE-RSA-AES128-GCM-SHA256"),
        suite(0x006b, DheRsa, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", "DHE-RSA-AES256-SHA256"),
        suite(0x0067, DheRsa, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256", "DHE-RSA-AES128-SHA256"),
        suite(0x0039, DheRsa, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA", "DHE-RSA-AES256-SHA"),
        suite(0x0033, DheRsa, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA", "DHE-RSA-AES128-SHA"),
        suite(0x009d, StaticRsa, "TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        suite(0x009c, StaticRsa, "TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        suite(0x003d, StaticRsa, "TLS_RSA_WITH_AES_256_CBC_SHA256", "AES256-SHA256"),
        suite(0x003c, StaticRsa, "TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256"),
        suite(0x0035, StaticRsa, "TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"),
        suite(0x002f, StaticRsa, "TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
    ]
};

impl WeakSuite {
    /// The suite of this name of IANA's.
    pub fn named(name: &str) -> Option<&'static Self> {
        WEAK_SUITES.iter().find(|suite| suite.name == name)
    }
}

impl fmt::Display for TlsVersion {
    /// As the configuration has it: `1.0`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn suites_are_there_once_and_none_is_broken() {
        let names: BTreeSet<&str> = WEAK_SUITES.iter().map(|suite| suite.name).collect();
        let codes: BTreeSet<u16> = WEAK_SUITES.iter().map(|suite| suite.code).collect();
        assert_eq!((names.len(), codes.len()), (WEAK_SUITES.len(), WEAK_SUITES.len()));
        for suite in &WEAK_SUITES {
            assert!(suite.name.contains("_AES_") || suite.name.contains("_CHACHA20_"));
            assert_eq!(suite.only_tls12, !suite.name.ends_with("_SHA"), "{}", suite.name);
            let exchange = match suite.key_exchange {
                KeyExchange::EcdheEcdsa => "TLS_ECDHE_ECDSA_WITH_",
                KeyExchange::EcdheRsa => "TLS_ECDHE_RSA_WITH_",
                KeyExchange::DheRsa => "TLS_DHE_RSA_WITH_",
                KeyExchange::StaticRsa => "TLS_RSA_WITH_",
            };
            assert!(suite.name.starts_with(exchange), "{}", suite.name);
        }
    }
}
