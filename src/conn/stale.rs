//! Connections that are up and would not be admitted any more: why, and what becomes of them.

use std::sync::Arc;

use crate::config::model::Revalidate;
use crate::engine::Side;
use crate::tls::alert;
use crate::tls::trust::{CertificateProblem, Rejection};

/// What is wrong with a connection that was fine once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Of whom it is wrong.
    pub side: Side,
    pub cause: StaleCause,
    /// What is to become of the connection.
    pub fate: Revalidate,
    /// More about `cause`.
    pub detail: Option<Arc<str>>,
}

/// Why a connection would not be admitted any more. A closed set: every value is a metric label and
/// a word in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleCause {
    /// A rule turns it away now.
    PolicyDenied,
    /// `strict_sni`, and no certificate has its name any more.
    UnrecognizedName,
    /// Its version of TLS is not enabled any more.
    Version,
    /// Its cipher suite is not enabled any more.
    CipherSuite,
    /// Its lane is not open to it any more: its last day is over, or other sources are meant.
    Lane,
    /// It speaks plaintext, where TLS is demanded now.
    Plaintext,
    /// Its listener, its kind of listener or its component is not configured any more. Nobody says
    /// what is to become of it, so it stays.
    Unconfigured,
    /// The certificate that was shown is not good any more, or there is none.
    Certificate(CertificateProblem),
}

impl Stale {
    pub(super) fn new(side: Side, cause: StaleCause, fate: Revalidate) -> Self {
        Self { side, cause, fate, detail: None }
    }

    pub(super) fn certificate(side: Side, why: &Rejection, fate: Revalidate) -> Self {
        let cause = StaleCause::Certificate(why.problem);
        Self { side, cause, fate, detail: Some(Arc::clone(&why.text)) }
    }
}

impl StaleCause {
    pub const COUNT: usize = 7 + CertificateProblem::ALL.len();

    /// All of them, each at its index.
    pub fn all() -> impl Iterator<Item = Self> {
        let others = [
            Self::PolicyDenied,
            Self::UnrecognizedName,
            Self::Version,
            Self::CipherSuite,
            Self::Lane,
            Self::Plaintext,
            Self::Unconfigured,
        ];
        others.into_iter().chain(CertificateProblem::ALL.into_iter().map(Self::Certificate))
    }

    /// Position among [`StaleCause::all`].
    pub const fn index(self) -> usize {
        match self {
            Self::PolicyDenied => 0,
            Self::UnrecognizedName => 1,
            Self::Version => 2,
            Self::CipherSuite => 3,
            Self::Lane => 4,
            Self::Plaintext => 5,
            Self::Unconfigured => 6,
            Self::Certificate(problem) => 7 + problem as usize,
        }
    }

    /// Label value in metrics and word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PolicyDenied => "policy_denied",
            Self::UnrecognizedName => "unrecognized_name",
            Self::Version => "version",
            Self::CipherSuite => "cipher_suite",
            Self::Lane => "lane",
            Self::Plaintext => "plaintext",
            Self::Unconfigured => "unconfigured",
            Self::Certificate(problem) => problem.as_str(),
        }
    }

    /// The alert that tells whoever is at fault (RFC 8446 §6.2).
    pub(super) fn alert(self) -> u8 {
        match self {
            Self::Certificate(problem) => match problem {
                CertificateProblem::Revoked => alert::CERTIFICATE_REVOKED,
                CertificateProblem::Expired | CertificateProblem::NotYetValid => {
                    alert::CERTIFICATE_EXPIRED
                }
                CertificateProblem::UnknownCa
                | CertificateProblem::SelfSigned
                | CertificateProblem::MissingIntermediate => alert::UNKNOWN_CA,
                CertificateProblem::Missing => alert::CERTIFICATE_REQUIRED,
                _ => alert::CERTIFICATE_UNKNOWN,
            },
            Self::Version => alert::PROTOCOL_VERSION,
            Self::CipherSuite | Self::Lane => alert::INSUFFICIENT_SECURITY,
            Self::UnrecognizedName => alert::UNRECOGNIZED_NAME,
            Self::PolicyDenied | Self::Plaintext | Self::Unconfigured => alert::ACCESS_DENIED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StaleCause;

    #[test]
    fn every_cause_has_its_index() {
        for (position, cause) in StaleCause::all().enumerate() {
            assert_eq!(cause.index(), position, "{}", cause.as_str());
        }
        assert_eq!(StaleCause::all().count(), StaleCause::COUNT);
    }
}
