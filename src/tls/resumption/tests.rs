use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::client::{Resumption as ClientResumption, Tls12Resumption};
use rustls::server::StoresServerSessions;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};

use super::binding::Clients;
use super::*;
use crate::config::model::TlsVersion;
use crate::tls::provider::provider;
use crate::tls::server_config::server_config;
use crate::tls::testing::{self, Ca, Files};

pub(super) const LIFETIME: u64 = 3600;

/// A clock that only tests move.
#[derive(Clone)]
pub(super) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000)))
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(super) fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Clock::new(move || now.load(Ordering::Relaxed))
    }
}

pub(super) fn limits(max_entries: usize, max_bytes: usize) -> model::Resumption {
    let lifetime = Duration::from_secs(LIFETIME);
    let (ticket_secret, ticket_secret_line) = (None, 0);
    model::Resumption { max_entries, max_bytes, lifetime, ticket_secret, ticket_secret_line }
}

pub(super) fn store(max_entries: usize, max_bytes: usize, clock: &TestClock) -> Arc<SessionStore> {
    SessionStore::new(&limits(max_entries, max_bytes), clock.clock())
}

pub(super) fn id(number: u8) -> DomainId {
    DomainId::from_bytes([number; DomainId::LENGTH])
}

/// That of domain `number`, without CRLs and with clients of any kind.
pub(super) fn binding(number: u8) -> Binding {
    Binding { id: id(number), crl_epoch: Arc::default(), clients: Clients::Either }
}

/// Makes a call as rustls does, for a connection of its own.
pub(super) fn as_rustls<T>(call: impl FnOnce() -> T) -> T {
    Attempt::new().run(None, call)
}

/// Sessions of a domain, used by a connection of its own each time.
pub(super) struct Guarded(Arc<Sessions>);

impl Guarded {
    pub(super) fn put(&self, id: Vec<u8>, value: Vec<u8>) -> bool {
        as_rustls(|| self.0.put(id, value))
    }

    pub(super) fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        as_rustls(|| self.0.get(id))
    }

    pub(super) fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        as_rustls(|| self.0.take(id))
    }

    fn can_cache(&self) -> bool {
        self.0.can_cache()
    }
}

pub(super) fn domain(store: &Arc<SessionStore>, number: u8) -> Guarded {
    Guarded(store.domain(binding(number)))
}

/// Servers and a client that trusts them.
struct Scene {
    ca: Ca,
    files: Files,
    clock: TestClock,
    resumption: Resumption,
}

impl Scene {
    fn new() -> Self {
        let clock = TestClock::new();
        let resumption = Resumption::new(&limits(1000, 1 << 20), clock.clock());
        let resumption = resumption.expect("random numbers");
        Self { ca: Ca::new(), files: Files::new(), clock, resumption }
    }

    fn domain(&self, mode: ResumptionMode, number: u8) -> Domain {
        Domain::new(mode, binding(number), &self.resumption)
    }

    fn store_stats(&self) -> StoreStats {
        self.resumption.store.stats()
    }

    fn server(&self, domain: &Domain, version: TlsVersion, tickets: u8) -> Arc<ServerConfig> {
        let issued = self.ca.issue(&PKCS_ECDSA_P256_SHA256);
        let mut tls = testing::tls(vec![self.files.issued("server", &issued)]);
        (tls.min_version, tls.max_version) = (version, version);
        tls.tls13_tickets = tickets;
        tls.alpn = vec!["sip".to_owned()];
        let identities = crate::tls::identity::load(&tls, &provider()).expect("good files");
        server_config(&tls, &identities, domain, &provider()).expect("a good configuration")
    }

    fn client(&self, tls12: Tls12Resumption) -> Arc<ClientConfig> {
        let mut config = self.ca.client((*provider()).clone());
        config.alpn_protocols = vec![b"sip".to_vec()];
        config.resumption = ClientResumption::in_memory_sessions(32).tls12_resumption(tls12);
        Arc::new(config)
    }
}

/// Whether the handshake was a resumption.
fn resumes(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> bool {
    let (mut client, mut server) = (testing::client(client), testing::server(server));
    testing::handshake(&mut client, &mut server).expect("they agree");
    assert_eq!(server.alpn_protocol(), Some(b"sip".as_slice()));
    server.handshake_kind() == Some(HandshakeKind::Resumed)
}

#[test]
fn sessions_resume_until_they_are_too_old() {
    use ResumptionMode::{Store, Tickets};
    let (ids, tickets) = (Tls12Resumption::SessionIdOnly, Tls12Resumption::SessionIdOrTickets);
    for (mode, version, tls12) in [
        (Store, TlsVersion::V1_2, ids),
        (Tickets, TlsVersion::V1_2, ids),
        (Tickets, TlsVersion::V1_2, tickets),
        (Store, TlsVersion::V1_3, tickets),
        (Tickets, TlsVersion::V1_3, tickets),
    ] {
        let scene = Scene::new();
        let domain = scene.domain(mode, 1);
        let server = scene.server(&domain, version, 2);
        let client = scene.client(tls12);
        let case = format!("{mode:?} {version:?} {tls12:?}");
        assert!(!resumes(&client, &server), "{case}: first");
        // The same domain in a configuration loaded later.
        let later = scene.server(&domain, version, 2);
        assert!(resumes(&client, &later), "{case}: second");
        scene.clock.pass(LIFETIME - 1);
        // The TLS 1.3 client has a fresh ticket, the TLS 1.2 one only its first session.
        assert!(resumes(&client, &later), "{case}: last second");
        scene.clock.pass(LIFETIME);
        assert!(!resumes(&client, &later), "{case}: too old");

        let by_ticket = mode == Tickets && (version == TlsVersion::V1_3 || tls12 == tickets);
        let (store, tickets) = (scene.store_stats(), scene.resumption.keys.stats());
        if by_ticket {
            assert_eq!(accepted(&tickets), 2, "{case}");
            assert!(tickets.issued >= 2, "{case}: {tickets:?}");
            // Too old by less than an epoch, or so old that its key is gone.
            let refused: u64 = tickets.rejected().map(|(_, _, count)| count).sum();
            assert!(
                refused >= 1 && tickets.refused.of(Refusal::Malformed) == 0,
                "{case}: {tickets:?}"
            );
            assert_eq!(store.hits, 0, "{case}");
        } else {
            assert_eq!((store.hits, accepted(&tickets)), (2, 0), "{case}");
            assert!(store.stored >= 2 && store.expired >= 1, "{case}: {store:?}");
        }
    }
}

#[test]
fn nothing_resumes_in_another_domain() {
    let (ids, tickets) = (Tls12Resumption::SessionIdOnly, Tls12Resumption::SessionIdOrTickets);
    for mode in [ResumptionMode::Store, ResumptionMode::Tickets] {
        for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            for tls12 in [ids, tickets] {
                let scene = Scene::new();
                let one = scene.domain(mode, 1);
                let two = scene.domain(mode, 2);
                let client = scene.client(tls12);
                assert!(!resumes(&client, &scene.server(&one, version, 4)));
                assert!(!resumes(&client, &scene.server(&two, version, 4)), "{mode:?} {version:?}");
                // What the client has now is of domain two.
                assert!(resumes(&client, &scene.server(&two, version, 4)), "{mode:?} {version:?}");
            }
        }
    }
}

#[test]
fn off_and_no_tickets_mean_full_handshakes() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let scene = Scene::new();
        let domain = scene.domain(ResumptionMode::Off, 1);
        let server = scene.server(&domain, version, 4);
        assert_eq!((server.send_tls13_tickets, server.ticketer.enabled()), (0, false));
        let client = scene.client(Tls12Resumption::SessionIdOrTickets);
        assert!(!resumes(&client, &server));
        assert!(!resumes(&client, &server));
        assert_eq!(scene.store_stats(), StoreStats::default());
        assert_eq!(scene.resumption.keys.stats(), TicketStats::default());
    }
    let scene = Scene::new();
    let server = scene.server(&scene.domain(ResumptionMode::Tickets, 1), TlsVersion::V1_3, 0);
    let client = scene.client(Tls12Resumption::SessionIdOrTickets);
    assert!(!resumes(&client, &server));
    assert!(!resumes(&client, &server));
}

#[test]
fn versions_tickets_and_safety_are_as_configured() {
    let scene = Scene::new();
    for tickets in 0..=4 {
        let domain = scene.domain(ResumptionMode::Store, 1);
        let server = scene.server(&domain, TlsVersion::V1_3, tickets);
        assert_eq!(server.max_early_data_size, 0);
        let before = scene.store_stats().stored;
        let client_config = scene.client(Tls12Resumption::SessionIdOrTickets);
        let (mut client, mut connection) =
            (testing::client(&client_config), testing::server(&server));
        testing::handshake(&mut client, &mut connection).expect("they agree");
        assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(client.tls13_tickets_received(), u32::from(tickets));
        assert_eq!(scene.store_stats().stored - before, u64::from(tickets));
    }
}

#[test]
fn entries_and_bytes_are_bounded() {
    let clock = TestClock::new();
    for (entries, bytes) in [(100, 1 << 20), (10_000, 200_000), (1, 1 << 20)] {
        let store = store(entries, bytes, &clock);
        let domain = domain(&store, 1);
        for number in 0..5_000_u64 {
            let id = ring::digest::digest(&ring::digest::SHA256, &number.to_be_bytes());
            assert!(domain.put(id.as_ref().to_vec(), vec![7; 300]));
            let stats = store.stats();
            assert!(stats.entries <= entries as u64 && stats.bytes <= bytes as u64, "{stats:?}");
        }
        let stats = store.stats();
        assert_eq!((stats.stored, stats.expired), (5_000, 0));
        assert_eq!(stats.evicted, 5_000 - stats.entries);
        assert!(stats.entries * 2 > entries as u64 || stats.bytes * 2 > bytes as u64);
        // All are too old: the next ones find room without evicting.
        clock.pass(LIFETIME);
        assert!(domain.put(vec![1], vec![7; 300]));
        let later = store.stats();
        assert_eq!(later.evicted, stats.evicted);
        assert!(later.expired > 0);
    }
    let none = store(0, 0, &clock);
    assert!(!domain(&none, 1).put(vec![1], vec![1]) && !domain(&none, 1).can_cache());
    let small = store(10, 1_000, &clock);
    assert!(!domain(&small, 1).put(vec![1], vec![0; 1_000]));
    assert!(!domain(&small, 1).put(vec![1; 33], vec![1]), "an id that is none of ours");
    assert_eq!((small.stats().refused, small.stats().bytes), (1, 0));
}

#[test]
fn the_least_recently_used_goes_first() {
    let store = store(2, 1 << 20, &TestClock::new());
    let domain = domain(&store, 1);
    assert!(domain.put(vec![1], vec![1]) && domain.put(vec![2], vec![2]));
    assert_eq!(domain.get(&[1]), Some(vec![1]));
    assert!(domain.put(vec![3], vec![3]));
    assert_eq!((domain.get(&[2]), domain.get(&[1])), (None, Some(vec![1])));
}

/// A shorter lifetime holds for sessions that were stored before.
#[test]
fn the_lifetime_of_stored_sessions_can_change() {
    let clock = TestClock::new();
    let store = store(10, 1 << 20, &clock);
    let domain = domain(&store, 1);
    assert!(domain.put(vec![1], vec![1]));
    clock.pass(LIFETIME);
    store.set_lifetime(Duration::from_secs(LIFETIME + 1));
    assert_eq!(domain.get(&[1]), Some(vec![1]));
    store.set_lifetime(Duration::from_secs(LIFETIME));
    assert_eq!((domain.get(&[1]), store.stats().expired), (None, 1));
}

pub(super) fn accepted(stats: &TicketStats) -> u64 {
    stats.accepted.iter().flatten().sum()
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, usize),
    Get(u8, u8),
    Take(u8, u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0..2_u8, 0..12_u8);
    prop_oneof![
        (key(), 0..400_usize).prop_map(|((domain, id), size)| Step::Put(domain, id, size)),
        key().prop_map(|(domain, id)| Step::Get(domain, id)),
        key().prop_map(|(domain, id)| Step::Take(domain, id)),
        (0..LIFETIME / 2).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Against a map without limits: what is found is right and young, and with limits never
    /// reached nothing is lost.
    #[test]
    fn behaves_like_a_map(
        tight in any::<bool>(),
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let clock = TestClock::new();
        let store = if tight { store(4, 1_200, &clock) } else { store(100, 1 << 20, &clock) };
        let domains = [domain(&store, 0), domain(&store, 1)];
        let domain = |of: u8| &domains[usize::from(of)];
        let mut model = std::collections::HashMap::new();
        let mut now = 0;
        let mut lookups = 0;
        for step in steps {
            match step {
                Step::Put(of, id, size) => {
                    if domain(of).put(vec![of, id], vec![id; size]) {
                        model.insert((of, id), (vec![id; size], now));
                    }
                }
                Step::Get(of, id) | Step::Take(of, id) => {
                    lookups += 1;
                    let take = matches!(step, Step::Take(..));
                    let found =
                        if take { domain(of).take(&[of, id]) } else { domain(of).get(&[of, id]) };
                    let young = model.get(&(of, id)).filter(|(_, made)| now - made < LIFETIME);
                    let expected = young.map(|(value, _)| value.clone());
                    if found.is_some() || !tight {
                        prop_assert_eq!(found, expected);
                    }
                    if take {
                        model.remove(&(of, id));
                    }
                }
                Step::Pass(seconds) => {
                    clock.pass(seconds);
                    now += seconds;
                }
            }
            let stats = store.stats();
            prop_assert_eq!(stats.hits + stats.misses, lookups);
            if tight {
                prop_assert!(stats.entries <= 4 && stats.bytes <= 1_200);
            }
            prop_assert_eq!(stats.entries == 0, stats.bytes == 0);
        }
    }
}
