//! What to tell about a chain that is not trusted, once webpki has said what is wrong with it.

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::peer::rfc4514;
use super::problem::{CertificateProblem, Rejection, rustls_error};
use super::roots::Roots;

/// Longest text of a name from a certificate that is told, in characters.
const MAX_TOLD: usize = 200;
/// Most names that a certificate has which are told.
const MAX_NAMES_TOLD: usize = 5;

pub(super) fn unreadable() -> Rejection {
    let text = "a certificate that cannot be read";
    Rejection::new(CertificateProblem::Unreadable, CertificateError::BadEncoding, text)
}

/// What webpki says about a chain, in words for the log, with the cause as narrow as can be told.
pub(super) fn explain(
    error: webpki::Error,
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    roots: &Roots,
) -> Rejection {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return unreadable() };
    let subject = told(rfc4514(parsed.subject()));
    if error == webpki::Error::UnknownIssuer {
        return unknown_issuer(&subject, &parsed, others, roots);
    }
    let issuer = told(rfc4514(parsed.issuer()));
    let text = match &error {
        webpki::Error::CertExpired { time, not_after } => {
            format!("a certificate of the chain expired {} ago", between(*not_after, *time))
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            let wait = between(*time, *not_before);
            format!("a certificate of the chain becomes valid in {wait}: is a clock wrong?")
        }
        webpki::Error::CertRevoked => "a certificate of the chain is revoked".to_owned(),
        webpki::Error::UnknownRevocationStatus => {
            format!("no CRL says whether it is revoked (issuer {issuer})")
        }
        webpki::Error::CrlExpired { time, next_update } => {
            format!("the CRL that covers it expired {} ago", between(*next_update, *time))
        }
        webpki::Error::InvalidCrlSignatureForPublicKey => {
            "the CRL that covers it is not signed by its issuer".to_owned()
        }
        webpki::Error::IssuerNotCrlSigner => {
            "the CRL that covers it is signed by a CA that may not sign CRLs".to_owned()
        }
        webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => {
            "its extended key usage does not allow this side of a connection".to_owned()
        }
        webpki::Error::InvalidSignatureForPublicKey => {
            "the CA with its issuer's name did not sign it: another key, or a changed certificate"
                .to_owned()
        }
        // webpki looks for the field that says so, and says no more when it is not there.
        webpki::Error::UnsupportedCertVersion | webpki::Error::BadDer
            if parsed.version() != X509Version::V3 =>
        {
            "X.509 version 1, which cannot say what it is for: have it issued as version 3"
                .to_owned()
        }
        other => format!("a certificate of the chain may not be used so: {other}"),
    };
    reject(error, format!("{subject}: {text}"))
}

/// A chain that is good, of somebody else.
pub(super) fn wrong_name(error: webpki::Error, wanted: &ServerName<'_>) -> Rejection {
    let text = match &error {
        webpki::Error::CertNotValidForName(context) if !context.presented.is_empty() => {
            let mut names = context.presented.clone();
            let more = names.len().saturating_sub(MAX_NAMES_TOLD);
            names.truncate(MAX_NAMES_TOLD);
            let others = if more > 0 { format!(" and {more} more") } else { String::new() };
            let names = told(names.join(", "));
            format!("the certificate is for {names}{others}, not for {}", wanted.to_str())
        }
        _ => format!("the certificate does not name {}", wanted.to_str()),
    };
    reject(error, text)
}

pub(super) fn wrong_pin(found: &[u8; 32]) -> Rejection {
    let found = data_encoding::BASE64.encode(found);
    let text = format!("the key's SHA-256, {found}, is not one of `pins`");
    let error = CertificateError::ApplicationVerificationFailure;
    Rejection::new(CertificateProblem::WrongPin, error, text)
}

pub(super) fn missing() -> Rejection {
    let error = rustls::Error::NoCertificatesPresented;
    Rejection::new(CertificateProblem::Missing, error, "the peer has shown no certificate")
}

fn reject(error: webpki::Error, text: String) -> Rejection {
    let error = rustls_error(error);
    let problem = Rejection::of(&error).map_or(CertificateProblem::Other, |known| known.problem);
    Rejection::new(problem, error, text)
}

/// Follows the chain as far as it goes. Whether a name that is neither trusted nor sent is that of
/// an intermediate or of another root cannot be known; that of a trusted CA's own organization is
/// taken for an intermediate. The text says both.
fn unknown_issuer(
    subject: &str,
    leaf: &X509Certificate<'_>,
    others: &[CertificateDer<'_>],
    roots: &Roots,
) -> Rejection {
    let parsed = others.iter().filter_map(|other| X509Certificate::from_der(other).ok());
    let others: Vec<X509Certificate<'_>> = parsed.map(|(_, certificate)| certificate).collect();
    let mut last = leaf;
    // Each step uses another of them, or there is a loop.
    for _ in 0..=others.len() {
        if last.subject() == last.issuer() {
            break;
        }
        match others.iter().find(|other| other.subject() == last.issuer()) {
            Some(issuer) => last = issuer,
            None => break,
        }
    }
    let issuer = told(rfc4514(last.issuer()));
    let is_leaf = std::ptr::eq(last, leaf);
    let (problem, text) = if last.subject() == last.issuer() {
        if is_leaf {
            (CertificateProblem::SelfSigned, "signed by itself, and not in `trusted_ca`".to_owned())
        } else {
            let text = format!("the chain ends at {issuer}, which is not in `trusted_ca`");
            (CertificateProblem::UnknownCa, text)
        }
    } else {
        let organization = last.issuer().iter_organization().next().and_then(|o| o.as_str().ok());
        let is_ours = organization.is_some_and(|name| {
            roots.cas.iter().any(|ca| ca.organization.as_deref() == Some(name))
        });
        let text = format!(
            "its issuer {issuer} is not in `trusted_ca`, and the peer has not sent a certificate of \
             it: if it is an intermediate, the peer must send it"
        );
        let problem = if is_ours {
            CertificateProblem::MissingIntermediate
        } else {
            CertificateProblem::UnknownCa
        };
        (problem, text)
    };
    let error = CertificateError::UnknownIssuer;
    Rejection::new(problem, error, format!("{subject}: {text}"))
}

fn told(mut name: String) -> String {
    if let Some((end, _)) = name.char_indices().nth(MAX_TOLD) {
        name.truncate(end);
        name.push('…');
    }
    name
}

/// A duration in the largest unit that it has two of.
fn between(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    let (value, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7200 => (seconds / 60, "minutes"),
        7200..172_800 => (seconds / 3600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{value} {unit}")
}
