//! Why a TLS session ended, in the gateway's words.

use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::record::RecordError;
use super::trust::{CertificateProblem, Rejection};
use crate::conn::outcome::Reason;

/// The end of a session.
#[derive(Clone, Debug)]
pub struct TlsError {
    pub reason: Reason,
    pub detail: Arc<str>,
    pub alert_sent: Option<u8>,
    pub alert_received: Option<u8>,
    /// What is wrong with the peer's certificate, if that is why.
    pub certificate: Option<CertificateProblem>,
}

impl TlsError {
    /// What rustls says about bytes from the peer. To be asked on the thread that called rustls,
    /// and before it calls rustls again: see [`Rejection::take`].
    pub fn from_peer(error: Error) -> Self {
        let reason = match &error {
            Error::AlertReceived(_) => Reason::AlertReceived,
            Error::PeerIncompatible(why) if is_version(why) => Reason::VersionMismatch,
            Error::PeerIncompatible(_) => Reason::NoSharedParameters,
            // TLS 1.2, and no signature scheme of the peer's is one that our key makes.
            Error::General(text) if text == "incompatible signing key" => {
                Reason::NoSharedParameters
            }
            Error::NoApplicationProtocol => Reason::NoSharedAlpn,
            Error::NoCertificatesPresented => Reason::ClientCertificateMissing,
            Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
                Reason::ClientCertificateInvalid
            }
            Error::DecryptError | Error::PeerSentOversizedRecord => Reason::BadRecord,
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_) => Reason::ProtocolViolation,
            _ => Reason::Internal,
        };
        let alert_received = match &error {
            Error::AlertReceived(description) => Some(u8::from(*description)),
            _ => None,
        };
        let rejection = Rejection::take(&error);
        let detail = rejection.as_ref().map_or_else(|| text(&error), |why| why.to_string().into());
        Self {
            reason,
            alert_sent: implied_alert(&error),
            alert_received,
            detail,
            certificate: rejection.map(|why| why.problem),
        }
    }

    /// What the record layer says about bytes from the peer; no alert was sent yet.
    pub fn of_record(error: RecordError) -> Self {
        let reason = match error {
            RecordError::BadMac | RecordError::Overflow => Reason::BadRecord,
            RecordError::Alert(_) => Reason::AlertReceived,
            RecordError::Unexpected(_) | RecordError::Malformed(_) | RecordError::Illegal(_) => {
                Reason::ProtocolViolation
            }
        };
        let alert_received = match error {
            RecordError::Alert(description) => Some(description),
            _ => None,
        };
        Self { reason, alert_received, ..Self::local(error) }
    }

    /// The same with the word for a session with the upstream.
    #[must_use]
    pub fn of_upstream(mut self) -> Self {
        self.reason = match self.reason {
            Reason::AlertReceived => Reason::UpstreamAlert,
            Reason::ClientCertificateMissing | Reason::ClientCertificateInvalid => {
                Reason::UpstreamCertificateInvalid
            }
            Reason::VersionMismatch | Reason::NoSharedParameters | Reason::NoSharedAlpn => {
                Reason::UpstreamIncompatible
            }
            Reason::ProtocolViolation | Reason::BadRecord => Reason::UpstreamProtocol,
            other => other,
        };
        self
    }

    /// A failure on our side.
    pub fn local(error: impl std::fmt::Display) -> Self {
        Self {
            reason: Reason::Internal,
            detail: error.to_string().into(),
            alert_sent: None,
            alert_received: None,
            certificate: None,
        }
    }

    /// Handshake messages over what a session may hold back.
    pub fn oversized_handshake() -> Self {
        Self {
            reason: Reason::ProtocolViolation,
            detail: "handshake message larger than 64 KiB".into(),
            alert_sent: None,
            alert_received: None,
            certificate: None,
        }
    }
}

fn text(error: &Error) -> Arc<str> {
    error.to_string().into()
}

fn is_version(why: &PeerIncompatible) -> bool {
    matches!(
        why,
        PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
    )
}

/// The alert that rustls sends with these errors, where it is encrypted and cannot be read.
fn implied_alert(error: &Error) -> Option<u8> {
    let description = match error {
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::InvalidMessage(_) => AlertDescription::DecodeError,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => {
            AlertDescription::HandshakeFailure
        }
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::InvalidCertificate(why) => certificate_alert(why),
        _ => return None,
    };
    Some(u8::from(description))
}

fn certificate_alert(why: &CertificateError) -> AlertDescription {
    AlertDescription::from(why.clone())
}
