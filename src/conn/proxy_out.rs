//! Before everything else that a component hears, where its route wants it: a header of the PROXY
//! protocol, which says who the connection is from.
//!
//! Version 2 has facts of the peer's TLS, so it has to wait for the end of its handshake. Dialling
//! does not: a component that is down still shows before that. What a trusted sender has said in front
//! of the connection goes on as far as we know nothing better.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::outcome::Shown;
use super::{Connection, Context, Phase};
use crate::config::model::ProxyOut;
use crate::proxy::{Addresses, Header, TlsInfo, Tlvs};
use crate::tls::tls_conn::TlsConn;
use crate::tls::trust::{CertificateProblem, PeerIdentity};

impl Connection {
    /// Tells it where its peer has connected to, `None` for unix sockets, and its unique id: at most
    /// 128 bytes. To be called before its first input, where the PROXY protocol is spoken.
    pub fn arrived(&mut self, at: Option<SocketAddr>, unique_id: String) {
        let proxy = self.proxy.get_or_insert_default();
        (proxy.at, proxy.unique_id) = (at, Some(unique_id.into()));
    }

    /// By which the connection is known elsewhere: the id that came with it, or the one that goes on.
    pub(super) fn unique_id(&self) -> Option<Arc<str>> {
        let came = self.introduced_as().and_then(|header| header.tlvs.unique_id.as_ref());
        let goes = self.proxy.as_ref().and_then(|proxy| proxy.unique_id.as_ref());
        let goes = goes.filter(|_| matches!(self.route.proxy_out, Some(ProxyOut::Two { .. })));
        came.map(|id| id.escape_ascii().to_string().into()).or_else(|| goes.cloned())
    }

    /// Whether the component is to be told what the peer's handshake has yet to show.
    pub(super) fn lacks_facts(&self) -> bool {
        let tells = matches!(self.route.proxy_out, Some(ProxyOut::Two { .. }));
        tells && matches!(self.phase, Phase::Handshake(_))
    }

    /// Puts the header in front of all that waits for the component.
    pub(super) fn introduce(&mut self, cx: &mut Context<'_>) {
        let Some(version) = self.route.proxy_out else { return };
        let header = Header { addresses: self.addresses(), ..Header::default() };
        let bytes = match version {
            ProxyOut::One => {
                let mut line = Vec::new();
                header.encode_v1(&mut line);
                line
            }
            ProxyOut::Two { client_cert, checksum } => {
                let tlvs = Tlvs { checksum, ..self.tlvs(client_cert) };
                let (bytes, cut) = encode(Header { tlvs, ..header });
                if cut {
                    cx.telemetry.on_proxy_header_cut(self.policy.index);
                }
                bytes
            }
        };
        self.upstream.queue.push_front(cx.pool.copy_of(&bytes));
        if self.route.upstream_tls.is_none() {
            self.forget_said();
        }
    }

    /// Nobody is going to be told again; the log has the id alone.
    pub(super) fn forget_said(&mut self) {
        if let Some(header) = self.proxy.as_mut().and_then(|proxy| proxy.said.as_mut()) {
            let unique_id = header.tlvs.unique_id.take();
            header.tlvs = Tlvs { unique_id, ..Tlvs::default() };
        }
    }

    fn addresses(&self) -> Addresses {
        // A unix socket's peer has no address. HAProxy calls that LOCAL.
        let Some(source) = self.source_address() else { return Addresses::Local };
        let said = self.introduced_as().and_then(|header| match header.addresses {
            Addresses::Inet { destination, .. } => Some(destination),
            _ => None,
        });
        let at = said.or_else(|| self.proxy.as_ref()?.at);
        Addresses::inet(source, at.unwrap_or_else(|| unspecified(source)))
    }

    fn tlvs(&self, client_cert: bool) -> Tlvs {
        let said = self.introduced_as().map(|header| header.tlvs.clone()).unwrap_or_default();
        // Namespaces are the sender's own.
        let mut tlvs = Tlvs { netns: None, ..said };
        // A name that no host has is nobody's.
        let asked = self.sni.as_deref().filter(|name| !name.contains('\\'));
        if let Some(tls) = &self.downstream.tls {
            tlvs.authority = asked.map(str::to_owned);
            tlvs.alpn = tls.facts().alpn.map(|protocol| protocol.as_bytes().to_vec());
            tlvs.tls = Some(self.tls_info(tls.as_ref()));
        } else if let Some(name) = asked {
            tlvs.authority = Some(name.to_owned());
        }
        let unique_id = self.proxy.as_ref().and_then(|proxy| proxy.unique_id.as_ref());
        tlvs.unique_id = tlvs.unique_id.or_else(|| unique_id.map(|id| id.as_bytes().to_vec()));
        if let Some(tls) = tlvs.tls.as_mut().filter(|_| !client_cert) {
            tls.client_cert = None;
        }
        tlvs
    }

    fn tls_info(&self, tls: &dyn TlsConn) -> TlsInfo {
        let facts = tls.facts();
        let certificate = tls.peer_certificates().first();
        let identity = certificate.and_then(PeerIdentity::of);
        TlsInfo {
            is_tls: true,
            cert_on_connection: certificate.is_some() && !facts.resumed,
            cert_at_origin: certificate.is_some(),
            verify: self.client().map_or(UNSPECIFIED, |client| verdict(client.shown)),
            version: Some(facts.version.to_owned()),
            common_name: identity.and_then(|identity| identity.cn),
            cipher: Some(cipher(facts.cipher_suite)),
            group: facts.group.map(str::to_owned),
            client_cert: certificate.map(|certificate| certificate.to_vec()),
            ..TlsInfo::default()
        }
    }
}

/// As much of it as there is room for, and whether that is not all.
fn encode(header: Header) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    if header.encode_v2(&mut bytes).is_ok() {
        return (bytes, false);
    }
    let Header { addresses, tlvs } = header;
    let tls = tlvs.tls.map(|tls| TlsInfo { client_cert: None, ..tls });
    let less = Header { addresses, tlvs: Tlvs { tls, others: Vec::new(), ..tlvs } };
    if less.encode_v2(&mut bytes).is_err() {
        // What a sender said of its own TLS can be as long.
        let Header { addresses, tlvs: Tlvs { checksum, unique_id, .. } } = less;
        let tlvs = Tlvs { checksum, unique_id, ..Tlvs::default() };
        let least = Header { addresses, tlvs };
        least.encode_v2(&mut bytes).expect("addresses, checksum and 128 bytes of id have room");
    }
    (bytes, true)
}

/// OpenSSL's name of a suite, which everybody uses here. Those of TLS 1.3 are the same.
fn cipher(suite: &str) -> String {
    let parts = suite.strip_prefix("TLS_").and_then(|rest| rest.split_once("_WITH_"));
    let Some((exchange, cipher)) = parts else { return suite.to_owned() };
    let cipher = cipher.replace("AES_", "AES").replace("POLY1305_SHA256", "POLY1305");
    format!("{exchange}-{cipher}").replace('_', "-")
}

/// OpenSSL's X509_V_ERR_UNSPECIFIED: also of who was not asked for a certificate, or has none.
const UNSPECIFIED: u32 = 1;

/// OpenSSL's word for what became of a certificate; 0 is a good one (§2.2.6).
fn verdict(shown: Shown) -> u32 {
    match shown {
        Shown::Verified => 0,
        Shown::Bad(CertificateProblem::NotYetValid) => 9,
        Shown::Bad(CertificateProblem::Expired) => 10,
        Shown::Bad(CertificateProblem::SelfSigned) => 18,
        Shown::Bad(CertificateProblem::UnknownCa | CertificateProblem::MissingIntermediate) => 20,
        Shown::Bad(CertificateProblem::Revoked) => 23,
        Shown::Bad(CertificateProblem::WrongUsage) => 26,
        Shown::Nothing | Shown::Bad(_) => UNSPECIFIED,
    }
}

fn unspecified(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (IpAddr::from(Ipv4Addr::UNSPECIFIED), 0).into(),
        SocketAddr::V6(_) => (IpAddr::from(Ipv6Addr::UNSPECIFIED), 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_the_names_that_openssl_gives_them() {
        for (iana, openssl) in [
            ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
            ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
            ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ] {
            assert_eq!(cipher(iana), openssl);
        }
    }
}
