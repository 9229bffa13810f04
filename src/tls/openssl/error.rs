//! What OpenSSL says about a failure, in the gateway's words.

use openssl::error::ErrorStack;
use openssl::ssl::{Error, ErrorCode};

use crate::conn::outcome::Reason;
use crate::tls::alert;
use crate::tls::error::TlsError;
use crate::tls::trust::{CertificateProblem, Rejection};

/// Reasons from here on are alerts that were received (`SSL_AD_REASON_OFFSET`).
const ALERTS: i32 = 1000;
/// The library that a reason belongs to: TLS itself (`ERR_LIB_SSL`).
const LIBRARY: i32 = 20;

/// The end of a session by what OpenSSL says, and what our verifier said to it, if it did.
pub(super) fn of(error: &Error, refused: Option<Rejection>) -> TlsError {
    let Some(stack) = error.ssl_error() else {
        return match error.code() {
            // A session that was told to stop.
            ErrorCode::ZERO_RETURN => violation("records behind close_notify"),
            _ => TlsError::local(error),
        };
    };
    let mut found = of_stack(stack);
    if let Some(refused) = refused {
        found.reason = Reason::ClientCertificateInvalid;
        found.detail = refused.to_string().into();
        found.certificate = Some(refused.problem);
    }
    found
}

/// As [`of`], without a verifier.
pub(super) fn of_stack(stack: &ErrorStack) -> TlsError {
    let ours = stack.errors().iter().find(|error| error.library_code() == LIBRARY);
    let Some(error) = ours.or_else(|| stack.errors().first()) else {
        return TlsError::local("OpenSSL does not say why");
    };
    let code = if error.library_code() == LIBRARY { error.reason_code() } else { 0 };
    let text = error.reason().unwrap_or("unknown error");
    let mut found = TlsError {
        reason: reason(code),
        detail: format!("OpenSSL: {text}").into(),
        alert_sent: None,
        alert_received: u8::try_from(code - ALERTS).ok().filter(|_| code >= ALERTS),
        certificate: (code == PEER_DID_NOT_RETURN_A_CERTIFICATE)
            .then_some(CertificateProblem::Missing),
    };
    if let Some(description) = found.alert_received {
        found.detail = format!("received fatal alert: {}", alert::alert_name(description)).into();
    }
    found
}

fn violation(text: &str) -> TlsError {
    TlsError { reason: Reason::ProtocolViolation, ..TlsError::local(text) }
}

/// The alert in the clear at the end of what was written, if there is one.
pub(super) fn plaintext_alert(written: &[u8]) -> Option<u8> {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    match written.last_chunk()? {
        [ALERT, 3, _, 0, 2, FATAL, description] => Some(*description),
        _ => None,
    }
}

/// The alert that OpenSSL sends with such an end, where it is encrypted and cannot be read.
pub(super) fn implied_alert(error: &TlsError) -> Option<u8> {
    match error.reason {
        Reason::BadRecord => Some(alert::BAD_RECORD_MAC),
        Reason::ProtocolViolation => Some(alert::UNEXPECTED_MESSAGE),
        _ => None,
    }
}

const NO_SUITABLE_KEY_SHARE: i32 = 101;
const NO_SUITABLE_SIGNATURE_ALGORITHM: i32 = 118;
const CERTIFICATE_VERIFY_FAILED: i32 = 134;
const DATA_LENGTH_TOO_LONG: i32 = 146;
const DECRYPTION_FAILED: i32 = 147;
const ENCRYPTED_LENGTH_TOO_LONG: i32 = 150;
const VERSION_TOO_HIGH: i32 = 166;
const NO_CIPHERS_AVAILABLE: i32 = 181;
const NO_PROTOCOLS_AVAILABLE: i32 = 191;
const NO_SHARED_CIPHER: i32 = 193;
const PACKET_LENGTH_TOO_LONG: i32 = 198;
const PEER_DID_NOT_RETURN_A_CERTIFICATE: i32 = 199;
const NO_APPLICATION_PROTOCOL: i32 = 235;
const UNKNOWN_PROTOCOL: i32 = 252;
const UNSUPPORTED_PROTOCOL: i32 = 258;
const WRONG_SSL_VERSION: i32 = 266;
const WRONG_VERSION_NUMBER: i32 = 267;
const DECRYPTION_FAILED_OR_BAD_RECORD_MAC: i32 = 281;
const NO_SUITABLE_GROUPS: i32 = 295;
const NO_REQUIRED_DIGEST: i32 = 324;
const LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED: i32 = 333;
const UNSAFE_LEGACY_RENEGOTIATION_DISABLED: i32 = 338;
const WRONG_SIGNATURE_TYPE: i32 = 370;
const INAPPROPRIATE_FALLBACK: i32 = 373;
const NO_SHARED_SIGNATURE_ALGORITHMS: i32 = 376;
const DH_KEY_TOO_SMALL: i32 = 394;
const VERSION_TOO_LOW: i32 = 396;
const CA_KEY_TOO_SMALL: i32 = 397;
const CA_MD_TOO_WEAK: i32 = 398;
const EE_KEY_TOO_SMALL: i32 = 399;
const NO_SHARED_GROUPS: i32 = 410;

/// By the numbers of OpenSSL's `sslerr.h`, which no release changes.
fn reason(code: i32) -> Reason {
    match code {
        ALERTS.. => Reason::AlertReceived,
        UNKNOWN_PROTOCOL
        | UNSUPPORTED_PROTOCOL
        | WRONG_SSL_VERSION
        | WRONG_VERSION_NUMBER
        | VERSION_TOO_HIGH
        | VERSION_TOO_LOW
        | NO_PROTOCOLS_AVAILABLE
        | INAPPROPRIATE_FALLBACK => Reason::VersionMismatch,
        NO_SHARED_CIPHER
        | NO_CIPHERS_AVAILABLE
        | NO_SUITABLE_SIGNATURE_ALGORITHM
        | NO_SHARED_SIGNATURE_ALGORITHMS
        | NO_SUITABLE_GROUPS
        | NO_SHARED_GROUPS
        | NO_SUITABLE_KEY_SHARE
        | NO_REQUIRED_DIGEST
        | LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED
        | WRONG_SIGNATURE_TYPE
        | DH_KEY_TOO_SMALL
        | UNSAFE_LEGACY_RENEGOTIATION_DISABLED => Reason::NoSharedParameters,
        NO_APPLICATION_PROTOCOL => Reason::NoSharedAlpn,
        PEER_DID_NOT_RETURN_A_CERTIFICATE => Reason::ClientCertificateMissing,
        CERTIFICATE_VERIFY_FAILED | CA_KEY_TOO_SMALL | CA_MD_TOO_WEAK | EE_KEY_TOO_SMALL => {
            Reason::ClientCertificateInvalid
        }
        DECRYPTION_FAILED
        | DECRYPTION_FAILED_OR_BAD_RECORD_MAC
        | DATA_LENGTH_TOO_LONG
        | ENCRYPTED_LENGTH_TOO_LONG
        | PACKET_LENGTH_TOO_LONG => Reason::BadRecord,
        _ => Reason::ProtocolViolation,
    }
}
