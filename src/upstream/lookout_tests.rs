use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig, ServerConnection};

use super::super::group::Endpoint;
use super::super::resolver::LookUp;
use super::super::settings::{BalanceSettings, HealthSettings, SourceSettings};
use super::*;
use crate::tls::provider::provider;
use crate::tls::testing::{Ca, NAME};

const SOON: Duration = Duration::from_secs(20);
const FAST: HealthSettings = HealthSettings {
    interval: Duration::from_millis(20),
    timeout: Duration::from_secs(5),
    rise: 2,
    fall: 3,
    tls: false,
};

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::yield_now();
    }
}

fn group(endpoint: Endpoint, checks: Option<HealthSettings>) -> Vec<Arc<Group>> {
    let balance = BalanceSettings::default();
    let (name, endpoints) = ("test".into(), vec![endpoint]);
    let source = SourceSettings::Any;
    vec![Arc::new(Group { name, endpoints, balance, source, checks, resolve_interval: None })]
}

/// An endpoint whose name is looked up so often.
fn named(mut endpoint: Endpoint, name: &Name, interval: Duration) -> Vec<Arc<Group>> {
    endpoint.look_up = Some(name.clone());
    let mut groups = group(endpoint, None);
    let group = Arc::get_mut(&mut groups[0]).expect("nobody else has it yet");
    group.resolve_interval = Some(interval);
    groups
}

fn at(address: SocketAddr) -> Endpoint {
    Endpoint::new(&address.to_string(), Presence::new(&[Address::Tcp(address)]))
}

fn is_down(presence: &Presence) -> bool {
    presence.figures().addresses_down > 0
}

/// Names have no addresses.
struct Nobody;

impl LookUp for Nobody {
    fn look_up(&self, _name: &Name) -> io::Result<Vec<SocketAddr>> {
        Ok(Vec::new())
    }
}

fn lookout() -> Lookout {
    Lookout::start(Resolver::new(Arc::new(Nobody))).expect("a thread")
}

#[test]
fn an_address_goes_down_when_nobody_listens_and_comes_up_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let endpoint = at(address);
    let presence = Arc::clone(&endpoint.presence);
    let lookout = lookout();
    lookout.watch(group(endpoint, Some(FAST)));
    wait_until("checks pass", || presence.figures().checks_passed >= 5);
    assert!(!is_down(&presence));
    let proofs = presence.destinations()[0].health.proofs();
    assert!(proofs >= 2, "each second check in a row is a proof, not {proofs}");
    drop(listener);
    wait_until("it is down", || is_down(&presence));
    assert!(presence.figures().checks_failed >= 3);
    let _again = TcpListener::bind(address).expect("nobody else took it");
    wait_until("it is up", || !is_down(&presence));
}

#[test]
fn what_is_no_longer_checked_counts_as_up_and_what_stays_is_not_started_anew() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let endpoint = at(free);
    let presence = Arc::clone(&endpoint.presence);
    let lookout = lookout();
    lookout.watch(group(endpoint.clone(), Some(FAST)));
    wait_until("it is down", || is_down(&presence));
    let before = presence.figures().checks_failed;
    // Each of these would put a job that was started anew off by part of an interval.
    wait_until("checks go on", || {
        lookout.watch(group(endpoint.clone(), Some(FAST)));
        presence.figures().checks_failed > before + 3
    });
    lookout.watch(group(endpoint, None));
    wait_until("it is up", || !is_down(&presence));
}

/// Accepts, and shakes hands with whoever wants to.
fn tls_server(config: Arc<ServerConfig>) -> (SocketAddr, Receiver<Result<(), String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, results) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let result = serve(stream.expect("accepted"), &config);
            if sender.send(result).is_err() {
                break;
            }
        }
    });
    (address, results)
}

/// The handshake, and close_notify.
fn serve(mut stream: TcpStream, config: &Arc<ServerConfig>) -> Result<(), String> {
    let mut tls = ServerConnection::new(Arc::clone(config)).expect("usable");
    let mut rest = Vec::new();
    let mut stream = rustls::Stream::new(&mut tls, &mut stream);
    stream.read_to_end(&mut rest).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(()) } else { Err("it sent something".to_owned()) }
}

#[test]
fn a_tls_check_wants_a_certificate_for_the_endpoints_own_name() {
    let ca = Ca::new();
    let config = Arc::new(ca.issue(&rcgen::PKCS_ECDSA_P256_SHA256).server(provider()));
    let client: Arc<ClientConfig> = Arc::new(ca.client((*provider()).clone()));
    let (address, results) = tls_server(config);
    let lookout = lookout();
    for (name, passes) in [(NAME, true), ("web.example.com", false)] {
        let mut endpoint = at(address);
        let server_name = ServerName::try_from(name).expect("a DNS name");
        endpoint.probe = Probe::Tls(Arc::clone(&client), server_name);
        let presence = Arc::clone(&endpoint.presence);
        lookout.watch(group(endpoint, Some(FAST)));
        wait_until("checks happen", || {
            let figures = presence.figures();
            figures.checks_passed + figures.checks_failed >= 3
        });
        assert_eq!(presence.figures().checks_passed > 0, passes, "{name}");
        assert_eq!(is_down(&presence), !passes, "{name}");
        let result = results.recv_timeout(SOON).expect("the server was asked");
        assert_eq!(result.is_ok(), passes, "{name}: {result:?}");
        lookout.watch(Vec::new());
        // What was under way when it was called off.
        while results.recv_timeout(Duration::from_millis(100)).is_ok() {}
    }
}

#[test]
fn a_check_that_gets_no_answer_fails_in_time() {
    // Accepts nothing: the kernel connects, and no handshake comes about.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut endpoint = at(silent.local_addr().expect("bound"));
    let server_name = ServerName::try_from("sip.example.com").expect("a DNS name");
    let config = Arc::new(Ca::new().client((*provider()).clone()));
    endpoint.probe = Probe::Tls(config, server_name);
    let presence = Arc::clone(&endpoint.presence);
    let settings = HealthSettings { timeout: Duration::from_millis(10), fall: 1, ..FAST };
    let lookout = lookout();
    lookout.watch(group(endpoint, Some(settings)));
    wait_until("it is down", || is_down(&presence));
}

/// Gives a name the address that it has now, and no answer while that is zero.
#[derive(Default)]
struct Script {
    last: AtomicU8,
    questions: AtomicU32,
}

impl LookUp for Script {
    fn look_up(&self, name: &Name) -> io::Result<Vec<SocketAddr>> {
        self.questions.fetch_add(1, Ordering::AcqRel);
        match self.last.load(Ordering::Acquire) {
            0 => Err(io::Error::other("out of order")),
            last => Ok(vec![([192, 0, 2, last], name.port).into()]),
        }
    }
}

#[test]
fn a_name_follows_its_addresses_and_keeps_the_last_ones_when_there_is_no_answer() {
    let script = Arc::new(Script::default());
    script.last.store(1, Ordering::Release);
    let lookout = Lookout::start(Resolver::new(Arc::clone(&script) as _)).expect("a thread");
    let name = Name { host: "sip.example.com".into(), port: 5060 };
    let [one, other] = [(); 2].map(|()| at(([192, 0, 2, 1], 5060).into()));
    let presences = [&one, &other].map(|endpoint| Arc::clone(&endpoint.presence));
    // The second alone would not be asked about for long.
    let times = [Duration::from_millis(10), 10 * SOON];
    lookout.watch([named(one, &name, times[0]), named(other, &name, times[1])].concat());
    let addresses = |presence: &Presence| presence.destinations()[0].address.to_string();
    script.last.store(2, Ordering::Release);
    for presence in &presences {
        wait_until("it has the new address", || addresses(presence) == "192.0.2.2:5060");
        assert_eq!(presence.epoch(), 1);
    }
    script.last.store(0, Ordering::Release);
    for presence in &presences {
        wait_until("failures are counted", || presence.figures().look_up_failures >= 2);
        assert_eq!((addresses(presence).as_str(), presence.epoch()), ("192.0.2.2:5060", 1));
    }
    script.last.store(3, Ordering::Release);
    wait_until("it recovers", || addresses(&presences[0]) == "192.0.2.3:5060");
    // Off: nobody asks any more.
    lookout.watch(Vec::new());
    wait_until("the last question has been asked", || {
        let before = script.questions.load(Ordering::Acquire);
        std::thread::sleep(Duration::from_millis(50));
        script.questions.load(Ordering::Acquire) == before
    });
}

#[test]
fn an_end_does_not_wait_for_a_resolver_that_hangs() {
    struct Hangs(AtomicU32);
    impl LookUp for Hangs {
        fn look_up(&self, _name: &Name) -> io::Result<Vec<SocketAddr>> {
            self.0.fetch_add(1, Ordering::AcqRel);
            std::thread::sleep(2 * SOON);
            Ok(Vec::new())
        }
    }
    let hangs = Arc::new(Hangs(AtomicU32::new(0)));
    let lookout = Lookout::start(Resolver::new(Arc::clone(&hangs) as _)).expect("a thread");
    let endpoint = at(([192, 0, 2, 1], 5060).into());
    let name = Name { host: "sip.example.com".into(), port: 5060 };
    lookout.watch(named(endpoint, &name, Duration::from_millis(1)));
    wait_until("it asks", || hangs.0.load(Ordering::Acquire) == 1);
    let started = Instant::now();
    drop(lookout);
    assert!(started.elapsed() < SOON);
}
