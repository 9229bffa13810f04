//! Which CRLs certificates are checked against, in 32 bytes that equal CRLs have in common.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use crate::tls::trust::sha256;

const LABEL: &[u8] = b"tlsgate CRL epoch, version 1";

/// SHA-256 over the content of CRLs, so that nodes which have the same ones agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlDigest([u8; Self::LENGTH]);

/// The CRLs of a resumption domain as they are now. Shared by all that check certificates by them
/// and all that resume; changes while both are at work.
///
/// To swap CRLs: first have certificates checked by the new ones, then [`CrlEpoch::set`]. The other
/// way round, a session could carry the new epoch whose peer was checked by the old CRLs.
#[derive(Debug, Default)]
pub struct CrlEpoch(RwLock<CrlDigest>);

impl CrlDigest {
    pub const LENGTH: usize = 32;

    /// The digest of these CRLs, in DER and in any order.
    pub fn of(crls: &[impl AsRef<[u8]>]) -> Self {
        Self::of_digests(crls.iter().map(|crl| sha256(crl.as_ref())))
    }

    /// The same, from the SHA-256 of each.
    pub fn of_digests(digests: impl IntoIterator<Item = [u8; 32]>) -> Self {
        let sorted: BTreeSet<_> = digests.into_iter().collect();
        let list: Vec<u8> = sorted.into_iter().flatten().collect();
        Self(sha256(&[LABEL, &list].concat()))
    }

    pub(super) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl Default for CrlDigest {
    /// That of no CRLs.
    fn default() -> Self {
        Self::of(&[[0; 0]; 0])
    }
}

impl CrlEpoch {
    /// The epoch of these CRLs.
    pub fn new(digest: CrlDigest) -> Self {
        Self(RwLock::new(digest))
    }

    /// From now on, sessions made under other CRLs are not resumed.
    pub fn set(&self, digest: CrlDigest) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = digest;
    }

    pub fn get(&self) -> CrlDigest {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_with_equal_crls_agree() {
        let [none, one, both] = [vec![], vec!["one"], vec!["one", "two"]];
        let digests = [none, one, both].map(|crls| CrlDigest::of(&crls));
        assert_eq!(digests[0], CrlDigest::default());
        assert_eq!(digests[2], CrlDigest::of(&["two", "one", "two"]), "order and repetition");
        assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);
        assert_ne!(digests[2], CrlDigest::of(&["onetwo"]));
    }

    #[test]
    fn a_swap_is_seen_by_all_who_share_the_epoch() {
        let epoch = CrlEpoch::default();
        assert_eq!(epoch.get(), CrlDigest::default());
        let next = CrlDigest::of(&["a list"]);
        epoch.set(next);
        assert_eq!(epoch.get(), next);
    }

    /// Nodes of different versions share sessions only while this holds.
    #[test]
    fn digests_do_not_change_between_versions() {
        let shown = data_encoding::HEXLOWER.encode(CrlDigest::of(&["one", "two"]).bytes());
        let expected = "b7cea8481cc13376a52ed225dd6249171c065dd4ffb3b5bacb11a13c82f48c2a";
        assert_eq!(shown, expected);
    }
}
