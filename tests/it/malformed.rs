//! Malformed input over the wire: each connection ends with an alert or a close, in time, and is
//! accounted for; nobody else notices, and nothing stays behind.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::{AlertDescription, Error};
use tlsgate_bench::backend::{Address, Backend as Component, Mode};
use tlsgate_corpus::hello::{
    ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Hello, record, records,
};
use tlsgate_corpus::mutate::{self, mutate};
use tlsgate_corpus::rng::Rng;
use tlsgate_corpus::{Case, Outcome, corpus};

use crate::support::client::{
    TlsStream, Version, assert_echo, close, config, connect, connect_plain, local,
};
use crate::support::gateway::{Gateway, Setup};
use crate::support::holdings::Holdings;
use crate::support::process::run_with_input;
use crate::support::{Engine, SOON, engines, has_tool, sized, wait_until};

/// Handshake timeout of the gateway.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// What a busy machine may add to it, and a second for the peer to read the last bytes.
const SLACK: Duration = Duration::from_secs(5);
const THREADS: usize = 8;
/// Good connections, and a look at what is held, come after each so many malformed ones.
const ROUND: u64 = 1_000;

/// Bytes of the buffers that a worker makes at the start. They are live memory from then on, and
/// physical memory from their first use on, which takes many connections.
const BUFFERS: u64 = 7 << 20;

/// A gateway under attack, and how many connections it has been sent.
struct Target {
    gateway: Gateway,
    sent: AtomicU64,
}

#[test]
#[ignore = "run by tests/run"]
fn malformed_input_over_the_wire() {
    if !has_tool("openssl") {
        return;
    }
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let component = Component::start(Address::Tcp(any), Mode::Echo).expect("a free port");
    let Address::Tcp(address) = *component.address() else { unreachable!("asked for TCP") };
    for engine in engines() {
        attack(engine, address, sized(50, 2));
    }
}

fn attack(engine: Engine, component: SocketAddr, rounds: u64) {
    // The session store would rightly hold what was not there at the start.
    let setup = Setup::new(engine, component).tls("resumption = \"off\"");
    // All of it comes from one source, and is to be looked at.
    let setup = setup.gateway("[handshakes]\nsource_failures = \"off\"");
    let timeout = format!("handshake = \"{}s\"", HANDSHAKE_TIMEOUT.as_secs());
    let gateway = setup.timeouts(&timeout).counts_heap().start();
    let start = Holdings::warmed_up(&gateway);
    let target = Target { gateway, sent: AtomicU64::new(1) };
    send_corpus(&target);
    leave_open(&target);
    flood_later_phases(&target);
    good_handshakes(&target);
    let place = format!("{engine:?} after the corpus");
    let first = Holdings::back_at(&start, &target.gateway, &place);
    let mut late = u64::MAX;
    for round in 0..rounds {
        mutations(&target, round);
        good_handshakes(&target);
        let place = format!("{engine:?} after round {round}");
        let now = Holdings::back_at(&first, &target.gateway, &place);
        println!("{place}: {now:?}");
        assert!(
            now.resident <= first.resident + BUFFERS,
            "{engine:?} round {round}: {now:?} after {first:?}"
        );
        if round == rounds * 3 / 4 {
            late = now.resident;
        }
        let ceiling = late.saturating_add(late / 100);
        assert!(now.resident <= ceiling, "{engine:?} round {round}: it goes on growing: {now:?}");
    }
    let reasons = account(&target);
    let now = Holdings::of(&target.gateway);
    println!("{engine:?}: {start:?}, {first:?}, {now:?}: {reasons:?}");
}

impl Target {
    /// Connects, sends, and says FIN unless the peer is to stay.
    fn send(&self, bytes: &[u8], fin: bool) -> TcpStream {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut stream = connect_plain(self.gateway.address());
        stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT + SLACK)).expect("not zero");
        // It may have heard enough before it has read everything.
        let _sent = stream.write_all(bytes);
        if fin {
            let _said = stream.shutdown(Shutdown::Write);
        }
        stream
    }

    /// A handshake as it should be; not yet closed.
    fn connect(&self, version: Version) -> TlsStream {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let stream = connect(self.gateway.address(), &config(version));
        stream.sock.set_read_timeout(Some(HANDSHAKE_TIMEOUT + SLACK)).expect("not zero");
        stream
    }
}

/// What comes until the gateway ends the connection.
///
/// # Panics
/// When it does not, in time.
fn rest(mut stream: impl Read, what: &str) -> Vec<u8> {
    let begin = Instant::now();
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    let took = begin.elapsed();
    assert!(took < HANDSHAKE_TIMEOUT + SLACK, "{what}: open after {took:?}");
    match ended.map_err(|error| error.kind()) {
        Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => panic!("{what}: open after {took:?}"),
        // In order, or by RST where it did not read everything.
        Ok(_) | Err(_) => bytes,
    }
}

/// Every case ends as it says, in the alert that the peer reads and in the access log.
fn send_corpus(target: &Target) {
    let cases = corpus();
    let sent: Vec<(&Case, SocketAddr)> = cases
        .iter()
        .map(|case| {
            let stream = target.send(&case.stream, true);
            let peer = stream.local_addr().expect("connected");
            let answer = rest(stream, &case.name);
            if case.outcome.reason == "hello_malformed" && case.outcome.alert != "-" {
                let [ALERT, 3, _, 0, 2, 2, _] = *answer else {
                    panic!("{}: {answer:?} and no alert", case.name)
                };
            }
            (case, peer)
        })
        .collect();
    let lines = lines(target);
    for (case, peer) in sent {
        let outcome = lines.get(&peer.to_string()).expect("a line for each connection");
        assert_eq!(*outcome, case.outcome, "{}", case.name);
    }
}

/// The access log so far, waited for: how each peer's connection ended.
fn lines(target: &Target) -> HashMap<String, Outcome> {
    let sent = usize::try_from(target.sent.load(Ordering::Relaxed)).expect("a test's size");
    wait_until("a line for each connection", SOON, || target.gateway.lines().len() >= sent);
    let lines = target.gateway.lines();
    assert_eq!(lines.len(), sent, "lines of the access log");
    let outcome = |line: &crate::support::log::Line| {
        let alert = line.value("alert_sent").as_str().unwrap_or("-").to_owned();
        Outcome { reason: line.text("reason").to_owned().into(), alert: alert.into() }
    };
    lines.iter().map(|line| (line.text("peer").to_owned(), outcome(line))).collect()
}

/// Every case of the corpus at a time, from peers that say no more and stay.
fn leave_open(target: &Target) {
    let streams: Vec<(String, TcpStream)> =
        corpus().into_iter().map(|case| (case.name, target.send(&case.stream, false))).collect();
    let begin = Instant::now();
    for (name, stream) in streams {
        rest(stream, &name);
    }
    let took = begin.elapsed();
    assert!(took < HANDSHAKE_TIMEOUT + SLACK, "the last one was open for {took:?}");
}

/// After malformed input a good client gets what it always gets.
fn good_handshakes(target: &Target) {
    for version in Version::BOTH {
        let mut stream = target.connect(version);
        assert_echo(&mut stream, b"as if nothing had happened");
        close(stream);
    }
}

/// One round of inputs that nobody has thought of.
fn mutations(target: &Target, round: u64) {
    let corpus = corpus();
    let next = AtomicU64::new(round * ROUND);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= (round + 1) * ROUND {
                        break;
                    }
                    let mut rng = Rng::new(number);
                    let input = if rng.one_in(2) {
                        mutate::hello(&mut rng)
                    } else {
                        let case = &rng.pick(&corpus).stream;
                        let other = &corpus[rng.below(corpus.len())].stream;
                        mutate(&mut rng, case, other)
                    };
                    let stream = target.send(&input, !rng.one_in(100));
                    rest(stream, &format!("mutation {number}"));
                }
            });
        }
    });
}

/// What may come when there are keys: name, bytes, and the words for it in the relay, of TLS 1.2 and of
/// 1.3, where all records have one type (RFC 8446 §5.2).
fn attacks() -> Vec<(&'static str, Vec<u8>, [&'static str; 2])> {
    const BAD: &str = "bad_record";
    const WRONG: &str = "protocol_violation";
    let header = |content: u8, length: u16, body: usize| {
        let mut bytes = vec![content, 3, 3];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(bytes.len() + body, 0);
        bytes
    };
    let endless = [&[16, 0xff, 0xff, 0xff][..], &vec![0; 200 * 1024]].concat();
    let many_changes = record(CHANGE_CIPHER_SPEC, &[1]).repeat(64);
    vec![
        ("random bytes", Rng::new(7).bytes(20_000), [WRONG, WRONG]),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), [WRONG, WRONG]),
        ("a hello in plaintext", Hello::tls13().stream(), [BAD, WRONG]),
        ("a record with no key of ours", record(APPLICATION_DATA, &[0xaa; 64]), [BAD, BAD]),
        ("a record too short for its tag", record(APPLICATION_DATA, &[1]), [BAD, BAD]),
        ("an empty record", record(APPLICATION_DATA, &[]), [BAD, BAD]),
        ("a record of 64 KiB", header(APPLICATION_DATA, 0xffff, 0xffff), [BAD, BAD]),
        ("a record over 2^14 + 2048", header(APPLICATION_DATA, 18_433, 18_433), [BAD, BAD]),
        ("a plaintext alert", record(ALERT, &[2, 40]), [BAD, WRONG]),
        ("an alert too long", record(ALERT, &[2, 40, 0]), [BAD, WRONG]),
        ("change_cipher_spec", record(CHANGE_CIPHER_SPEC, &[1]), [BAD, WRONG]),
        ("many change_cipher_specs", many_changes, [BAD, WRONG]),
        ("change_cipher_spec of 2", record(CHANGE_CIPHER_SPEC, &[2]), [BAD, WRONG]),
        ("an unknown type", record(99, &[1; 10]), [WRONG, WRONG]),
        ("handshake garbage", record(HANDSHAKE, &[0xff; 100]), [BAD, WRONG]),
        ("a message without end", records(&endless, 16_000), [BAD, WRONG]),
        ("half a record", header(APPLICATION_DATA, 300, 20), ["truncated"; 2]),
    ]
}

/// Garbage behind the server's flight, garbage in the relay, and what TLS allows too often.
fn flood_later_phases(target: &Target) {
    let mut expected: Vec<(String, SocketAddr, &str)> = Vec::new();
    for (name, bytes, words) in attacks() {
        for (version, word) in Version::BOTH.into_iter().zip(words) {
            let hello = match version {
                Version::V12 => Hello::tls12(),
                Version::V13 => Hello::tls13(),
            };
            let mut stream = target.send(&hello.stream(), false);
            stream.read_exact(&mut [0; 5]).expect("the server's flight");
            let _sent = stream.write_all(&bytes);
            let _said = stream.shutdown(Shutdown::Write);
            rest(stream, name);

            let mut stream = target.connect(version);
            assert_echo(&mut stream, b"alive");
            let _sent = stream.sock.write_all(&bytes);
            let _said = stream.sock.shutdown(Shutdown::Write);
            expected.push((format!("{version:?}: {name}"), local(&stream), word));
            rest(stream, name);
        }
    }
    bad_record_is_told(target);
    key_updates(target);
    renegotiation(target);
    let lines = lines(target);
    let mut wrong = Vec::new();
    for (name, peer, word) in expected {
        let outcome = lines.get(&peer.to_string()).expect("a line for each connection");
        if outcome.reason != word {
            wrong.push(format!("{name}: {outcome:?} and not {word}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The alert for a broken record reaches the peer, under the keys.
fn bad_record_is_told(target: &Target) {
    for version in Version::BOTH {
        let mut stream = target.connect(version);
        assert_echo(&mut stream, b"alive");
        stream.sock.write_all(&record(APPLICATION_DATA, &[0xaa; 64])).expect("sent");
        let error = stream.read(&mut [0; 16]).expect_err("an alert");
        let told = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let alert = Error::AlertReceived(AlertDescription::BadRecordMac);
        assert_eq!(told, Some(&alert), "{version:?}");
    }
}

/// Key updates are done as they come, up to what is reasonable.
fn key_updates(target: &Target) {
    for (count, survives) in [(20, true), (2_000, false)] {
        let mut stream = target.connect(Version::V13);
        assert_echo(&mut stream, b"alive");
        for _ in 0..count {
            stream.conn.refresh_traffic_keys().expect("TLS 1.3 has it");
        }
        if survives {
            assert_echo(&mut stream, b"with other keys");
            close(stream);
        } else {
            let _sent: io::Result<()> = stream.flush();
            rest(stream, "a flood of key updates");
        }
    }
}

/// A client that asks for another handshake inside the session.
fn renegotiation(target: &Target) {
    target.sent.fetch_add(1, Ordering::Relaxed);
    let ended = run_with_input(
        Command::new("openssl")
            .args(["s_client", "-tls1_2", "-connect", &target.gateway.address().to_string()])
            .args(["-servername", "localhost"])
            .arg("-CAfile")
            .arg(target.gateway.ca_file()),
        b"R\n",
        SOON,
    );
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("RENEGOTIATING"), "{said}");
}

/// Log and counters say the same, and nothing else. Returns how often each reason was.
fn account(target: &Target) -> BTreeMap<String, u64> {
    target.gateway.wait_until_idle();
    let sent = target.sent.load(Ordering::Relaxed);
    let lines = usize::try_from(sent).expect("a test's size");
    wait_until("a line for each connection", SOON, || target.gateway.lines().len() >= lines);
    let mut reasons = BTreeMap::new();
    for line in target.gateway.lines() {
        *reasons.entry(line.text("reason").to_owned()).or_insert(0) += 1;
    }
    assert_eq!(reasons.values().sum::<u64>(), sent, "lines of the access log");
    let metrics = target.gateway.metrics();
    let count = |name: &str| metrics.count(name, &[]);
    assert_eq!(count("tlsgate_connections_accepted_total"), sent);
    assert_eq!(count("tlsgate_connections_closed_total"), sent);
    assert_eq!(count("tlsgate_connections_refused_total"), 0);
    assert_eq!(count("tlsgate_unattributed_events_total"), 0);
    for (reason, lines) in &reasons {
        let labels = [("reason", reason.as_str())];
        assert_eq!(metrics.count("tlsgate_connections_closed_total", &labels), *lines, "{reason}");
    }
    assert_eq!(reasons.get("internal"), None, "a peer's doing is not a bug of ours");
    assert!(!target.gateway.stderr().contains("panicked"), "{}", target.gateway.stderr());
    reasons
}
