//! OCSP responses (RFC 6960) that are sent with a certificate: read from a file, checked to be
//! about that certificate, and passed on. Clients check the signature; without the CA's own
//! certificate, which a server need not have, we cannot.

use ring::digest::{self, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::der::{
    Der, ENUMERATED, INTEGER, Malformed, OBJECT_ID, OCTET_STRING, SEQUENCE, context, context_of,
};
use crate::tls::file::{FileProblem, NamedFile};

/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1
const BASIC: [u8; 9] = [0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
/// id-sha1 and id-sha256, in which certificates are named.
const SHA1: [u8; 5] = [0x2b, 0x0e, 3, 2, 0x1a];
const SHA256: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];

/// What an OCSP response says of the certificate that it is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OcspFacts {
    pub status: OcspStatus,
    /// Unix time, in seconds.
    pub this_update: i64,
    /// Unix time, in seconds: clients refuse the response from then on. `None` if it does not say.
    pub next_update: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OcspStatus {
    Good,
    Revoked,
    /// The responder does not know the certificate.
    Unknown,
}

/// Reads the response for `leaf` from a DER file: what to send, and what it says.
///
/// # Errors
/// When it is no successful response about `leaf`.
pub(in crate::tls) fn load(
    named: &NamedFile<'_>,
    leaf: &CertificateDer<'_>,
) -> Result<(Vec<u8>, OcspFacts), FileProblem> {
    let bytes = named.read()?;
    let unusable = |found: &str| {
        let hint = "`openssl ocsp -respin` shows what it says; fetch it from the CA's responder.";
        named.problem(found, "an OCSP response in DER for the first certificate", hint)
    };
    let facts = read(&bytes, leaf).map_err(unusable)?;
    Ok((bytes, facts))
}

fn read(bytes: &[u8], leaf: &[u8]) -> Result<OcspFacts, &'static str> {
    const DAMAGED: &str = "an OCSP response that cannot be read";
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|_| "a certificate that cannot be read")?;
    let mut responses = match basic_responses(bytes).map_err(|Malformed| DAMAGED)? {
        Some(responses) => responses,
        None => return Err("an OCSP response that says that the responder failed"),
    };
    while !responses.is_empty() {
        let single = single(&mut responses).map_err(|Malformed| DAMAGED)?;
        if single.is_about(&certificate) {
            return Ok(single.facts);
        }
    }
    Err("an OCSP response for another certificate")
}

/// The list of single responses; `None` if the responder was not successful or answered in a
/// format that it made up.
fn basic_responses(bytes: &[u8]) -> Result<Option<Der<'_>>, Malformed> {
    let mut file = Der::new(bytes);
    let mut response = file.take(SEQUENCE)?;
    file.end()?;
    if response.take(ENUMERATED)?.bytes() != [0] {
        return Ok(None);
    }
    let mut typed = response.take(context_of(0))?.take(SEQUENCE)?;
    if typed.take(OBJECT_ID)?.bytes() != BASIC {
        return Ok(None);
    }
    let mut data = typed.take(OCTET_STRING)?.take(SEQUENCE)?.take(SEQUENCE)?;
    let _version = data.optional(context_of(0))?;
    // The responder, by name or by key.
    if data.optional(context_of(1))?.is_none() {
        data.take(context_of(2))?;
    }
    data.time()?;
    data.take(SEQUENCE).map(Some)
}

struct Single<'a> {
    hash: &'a [u8],
    issuer_name_hash: &'a [u8],
    issuer_key_hash: &'a [u8],
    serial: &'a [u8],
    facts: OcspFacts,
}

/// RFC 6960 §4.2.1: SingleResponse.
fn single<'a>(responses: &mut Der<'a>) -> Result<Single<'a>, Malformed> {
    let mut single = responses.take(SEQUENCE)?;
    let mut about = single.take(SEQUENCE)?;
    let hash = about.take(SEQUENCE)?.take(OBJECT_ID)?.bytes();
    let issuer_name_hash = about.take(OCTET_STRING)?.bytes();
    let issuer_key_hash = about.take(OCTET_STRING)?.bytes();
    let serial = about.take(INTEGER)?.bytes();
    let tag = single.peek().ok_or(Malformed)?;
    let status = match tag {
        tag if tag == context(0) => OcspStatus::Good,
        tag if tag == context_of(1) => OcspStatus::Revoked,
        tag if tag == context(2) => OcspStatus::Unknown,
        _ => return Err(Malformed),
    };
    single.take(tag)?;
    let this_update = single.time()?;
    let next_update = match single.optional(context_of(0))? {
        Some(mut tagged) => Some(tagged.time()?),
        None => None,
    };
    let facts = OcspFacts { status, this_update, next_update };
    Ok(Single { hash, issuer_name_hash, issuer_key_hash, serial, facts })
}

impl Single<'_> {
    /// The serial number and, where we know the hash, the issuer's name. The key's hash has to
    /// have the length of one.
    fn is_about(&self, certificate: &X509Certificate<'_>) -> bool {
        let name = certificate.issuer().as_raw();
        let algorithm = match self.hash {
            hash if hash == SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            hash if hash == SHA256 => &digest::SHA256,
            _ => return self.serial == certificate.raw_serial(),
        };
        self.serial == certificate.raw_serial()
            && self.issuer_name_hash == digest(algorithm, name).as_ref()
            && self.issuer_key_hash.len() == algorithm.output_len()
    }
}
