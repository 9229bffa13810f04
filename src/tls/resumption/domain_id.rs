//! The names of resumption domains: equal on all nodes and in all runs that mean the same.

use std::collections::BTreeSet;

use ring::digest::{Context, SHA256};
use rustls::pki_types::CertificateDer;

use crate::config::model::ClientCert;

const SERVER_LABEL: &[u8] = b"tlsgate resumption domain, version 2";
const CLIENT_LABEL: &[u8] = b"tlsgate upstream resumption domain, version 1";

/// Digest of what a session must not cross. Certificates renewed with the same names keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainId([u8; Self::LENGTH]);

/// Which policy a session was made under: a listener of the configuration, and the rule in it that
/// decided; empty for the listener's own settings. Names, so that they stay when others come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyId<'a> {
    pub listener: &'a str,
    pub rule: &'a str,
}

/// What sessions of peers that connect to us are bound to. Versions, ciphers and ALPN are not in
/// it: every handshake negotiates them anew, and a session is resumed with its own version and
/// cipher suite or not at all.
#[derive(Clone, Copy, Debug)]
pub struct DomainParts<'a> {
    pub policy: PolicyId<'a>,
    /// Who we say to be: the DNS names on our certificates.
    pub names: &'a BTreeSet<&'a str>,
    pub client_cert: ClientCert,
    /// CAs that certificates of clients must chain to, in any order; none where none is asked for.
    pub trusted: &'a [CertificateDer<'a>],
    /// Everything else that decides whether a client's certificate is taken, as `key=value` in any
    /// order: how CRLs are used, extended key usage, pins.
    pub options: &'a BTreeSet<&'a str>,
}

/// What our sessions with a component are bound to. When a session is resumed, nobody's certificate
/// is looked at: whatever the check of it depended on must be in here.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamParts<'a> {
    pub policy: PolicyId<'a>,
    /// The endpoint as the configuration has it, with its port: addresses of a name come and go.
    pub endpoint: &'a str,
    /// The name that the component's certificate must have, where it is checked.
    pub name: Option<&'a str>,
    /// `full`, `chain`, `pin` or `none`.
    pub verify: &'a str,
    /// CAs that the component's certificate must chain to, in any order.
    pub trusted: &'a [CertificateDer<'a>],
    /// As [`DomainParts::options`], of the component's certificate.
    pub options: &'a BTreeSet<&'a str>,
    /// Our own certificate, where we show one.
    pub identity: Option<&'a CertificateDer<'a>>,
}

impl DomainId {
    /// Half of SHA-256: two domains of a process are not met with the same id.
    pub const LENGTH: usize = 16;

    /// The domain in which we are the server.
    pub fn new(parts: &DomainParts<'_>) -> Self {
        let mut fields = Fields::new(SERVER_LABEL);
        fields.policy(&parts.policy);
        fields.add(match parts.client_cert {
            ClientCert::None => b"none",
            ClientCert::Optional => b"optional",
            ClientCert::Required => b"required",
            ClientCert::Report => b"report",
        });
        fields.certificates(parts.trusted);
        fields.words(parts.names);
        fields.words(parts.options);
        fields.finish()
    }

    /// The domain in which we are the client.
    pub fn upstream(parts: &UpstreamParts<'_>) -> Self {
        let mut fields = Fields::new(CLIENT_LABEL);
        fields.policy(&parts.policy);
        fields.add(parts.endpoint.as_bytes());
        fields.words(&parts.name.into_iter().collect());
        fields.add(parts.verify.as_bytes());
        fields.certificates(parts.trusted);
        fields.words(parts.options);
        fields.certificates(parts.identity.map_or(&[], std::slice::from_ref));
        fields.finish()
    }

    pub(super) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    pub(in crate::tls) fn bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// A digest over fields, each with its length and each list with its count before it, so that no
/// two of them are the same bytes.
struct Fields(Context);

impl Fields {
    fn new(label: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(label);
        Self(context)
    }

    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_be_bytes());
    }

    fn add(&mut self, field: &[u8]) {
        self.count(field.len());
        self.0.update(field);
    }

    fn policy(&mut self, policy: &PolicyId<'_>) {
        self.add(policy.listener.as_bytes());
        self.add(policy.rule.as_bytes());
    }

    fn certificates(&mut self, certificates: &[CertificateDer<'_>]) {
        let sorted: BTreeSet<&[u8]> = certificates.iter().map(AsRef::as_ref).collect();
        self.count(sorted.len());
        sorted.into_iter().for_each(|certificate| self.add(certificate));
    }

    fn words(&mut self, words: &BTreeSet<&str>) {
        self.count(words.len());
        words.iter().for_each(|word| self.add(word.as_bytes()));
    }

    fn finish(self) -> DomainId {
        let digest = self.0.finish();
        DomainId(*digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(
        [listener, rule]: [&str; 2],
        client_cert: ClientCert,
        trusted: &[&[u8]],
        names: &[&str],
        options: &[&str],
    ) -> DomainId {
        let trusted: Vec<_> = trusted.iter().map(|&der| CertificateDer::from(der)).collect();
        DomainId::new(&DomainParts {
            policy: PolicyId { listener, rule },
            names: &names.iter().copied().collect(),
            client_cert,
            trusted: &trusted,
            options: &options.iter().copied().collect(),
        })
    }

    fn assert_all_differ(ids: &[DomainId]) {
        let set: BTreeSet<_> = ids.iter().collect();
        assert_eq!(set.len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn what_means_the_same_has_the_same_id() {
        use ClientCert::{None, Optional, Required};
        let sip = ["sip", ""];
        let different = [
            id(sip, None, &[], &["a.example", "b.example"], &[]),
            id(["sips", ""], None, &[], &["a.example", "b.example"], &[]),
            id(["sip", "s"], None, &[], &["a.example", "b.example"], &[]),
            id(["si", "ps"], None, &[], &["a.example", "b.example"], &[]),
            id(sip, None, &[], &["a.example"], &[]),
            id(sip, None, &[], &["a.example"], &["b.example"]),
            id(sip, None, &[], &["a.exampleb.example"], &[]),
            id(sip, None, &[], &[], &[]),
            id(sip, Optional, &[b"ca"], &["a.example"], &[]),
            id(sip, Required, &[b"ca"], &["a.example"], &[]),
            id(sip, Required, &[b"ca"], &["a.example"], &["crl_unknown=deny"]),
            id(sip, Required, &[b"c", b"a"], &["a.example"], &[]),
            id(sip, Required, &[b"ca", b"a.example"], &[], &[]),
        ];
        assert_all_differ(&different);
        let twice = id(sip, None, &[], &["b.example", "a.example", "b.example"], &[]);
        assert_eq!(twice, different[0]);
        let other_order = id(sip, Required, &[b"a", b"c", b"a"], &["a.example"], &[]);
        assert_eq!(other_order, different[11]);
    }

    #[test]
    fn an_upstream_differs_in_whatever_its_certificate_was_checked_by() {
        let (one, two) = (CertificateDer::from(&b"one"[..]), CertificateDer::from(&b"two"[..]));
        let (none, some) = (BTreeSet::new(), BTreeSet::from(["crl_unknown=deny"]));
        let policy = PolicyId { listener: "sip", rule: "" };
        let base = UpstreamParts {
            policy,
            endpoint: "component.example:5061",
            name: Some("component.example"),
            verify: "full",
            trusted: std::slice::from_ref(&one),
            options: &none,
            identity: None,
        };
        let different = [
            base,
            UpstreamParts { policy: PolicyId { listener: "sips", ..policy }, ..base },
            UpstreamParts { policy: PolicyId { rule: "abroad", ..policy }, ..base },
            UpstreamParts { endpoint: "component.example:5062", ..base },
            UpstreamParts { name: Some("other.example"), ..base },
            UpstreamParts { name: None, ..base },
            UpstreamParts { verify: "chain", ..base },
            UpstreamParts { trusted: std::slice::from_ref(&two), ..base },
            UpstreamParts { trusted: &[], identity: Some(&one), ..base },
            UpstreamParts { options: &some, ..base },
            UpstreamParts { identity: Some(&one), ..base },
            UpstreamParts { identity: Some(&two), ..base },
        ];
        assert_all_differ(&different.map(|parts| DomainId::upstream(&parts)));
    }

    /// Nodes of different versions share sessions only while this holds.
    #[test]
    fn ids_do_not_change_between_versions() {
        let names = &["sip.example.com"];
        let id = id(["sip", "abroad"], ClientCert::Required, &[b"ca"], names, &["crl_depth=leaf"]);
        assert_eq!(data_encoding::HEXLOWER.encode(id.bytes()), "88634714c20248886e16fd23abab07b4");
    }
}
