//! Sessions of a weak lane come back to the context that made them, and to no other.
//!
//! Our client resumes nothing, so the other end is rustls', which does in TLS 1.2.

use std::sync::Arc;
use std::time::Duration;

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::client::{Resumption, Tls12Resumption};
use rustls::{ClientConfig, HandshakeKind};

use super::*;
use crate::tls::provider::provider;
use crate::tls::testing::{self, Issued};

struct Scene {
    ca: testing::Ca,
    spec: ServerSpec,
    own: Issued,
}

impl Scene {
    fn new(sessions: Sessions, client_cert: ClientCert) -> Self {
        let ca = testing::Ca::new();
        let (issued, own) = (ca.issue(&PKCS_ECDSA_P256_SHA256), ca.issue(&PKCS_ECDSA_P256_SHA256));
        let identity = Identity {
            names: vec![NAME.to_owned()],
            chain: vec![issued.certificate.der().to_vec()],
            key: Zeroizing::new(issued.key.serialize_der()),
        };
        let spec = ServerSpec { sessions, client_cert, ..server_spec(Lane::Compat12, identity) };
        Self { ca, spec, own }
    }

    fn client(&self, how: Tls12Resumption) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .expect("a version of the provider")
            .with_root_certificates(self.ca.roots())
            .with_client_auth_cert(
                [self.own.chain(), vec![self.ca.certificate.der().clone()]].concat(),
                self.own.private_key(),
            )
            .expect("key and certificate match");
        config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(how);
        Arc::new(config)
    }
}

/// Whether a handshake is an abbreviated one, and how many certificates the server knows.
fn come(client: &Arc<ClientConfig>, server: &Server) -> (bool, usize) {
    come_at(client, server, now())
}

fn come_at(client: &Arc<ClientConfig>, server: &Server, now: UnixTime) -> (bool, usize) {
    let mut theirs = testing::client(client);
    let mut ours = End::of(server.accept(Some(NAME), None, now).expect("memory"));
    say(&mut theirs, b"here again");
    let (heard, done) = converse_with_rustls(&mut theirs, &mut ours);
    heard.expect("a good server");
    done.expect("a good client");
    assert_eq!(ours.heard(), b"here again");
    let resumed = theirs.handshake_kind() == Some(HandshakeKind::Resumed);
    assert_eq!(ours.tls.is_resumed(), resumed);
    assert_eq!(ours.tls.facts().resumed, resumed);
    // The connection ends without close_notify, as with many old peers.
    (resumed, ours.tls.peer_certificates().len())
}

#[test]
fn peers_come_back_as_the_configuration_says() {
    use Tls12Resumption::{SessionIdOnly, SessionIdOrTickets};
    for (sessions, how, expected) in [
        (Sessions::Off, SessionIdOrTickets, false),
        (Sessions::Off, SessionIdOnly, false),
        (Sessions::Ids, SessionIdOrTickets, true),
        (Sessions::Ids, SessionIdOnly, true),
        (Sessions::Tickets, SessionIdOrTickets, true),
        (Sessions::Tickets, SessionIdOnly, true),
    ] {
        let scene = Scene::new(sessions, ClientCert::None);
        let (server, client) = (super::server(&scene.spec), scene.client(how));
        assert_eq!(come(&client, &server), (false, 0));
        for _ in 0..3 {
            assert_eq!(come(&client, &server), (expected, 0), "{sessions:?} {how:?}");
        }
    }
}

#[test]
fn sessions_are_of_one_context() {
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let scene = Scene::new(sessions, ClientCert::None);
        let client = scene.client(Tls12Resumption::SessionIdOrTickets);
        let (one, other) = (super::server(&scene.spec), super::server(&scene.spec));
        assert!(!come(&client, &one).0);
        assert!(come(&client, &one).0);
        assert!(!come(&client, &other).0, "{sessions:?}");
    }
}

#[test]
fn who_comes_back_is_known_with_the_whole_chain() {
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let scene = Scene::new(sessions, ClientCert::Optional);
        let client = scene.client(Tls12Resumption::SessionIdOrTickets);
        let server = super::server(&scene.spec);
        assert_eq!(come(&client, &server), (false, 2));
        assert_eq!(come(&client, &server), (true, 2), "{sessions:?}");
    }
}

#[test]
fn sessions_end_with_their_lifetime() {
    for sessions in [Sessions::Ids, Sessions::Tickets] {
        let scene = Scene::new(sessions, ClientCert::None);
        let client = scene.client(Tls12Resumption::SessionIdOrTickets);
        let server = super::server(&ServerSpec { lifetime: 600, ..scene.spec.clone() });
        let after = |seconds| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs() + seconds));
            come_at(&client, &server, now).0
        };
        let found = [0, 1, 599, 601, 602].map(after);
        assert_eq!(found, [false, true, true, false, true], "{sessions:?}");
    }
}
