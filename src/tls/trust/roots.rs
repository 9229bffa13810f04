//! The CAs that a side trusts, from files.

use std::collections::HashSet;

use ring::digest::{Context, SHA256};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, TrustAnchor};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::path::IssuerKey;
use super::{TrustFile, named};
use crate::tls::file::{FileProblem, NamedFile};

/// Most CAs that a side may trust: twelve times what browsers do.
const MAX_ROOTS: usize = 2048;

/// CAs that can be used.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(super) store: RootCertStore,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// In the order of `certificates`.
    pub(super) cas: Vec<Ca>,
    ids: HashSet<[u8; 32]>,
}

/// What messages and CRLs need of a CA.
#[derive(Debug)]
pub(super) struct Ca {
    /// DER of the subject, without tag and length.
    pub(super) subject: Box<[u8]>,
    pub(super) organization: Option<String>,
    pub(super) key: IssuerKey,
}

impl Roots {
    /// Reads PEM files with one certificate at least each.
    ///
    /// # Errors
    /// Every problem found.
    pub(super) fn load(files: &[TrustFile]) -> Result<Self, Vec<FileProblem>> {
        let (mut store, mut certificates) = (RootCertStore::empty(), Vec::new());
        let (mut cas, mut ids) = (Vec::new(), HashSet::new());
        let mut problems = Vec::new();
        for file in files {
            let named = named(file, "trusted_ca");
            let read = named.read().and_then(|bytes| self::certificates(&named, &bytes));
            let found = match read {
                Ok(found) => found,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            for (position, certificate) in found.into_iter().enumerate() {
                if let Err(problem) = add(&named, position, &certificate, &mut store, &mut cas) {
                    problems.push(problem);
                } else {
                    certificates.push(certificate);
                }
            }
            if certificates.len() > MAX_ROOTS {
                let allowed = "2,048 CAs at most for one side";
                problems.push(named.problem(
                    format!("{} CAs", certificates.len()),
                    allowed,
                    "Keep the CAs of the peers that connect, and no others.",
                ));
                break;
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        ids.extend(store.roots.iter().map(anchor_id));
        Ok(Self { store, certificates, cas, ids })
    }

    pub(super) fn contain(&self, anchor: &[u8; 32]) -> bool {
        self.ids.contains(anchor)
    }

    /// The CAs with this name; several while a CA changes its key.
    pub(super) fn named<'a>(&'a self, subject: &'a [u8]) -> impl Iterator<Item = &'a Ca> {
        self.cas.iter().filter(move |ca| &*ca.subject == subject)
    }
}

/// Digest of all that webpki uses of a root: equal ones verify alike.
pub(super) fn anchor_id(anchor: &TrustAnchor<'_>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let constraints = anchor.name_constraints.as_ref().map_or(&[][..], |value| value.as_ref());
    for field in [&anchor.subject, &anchor.subject_public_key_info] {
        context.update(&(field.as_ref().len() as u64).to_be_bytes());
        context.update(field);
    }
    context.update(constraints);
    *context.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

fn add(
    named: &NamedFile<'_>,
    position: usize,
    certificate: &CertificateDer<'static>,
    store: &mut RootCertStore,
    cas: &mut Vec<Ca>,
) -> Result<(), FileProblem> {
    let refused = |why: String| {
        let found = format!("certificate {} cannot be a CA: {why}", position + 1);
        named.problem(found, "CA certificates in PEM", "Remove it or put a CA there.")
    };
    store.add(certificate.clone()).map_err(|error| refused(error.to_string()))?;
    let anchor = store.roots.last().expect("one was added just now");
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| refused(error.to_string()))?;
    let organization = parsed.subject().iter_organization().next();
    cas.push(Ca {
        subject: anchor.subject.as_ref().into(),
        organization: organization.and_then(|name| name.as_str().ok()).map(str::to_owned),
        key: IssuerKey::new(anchor.subject_public_key_info.as_ref(), may_sign_crls(&parsed)),
    });
    Ok(())
}

/// RFC 5280 §4.2.1.3: a CA that lists what its key is for must list this.
pub(super) fn may_sign_crls(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.crl_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// The certificates of a PEM file, one at least.
pub(in crate::tls) fn certificates(
    named: &NamedFile<'_>,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let allowed = "X.509 certificates in PEM";
    let hint = "It starts with -----BEGIN CERTIFICATE-----.";
    let chain = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if chain.is_empty() => Err(named.problem("no certificate", allowed, hint)),
        Ok(chain) => Ok(chain),
        Err(pem::Error::MissingSectionEnd { .. }) => {
            Err(named.problem("damaged PEM: the line -----END is missing", allowed, hint))
        }
        Err(error) => Err(named.problem(format!("damaged PEM: {error}"), allowed, hint)),
    }
}
