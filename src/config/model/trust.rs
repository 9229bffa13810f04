//! How long trust lasts: lists of what is revoked, and what their changes mean for connections.

use super::TrustFile;

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
    /// PEM, several lists in a file if need be, or DER; up to 64 MiB each and 1,024 lists together.
    pub files: Vec<TrustFile>,
    pub rules: CrlRules,
}

/// What happens to a connection that is up and would not be admitted any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revalidate {
    /// It stays, and is told of as stale.
    #[default]
    Keep,
    /// It is ended in order, one after the other.
    Drain,
    /// It is closed at once.
    Close,
}

impl Revalidate {
    pub const ALL: [Self; 3] = [Self::Keep, Self::Drain, Self::Close];

    /// Word in the configuration, and label value in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drain => "drain",
            Self::Close => "close",
        }
    }
}
