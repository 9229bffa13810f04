//! One certificate revocation list (RFC 5280 §5): what it covers, who signed it, whom it names.
//!
//! webpki reads CRLs too, and checks their signature once per certificate that it verifies: a
//! hash over the whole list in every handshake. Here a signature is checked once per issuer's key,
//! and serial numbers are found by binary search in the list itself. With 25,000 entries, 875 KB
//! (`large_lists` in `tests/figures.rs`, release build, one core of a virtual AMD EPYC with SHA
//! extensions, ECDSA P-256, Linux 6.18):
//!
//! | | webpki's | this |
//! |---|---|---|
//! | memory | 4.4 MiB | 1.0 MiB |
//! | a chain with a CRL (without: 63 µs) | 594 µs | 66 µs |
//! | a chain that was seen before | 594 µs | 1.5 µs |
//! | 9,000 connections judged anew | | 5.3 ms |
//!
//! Loading it takes 10 ms, from PEM, its signature included.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use rustls::pki_types::SignatureVerificationAlgorithm;
use x509_parser::prelude::{FromDer, X509Name};

use super::der::{
    BOOLEAN, Der, INTEGER, Malformed, OBJECT_ID, OCTET_STRING, SEQUENCE, context, context_of,
};
use super::path::{IssuerKey, Link};
use super::peer::{rfc4514, sha256};
use super::signature;

/// Keys whose judgement is remembered per list. A CA has one key at a time, and changes it over
/// years; keys come from verified chains only, so peers cannot fill this.
const MAX_JUDGED: usize = 16;

/// A list that can be used.
#[derive(Debug)]
pub(super) struct Crl {
    der: Box<[u8]>,
    signed: Range<usize>,
    algorithm: Range<usize>,
    signature: Range<usize>,
    issuer: Range<usize>,
    issuer_text: String,
    scope: Option<Scope>,
    /// Serial numbers in `der`, without leading zeros, in order.
    revoked: Vec<Serial>,
    this_update: i64,
    next_update: i64,
    digest: [u8; 32],
    /// Ids of issuers' keys, and whether the list is signed by them.
    judged: RwLock<Vec<([u8; 32], bool)>>,
}

/// Where a serial number is: eight bytes per entry, in place of a map of owned ones.
#[derive(Clone, Copy, Debug)]
struct Serial {
    at: u32,
    length: u32,
}

/// What the issuing distribution point (RFC 5280 §5.2.5) limits the list to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scope {
    leaves_only: bool,
    cas_only: bool,
    /// The certificate must name one of these, if it names any place for CRLs.
    uris: Option<Vec<String>>,
}

impl Crl {
    /// Reads a list from DER. The signature is for [`is_signed_by`](Self::is_signed_by).
    ///
    /// # Errors
    /// What keeps it from being used, in words.
    pub(super) fn read(der: &[u8]) -> Result<Self, &'static str> {
        const DAMAGED: &str = "a CRL that cannot be read";
        if u32::try_from(der.len()).is_err() {
            return Err("a CRL over 4 GiB");
        }
        let outer = Outer::read(der).map_err(|Malformed| DAMAGED)?;
        let mut list = outer.list;
        let mut read = || -> Result<_, Malformed> {
            let version = list.optional(INTEGER)?.map(|version| version.bytes());
            let inner_algorithm = list.take(SEQUENCE)?;
            let issuer = list.take_whole(SEQUENCE)?;
            let this_update = list.time()?;
            let next_update = match list.peek() {
                Some(super::der::UTC_TIME | super::der::GENERALIZED_TIME) => Some(list.time()?),
                _ => None,
            };
            let entries = list.optional(SEQUENCE)?;
            let extensions = list.optional(context_of(0))?;
            list.end()?;
            Ok((version, inner_algorithm, issuer, this_update, next_update, entries, extensions))
        };
        let (version, inner, issuer, this_update, next_update, entries, extensions) =
            read().map_err(|Malformed| DAMAGED)?;
        // Version 2 is written as 1; without extensions it is left out (version 1).
        if !matches!(version, None | Some([1])) {
            return Err("a CRL of a version that does not exist");
        }
        if inner.bytes() != outer.algorithm.bytes() {
            return Err("a CRL that names two signature algorithms");
        }
        let next_update = next_update.ok_or("a CRL without nextUpdate")?;
        let revoked = match entries {
            Some(entries) => read_entries(entries)?,
            None => Vec::new(),
        };
        let scope = match extensions {
            Some(extensions) => read_extensions(extensions)?,
            None => None,
        };
        let (_, name) = X509Name::from_der(issuer.bytes()).map_err(|_| DAMAGED)?;
        let mut content = issuer;
        let issuer_range = content.take(SEQUENCE).map_err(|Malformed| DAMAGED)?.range();
        Ok(Self {
            signed: outer.signed.range(),
            algorithm: outer.algorithm.range(),
            signature: outer.signature.range(),
            issuer: issuer_range,
            issuer_text: rfc4514(&name),
            scope,
            revoked,
            this_update,
            next_update,
            digest: sha256(der),
            judged: RwLock::default(),
            der: der.into(),
        })
    }

    /// DER of the issuer's name, without tag and length, as webpki gives names.
    pub(super) fn issuer(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    pub(super) fn issuer_text(&self) -> &str {
        &self.issuer_text
    }

    /// Unix time, in seconds.
    pub(super) fn this_update(&self) -> i64 {
        self.this_update
    }

    /// Unix time, in seconds: from then on the list is old.
    pub(super) fn next_update(&self) -> i64 {
        self.next_update
    }

    pub(super) fn entries(&self) -> usize {
        self.revoked.len()
    }

    /// SHA-256 of the file's DER.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether the list would name the certificate of `link` if it were revoked.
    pub(super) fn covers(&self, link: &Link) -> bool {
        let in_scope = self.scope.as_ref().is_none_or(|scope| scope.includes(link));
        in_scope && self.issuer() == &*link.issuer
    }

    /// Whether both are lists of the same certificates, one after the other.
    pub(super) fn is_of_series(&self, other: &Self) -> bool {
        self.issuer() == other.issuer() && self.scope == other.scope
    }

    /// Whether the list names this serial number.
    pub(super) fn lists(&self, serial: &[u8]) -> bool {
        let wanted = without_zeros(serial);
        self.revoked.binary_search_by(|entry| entry.of(&self.der).cmp(wanted)).is_ok()
    }

    /// Whether the owner of `key` signed the list; remembered.
    pub(super) fn is_signed_by(
        &self,
        key: &IssuerKey,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        let known = self.judged.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, signed)) = known.iter().find(|(id, _)| *id == key.id) {
            return *signed;
        }
        drop(known);
        let part = |range: &Range<usize>| &self.der[range.clone()];
        let signed = signature::verify(
            algorithms,
            &key.spki,
            part(&self.algorithm),
            part(&self.signed),
            part(&self.signature),
        )
        .is_ok();
        let mut judged = self.judged.write().unwrap_or_else(PoisonError::into_inner);
        if judged.len() < MAX_JUDGED {
            judged.push((key.id, signed));
        }
        signed
    }
}

/// The three parts of anything signed (RFC 5280 §5.1.1).
struct Outer<'a> {
    /// With tag and length: what is signed.
    signed: Der<'a>,
    /// Its content.
    list: Der<'a>,
    algorithm: Der<'a>,
    signature: Der<'a>,
}

impl<'a> Outer<'a> {
    fn read(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut file = Der::new(der);
        let mut outer = file.take(SEQUENCE)?;
        file.end()?;
        let signed = outer.take_whole(SEQUENCE)?;
        let list = { signed }.take(SEQUENCE)?;
        let algorithm = outer.take(SEQUENCE)?;
        let signature = outer.bits()?;
        outer.end()?;
        Ok(Self { signed, list, algorithm, signature })
    }
}

impl Serial {
    fn of(self, der: &[u8]) -> &[u8] {
        let at = self.at as usize;
        &der[at..at + self.length as usize]
    }
}

impl Scope {
    fn includes(&self, link: &Link) -> bool {
        if self.leaves_only && link.is_ca || self.cas_only && !link.is_ca {
            return false;
        }
        match (&self.uris, &link.points) {
            (Some(uris), Some(points)) => points.iter().any(|point| uris.contains(point)),
            _ => true,
        }
    }
}

/// Serial numbers are compared without the zero that keeps them positive: some CAs leave it out.
fn without_zeros(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

fn read_entries(mut entries: Der<'_>) -> Result<Vec<Serial>, &'static str> {
    const DAMAGED: &str = "a CRL with an entry that cannot be read";
    let mut found: Vec<(&[u8], Serial)> = Vec::new();
    while !entries.is_empty() {
        let mut read = || -> Result<_, Malformed> {
            let mut entry = entries.take(SEQUENCE)?;
            let serial = entry.take(INTEGER)?;
            entry.time()?;
            let extensions = entry.optional(SEQUENCE)?;
            entry.end()?;
            Ok((serial, extensions))
        };
        let (serial, extensions) = read().map_err(|Malformed| DAMAGED)?;
        if let Some(extensions) = extensions {
            check_entry_extensions(extensions)?;
        }
        let bytes = without_zeros(serial.bytes());
        let at = u32::try_from(serial.range().end - bytes.len()).map_err(|_| DAMAGED)?;
        let length = u32::try_from(bytes.len()).map_err(|_| DAMAGED)?;
        found.push((bytes, Serial { at, length }));
    }
    found.sort_unstable_by_key(|(bytes, _)| *bytes);
    Ok(found.into_iter().map(|(_, serial)| serial).collect())
}

/// One extension: its id, whether it is critical, and its value.
fn extension<'a>(extensions: &mut Der<'a>) -> Result<(&'a [u8], bool, Der<'a>), Malformed> {
    let mut one = extensions.take(SEQUENCE)?;
    let id = one.take(OBJECT_ID)?.bytes();
    let critical = one.optional(BOOLEAN)?.is_some_and(|value| value.bytes() != [0]);
    let value = one.take(OCTET_STRING)?;
    one.end()?;
    Ok((id, critical, value))
}

/// Reason and date of an entry do not matter here; what changes its meaning does.
fn check_entry_extensions(mut extensions: Der<'_>) -> Result<(), &'static str> {
    while !extensions.is_empty() {
        let (id, critical, _) = extension(&mut extensions)
            .map_err(|Malformed| "a CRL with an entry that is damaged")?;
        match id {
            // certificateIssuer (RFC 5280 §5.3.3)
            [0x55, 0x1d, 29] => return Err("an indirect CRL: it names certificates of other CAs"),
            _ if critical && *id != [0x55, 0x1d, 21] => {
                return Err("a CRL whose entries have an unknown critical extension");
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_extensions(mut tagged: Der<'_>) -> Result<Option<Scope>, &'static str> {
    const DAMAGED: &str = "a CRL with extensions that cannot be read";
    let mut scope = None;
    let mut extensions = tagged.take(SEQUENCE).map_err(|Malformed| DAMAGED)?;
    while !extensions.is_empty() {
        let (id, critical, value) = extension(&mut extensions).map_err(|Malformed| DAMAGED)?;
        match id {
            // deltaCRLIndicator, issuingDistributionPoint (RFC 5280 §5.2.4, §5.2.5)
            [0x55, 0x1d, 27] => return Err("a delta CRL: put the complete one there"),
            [0x55, 0x1d, 28] => scope = Some(read_scope(value)?),
            // cRLNumber, authorityKeyIdentifier
            [0x55, 0x1d, 20 | 35] => {}
            _ if critical => return Err("a CRL with an unknown critical extension"),
            _ => {}
        }
    }
    Ok(scope)
}

fn read_scope(mut value: Der<'_>) -> Result<Scope, &'static str> {
    const DAMAGED: &str = "a CRL with a distribution point that cannot be read";
    let damaged = |Malformed| DAMAGED;
    let mut scope = Scope::default();
    let mut content = value.take(SEQUENCE).map_err(damaged)?;
    while let Some(tag) = content.peek() {
        let mut part = content.take(tag).map_err(damaged)?;
        let is_set = part.bytes() != [0];
        match tag {
            tag if tag == context_of(0) => {
                let full = part.optional(context_of(0)).map_err(damaged)?;
                let full =
                    full.ok_or("a CRL whose distribution point is relative to its issuer")?;
                scope.uris = Some(read_uris(full).map_err(damaged)?);
            }
            tag if tag == context(1) => scope.leaves_only = is_set,
            tag if tag == context(2) => scope.cas_only = is_set,
            tag if tag == context(3) => return Err("a CRL for some reasons of revocation only"),
            tag if tag == context(4) && is_set => {
                return Err("an indirect CRL: it names certificates of other CAs");
            }
            tag if tag == context(5) && is_set => return Err("a CRL for attribute certificates"),
            tag if tag == context(4) || tag == context(5) => {}
            _ => return Err(DAMAGED),
        }
    }
    Ok(scope)
}

/// The URIs among general names (RFC 5280 §4.2.1.6).
fn read_uris(mut names: Der<'_>) -> Result<Vec<String>, Malformed> {
    let mut uris = Vec::new();
    while let Some(tag) = names.peek() {
        let name = names.take(tag)?;
        if tag == context(6) {
            uris.push(String::from_utf8(name.bytes().to_vec()).map_err(|_| Malformed)?);
        }
    }
    Ok(uris)
}
