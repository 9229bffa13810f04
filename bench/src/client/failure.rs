//! What can go wrong with an operation, by kind.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Kind of an error that ends an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The target refused the connection.
    Refused,
    /// There was no way to the target.
    Unreachable,
    /// No local port was free: the limit of this machine, not of the target.
    LocalPorts,
    /// No descriptor was free: the limit of this process, not of the target.
    Descriptors,
    /// The connection was not up in time.
    ConnectTimeout,
    /// The handshake was not over in time.
    HandshakeTimeout,
    /// The answer did not come, or stopped coming, in time.
    ExchangeTimeout,
    /// The peer reset the connection.
    Reset,
    /// The peer closed the connection before the answer was complete.
    Closed,
    /// The TCP stream ended without TLS close_notify.
    Truncated,
    /// TLS failed, or the peer said so by an alert.
    Tls,
    /// A full handshake where a resumed one was wanted.
    NotResumed,
    /// The answer held other bytes than it should.
    Content,
    /// The HTTP answer was not a 200 with the expected length.
    Http,
    /// The answer was not one of the protocol, or said that the request failed.
    Protocol,
    /// The server went on where it should have refused.
    Admitted,
    /// It was still to be tried again when the run had to end.
    GaveUp,
    /// The intended start was before the end of the run, but no connection was free until then.
    NotStarted,
    /// Another error of the operating system.
    Other,
}

impl ErrorKind {
    /// All there are.
    pub const ALL: [Self; 19] = [
        Self::Refused,
        Self::Unreachable,
        Self::LocalPorts,
        Self::Descriptors,
        Self::ConnectTimeout,
        Self::HandshakeTimeout,
        Self::ExchangeTimeout,
        Self::Reset,
        Self::Closed,
        Self::Truncated,
        Self::Tls,
        Self::NotResumed,
        Self::Content,
        Self::Http,
        Self::Protocol,
        Self::Admitted,
        Self::GaveUp,
        Self::NotStarted,
        Self::Other,
    ];
}

impl fmt::Display for ErrorKind {
    /// As in JSON: `connect-timeout`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(out)
    }
}

/// An error that ended an operation.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) detail: String,
    /// The peer said so by an alert of TLS.
    is_alert: bool,
}

impl Failure {
    /// Whether it is how a server refuses somebody: by an alert, or by ending the connection. An error
    /// that our own TLS found is none.
    pub(super) fn is_refusal(&self) -> bool {
        use ErrorKind::{Closed, Reset, Truncated};
        self.is_alert || matches!(self.kind, Closed | Reset | Truncated)
    }

    pub(super) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), is_alert: false }
    }

    /// The peer sent an alert of TLS.
    pub(super) fn alert(detail: impl Into<String>) -> Self {
        Self { is_alert: true, ..Self::new(ErrorKind::Tls, detail) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use rustix::io::Errno;
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorKind::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                ErrorKind::Unreachable
            }
            io::ErrorKind::AddrNotAvailable => ErrorKind::LocalPorts,
            io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ErrorKind::Reset,
            io::ErrorKind::UnexpectedEof => ErrorKind::Truncated,
            _ => match Errno::from_io_error(&error) {
                Some(Errno::MFILE | Errno::NFILE) => ErrorKind::Descriptors,
                _ => ErrorKind::Other,
            },
        };
        Self::new(kind, error.to_string())
    }
}

impl From<rustls::Error> for Failure {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(_) => Self::alert(error.to_string()),
            _ => Self::new(ErrorKind::Tls, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, Error};

    use super::*;

    #[test]
    fn only_the_server_refuses() {
        let is_refusal = |error: Error| Failure::from(error).is_refusal();
        assert!(is_refusal(Error::AlertReceived(AlertDescription::CertificateExpired)));
        assert!(!is_refusal(Error::InvalidCertificate(CertificateError::Expired)));
        assert!(!is_refusal(Error::DecryptError));
        assert!(Failure::from(io::Error::from(io::ErrorKind::ConnectionReset)).is_refusal());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::ConnectionRefused)).is_refusal());
    }
}
