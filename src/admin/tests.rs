use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::audit::report::Traffic;
use crate::conn::outcome::PhaseTimes;
use crate::telemetry::aggregator::answer_channel;
use crate::telemetry::snapshot::{CertificateFacts, Facts, ListenerFacts, ShardView};
use crate::telemetry::{
    Aggregator, AggregatorHandle, AnswerSender, ListenerNames, ShardPort, ShardSnapshot,
    ShardTelemetry,
};
use crate::tls::resumption::{Refusal, Refusals, TicketStats};

/// A source whose answers the test sets.
struct Fake {
    snapshot: Mutex<Result<Arc<Snapshot>, ReadError>>,
    lifecycle: Mutex<Lifecycle>,
}

impl StatusSource for Fake {
    fn snapshot(&self) -> Result<Arc<Snapshot>, ReadError> {
        self.snapshot.lock().expect("no test panics with it").clone()
    }

    fn traffic(&self, _part: Part) -> Traffic {
        Traffic::default()
    }

    fn inventory(&self) -> Inventory {
        Inventory::default()
    }

    fn lifecycle(&self) -> Lifecycle {
        *self.lifecycle.lock().expect("no test panics with it")
    }
}

fn fake(snapshot: Snapshot) -> Arc<Fake> {
    Arc::new(Fake {
        snapshot: Mutex::new(Ok(Arc::new(snapshot))),
        lifecycle: Mutex::new(Lifecycle::Starting),
    })
}

fn start(source: &Arc<Fake>, limits: Limits) -> Admin {
    let source = Arc::clone(source);
    let mut admin = Admin::start_with(local(), source, limits).expect("a thread");
    admin.open();
    admin
}

fn local() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port on loopback")
}

fn connect(admin: &Admin) -> TcpStream {
    let stream = TcpStream::connect(admin.address()).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    stream
}

/// Sends a request and reads to the end: status code, headers and body.
fn exchange(admin: &Admin, request: &str) -> (u16, String, String) {
    let mut stream = connect(admin);
    stream.write_all(request.as_bytes()).expect("request is taken");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("response ends");
    let (head, body) = text.split_once("\r\n\r\n").expect("headers end");
    let code = head.split(' ').nth(1).expect("status line").parse().expect("code is a number");
    (code, head.to_ascii_lowercase(), body.to_owned())
}

fn get(admin: &Admin, path: &str) -> (u16, String, String) {
    exchange(admin, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
}

#[test]
fn a_retired_port_answers_whom_it_has_accepted() {
    let source = fake(Snapshot::default());
    let mut admin = start(&source, LIMITS);
    // One that has yet to ask, and one that has asked before and may ask again. That was accepted
    // later.
    let mut silent = connect(&admin);
    let mut kept = connect(&admin);
    kept.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").expect("request is taken");
    let mut first = [0; 12];
    kept.read_exact(&mut first).expect("a response");
    let socket = admin.socket().expect("it listens");
    admin.retire();
    assert!(admin.socket().is_none());
    // Whoever else has the socket goes on.
    let other = TcpListener::from(socket.try_clone().expect("a descriptor"));
    drop(socket);
    let waiting = TcpStream::connect(admin.address()).expect("somebody listens");
    other.set_nonblocking(false).expect("an open socket");
    let (accepted, peer) = other.accept().expect("it waits in the queue");
    assert_eq!(peer, waiting.local_addr().expect("connected"));
    drop((accepted, other));
    silent.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").expect("request is taken");
    let address = admin.address();
    drop(admin);
    for mut stream in [kept, silent] {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("an end in order");
        assert!(rest.ends_with("starting\n"), "{rest}");
    }
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

fn set_lifecycle(source: &Fake, lifecycle: Lifecycle) {
    *source.lifecycle.lock().expect("no test panics with it") = lifecycle;
}

#[test]
fn nobody_is_answered_before_it_opens() {
    let source = fake(Snapshot::default());
    let mut admin = Admin::start(local(), Arc::clone(&source) as _).expect("a thread");
    let mut early = connect(&admin);
    early
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("request is taken");
    early.set_read_timeout(Some(Duration::from_millis(100))).expect("not zero");
    let silence = early.read(&mut [0; 1]).expect_err("it waits in the queue");
    assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
    set_lifecycle(&source, Lifecycle::Accepting);
    admin.open();
    early.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    let mut text = String::new();
    early.read_to_string(&mut text).expect("response ends");
    assert!(text.ends_with("accepting\n"), "{text}");
}

#[test]
fn ready_only_while_accepting() {
    let source = fake(Snapshot::default());
    let admin = start(&source, LIMITS);
    for (lifecycle, code, word) in [
        (Lifecycle::Starting, 503, "starting\n"),
        (Lifecycle::Accepting, 200, "accepting\n"),
        (Lifecycle::Draining, 503, "draining\n"),
    ] {
        set_lifecycle(&source, lifecycle);
        let (got, _, body) = get(&admin, "/readyz");
        assert_eq!((got, body.as_str()), (code, word));
    }
}

#[test]
fn health_names_the_stuck_shard_and_fails_without_aggregator() {
    let healthy = ShardView { answered_ago: Duration::from_millis(4_999), ..ShardView::default() };
    let stuck = ShardView { answered_ago: Duration::from_secs(7), ..ShardView::default() };
    let source = fake(Snapshot { shards: vec![healthy; 2], ..Snapshot::default() });
    let admin = start(&source, LIMITS);
    let (code, _, body) = get(&admin, "/healthz");
    assert_eq!((code, body.as_str()), (200, "ok\n"));

    let snapshot = Snapshot { shards: vec![healthy, stuck], ..Snapshot::default() };
    *source.snapshot.lock().expect("no test panics with it") = Ok(Arc::new(snapshot));
    let (code, _, body) = get(&admin, "/healthz");
    assert_eq!((code, body.as_str()), (503, "shard 1 has not answered for 7 s\n"));

    *source.snapshot.lock().expect("no test panics with it") = Err(ReadError::NoAnswer);
    for path in ["/healthz", "/metrics", "/status"] {
        let (code, _, body) = get(&admin, path);
        assert_eq!((code, body.as_str()), (503, "the telemetry aggregator does not answer\n"));
    }
    assert_eq!(get(&admin, "/readyz").0, 503, "does not need the aggregator");
}

#[test]
fn unknown_paths_methods_and_bodies() {
    let admin = start(&fake(Snapshot::default()), LIMITS);
    let (code, _, body) = get(&admin, "/nothing");
    assert_eq!(code, 404);
    for path in ["/healthz", "/readyz", "/metrics", "/status"] {
        assert!(body.contains(path), "{body}");
    }
    let post = |path: &str, length: usize| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
        exchange(&admin, &format!("{head}Content-Length: {length}\r\n\r\n")).0
    };
    assert_eq!(post("/status", 0), 405);
    assert_eq!(post("/status", 1_025), 413);
    let header = "x".repeat(MAX_HEAD);
    let large = format!("GET /status HTTP/1.1\r\nHost: a\r\nX: {header}\r\n\r\n");
    assert_eq!(exchange(&admin, &large).0, 431);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let limits = Limits { connections: 2, ..LIMITS };
    let admin = start(&fake(Snapshot::default()), limits);
    let mut held: Vec<_> = (0..2).map(|_| connect(&admin)).collect();
    // Make sure that both are in their places before the third one comes.
    for stream in &mut held {
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").expect("request is taken");
        assert!(stream.read(&mut [0; 1_024]).expect("response comes") > 0);
    }
    let mut third = connect(&admin);
    let end = third.read(&mut [0; 1]);
    assert!(!matches!(end, Ok(1..)), "closed without a word: {end:?}");
    let mut second = held.pop().expect("there are two");
    second
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("request is taken");
    let mut text = String::new();
    second.read_to_string(&mut text).expect("response ends");
    assert!(text.contains("\ntlsgate_admin_connections_refused_total 1\n"), "{text}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it measures how long a peer is kept")]
fn slow_headers_and_idle_connections_are_closed() {
    let limits = Limits { header: Duration::from_millis(100), ..LIMITS };
    let admin = start(&fake(Snapshot::default()), limits);
    for beginning in ["", "GET /readyz HTTP/1.1\r\nHost", "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let mut stream = connect(&admin);
        stream.write_all(beginning.as_bytes()).expect("bytes are taken");
        let began = Instant::now();
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("closed in order");
        assert!(began.elapsed() < Duration::from_secs(5), "{beginning:?}");
    }
    let limits = Limits { lifetime: Duration::from_millis(100), ..LIMITS };
    let admin = start(&fake(Snapshot::default()), limits);
    let began = Instant::now();
    let mut stream = connect(&admin);
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").expect("request is taken");
    stream.read_to_string(&mut String::new()).expect("closed in order");
    assert!(began.elapsed() < Duration::from_secs(4), "lifetime, not header deadline");
}

#[test]
fn port_is_free_after_drop() {
    let admin = start(&fake(Snapshot::default()), LIMITS);
    let address = admin.address();
    let open = connect(&admin);
    drop(admin);
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
    drop(open);
}

/// A shard that answers on the spot.
struct Port {
    telemetry: Mutex<ShardTelemetry>,
    answers: AnswerSender,
}

impl ShardPort for Port {
    fn request(&self, mut report: Box<ShardSnapshot>) -> Result<(), Box<ShardSnapshot>> {
        self.telemetry.lock().expect("no test panics with it").hand_over(&mut report);
        self.answers.send(report);
        Ok(())
    }
}

struct Real(AggregatorHandle);

impl StatusSource for Real {
    fn snapshot(&self) -> Result<Arc<Snapshot>, ReadError> {
        self.0.snapshot()
    }

    fn traffic(&self, _part: Part) -> Traffic {
        Traffic::default()
    }

    fn inventory(&self) -> Inventory {
        Inventory::default()
    }

    fn lifecycle(&self) -> Lifecycle {
        Lifecycle::Accepting
    }
}

fn facts() -> Facts {
    Facts {
        version: "1.2.3",
        engine: "epoll",
        engine_reason: Arc::from("io_uring is not permitted"),
        sandbox: Arc::from("files: landlock"),
        listeners: vec![ListenerFacts { name: "sip".into(), address: "127.0.0.1:5061".into() }],
        certificates: vec![CertificateFacts {
            listener: "sip".into(),
            side: crate::audit::Whose::Downstream,
            subject: "CN=sip.example.com".into(),
            serial: "01".into(),
            not_after_unix: 86_400,
            staple: None,
        }],
        tickets: TicketStats {
            issued: 3,
            accepted: [[0, 1], [2, 0], [0, 0]],
            expired: [1, 0, 1],
            refused: Refusals::from_iter([(Refusal::Expired, 2), (Refusal::UnknownKey, 4)]),
        },
        sessions_rejected: Refusals::from_iter([(Refusal::CrlEpoch, 5)]),
        ..Facts::default()
    }
}

#[test]
fn status_and_metrics_show_what_shards_measured() {
    let (answers, inbox) = answer_channel(2);
    let names: ListenerNames = [Arc::from("sip")].into();
    let ports = (0..2).map(|shard| {
        let mut telemetry = ShardTelemetry::new(shard, Arc::clone(&names));
        let handshake = Some(Duration::from_micros(120));
        telemetry.on_accept(0);
        let times = PhaseTimes { handshake, ..PhaseTimes::default() };
        telemetry.on_handshake(0, true, &times);
        let telemetry = Mutex::new(telemetry);
        Box::new(Port { telemetry, answers: answers.clone() }) as Box<dyn ShardPort>
    });
    let aggregator = Aggregator::start(inbox, ports.collect(), Box::new(facts), Arc::default())
        .expect("thread starts");
    let source = Arc::new(Real(aggregator.handle()));
    let mut admin = Admin::start(local(), source).expect("a thread");
    admin.open();

    let (code, head, body) = get(&admin, "/status");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let status: Value = serde_json::from_str(&body).expect("is JSON");
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(status["state"], "accepting");
    assert_eq!(status["engine_reason"], "io_uring is not permitted");
    assert_eq!(status["sandbox"], "files: landlock");
    assert_eq!(status["workers"], 2);
    assert_eq!(status["connections"]["open_connections"], 2);
    assert_eq!(status["listeners"][0]["address"], "127.0.0.1:5061");
    assert_eq!(status["listeners"][0]["handshakes_resumed"], 2);
    let tickets = serde_json::json!({
        "issued": 3,
        "accepted": { "previous": { "older": 1 }, "current": { "first": 2 } },
        "rejected": { "expired": 2, "unknown_key": 4 },
    });
    assert_eq!(status["tickets"], tickets);
    assert_eq!(status["sessions_rejected"], serde_json::json!({ "crl_epoch": 5 }));
    let expired = status["certificates"][0]["days_left"].as_i64().expect("is a number");
    assert!(expired < -10_000, "{expired}");
    let rows = status["percentiles"].as_array().expect("is a list");
    let spans: Vec<_> = rows.iter().map(|row| row["span"].as_str()).collect();
    assert_eq!(spans, [Some("total"), Some("last_10s"), Some("last_60s")]);
    for row in rows {
        assert_eq!((&row["kind"], &row["phase"]), (&"resumed".into(), &"handshake".into()));
        assert_eq!(row["count"], 2);
        for name in ["p50", "p90", "p99", "p99.9", "p99.99"] {
            assert_eq!(row["percentiles_us"][name], 120, "{name}");
        }
    }

    let (code, head, body) = get(&admin, "/metrics");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let sample = "\ntlsgate_handshakes_total{listener=\"sip\",kind=\"resumed\"} 2\n";
    assert!(body.contains(sample), "{body}");
    assert_eq!(get(&admin, "/healthz").0, 200);

    drop(aggregator);
    assert_eq!(get(&admin, "/healthz").0, 503);
}

#[test]
fn the_page_asks_nobody_else_and_its_figures_are_little() {
    let source = fake(Snapshot::default());
    let admin = start(&source, LIMITS);
    let (code, head, page) = get(&admin, "/");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none';"), "{head}");
    assert!(!head.contains("unsafe"), "{head}");
    // Everything that it names is there, and comes from here.
    let named = page.split(['"', '\'']).filter(|part| part.starts_with("/page/"));
    let named: Vec<&str> = named.collect();
    assert!(named.len() >= 3, "{named:?}");
    for path in named {
        assert_eq!(get(&admin, path).0, 200, "{path}");
    }
    for path in ["/page/page.js", "/page/charts.js", "/page/map.js", "/page/words.js"] {
        let (code, head, script) = get(&admin, path);
        assert!(code == 200 && head.contains("text/javascript"), "{path}: {head}");
        for outside in ["https:", "//cdn", "eval(", "innerHTML"] {
            assert!(!script.contains(outside), "{path}: {outside}");
        }
    }
    let (code, head, body) = get(&admin, "/page/data");
    assert!(code == 200 && head.contains("no-store"), "{head}");
    let data: Value = serde_json::from_str(&body).expect("is JSON");
    assert_eq!(data["inventory"]["number"], 1);
    // Whoever has it does not get it again.
    let (_, _, body) = get(&admin, "/page/data?inventory=1&search=");
    let data: Value = serde_json::from_str(&body).expect("is JSON");
    assert!(data["inventory"].is_null() && data["live"]["state"] == "starting", "{data}");
    assert_eq!(get(&admin, "/page/data?inventory=x").0, 400);
    *source.snapshot.lock().expect("no test panics with it") = Err(ReadError::NoAnswer);
    assert_eq!(get(&start(&source, LIMITS), "/page/data").0, 503);
}
