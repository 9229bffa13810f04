use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme, SupportedProtocolVersion,
};

use super::tests::{LIFETIME, TestClock, id};
use super::*;
use crate::buf::Pool;
use crate::config::model::RecordLayer;
use crate::tls::modern::{ModernConn, key_log};
use crate::tls::provider::provider;
use crate::tls::testing::{self, Ca};
use crate::tls::tls_conn::{Output, TlsConn};

/// Where components keep our sessions.
#[derive(Clone, Copy, Debug)]
struct Way {
    version: &'static SupportedProtocolVersion,
    in_tickets: bool,
}

const WAYS: [Way; 4] = [
    Way { version: &rustls::version::TLS12, in_tickets: false },
    Way { version: &rustls::version::TLS12, in_tickets: true },
    Way { version: &rustls::version::TLS13, in_tickets: false },
    Way { version: &rustls::version::TLS13, in_tickets: true },
];

/// A component that would resume forever, and our side of it.
struct Scene {
    clock: TestClock,
    sessions: Arc<UpstreamSessions>,
    component: Arc<ServerConfig>,
    client: ClientConfig,
}

impl Scene {
    fn new(way: Way, max_servers: usize) -> Self {
        let (ca, clock) = (Ca::new(), TestClock::new());
        let issued = ca.issue(&PKCS_ECDSA_P256_SHA256);
        let mut component = issued.server_of(provider(), &[way.version]);
        component.session_storage = rustls::server::ServerSessionMemoryCache::new(10_000);
        if way.in_tickets {
            component.ticketer = Ticketer::new().expect("random numbers");
        }
        let lifetime = Duration::from_secs(LIFETIME);
        Self {
            sessions: UpstreamSessions::new(max_servers, lifetime, clock.clock()),
            clock,
            component: Arc::new(component),
            client: ca.client((*provider()).clone()),
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.clock().now()).expect("not that late")
    }

    /// The same verifier and identity, in domain `number`.
    fn client(&self, number: u8, crl_epoch: &Arc<CrlEpoch>) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        config.resumption = self.sessions.domain(id(number), Arc::clone(crl_epoch)).resumption();
        Arc::new(config)
    }

    fn resumes(&self, client: &Arc<ClientConfig>) -> (bool, Option<Refusal>) {
        let (mut attempt, mut other) = (Attempt::new(), Attempt::new());
        let mut client = testing::client_of(client, &mut attempt);
        let mut server = testing::server(&self.component);
        testing::handshake_of(&mut client, &mut attempt, &mut server, &mut other)
            .expect("they agree");
        (client.handshake_kind() == Some(HandshakeKind::Resumed), attempt.refused())
    }
}

#[test]
fn sessions_stay_in_their_domain() {
    for way in WAYS {
        for [from, to] in [[1, 2], [2, 1]] {
            let scene = Scene::new(way, 10);
            let epoch = Arc::default();
            let [one, other] = [from, to].map(|number| scene.client(number, &epoch));
            assert!(!scene.resumes(&one).0 && scene.resumes(&one).0, "{way:?}");
            let before = scene.sessions.stats();
            assert_eq!(scene.resumes(&other), (false, None), "{way:?}");
            assert_eq!(scene.sessions.stats().offered, before.offered, "{way:?}");
            assert!(scene.resumes(&other).0, "{way:?}");
            // A configuration loaded later, with the same domain.
            assert!(scene.resumes(&scene.client(from, &epoch)).0, "{way:?}");
            assert_eq!(scene.sessions.stats().servers, 2);
        }
    }
}

#[test]
fn we_never_resume_past_the_first_handshake() {
    for way in WAYS {
        let scene = Scene::new(way, 10);
        let client = scene.client(1, &Arc::default());
        for round in 0..2 {
            assert!(!scene.resumes(&client).0, "{way:?}: round {round}");
            for renewal in 1..100 {
                scene.clock.pass(LIFETIME / 100);
                assert!(scene.resumes(&client).0, "{way:?}: {round}, {renewal}");
            }
            scene.clock.pass(LIFETIME / 100 - 1);
            assert!(scene.resumes(&client).0, "{way:?}: the last second");
            scene.clock.pass(1);
            let last = scene.resumes(&client);
            assert_eq!(last, (false, Some(Refusal::AbsoluteLifetime)), "{way:?}");
            scene.clock.pass(LIFETIME);
        }
        assert!(scene.sessions.stats().rejected.of(Refusal::AbsoluteLifetime) >= 2);
        // A shorter lifetime holds for what is there.
        assert!(!scene.resumes(&client).0);
        scene.sessions.set_lifetime(Duration::ZERO);
        assert!(!scene.resumes(&client).0, "{way:?}");
    }
}

#[test]
fn new_crls_end_sessions_with_components() {
    for way in WAYS {
        let scene = Scene::new(way, 10);
        let epoch = Arc::new(CrlEpoch::default());
        let client = scene.client(1, &epoch);
        assert!(!scene.resumes(&client).0);
        assert!(scene.resumes(&client).0);
        epoch.set(CrlDigest::of(&["revoked"]));
        assert_eq!(scene.resumes(&client), (false, Some(Refusal::CrlEpoch)), "{way:?}");
        assert!(scene.resumes(&client).0, "{way:?}");
        assert!(scene.sessions.stats().rejected.of(Refusal::CrlEpoch) >= 1);
    }
}

/// rustls would resume with a component whose certificate has expired meanwhile.
#[test]
fn sessions_end_with_the_certificates_of_components() {
    for way in WAYS {
        let scene = Scene::new(way, 10);
        let mut config = (*scene.client(1, &Arc::default())).clone();
        let ends = Arc::new(AtomicI64::new(scene.now() + 10));
        let verifier = Ending { ends: Arc::clone(&ends), provider: provider() };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        let client = Arc::new(config);
        assert!(!scene.resumes(&client).0 && scene.resumes(&client).0, "{way:?}");
        scene.clock.pass(10);
        assert!(scene.resumes(&client).0, "{way:?}: the last second");
        scene.clock.pass(1);
        ends.store(scene.now() + 100, Ordering::Relaxed);
        let last = scene.resumes(&client);
        assert_eq!(last, (false, Some(Refusal::CertificateExpired)), "{way:?}: renewals, too");
        assert!(scene.resumes(&client).0, "{way:?}: the certificate was renewed");
        assert!(scene.sessions.stats().rejected.of(Refusal::CertificateExpired) >= 1);
    }
}

/// Takes any certificate, and says when it ends.
#[derive(Debug)]
struct Ending {
    ends: Arc<AtomicI64>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Ending {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Attempt::note_end(self.ends.load(Ordering::Relaxed));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The gateway as both: who calls rustls there is [`TlsConn`].
#[test]
fn sessions_of_the_gateways_own_make_resume_no_longer() {
    let pool = Pool::new(64 << 20, 4);
    let layers = [RecordLayer::Own, RecordLayer::Rustls];
    for (way, layer) in WAYS.into_iter().flat_map(|way| layers.map(|layer| (way, layer))) {
        let scene = Scene::new(way, 10);
        let mut config = Arc::unwrap_or_clone(scene.client(1, &Arc::default()));
        let mut component = ServerConfig::clone(&scene.component);
        (config.enable_secret_extraction, config.key_log) = (true, key_log());
        component.key_log = key_log();
        let (config, component) = (Arc::new(config), Arc::new(component));
        let meet = || {
            let name = testing::NAME.try_into().expect("a name");
            let mut flight = VecDeque::new();
            let config = Arc::clone(&config);
            let client = ModernConn::connect(config, name, layer, (&pool, &mut flight));
            let mut client = client.expect("a good configuration");
            let server = ModernConn::new(Arc::clone(&component), layer, None);
            let mut server = server.expect("a good configuration");
            let mut turn = 0;
            while !flight.is_empty() {
                let reader = if turn % 2 == 0 { &mut server } else { &mut client };
                let (mut records, mut plaintext) = (VecDeque::new(), VecDeque::new());
                for buf in flight {
                    let (plaintext, records) = (&mut plaintext, &mut records);
                    let mut output = Output { pool: &pool, plaintext, records };
                    reader.receive(buf, &mut output).expect("they agree");
                }
                (flight, turn) = (records, turn + 1);
            }
            assert!(!client.is_handshaking() && !server.is_handshaking());
            assert_eq!(client.is_resumed(), server.is_resumed());
            (client.is_resumed(), client.resumption_refused())
        };
        assert_eq!(meet(), (false, None), "{way:?}");
        for _ in 1..10 {
            scene.clock.pass(LIFETIME / 10);
            assert_eq!(meet(), (true, None), "{way:?}");
        }
        scene.clock.pass(LIFETIME / 10);
        assert_eq!(meet(), (false, Some(Refusal::AbsoluteLifetime)), "{way:?}");
        assert_eq!(meet(), (true, None), "{way:?}");
    }
}

/// Tickets may come at any time of a connection; it does not make them younger.
#[test]
fn a_ticket_that_comes_late_is_as_old_as_its_connection() {
    let scene = Scene::new(WAYS[3], 10);
    let config = scene.client(1, &Arc::default());
    let (mut attempt, mut other) = (Attempt::new(), Attempt::new());
    let mut client = testing::client_of(&config, &mut attempt);
    let mut server = testing::server(&scene.component);
    // The server is done before the client reads its tickets.
    let mut from_server = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        let mut records = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut records).expect("in memory");
        }
        let mut unread = records.as_slice();
        while !unread.is_empty() {
            server.read_tls(&mut unread).expect("in memory");
            other.run(server.handshake_kind(), || server.process_new_packets()).expect("agreed");
        }
        from_server.clear();
        while server.wants_write() {
            server.write_tls(&mut from_server).expect("in memory");
        }
        if !server.is_handshaking() {
            break;
        }
        let mut unread = from_server.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).expect("in memory");
            attempt.run(client.handshake_kind(), || client.process_new_packets()).expect("agreed");
        }
    }
    scene.clock.pass(LIFETIME - 1);
    let mut unread = from_server.as_slice();
    while !unread.is_empty() {
        client.read_tls(&mut unread).expect("in memory");
        attempt.run(client.handshake_kind(), || client.process_new_packets()).expect("agreed");
    }
    assert!(client.tls13_tickets_received() >= 2);
    assert!(scene.resumes(&config).0);
    scene.clock.pass(1);
    assert_eq!(scene.resumes(&config), (false, Some(Refusal::AbsoluteLifetime)));
}

#[test]
fn the_cache_is_bounded() {
    for way in WAYS {
        let scene = Scene::new(way, 2);
        let epoch = Arc::default();
        let clients = [1, 2, 3].map(|number| scene.client(number, &epoch));
        for client in &clients {
            assert!(!scene.resumes(client).0);
        }
        let stats = scene.sessions.stats();
        assert_eq!((stats.servers, stats.evicted), (2, 1), "{way:?}");
        assert!(scene.resumes(&clients[1]).0 && scene.resumes(&clients[2]).0);
        assert!(!scene.resumes(&clients[0]).0, "{way:?}: the least recently used went");
        for _ in 0..20 {
            assert!(scene.resumes(&clients[0]).0);
        }
        let none = Scene::new(way, 0);
        let client = none.client(1, &epoch);
        assert!(!none.resumes(&client).0 && !none.resumes(&client).0);
        assert_eq!(none.sessions.stats().servers, 0);
    }
}
