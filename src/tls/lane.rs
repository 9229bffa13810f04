//! Lanes: what speaks TLS with a peer. The modern one with all who can, weaker ones where a
//! configuration lets them.

/// What speaks TLS with a peer; the weakest is last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// rustls: TLS 1.2 with AEAD suites, and TLS 1.3.
    #[default]
    Modern,
    /// OpenSSL, in process: TLS 1.2 with CBC, static RSA and DHE as well.
    Compat12,
    /// OpenSSL, in a process of its own: TLS 1.0 and 1.1 as well, SHA-1 and short keys.
    Legacy,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Modern, Self::Compat12, Self::Legacy];

    /// Label value in metrics, and word in the log and the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Compat12 => "compat12",
            Self::Legacy => "legacy",
        }
    }
}
