//! The name of a resumption domain: equal on all nodes and in all runs that mean the same.

use std::collections::BTreeSet;

use ring::digest::{Context, SHA256};
use rustls::pki_types::CertificateDer;

use crate::config::model::ClientCert;

const LABEL: &[u8] = b"tlsgate resumption domain, version 1";

/// Digest of what a session must not cross: the listener, who its peers must be, and who it
/// says to be. Certificates renewed with the same names keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainId([u8; Self::LENGTH]);

impl DomainId {
    /// Half of SHA-256: two domains of a process are not met with the same id.
    pub const LENGTH: usize = 16;

    /// `names` are the DNS names on the listener's certificates, `trusted` the CAs that client
    /// certificates must chain to, in any order.
    pub fn new(
        listener: &str,
        client_cert: ClientCert,
        trusted: &[CertificateDer<'_>],
        names: &BTreeSet<&str>,
    ) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(LABEL);
        add(&mut context, listener.as_bytes());
        add(
            &mut context,
            match client_cert {
                ClientCert::None => b"none",
                ClientCert::Optional => b"optional",
                ClientCert::Required => b"required",
                ClientCert::Report => b"report",
            },
        );
        // Where no certificate is asked for, nobody is trusted.
        let trusted: BTreeSet<&[u8]> = trusted.iter().map(AsRef::as_ref).collect();
        add(&mut context, &(trusted.len() as u64).to_be_bytes());
        trusted.iter().for_each(|certificate| add(&mut context, certificate));
        names.iter().for_each(|name| add(&mut context, name.as_bytes()));
        let digest = context.finish();
        let half = digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        Self(*half)
    }

    pub(super) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// With its length before it, so that no two lists of fields are the same bytes.
fn add(context: &mut Context, field: &[u8]) {
    context.update(&(field.len() as u64).to_be_bytes());
    context.update(field);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(listener: &str, mode: ClientCert, trusted: &[&[u8]], names: &[&str]) -> DomainId {
        let trusted: Vec<_> = trusted.iter().map(|&der| CertificateDer::from(der)).collect();
        DomainId::new(listener, mode, &trusted, &names.iter().copied().collect())
    }

    #[test]
    fn what_means_the_same_has_the_same_id() {
        use ClientCert::{None, Optional, Required};
        let different = [
            id("sip", None, &[], &["a.example", "b.example"]),
            id("sips", None, &[], &["a.example", "b.example"]),
            id("sip", None, &[], &["a.example"]),
            id("sip", None, &[], &["a.exampleb.example"]),
            id("sip", None, &[], &[]),
            id("sip", Optional, &[b"ca"], &["a.example"]),
            id("sip", Required, &[b"ca"], &["a.example"]),
            id("sip", Required, &[b"c", b"a"], &["a.example"]),
            id("sip", Required, &[b"ca", b"a.example"], &[]),
        ];
        let set: BTreeSet<_> = different.iter().collect();
        assert_eq!(set.len(), different.len(), "{different:?}");
        let twice = id("sip", None, &[], &["b.example", "a.example", "b.example"]);
        assert_eq!(twice, different[0]);
        assert_eq!(id("sip", Required, &[b"a", b"c", b"a"], &["a.example"]), different[7]);
    }

    /// Nodes of different versions share sessions only while this holds.
    #[test]
    fn ids_do_not_change_between_versions() {
        let id = id("sip", ClientCert::Required, &[b"ca"], &["sip.example.com"]);
        assert_eq!(data_encoding::HEXLOWER.encode(id.bytes()), "ae57515abb0c2baf7e1ef7120e645ba4");
    }
}
