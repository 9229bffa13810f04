//! A component that speaks TLS, and the policies that lead to it.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};

use super::rig::*;
use crate::config::model::TlsVersion;
use crate::policy::{Downstream, ListenerPolicy, Route};
use crate::tls::ClientProfile;
use crate::tls::client_config::{ClientSettings, client_config};
use crate::tls::provider::provider;
use crate::tls::testing::{Issued, NAME};

pub(super) type Version = &'static rustls::SupportedProtocolVersion;

/// The component's certificate, and ours as its client.
static ISSUED: LazyLock<[Issued; 2]> =
    LazyLock::new(|| [(); 2].map(|()| ca().issue(&PKCS_ECDSA_P256_SHA256)));

/// The TLS server behind the gateway.
pub(super) struct Component {
    pub(super) tls: ServerConnection,
    pub(super) received: Vec<u8>,
    pub(super) peer_closed: bool,
    pub(super) error: Option<rustls::Error>,
}

impl Component {
    pub(super) fn new() -> Self {
        Self::of(server(rustls::ALL_VERSIONS))
    }

    pub(super) fn version(version: Version) -> Self {
        Self::of(server(&[version]))
    }

    /// Demands a certificate.
    pub(super) fn mutual(version: Version) -> Self {
        let roots = Arc::new(ca().roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version of the provider")
            .with_client_cert_verifier(verifier.build().expect("a root"))
            .with_single_cert(ISSUED[0].chain(), ISSUED[0].private_key());
        Self::of(config.expect("they match"))
    }

    pub(super) fn of(config: ServerConfig) -> Self {
        let tls = ServerConnection::new(Arc::new(config)).expect("a valid configuration");
        Self { tls, received: Vec::new(), peer_closed: false, error: None }
    }

    /// Queues plaintext; nothing once the session has failed.
    pub(super) fn write(&mut self, data: &[u8]) {
        if self.error.is_some() {
            return;
        }
        self.tls.set_buffer_limit(None);
        self.tls.writer().write_all(data).expect("without a limit");
    }

    pub(super) fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).expect("in memory");
        }
        records
    }

    /// Moves bytes both ways between the component and the kernel.
    pub(super) fn exchange(&mut self, rig: &mut Rig) {
        let bytes = std::mem::take(&mut rig.up.outbound);
        let mut unread = bytes.as_slice();
        while !unread.is_empty() && self.error.is_none() && !self.peer_closed {
            self.tls.read_tls(&mut unread).expect("in memory");
            match self.tls.process_new_packets() {
                Ok(state) => {
                    self.peer_closed |= state.peer_has_closed();
                    let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
                    self.tls.reader().read_exact(&mut plaintext).expect("as announced");
                    self.received.extend_from_slice(&plaintext);
                }
                Err(error) => self.error = Some(error),
            }
        }
        let records = self.records();
        rig.up.inbound.extend_from_slice(&records);
    }

    /// Exchanges and settles until nothing moves.
    pub(super) fn run(&mut self, rig: &mut Rig) {
        loop {
            self.exchange(rig);
            rig.settle();
            if rig.up.outbound.is_empty() && !self.tls.wants_write() {
                return;
            }
        }
    }
}

/// Moves bytes on both sides until nothing moves.
pub(super) fn run_both(rig: &mut Rig, client: &mut Client, component: &mut Component) {
    for _ in 0..10 {
        client.run(rig);
        component.run(rig);
    }
}

pub(super) fn server(versions: &[Version]) -> ServerConfig {
    let mut config = ISSUED[0].server_of(provider(), versions);
    // It may speak in its first flight.
    config.send_half_rtt_data = true;
    config
}

/// What the gateway is as a client, of whose settings something may be changed.
pub(super) fn dialler(
    roots: RootCertStore,
    change: impl FnOnce(&mut ClientSettings),
) -> Arc<ClientConfig> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let mut settings = ClientSettings {
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        alpn: Vec::new(),
        send_sni: true,
        identity: None,
        resumption: Resumption::disabled(),
    };
    change(&mut settings);
    let verifier = verifier.build().expect("a root");
    client_config(settings, verifier, &provider()).expect("versions")
}

/// Endpoints that are dialled with these.
pub(super) fn profile(endpoints: &[&Arc<ClientConfig>]) -> ClientProfile {
    let name = || NAME.try_into().expect("a DNS name");
    ClientProfile::new(endpoints.iter().map(|config| (Arc::clone(config), name())).collect())
}

pub(super) fn trusting() -> ClientProfile {
    static TRUSTING: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| dialler(ca().roots(), |_| ()));
    profile(&[&TRUSTING])
}

/// Trusts somebody else only.
pub(super) fn stranger() -> Arc<ClientConfig> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "somebody else");
    let mut roots = RootCertStore::empty();
    let certificate = params.self_signed(&key).expect("signed");
    roots.add(certificate.der().clone()).expect("a valid root");
    dialler(roots, |_| ())
}

/// Has a certificate to show.
pub(super) fn known() -> ClientProfile {
    let key = provider().key_provider.load_private_key(ISSUED[1].private_key()).expect("a key");
    let identity = Arc::new(CertifiedKey::new(ISSUED[1].chain(), key));
    profile(&[&dialler(ca().roots(), |settings| settings.identity = Some(identity))])
}

/// Plaintext peers, and a component that speaks TLS.
pub(super) fn originate() -> ListenerPolicy {
    originate_with(trusting())
}

pub(super) fn originate_with(profile: ClientProfile) -> ListenerPolicy {
    let route = Route { tls: None, upstream_tls: Some(profile), ..route() };
    ListenerPolicy { downstream: Downstream::Plaintext, ..with(route) }
}

/// Two endpoints, of which the first is not trusted.
pub(super) fn originate_second() -> ListenerPolicy {
    let trusted = dialler(ca().roots(), |_| ());
    let upstream_tls = Some(profile(&[&stranger(), &trusted]));
    let route = Route { tls: None, upstream_tls, ..two_endpoints() };
    ListenerPolicy { downstream: Downstream::Plaintext, ..with(route) }
}

/// TLS on both sides.
pub(super) fn bridge() -> ListenerPolicy {
    bridge_with(trusting())
}

pub(super) fn bridge_with(profile: ClientProfile) -> ListenerPolicy {
    with(Route { upstream_tls: Some(profile), ..route() })
}

pub(super) fn bridge_late() -> ListenerPolicy {
    let connect = crate::config::model::ConnectWhen::AfterHandshake;
    with(Route { upstream_tls: Some(trusting()), connect, ..route() })
}

pub(super) fn passthrough() -> ListenerPolicy {
    let policy = with(Route { tls: None, ..route() });
    ListenerPolicy { downstream: Downstream::Passthrough, ..policy }
}

/// TLS or plaintext, and a component that speaks plaintext.
pub(super) fn detect() -> ListenerPolicy {
    ListenerPolicy { downstream: Downstream::Detect, ..policy() }
}

pub(super) fn detect_bridge() -> ListenerPolicy {
    ListenerPolicy { downstream: Downstream::Detect, ..bridge() }
}
