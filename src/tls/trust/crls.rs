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
    crls: Vec<Crl>,
    /// Positions in `crls`, by DER of the issuer's name.
    by_issuer: HashMap<Box<[u8]>, Vec<usize>>,
    facts: Vec<CrlFacts>,
    epoch: CrlDigest,
}

impl CrlSet {
    /// # Errors
    /// Every problem found.
    fn load(files: &[TrustFile]) -> Result<Self, Vec<FileProblem>> {
        let (mut crls, mut facts) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
        for file in files {
            match read(&named(file, "crl_files")) {
                Ok(found) => {
                    facts.extend(found.iter().map(|crl| tell(&file.path, crl)));
                    crls.extend(found);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if crls.len() > MAX_CRLS
            && let Some(file) = files.last()
        {
            let found = format!("{} CRLs up to here", crls.len());
            let hint = "Keep those of CAs that peers have certificates of.";
            problems.push(named(file, "crl_files").problem(found, "1,024 CRLs at most", hint));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut by_issuer: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
        for (position, crl) in crls.iter().enumerate() {
            by_issuer.entry(crl.issuer().into()).or_default().push(position);
        }
        let epoch = CrlDigest::of_digests(crls.iter().map(|crl| *crl.digest()));
        Ok(Self { crls, by_issuer, facts, epoch })
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

    /// CRLs in the name of a trusted CA must be signed by it. Those of other issuers are for
    /// intermediates, whose keys arrive with peers' certificates; they are checked then.
    fn check_signers(
        &self,
        roots: &Roots,
        files: &[TrustFile],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Vec<FileProblem> {
        let judge = |(crl, facts): (&Crl, &CrlFacts)| {
            let mut named = roots.named(crl.issuer()).peekable();
            named.peek()?;
            let signers: Vec<_> =
                named.filter(|ca| crl.is_signed_by(&ca.key, algorithms.all)).collect();
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
            let line = files.iter().find(|file| file.path == facts.file)?.line;
            let named = NamedFile { file: &facts.file, line, key: "crl_files" };
            let hint = "Fetch it again from the CA: `openssl crl -noout -text` shows what it is.";
            Some(named.problem(found, "CRLs signed by a CA of `trusted_ca`", hint))
        };
        self.crls.iter().zip(&self.facts).filter_map(judge).collect()
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
            |crl: &Crl| roots.iter().all(|roots| roots.named(crl.issuer()).next().is_none());
        let foreign = set.crls.iter().zip(&set.facts).filter(|(crl, _)| is_foreign(crl));
        foreign.map(|(_, facts)| facts.clone()).collect()
    }

    /// Reads the files again and swaps the lists in at once, for all verifiers. Says whether
    /// anything is different: connections that are up should then be looked at again.
    ///
    /// Reads files and checks signatures: not for a shard's thread.
    ///
    /// # Errors
    /// Every problem found; the lists from before stay.
    pub fn reload(&self) -> Result<bool, Vec<FileProblem>> {
        let set = CrlSet::load(&self.files)?;
        let all = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        let problems: Vec<FileProblem> = all
            .iter()
            .filter_map(Weak::upgrade)
            .flat_map(|roots| set.check_signers(&roots, &self.files, &self.algorithms))
            .collect();
        drop(all);
        if !problems.is_empty() {
            return Err(problems);
        }
        let epoch = set.epoch;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.epoch != epoch;
        if changed {
            *current = Arc::new(set);
            self.epoch.set(epoch);
        }
        Ok(changed)
    }
}

pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// The CRLs of a file: PEM, several if need be, or DER.
fn read(named: &NamedFile<'_>) -> Result<Vec<Crl>, FileProblem> {
    let bytes = named.read_up_to(MAX_FILE)?;
    let hint = "`openssl crl -noout -text` shows what a CRL says.";
    let unusable = |why: &str| named.problem(why, ALLOWED, hint);
    // DER begins with the tag of a SEQUENCE, and no PEM file with the digit 0.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![Crl::read(&bytes).map_err(unusable)?]);
    }
    let found = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| unusable(&format!("damaged PEM: {error}")))?;
    if found.is_empty() {
        return Err(named.problem("no CRL", ALLOWED, "PEM starts with -----BEGIN X509 CRL-----."));
    }
    found.iter().map(|der| Crl::read(der).map_err(unusable)).collect()
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
