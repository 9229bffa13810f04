//! All CRLs of a policy, shared by its verifiers, and swapped while they are in use.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateRevocationListDer, UnixTime};
use serde::Serialize;

use super::crl::Crl;
use super::path::Link;
use super::roots::Roots;
use super::{CrlDepth, CrlExpired, CrlRules, CrlUnknown, TrustFile, named};
use crate::tls::file::{FileProblem, Limit, NamedFile};
use crate::tls::resumption::{CrlDigest, CrlEpoch};

/// Longest file of CRLs that is read: 1.6 million entries of the usual size.
const MAX_FILE: Limit = Limit { mib: 64, allowed: "files up to 64 MiB" };
/// Most CRLs of one policy.
pub const MAX_CRLS: usize = 1024;

const ALLOWED: &str = "certificate revocation lists in PEM or DER";

/// What metrics and audit tell of a CRL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CrlFacts {
    pub file: PathBuf,
    /// RFC 4514.
    pub issuer: String,
    /// Unix time, in seconds.
    pub this_update: i64,
    /// Unix time, in seconds: the list is expired from then on.
    pub next_update: i64,
    /// Serial numbers that it lists.
    pub revoked: usize,
}

/// CRLs as read at one time; does not change.
#[derive(Debug)]
pub struct CrlSet {
    crls: Vec<Arc<Crl>>,
    /// How many of them come from each file.
    per_file: Vec<usize>,
    /// Positions in `crls`, by DER of the issuer's name.
    by_issuer: HashMap<Box<[u8]>, Vec<usize>>,
    facts: Vec<CrlFacts>,
    epoch: CrlDigest,
}

impl CrlSet {
    /// # Errors
    /// Every problem found.
    fn load(files: &[TrustFile]) -> Result<Self, Vec<FileProblem>> {
        let (mut lists, mut problems) = (Vec::new(), Vec::new());
        for file in files {
            match read(&named(file, "crl_files")) {
                Ok(found) => lists.push(found),
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(too_many(&lists, files));
        if problems.is_empty() { Ok(Self::of(files, lists)) } else { Err(problems) }
    }

    /// Of what was read from each of the files.
    fn of(files: &[TrustFile], lists: Vec<Vec<Arc<Crl>>>) -> Self {
        let per_file = lists.iter().map(Vec::len).collect();
        let told = files.iter().zip(&lists);
        let facts = told.flat_map(|(file, found)| found.iter().map(|crl| tell(&file.path, crl)));
        let facts = facts.collect();
        let crls: Vec<Arc<Crl>> = lists.into_iter().flatten().collect();
        let mut by_issuer: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
        for (position, crl) in crls.iter().enumerate() {
            by_issuer.entry(crl.issuer().into()).or_default().push(position);
        }
        let epoch = CrlDigest::of_digests(crls.iter().map(|crl| *crl.digest()));
        Self { crls, per_file, by_issuer, facts, epoch }
    }

    /// The lists of each file.
    fn by_file(&self) -> impl Iterator<Item = &[Arc<Crl>]> {
        let mut rest = &self.crls[..];
        self.per_file.iter().map(move |count| {
            let (lists, after) = rest.split_at(*count);
            rest = after;
            lists
        })
    }

    /// As [`SharedCrls::epoch`].
    pub fn epoch(&self) -> CrlDigest {
        self.epoch
    }

    /// In the order of the files.
    pub fn facts(&self) -> &[CrlFacts] {
        &self.facts
    }

    /// Whether the certificates of a verified path, the peer's own first, may still be used.
    ///
    /// Of several CRLs for one certificate, one that is not expired is enough, and one that lists
    /// it is, too. CRLs of the issuer's name that it did not sign are no answer, not even one that
    /// `unknown = allow` covers: somebody meant there to be one.
    ///
    /// # Errors
    /// As webpki says it.
    pub(super) fn check(
        &self,
        links: &[Link],
        rules: CrlRules,
        algorithms: &WebPkiSupportedAlgorithms,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        // From the root down: what an intermediate says counts for nothing once it is revoked.
        for link in links.iter().rev() {
            if rules.depth == CrlDepth::Leaf && link.is_ca {
                continue;
            }
            self.check_link(link, rules, algorithms, now)?;
        }
        Ok(())
    }

    fn check_link(
        &self,
        link: &Link,
        rules: CrlRules,
        algorithms: &WebPkiSupportedAlgorithms,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let positions = self.by_issuer.get(&link.issuer).map_or(&[][..], Vec::as_slice);
        let covering = positions.iter().map(|at| &self.crls[*at]).filter(|crl| crl.covers(link));
        let (mut unsigned, mut fresh, mut newest) = (false, false, None);
        for crl in covering {
            if !crl.is_signed_by(&link.key, algorithms.all) {
                unsigned = true;
                continue;
            }
            if !link.key.may_sign_crls {
                return Err(webpki::Error::IssuerNotCrlSigner);
            }
            if crl.lists(&link.serial) {
                return Err(webpki::Error::CertRevoked);
            }
            fresh |= seconds(now) < crl.next_update();
            newest = newest.max(Some(crl.next_update()));
        }
        match newest {
            Some(_) if fresh || rules.expired == CrlExpired::Accept => Ok(()),
            Some(next_update) => {
                let since_1970 = u64::try_from(next_update).unwrap_or_default();
                let next_update = UnixTime::since_unix_epoch(Duration::from_secs(since_1970));
                Err(webpki::Error::CrlExpired { time: now, next_update })
            }
            None if unsigned => Err(webpki::Error::InvalidCrlSignatureForPublicKey),
            None if rules.unknown == CrlUnknown::Allow => Ok(()),
            None => Err(webpki::Error::UnknownRevocationStatus),
        }
    }

    /// As [`check_signer`], of every list.
    fn check_signers(
        &self,
        roots: &Roots,
        files: &[TrustFile],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Vec<FileProblem> {
        let of_files = files.iter().zip(self.by_file());
        let all = of_files.flat_map(|(file, lists)| lists.iter().map(move |crl| (file, crl)));
        all.filter_map(|(file, crl)| check_signer(crl, roots, file, algorithms)).collect()
    }
}

/// The CRLs that verifiers look at, now and after a change of the files.
#[derive(Debug)]
pub struct SharedCrls {
    files: Vec<TrustFile>,
    algorithms: WebPkiSupportedAlgorithms,
    current: RwLock<Arc<CrlSet>>,
    /// That of `current`.
    epoch: Arc<CrlEpoch>,
    /// Whose signatures the lists must have.
    roots: Mutex<Vec<Weak<Roots>>>,
}

impl SharedCrls {
    /// Reads the files.
    ///
    /// # Errors
    /// Every problem found.
    pub(super) fn load(
        files: &[TrustFile],
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self, Vec<FileProblem>> {
        let set = CrlSet::load(files)?;
        Ok(Self {
            files: files.to_vec(),
            algorithms,
            epoch: Arc::new(CrlEpoch::new(set.epoch)),
            current: RwLock::new(Arc::new(set)),
            roots: Mutex::default(),
        })
    }

    /// From now on the lists must be good for these CAs, too.
    ///
    /// # Errors
    /// Lists in the name of one of `roots` that it did not sign.
    pub(super) fn serve(&self, roots: &Arc<Roots>) -> Result<(), Vec<FileProblem>> {
        let problems = self.current().check_signers(roots, &self.files, &self.algorithms);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut all = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(roots));
        Ok(())
    }

    /// The files that the lists are read from, for whoever watches them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The lists that count now.
    pub fn current(&self) -> Arc<CrlSet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Digest of what the lists say: equal on all nodes that have equal lists, in any order.
    /// Changes with any list.
    pub fn epoch(&self) -> &Arc<CrlEpoch> {
        &self.epoch
    }

    /// Lists in the name of no trusted CA. They are for intermediates, or somebody else's and of
    /// no use; worth telling.
    pub fn of_others(&self) -> Vec<CrlFacts> {
        let all = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        let roots: Vec<Arc<Roots>> = all.iter().filter_map(Weak::upgrade).collect();
        drop(all);
        let set = self.current();
        let is_foreign =
            |crl: &Arc<Crl>| roots.iter().all(|roots| roots.named(crl.issuer()).next().is_none());
        let foreign = set.crls.iter().zip(&set.facts).filter(|(crl, _)| is_foreign(crl));
        foreign.map(|(_, facts)| facts.clone()).collect()
    }

    /// Reads the files again and swaps the lists in at once, for all verifiers. Of a file that
    /// cannot be used, or has an older list than before, the lists from before stay; those of the
    /// others are taken all the same, because a revocation must not wait for them.
    ///
    /// Reads files and checks signatures: not for a shard's thread.
    pub fn reload(&self) -> CrlReload {
        let before = self.current();
        let roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        let roots: Vec<Arc<Roots>> = roots.iter().filter_map(Weak::upgrade).collect();
        let (mut lists, mut problems) = (Vec::new(), Vec::new());
        for (file, known) in self.files.iter().zip(before.by_file()) {
            lists.push(self.again(file, known, &roots).unwrap_or_else(|problem| {
                problems.push(problem);
                known.to_vec()
            }));
        }
        let too_many = too_many(&lists, &self.files);
        let changed = too_many.is_none() && {
            let set = CrlSet::of(&self.files, lists);
            let changed = set.epoch != before.epoch;
            // In this order: see `CrlEpoch`.
            let epoch = set.epoch;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
            self.epoch.set(epoch);
            changed
        };
        problems.extend(too_many);
        CrlReload { changed, problems }
    }

    /// The lists of one file, which were `known` before. One that is missing now goes on to count: it
    /// takes a reload to do without.
    fn again(
        &self,
        file: &TrustFile,
        known: &[Arc<Crl>],
        roots: &[Arc<Roots>],
    ) -> Result<Vec<Arc<Crl>>, FileProblem> {
        let mut lists = read(&named(file, "crl_files"))?;
        for list in &mut lists {
            if let Some(same) = known.iter().find(|one| one.digest() == list.digest()) {
                // Whose signatures were checked is not forgotten.
                *list = Arc::clone(same);
            }
        }
        let bad_signer = |crl: &Arc<Crl>| {
            roots.iter().find_map(|roots| check_signer(crl, roots, file, &self.algorithms))
        };
        if let Some(problem) = lists.iter().find_map(bad_signer) {
            return Err(problem);
        }
        let mut missing = Vec::new();
        for old in known {
            let series = || lists.iter().filter(|list| list.is_of_series(old));
            if series().next().is_none() {
                missing.push(Arc::clone(old));
            } else if series().all(|list| list.this_update() < old.this_update()) {
                let found = format!("a CRL of {} from before the one in use", old.issuer_text());
                let hint = "Fetch the newest from the CA. If this one is meant, reload.";
                return Err(named(file, "crl_files").problem(found, "CRLs as new or newer", hint));
            }
        }
        lists.append(&mut missing);
        Ok(lists)
    }
}

/// What came of reading CRLs again.
#[derive(Debug)]
pub struct CrlReload {
    /// Anything is different: connections that are up should be looked at again.
    pub changed: bool,
    /// Files whose lists from before stay.
    pub problems: Vec<FileProblem>,
}

/// CRLs in the name of a trusted CA must be signed by it. Those of other issuers are for
/// intermediates, whose keys arrive with peers' certificates; they are checked then.
fn check_signer(
    crl: &Crl,
    roots: &Roots,
    file: &TrustFile,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<FileProblem> {
    let mut signers = roots.named(crl.issuer()).peekable();
    signers.peek()?;
    let signers: Vec<_> = signers.filter(|ca| crl.is_signed_by(&ca.key, algorithms.all)).collect();
    let found = if signers.is_empty() {
        format!(
            "a CRL of {} that this CA did not sign, or with an algorithm that is too weak",
            crl.issuer_text()
        )
    } else if signers.iter().all(|ca| !ca.key.may_sign_crls) {
        format!("a CRL of {}, whose certificate does not allow it", crl.issuer_text())
    } else {
        return None;
    };
    let hint = "Fetch it again from the CA: `openssl crl -noout -text` shows what it is.";
    let allowed = "CRLs signed by a CA of `trusted_ca`";
    Some(named(file, "crl_files").problem(found, allowed, hint))
}

fn too_many(lists: &[Vec<Arc<Crl>>], files: &[TrustFile]) -> Option<FileProblem> {
    let count: usize = lists.iter().map(Vec::len).sum();
    let file = files.last().filter(|_| count > MAX_CRLS)?;
    let found = format!("{count} CRLs up to here");
    let hint = "Keep those of CAs that peers have certificates of.";
    Some(named(file, "crl_files").problem(found, "1,024 CRLs at most", hint))
}

pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// The CRLs of a file: PEM, several if need be, or DER.
fn read(named: &NamedFile<'_>) -> Result<Vec<Arc<Crl>>, FileProblem> {
    let bytes = named.read_up_to(MAX_FILE)?;
    let hint = "`openssl crl -noout -text` shows what a CRL says.";
    let unusable = |why: &str| named.problem(why, ALLOWED, hint);
    // DER begins with the tag of a SEQUENCE, and no PEM file with the digit 0.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![Arc::new(Crl::read(&bytes).map_err(unusable)?)]);
    }
    let found = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| unusable(&format!("damaged PEM: {error}")))?;
    if found.is_empty() {
        return Err(named.problem("no CRL", ALLOWED, "PEM starts with -----BEGIN X509 CRL-----."));
    }
    found.iter().map(|der| Crl::read(der).map(Arc::new).map_err(unusable)).collect()
}

fn tell(file: &Path, crl: &Crl) -> CrlFacts {
    CrlFacts {
        file: file.to_owned(),
        issuer: crl.issuer_text().to_owned(),
        this_update: crl.this_update(),
        next_update: crl.next_update(),
        revoked: crl.entries(),
    }
}
