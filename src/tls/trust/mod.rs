//! Who is trusted: CAs, CRLs, pins and names, on both sides of a connection.
//!
//! [`ClientTrust`] judges the certificates of peers that connect, [`ServerTrust`] those of
//! components that we connect to. Both are made by a [`Loader`], which reads every file once and
//! lets equal trust be the same object. Chains are built by webpki; revocation, names beyond its
//! own and pins are here, as is a memory of chains that were good ([`recheck`](ClientTrust::recheck)
//! asks the changeable half again, without cryptography).
//!
//! Everything but the CRLs is immutable. Those are swapped at once for all verifiers
//! ([`SharedCrls::reload`]), and their digest is part of a resumption domain.

mod authority;
mod client;
mod crl;
mod crls;
mod der;
mod diagnosis;
mod handshake;
mod loader;
mod names;
mod ocsp;
mod path;
mod peer;
mod problem;
mod roots;
mod server;
mod signature;
mod strength;
#[cfg(test)]
mod tests;

use super::file::NamedFile;
use crate::config::model::{DownstreamTls, UpstreamTls};

pub(in crate::tls) use client::MAX_HINTS;
pub use client::{ClientTrust, ClientVerdict, ClientVerification};
pub use crls::{CrlFacts, CrlReload, CrlSet, MAX_CRLS, SharedCrls};
pub use loader::Loader;
pub use ocsp::{OcspFacts, OcspStatus};
pub use path::Path as TrustPath;
pub(super) use peer::sha256;
pub use peer::{MAX_NAME, MAX_NAMES, Peer, PeerIdentity, fingerprint, subject_and_serial};
pub use problem::{CertificateProblem, Rejection};
pub use server::{ServerTrust, ServerVerification};
pub use strength::Strength;

pub use crate::config::model::{
    ClientCert, CrlDepth, CrlExpired, CrlPolicy, CrlRules, CrlUnknown, NameMatch, TrustFile, Verify,
};
pub(in crate::tls) use ocsp::load as load_staple;
pub(in crate::tls) use roots::certificates;

/// Who peers that connect must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTrustSettings {
    pub client_cert: ClientCert,
    /// PEM; at least one file unless `client_cert` is [`ClientCert::None`].
    pub trusted_ca: Vec<TrustFile>,
    pub crls: CrlPolicy,
}

/// Who a component that we connect to must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTrustSettings {
    pub verify: Verify,
    pub name_match: NameMatch,
    /// PEM; at least one file with `Full` and `Chain`.
    pub trusted_ca: Vec<TrustFile>,
    /// Read with `Full` and `Chain` only.
    pub crls: CrlPolicy,
    /// SHA-256 of SubjectPublicKeyInfos; at least one with `Pin`.
    pub pins: Vec<[u8; 32]>,
}

impl ClientTrustSettings {
    /// What the TLS section of a listener says.
    pub fn of(tls: &DownstreamTls) -> Self {
        Self {
            client_cert: tls.client_cert,
            trusted_ca: tls.trusted_ca.clone(),
            crls: tls.crls.clone(),
        }
    }

    fn sources(&self) -> (&[TrustFile], &CrlPolicy) {
        (&self.trusted_ca, &self.crls)
    }
}

impl ServerTrustSettings {
    /// What the upstream TLS section of a listener says.
    pub fn of(tls: &UpstreamTls) -> Self {
        Self {
            verify: tls.verify,
            name_match: tls.name_match,
            trusted_ca: tls.trusted_ca.clone(),
            crls: tls.crls.clone(),
            pins: tls.pins.clone(),
        }
    }

    fn sources(&self) -> (&[TrustFile], &CrlPolicy) {
        (&self.trusted_ca, &self.crls)
    }
}

/// The file as the value of `key`, for problems with it.
fn named<'a>(file: &'a TrustFile, key: &'static str) -> NamedFile<'a> {
    NamedFile { file: &file.path, line: file.line, key }
}
