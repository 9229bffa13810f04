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
mod pin;
mod problem;
mod roots;
mod server;
mod signature;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use super::file::NamedFile;

pub use client::{ClientTrust, ClientVerdict, ClientVerification};
pub use crls::{CrlFacts, CrlSet, MAX_CRLS, SharedCrls};
pub use loader::Loader;
pub use ocsp::{OcspFacts, OcspStatus};
pub use peer::{MAX_NAME, MAX_NAMES, Peer, PeerIdentity};
pub use pin::parse_pin;
pub use problem::{CertificateProblem, Rejection};
pub use server::{ServerTrust, ServerVerification};

pub(in crate::tls) use ocsp::load as load_staple;
pub(in crate::tls) use roots::certificates;

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustFile {
    pub path: PathBuf,
    /// 1-based line that names it; 0 where that is not known.
    pub line: usize,
}

/// `client_cert`: what is asked of peers that connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// No certificate is asked for.
    None,
    /// None is good, a bad one is not.
    Optional,
    Required,
    /// Asked for, judged, recorded, and then accepted whatever it is. Authorizes nothing.
    Report,
}

/// `verify`: what a component must show. Handshake signatures are checked with each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verify {
    /// A chain to a trusted CA, and the right name.
    Full,
    /// A chain to a trusted CA; any of its certificates will do for any host.
    Chain,
    /// One of the pinned keys, with whatever certificate: neither chain nor name nor dates count.
    Pin,
    /// Nothing: encrypted, with somebody.
    None,
}

/// `name_match`: where a certificate's name may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameMatch {
    /// In the subject alternative names (RFC 9525).
    San,
    /// Or, in a certificate without DNS names there, in the common name (RFC 6125 §6.4.4).
    SanOrCn,
}

/// `crl_unknown`: certificates that no CRL covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CrlUnknown {
    #[default]
    Deny,
    Allow,
}

/// `crl_expired`: CRLs at and after their nextUpdate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CrlExpired {
    #[default]
    Reject,
    Accept,
}

/// `crl_depth`: which certificates of a chain are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CrlDepth {
    /// All but the trusted CA itself.
    #[default]
    Chain,
    /// The peer's own.
    Leaf,
}

/// How CRLs are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CrlRules {
    pub unknown: CrlUnknown,
    pub expired: CrlExpired,
    pub depth: CrlDepth,
}

/// Which CRLs there are, and how they are applied. Without files nothing is ever revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CrlPolicy {
    /// PEM, several lists in a file if need be, or DER; up to 64 MiB each and [`MAX_CRLS`] lists
    /// together.
    pub files: Vec<TrustFile>,
    pub rules: CrlRules,
}

/// Who peers that connect must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTrustSettings {
    pub client_cert: ClientAuth,
    /// PEM; at least one file unless `client_cert` is [`ClientAuth::None`].
    pub trusted_ca: Vec<TrustFile>,
    pub crls: CrlPolicy,
}

/// Who a component that we connect to must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTrustSettings {
    pub verify: Verify,
    /// Off makes `Full` the same as `Chain`; means nothing with the others.
    pub name_check: bool,
    pub name_match: NameMatch,
    /// PEM; at least one file with `Full` and `Chain`.
    pub trusted_ca: Vec<TrustFile>,
    /// Read with `Full` and `Chain` only.
    pub crls: CrlPolicy,
    /// SHA-256 of SubjectPublicKeyInfos (see [`parse_pin`]); at least one with `Pin`.
    pub pins: Vec<[u8; 32]>,
}

impl TrustFile {
    fn named(&self, key: &'static str) -> NamedFile<'_> {
        NamedFile { file: &self.path, line: self.line, key }
    }
}
