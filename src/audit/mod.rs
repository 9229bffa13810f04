//! What live traffic shows: which pairs of components negotiated what, with whose certificates, and
//! who still speaks plaintext where TLS could come.
//!
//! Each shard keeps a [`Census`]: a connection is entered once, when both of its sides are settled,
//! and left once, at its end; nothing is shared and nothing locks. Whoever asks ([`report`]) gets
//! copies from all shards and puts them together. The tables have limits: see [`table`].

pub mod autodetect;
pub mod census;
pub mod expiry;
pub mod inventory;
pub mod lanes;
pub mod query;
pub mod report;
pub mod table;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::conn::outcome::{Security, Shown};
use crate::tls::lane::Lane;
use crate::tls::trust::PeerIdentity;
pub use census::{Census, Kept, Part, ShardCensus};
pub use inventory::Inventory;
pub use query::{Query, Section};
pub use report::Report;
pub use table::Counts;

/// Who spoke with whom by what: connections that are alike in all of this are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    pub listener: Arc<str>,
    /// The rule's name, or the listener's.
    pub route: Arc<str>,
    /// `None` for those that came by a unix socket.
    pub source: Option<IpAddr>,
    /// The endpoint as configured, once one was dialled.
    pub endpoint: Option<Arc<str>>,
    /// Its address; `None` for unix sockets.
    pub address: Option<SocketAddr>,
    pub downstream: Spoken,
    /// `None` for those that never got so far.
    pub upstream: Option<Spoken>,
}

/// What is spoken on one side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spoken {
    pub security: Security,
    /// Version and suite, where TLS ends here.
    pub tls: Option<(&'static str, &'static str)>,
    /// What speaks it there.
    pub lane: Option<Lane>,
    /// Whether and how the other's certificate is looked at: `client_cert` or `verify`, as the
    /// configuration spells it; empty where no TLS ends here.
    pub checks: &'static str,
    /// What a peer that was asked has shown.
    pub shown: Option<Shown>,
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// A certificate that a peer or a component has shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerCertificate {
    /// RFC 4514.
    pub subject: String,
    pub issuer: String,
    /// Hexadecimal, bytes separated by colons.
    pub serial: String,
    /// Last second of validity, Unix time.
    pub not_after: i64,
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
}

/// A side of connections, as a word.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    Downstream,
    Upstream,
}

impl Whose {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }
}

impl Pair {
    /// Its sides, as far as it got.
    pub fn sides(&self) -> impl Iterator<Item = (Whose, &Spoken)> {
        let downstream = (Whose::Downstream, &self.downstream);
        let upstream = self.upstream.as_ref().map(|spoken| (Whose::Upstream, spoken));
        [downstream].into_iter().chain(upstream)
    }

    /// Whether a side is plaintext.
    pub fn is_plaintext(&self) -> bool {
        self.sides().any(|(_, spoken)| spoken.security == Security::Plaintext)
    }

    /// Whether somebody who was to say who it is did not prove it: a component that is not
    /// verified, or a peer that was asked for a certificate and has shown none, or a bad one.
    pub fn is_unauthenticated(&self) -> bool {
        self.sides().any(|(_, spoken)| spoken.is_unauthenticated())
    }
}

impl Spoken {
    /// Of a side of which nothing is known yet.
    pub fn unknown() -> Self {
        let security = Security::Unread;
        Self { security, tls: None, lane: None, checks: "", shown: None, certificate: None }
    }

    /// See [`Pair::is_unauthenticated`].
    pub fn is_unauthenticated(&self) -> bool {
        let unproved = self.shown.is_some_and(|shown| shown != Shown::Verified);
        self.security == Security::Unauthenticated || unproved
    }

    /// `None` where no TLS ends here.
    pub fn version(&self) -> Option<&'static str> {
        self.tls.map(|(version, _)| version)
    }
}

impl From<PeerIdentity> for PeerCertificate {
    fn from(identity: PeerIdentity) -> Self {
        let PeerIdentity { subject, issuer, serial, not_after, fingerprint, .. } = identity;
        Self { subject, issuer, serial, not_after, fingerprint }
    }
}
