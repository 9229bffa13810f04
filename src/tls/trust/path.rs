//! How a certificate was found to be trusted, kept so that it can be asked again without
//! verifying signatures.
//!
//! Signatures, names and usages of a chain stay what they were. What changes is which CAs are
//! trusted, what CRLs say, and the time: to ask those again takes look-ups alone.

use std::sync::Arc;

use webpki::{Cert, VerifiedPath};
use x509_parser::prelude::{
    DistributionPointName, FromDer, GeneralName, ParsedExtension, X509Certificate,
};

use super::authority::Usage;
use super::der::{Der, SEQUENCE};
use super::peer::sha256;
use super::roots::{anchor_id, may_sign_crls};

/// One certificate of a path, as CRLs see it.
#[derive(Debug)]
pub(super) struct Link {
    /// DER of the issuer's name, without tag and length.
    pub(super) issuer: Box<[u8]>,
    pub(super) serial: Box<[u8]>,
    /// An intermediate, not the peer's own.
    pub(super) is_ca: bool,
    /// Where it says that its CRLs are; `None` if it does not.
    pub(super) points: Option<Vec<String>>,
    pub(super) key: IssuerKey,
}

/// The key that signed a certificate, and should sign CRLs.
#[derive(Clone, Debug)]
pub(super) struct IssuerKey {
    /// SHA-256 of `spki`.
    pub(super) id: [u8; 32],
    /// Content of the SubjectPublicKeyInfo.
    pub(super) spki: Arc<[u8]>,
    pub(super) may_sign_crls: bool,
}

impl IssuerKey {
    pub(super) fn new(spki: &[u8], may_sign_crls: bool) -> Self {
        Self { id: sha256(spki), spki: spki.into(), may_sign_crls }
    }
}

/// A path from a peer's certificate to a trusted CA, all of whose signatures are good.
#[derive(Debug)]
pub struct Path {
    /// The peer's own certificate first.
    pub(super) links: Vec<Link>,
    /// As [`anchor_id`].
    pub(super) anchor: [u8; 32],
    /// What the certificates were found to be good for.
    pub(super) usage: Usage,
    /// First and last second in which all certificates are valid, Unix time.
    not_before: i64,
    not_after: i64,
}

impl Path {
    /// The last second in which all certificates are valid, Unix time.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Whether all certificates are valid at this second, Unix time.
    pub(super) fn is_valid_at(&self, second: i64) -> bool {
        (self.not_before..=self.not_after).contains(&second)
    }

    /// `None` if a certificate cannot be read; webpki has read all of them.
    pub(super) fn of(verified: &VerifiedPath<'_>, usage: Usage) -> Option<Self> {
        let leaf: &Cert<'_> = verified.end_entity();
        let mut certificates = vec![leaf];
        certificates.extend(verified.intermediate_certificates());
        let anchor = verified.anchor();
        let mut path = Self {
            links: Vec::with_capacity(certificates.len()),
            anchor: anchor_id(anchor),
            usage,
            not_before: i64::MIN,
            not_after: i64::MAX,
        };
        // From the root down, because a certificate's key is its issuer's in the next link.
        let mut key = IssuerKey::new(anchor.subject_public_key_info.as_ref(), true);
        for (position, certificate) in certificates.iter().enumerate().rev() {
            let der = certificate.der();
            let (_, parsed) = X509Certificate::from_der(&der).ok()?;
            let validity = parsed.validity();
            path.not_before = path.not_before.max(validity.not_before.timestamp());
            path.not_after = path.not_after.min(validity.not_after.timestamp());
            let spki = Der::new(parsed.public_key().raw).take(SEQUENCE).ok()?.bytes();
            let own = IssuerKey::new(spki, may_sign_crls(&parsed));
            path.links.push(Link {
                issuer: certificate.issuer().into(),
                serial: certificate.serial().into(),
                is_ca: position > 0,
                points: points(&parsed),
                key: std::mem::replace(&mut key, own),
            });
        }
        path.links.reverse();
        Some(path)
    }
}

/// URIs of the CRL distribution points (RFC 5280 §4.2.1.13) that are for all reasons and of the
/// certificate's own issuer; `None` if the certificate has none at all.
fn points(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    let extension = certificate.extensions().iter().find_map(|extension| {
        match extension.parsed_extension() {
            ParsedExtension::CRLDistributionPoints(points) => Some(points),
            _ => None,
        }
    })?;
    let own = extension.points.iter().filter(|p| p.reasons.is_none() && p.crl_issuer.is_none());
    let names = own.filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    let uris = names.flatten().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    Some(uris.collect())
}
