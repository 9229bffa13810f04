//! Trusted CAs and their CRLs together: whether a chain is good, now and later.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use ring::digest::{Context, SHA256};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::crls::{SharedCrls, seconds};
use super::diagnosis;
use super::path::Path;
use super::peer::Peer;
use super::problem::Rejection;
use super::roots::Roots;
use super::{CrlDepth, CrlExpired, CrlRules, CrlUnknown};
use crate::tls::resumption::CrlEpoch;

/// Verified peers that are remembered, in parts with a lock each: 8,192 in all.
const PARTS: usize = 16;
const PEERS_PER_PART: usize = 512;
/// Longest chain that is remembered, in bytes of DER: three times a usual one. With all places
/// taken that is 64 MiB, and whoever fills them has had a certificate issued.
const MAX_REMEMBERED: usize = 8 << 10;

/// What a certificate is for, where it says what it is for (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Usage {
    Client,
    Server,
}

/// Verifies chains, and remembers those that were good: a peer that comes back, and a connection
/// that asks who it is talking to after its handshake, cost look-ups in place of signatures.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) roots: Arc<Roots>,
    /// `None`: nothing is ever revoked.
    pub(super) crls: Option<Arc<SharedCrls>>,
    rules: CrlRules,
    usage: Usage,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    known: [Mutex<LruCache<[u8; 32], Arc<Peer>>>; PARTS],
}

impl Authority {
    pub(super) fn new(
        roots: Arc<Roots>,
        crls: Option<Arc<SharedCrls>>,
        rules: CrlRules,
        usage: Usage,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        let known = std::array::from_fn(|_| Mutex::new(LruCache::unbounded()));
        Self { roots, crls, rules, usage, algorithms, known }
    }

    /// What sessions are bound to besides the CAs: the words of the configuration for how CRLs are
    /// applied. Without lists, nothing is.
    pub(super) fn options(&self) -> BTreeSet<&'static str> {
        if self.crls.is_none() {
            return BTreeSet::new();
        }
        let unknown = match self.rules.unknown {
            CrlUnknown::Deny => "crl_unknown=deny",
            CrlUnknown::Allow => "crl_unknown=allow",
        };
        let expired = match self.rules.expired {
            CrlExpired::Reject => "crl_expired=reject",
            CrlExpired::Accept => "crl_expired=accept",
        };
        let depth = match self.rules.depth {
            CrlDepth::Chain => "crl_depth=chain",
            CrlDepth::Leaf => "crl_depth=leaf",
        };
        BTreeSet::from([unknown, expired, depth])
    }

    /// The CRLs that sessions are bound to.
    pub(super) fn crl_epoch(&self) -> Arc<CrlEpoch> {
        self.crls.as_ref().map_or_else(Arc::default, |crls| Arc::clone(crls.epoch()))
    }

    /// Whether `leaf`, with what was sent besides, chains to a trusted CA and may be used now.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Arc<Peer>, Rejection> {
        let length = leaf.len() + others.iter().map(|other| other.len()).sum::<usize>();
        let id = (length <= MAX_REMEMBERED).then(|| chain_id(leaf, others));
        if let Some(peer) = id.and_then(|id| self.recall(&id))
            && peer.path.as_ref().is_some_and(|path| self.still_trusts(path, now))
        {
            return Ok(peer);
        }
        let path = Arc::new(self.find_path(leaf, others, now)?);
        let mut chain = vec![leaf.clone()];
        chain.extend_from_slice(others);
        let peer = Peer::new(&chain, Some(path)).ok_or_else(diagnosis::unreadable)?;
        let peer = Arc::new(peer);
        if let Some(id) = id {
            self.remember(id, &peer);
        }
        Ok(peer)
    }

    /// As [`verify`](Self::verify), of a chain that was verified before, maybe by other CAs, and
    /// found to have this `path`. Comes to the same verdict, for a fraction of the cost if that is
    /// good. Where it is another path now, that one is left in `path`.
    pub(super) fn recheck(
        &self,
        chain: &[CertificateDer<'_>],
        path: &mut Option<Arc<Path>>,
        now: UnixTime,
    ) -> Result<(), Rejection> {
        if path.as_ref().is_some_and(|path| self.still_trusts(path, now)) {
            return Ok(());
        }
        let (leaf, others) = chain.split_first().ok_or_else(diagnosis::unreadable)?;
        *path = Some(Arc::new(self.find_path(leaf, others, now)?));
        Ok(())
    }

    /// Whether the path that was found once is good now. No signature is verified but those of
    /// CRLs whose signer is new.
    fn still_trusts(&self, path: &Path, now: UnixTime) -> bool {
        path.usage == self.usage
            && self.roots.contain(&path.anchor)
            && path.is_valid_at(seconds(now))
            && self.check_crls(path, now).is_ok()
    }

    fn check_crls(&self, path: &Path, now: UnixTime) -> Result<(), webpki::Error> {
        let Some(crls) = &self.crls else { return Ok(()) };
        crls.current().check(&path.links, self.rules, &self.algorithms, now)
    }

    fn find_path(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Path, Rejection> {
        let explain = |error| diagnosis::explain(error, leaf, others, &self.roots);
        let parsed = EndEntityCert::try_from(leaf).map_err(explain)?;
        let usage = match self.usage {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        };
        // That of the last path which may be used, if there is one.
        let found = Cell::new(None);
        let may_be_used = |verified: &VerifiedPath<'_>| {
            let path = Path::of(verified, self.usage).ok_or(webpki::Error::BadDer)?;
            self.check_crls(&path, now)?;
            found.set(Some(path));
            Ok(())
        };
        // CRLs are ours (see `crl`), so webpki gets none.
        parsed
            .verify_for_usage(
                self.algorithms.all,
                &self.roots.store.roots,
                others,
                now,
                usage,
                None,
                Some(&may_be_used),
            )
            .map_err(explain)?;
        found.take().ok_or_else(diagnosis::unreadable)
    }

    fn recall(&self, id: &[u8; 32]) -> Option<Arc<Peer>> {
        let mut part = self.part(id).lock().unwrap_or_else(PoisonError::into_inner);
        part.get(id).cloned()
    }

    fn remember(&self, id: [u8; 32], peer: &Arc<Peer>) {
        let mut part = self.part(&id).lock().unwrap_or_else(PoisonError::into_inner);
        let _replaced_by_an_equal_one = part.put(id, Arc::clone(peer));
        if part.len() > PEERS_PER_PART {
            let _least_recently_seen = part.pop_lru();
        }
    }

    fn part(&self, id: &[u8; 32]) -> &Mutex<LruCache<[u8; 32], Arc<Peer>>> {
        &self.known[usize::from(id[0]) % PARTS]
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        let part = |part: &Mutex<LruCache<_, _>>| part.lock().expect("no thread panicked").len();
        self.known.iter().map(part).sum()
    }
}

/// Digest of a chain as it was sent.
fn chain_id(leaf: &[u8], others: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for certificate in std::iter::once(leaf).chain(others.iter().map(AsRef::as_ref)) {
        add(&mut context, certificate);
    }
    *context.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// With its length before it, so that no two lists of fields are the same bytes.
fn add(context: &mut Context, field: &[u8]) {
    context.update(&(field.len() as u64).to_be_bytes());
    context.update(field);
}
