//! What can be wrong with a peer's certificate: one cause for metrics, one sentence for the log.
//!
//! rustls takes a [`rustls::Error`] from a verifier, which decides the alert, and shows the
//! connection that error and no more. What our verifiers know beyond it waits on the thread for
//! whoever asks why the handshake failed, right after rustls returned: same thread, next call.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustls::{CertRevocationListError, CertificateError, Error, OtherError};

/// Why a certificate is not accepted. Label of metrics: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateProblem {
    /// None was shown, and one is required.
    Missing,
    /// The chain ends at an issuer that is not trusted.
    UnknownCa,
    /// Issued by itself, and not trusted.
    SelfSigned,
    /// The issuer is of a trusted CA's organization, is not trusted by itself, and was not sent.
    MissingIntermediate,
    Expired,
    NotYetValid,
    WrongName,
    Revoked,
    /// No CRL says anything about a certificate of the chain.
    CrlMissing,
    /// The CRLs that do are past their nextUpdate.
    CrlExpired,
    /// The CA may not sign CRLs, or did not sign this one.
    CrlUnusable,
    /// The extended key usage does not allow what the certificate is used for.
    WrongUsage,
    BadSignature,
    /// Signed with an algorithm, or with a key, that is too weak or unknown.
    UnsupportedAlgorithm,
    /// The key is not one of the pinned ones.
    WrongPin,
    /// X.509 version 1, damaged, or with critical extensions that nobody here understands.
    Unreadable,
    /// A constraint of a CA forbids it: names, path length, a leaf that signs, a CA as a leaf.
    Constraint,
    Other,
}

impl CertificateProblem {
    pub const ALL: [Self; 18] = [
        Self::Missing,
        Self::UnknownCa,
        Self::SelfSigned,
        Self::MissingIntermediate,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongName,
        Self::Revoked,
        Self::CrlMissing,
        Self::CrlExpired,
        Self::CrlUnusable,
        Self::WrongUsage,
        Self::BadSignature,
        Self::UnsupportedAlgorithm,
        Self::WrongPin,
        Self::Unreadable,
        Self::Constraint,
        Self::Other,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UnknownCa => "unknown_ca",
            Self::SelfSigned => "self_signed",
            Self::MissingIntermediate => "missing_intermediate",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongName => "wrong_name",
            Self::Revoked => "revoked",
            Self::CrlMissing => "crl_missing",
            Self::CrlExpired => "crl_expired",
            Self::CrlUnusable => "crl_unusable",
            Self::WrongUsage => "wrong_usage",
            Self::BadSignature => "bad_signature",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::WrongPin => "wrong_pin",
            Self::Unreadable => "unreadable",
            Self::Constraint => "constraint",
            Self::Other => "other",
        }
    }
}

/// A certificate that is not accepted.
#[derive(Clone, Debug)]
pub struct Rejection {
    pub problem: CertificateProblem,
    /// For the log: what was found, and whose fault it is where that is known.
    pub text: Arc<str>,
    /// For rustls, which chooses the alert by it.
    pub error: Error,
}

impl Rejection {
    pub(super) fn new(
        problem: CertificateProblem,
        error: impl Into<Error>,
        text: impl Into<Arc<str>>,
    ) -> Self {
        Self { problem, text: text.into(), error: error.into() }
    }

    /// What rustls, or webpki through it, says about a certificate.
    ///
    /// `None` if the error is about something else.
    pub fn of(error: &Error) -> Option<Self> {
        let problem = match error {
            Error::InvalidCertificate(why) => of_certificate(why),
            Error::InvalidCertRevocationList(_) => CertificateProblem::CrlUnusable,
            Error::NoCertificatesPresented => CertificateProblem::Missing,
            _ => return None,
        };
        Some(Self::new(problem, error.clone(), error.to_string()))
    }

    /// Keeps this for [`Rejection::take`], and gives back what rustls wants.
    pub(super) fn noted(self) -> Error {
        let error = self.error.clone();
        LAST.set(Some(self));
        error
    }

    /// Why the handshake failed that just ended with `error` on this thread, if it was because
    /// of a certificate.
    pub fn take(error: &Error) -> Option<Self> {
        let noted = LAST.take().filter(|noted| noted.error == *error);
        noted.or_else(|| Self::of(error))
    }
}

thread_local! {
    /// What a verifier said last on this thread; one at most.
    static LAST: RefCell<Option<Rejection>> = const { RefCell::new(None) };
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.problem.as_str(), self.text)
    }
}

fn of_certificate(error: &CertificateError) -> CertificateProblem {
    use CertificateError as E;
    use CertificateProblem as P;
    match error {
        E::UnknownIssuer => P::UnknownCa,
        E::Expired | E::ExpiredContext { .. } => P::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => P::NotYetValid,
        E::NotValidForName | E::NotValidForNameContext { .. } => P::WrongName,
        E::Revoked => P::Revoked,
        E::UnknownRevocationStatus => P::CrlMissing,
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => P::CrlExpired,
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => P::WrongUsage,
        E::BadSignature => P::BadSignature,
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => P::UnsupportedAlgorithm,
        E::BadEncoding | E::UnhandledCriticalExtension => P::Unreadable,
        E::Other(OtherError(inner)) => match inner.downcast_ref::<webpki::Error>() {
            Some(error) => of_webpki(error),
            None => P::Other,
        },
        _ => P::Other,
    }
}

/// What has no variant of rustls' own.
fn of_webpki(error: &webpki::Error) -> CertificateProblem {
    use CertificateProblem as P;
    use webpki::Error as E;
    match error {
        E::NameConstraintViolation
        | E::PathLenConstraintViolated
        | E::MaximumPathDepthExceeded
        | E::CaUsedAsEndEntity
        | E::EndEntityUsedAsCa => P::Constraint,
        E::EmptyEkuExtension => P::WrongUsage,
        E::SignatureAlgorithmMismatch => P::BadSignature,
        E::UnsupportedCertVersion
        | E::UnsupportedCriticalExtension
        | E::ExtensionValueInvalid
        | E::InvalidNetworkMaskConstraint
        | E::InvalidSerialNumber
        | E::MalformedDnsIdentifier
        | E::MalformedExtensions
        | E::MalformedNameConstraint => P::Unreadable,
        _ => P::Other,
    }
}

/// webpki's answer in rustls' words, as rustls' own verifiers translate it: alerts depend on it.
pub(super) fn rustls_error(error: webpki::Error) -> Error {
    use CertificateError as C;
    use webpki::Error as E;
    let certificate = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => C::BadEncoding,
        E::UnsupportedCriticalExtension => C::UnhandledCriticalExtension,
        E::CertNotValidYet { time, not_before } => C::NotValidYetContext { time, not_before },
        E::CertExpired { time, not_after } => C::ExpiredContext { time, not_after },
        E::InvalidCertValidity => C::Expired,
        E::UnknownIssuer => C::UnknownIssuer,
        E::CertNotValidForName(webpki::InvalidNameContext { expected, presented }) => {
            C::NotValidForNameContext { expected, presented }
        }
        E::CertRevoked => C::Revoked,
        E::UnknownRevocationStatus => C::UnknownRevocationStatus,
        E::CrlExpired { time, next_update } => {
            C::ExpiredRevocationListContext { time, next_update }
        }
        E::IssuerNotCrlSigner => return CertRevocationListError::IssuerInvalidForCrl.into(),
        E::InvalidCrlSignatureForPublicKey => return CertRevocationListError::BadSignature.into(),
        E::InvalidSignatureForPublicKey => C::BadSignature,
        E::UnsupportedSignatureAlgorithmContext(context) => {
            C::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: context.signature_algorithm_id,
                supported_algorithms: context.supported_algorithms,
            }
        }
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
            C::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: context.signature_algorithm_id,
                public_key_algorithm_id: context.public_key_algorithm_id,
            }
        }
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => C::InvalidPurpose,
        other => C::Other(OtherError(Arc::new(other))),
    };
    certificate.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn causes_have_names_of_their_own() {
        let names: BTreeSet<&str> =
            CertificateProblem::ALL.iter().map(|problem| problem.as_str()).collect();
        assert_eq!(names.len(), CertificateProblem::ALL.len());
    }

    #[test]
    fn what_a_verifier_noted_is_for_that_error_once() {
        let error = Error::from(CertificateError::UnknownIssuer);
        let noted = Rejection::new(CertificateProblem::SelfSigned, error.clone(), "by itself");
        assert_eq!(noted.noted(), error);
        let found = Rejection::take(&error).expect("about a certificate");
        assert_eq!(found.to_string(), "self_signed: by itself");
        let found = Rejection::take(&error).expect("about a certificate");
        assert_eq!(found.problem, CertificateProblem::UnknownCa);

        let noted = Rejection::new(CertificateProblem::SelfSigned, error.clone(), "by itself");
        assert_eq!(noted.noted(), error);
        let other = Error::from(CertificateError::Revoked);
        let found = Rejection::take(&other).expect("about a certificate");
        assert_eq!(found.problem, CertificateProblem::Revoked);
        assert!(Rejection::take(&Error::DecryptError).is_none());
    }

    #[test]
    fn what_rustls_has_no_word_for_keeps_its_cause() {
        for (error, problem) in [
            (webpki::Error::NameConstraintViolation, CertificateProblem::Constraint),
            (webpki::Error::CaUsedAsEndEntity, CertificateProblem::Constraint),
            (webpki::Error::UnsupportedCertVersion, CertificateProblem::Unreadable),
            (webpki::Error::BadDer, CertificateProblem::Unreadable),
            (webpki::Error::EmptyEkuExtension, CertificateProblem::WrongUsage),
            (webpki::Error::IssuerNotCrlSigner, CertificateProblem::CrlUnusable),
            (webpki::Error::MaximumSignatureChecksExceeded, CertificateProblem::Other),
        ] {
            let found = Rejection::of(&rustls_error(error.clone())).expect("about a certificate");
            assert_eq!(found.problem, problem, "{error}");
        }
    }
}
