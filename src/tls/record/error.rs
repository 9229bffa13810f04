//! What is wrong with a record of the peer's.

use crate::tls::alert;

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It does not authenticate: made by somebody else, changed, or in the wrong place.
    #[error("cannot decrypt peer's message")]
    BadMac,
    /// Longer than a record may be.
    #[error("peer sent a record that is too long")]
    Overflow,
    /// Something that has no place here.
    #[error("peer sent {0}")]
    Unexpected(&'static str),
    /// A message that breaks its format.
    #[error("peer sent a malformed {0}")]
    Malformed(&'static str),
    /// A value that there is not.
    #[error("peer sent an unknown {0}")]
    Illegal(&'static str),
    /// The peer has ended it by an alert.
    #[error("received fatal alert: {}", alert::alert_name(*.0))]
    Alert(u8),
}

impl RecordError {
    /// The alert to answer with, if any.
    pub const fn alert(self) -> Option<u8> {
        match self {
            Self::BadMac => Some(alert::BAD_RECORD_MAC),
            Self::Overflow => Some(alert::RECORD_OVERFLOW),
            Self::Unexpected(_) => Some(alert::UNEXPECTED_MESSAGE),
            Self::Malformed(_) => Some(alert::DECODE_ERROR),
            Self::Illegal(_) => Some(alert::ILLEGAL_PARAMETER),
            Self::Alert(_) => None,
        }
    }
}

/// A key has protected as many records as it may, and there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys are used up")]
pub struct Exhausted;
