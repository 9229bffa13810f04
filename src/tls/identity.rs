//! Who we are to peers: certificates and keys, which of them a peer gets, and who peers must be.
//!
//! Everything is read once, when the configuration is loaded, and all problems are reported
//! together. Choosing an identity in a handshake reads maps that were made then and allocates
//! nothing.

mod load;
mod resolver;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

pub use load::{account_number, keys, load, load_shown, load_weak, load_with, public_key, subject};
pub use resolver::SniResolver;

use super::trust::{ClientTrust, OcspFacts};

/// Certificates that expire within this many seconds (30 days) are worth a warning.
const EXPIRES_SOON: i64 = 30 * 24 * 3600;

/// What one listener shows to peers and asks of them.
#[derive(Clone, Debug)]
pub struct Identities {
    /// As configured, the default first; never empty.
    pub list: Vec<Identity>,
    pub resolver: Arc<SniResolver>,
    pub trust: ClientTrust,
    /// Asks `trust` in handshakes.
    pub verifier: Arc<dyn ClientCertVerifier>,
}

/// One certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// File that the certificate chain was read from.
    pub certificate: PathBuf,
    /// Line of the configuration that names it.
    pub line: usize,
    /// DNS names in lower case, wildcards as `*.example.com`: those of the subject alternative
    /// name or, in a certificate without that extension, the common name.
    pub names: Vec<String>,
    /// Subject of the certificate, as in `CN=component.example`.
    pub subject: String,
    /// Serial number in hexadecimal, bytes separated by colons.
    pub serial: String,
    /// First and last second of validity, Unix time.
    pub not_before: i64,
    pub not_after: i64,
    /// What the OCSP response says that is sent along, if one is.
    pub staple: Option<OcspFacts>,
    key: Arc<CertifiedKey>,
    /// What the key can sign with.
    schemes: Vec<SignatureScheme>,
}

/// A certificate that peers refuse, or soon will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityWarning {
    pub certificate: PathBuf,
    pub line: usize,
    pub subject: String,
    pub kind: WarningKind,
}

/// What is wrong with the dates, with a duration in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    NotYetValid { starts_in: i64 },
    ExpiresSoon { expires_in: i64 },
    Expired { since: i64 },
}

impl Identities {
    /// The DNS names that the certificates cover together, sorted, each once.
    pub fn names(&self) -> BTreeSet<&str> {
        self.list.iter().flat_map(|identity| &identity.names).map(String::as_str).collect()
    }
}

/// Certificates that are out of date or will be within 30 days. `now` is Unix time in seconds.
pub fn warnings(identities: &[Identity], now: i64) -> Vec<IdentityWarning> {
    let warning = |identity: &Identity| {
        let kind = if now < identity.not_before {
            WarningKind::NotYetValid { starts_in: identity.not_before - now }
        } else if now > identity.not_after {
            WarningKind::Expired { since: now - identity.not_after }
        } else if identity.not_after - now <= EXPIRES_SOON {
            WarningKind::ExpiresSoon { expires_in: identity.not_after - now }
        } else {
            return None;
        };
        Some(IdentityWarning {
            certificate: identity.certificate.clone(),
            line: identity.line,
            subject: identity.subject.clone(),
            kind,
        })
    };
    identities.iter().filter_map(warning).collect()
}

impl Identity {
    /// Chain and key, to sign with.
    pub fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// The first certificate of the chain.
    pub fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.key.cert.first()
    }
}

impl fmt::Display for WarningKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: i64 = 24 * 3600;
        match self {
            Self::NotYetValid { starts_in } => {
                write!(formatter, "becomes valid in {} days", starts_in / DAY)
            }
            Self::ExpiresSoon { expires_in } => {
                write!(formatter, "expires in {} days", expires_in / DAY)
            }
            Self::Expired { since } => write!(formatter, "expired {} days ago", since / DAY),
        }
    }
}
