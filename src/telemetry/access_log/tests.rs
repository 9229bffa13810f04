use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use serde_json::{Value, json};

use super::*;
use crate::config::model::{Destination, Facility};
use crate::conn::outcome::{ByteCounts, Cause, Reason, Security, Stage, UpstreamTls};
use crate::telemetry::shard::tests::outcome;
use crate::tls::lane::Lane;

pub(super) fn record() -> AccessRecord {
    let mut outcome = outcome(0, Stage::Relay, Reason::Finished, Cause::Upstream);
    outcome.peer = Some((IpAddr::V6(Ipv6Addr::LOCALHOST), 50_123));
    outcome.sni = Some(Arc::from("sip.example.com"));
    outcome.bytes = ByteCounts { received: 10, sent: 20 };
    outcome.phases.handshake = Some(Duration::from_micros(1_500));
    AccessRecord {
        unix_time_ms: 1_234_567_890_123,
        listener: Arc::from("sip"),
        route: Arc::from("partners"),
        generation: 3,
        upstream: Some(Arc::from("127.0.0.1:5060")),
        outcome,
        connection: 7,
        shard: 1,
        weight: 1,
    }
}

pub(super) fn failed(sni: &str) -> AccessRecord {
    let mut record = record();
    record.upstream = None;
    record.outcome.stage = Stage::Handshake;
    record.outcome.reason = Reason::AlertReceived;
    record.outcome.cause = Cause::Downstream;
    record.outcome.tls = None;
    record.outcome.sni = Some(Arc::from(sni));
    record.outcome.detail = Some(Arc::from("peer says: \"no\"\n"));
    record.outcome.alert_received = Some(48);
    record
}

pub(super) fn text(record: &AccessRecord, format: LogFormat) -> String {
    let mut line = Vec::new();
    line::write(&mut line, &Fields::of(record), format);
    String::from_utf8(line).expect("lines are text")
}

pub(super) fn parsed(record: &AccessRecord) -> Value {
    serde_json::from_str(&text(record, LogFormat::Json)).expect("lines are JSON")
}

#[test]
fn connection_as_json() {
    let expected = json!({
        "time": "2009-02-13T23:31:30.123Z", "event": "connection", "listener": "sip",
        "route": "partners", "shard": 1, "connection": 7, "generation": 3, "peer": "[::1]:50123", "upstream": "127.0.0.1:5060",
        "stage": "relay", "reason": "finished", "cause": "upstream", "sni": "sip.example.com",
        "lane": "modern", "lane_reason": "able", "tls_version": "TLSv1.3", "cipher_suite": "TLS_AES_128_GCM_SHA256", "group": "X25519",
        "resumed": false, "bytes_received": 10, "bytes_sent": 20, "handshake_us": 1500,
        "lifetime_us": 250_000,
    });
    assert_eq!(parsed(&record()), expected);
}

#[test]
fn connection_as_text() {
    let expected = "time=2009-02-13T23:31:30.123Z event=connection listener=sip route=partners shard=1 \
        connection=7 generation=3 peer=[::1]:50123 upstream=127.0.0.1:5060 stage=relay reason=finished \
        cause=upstream sni=sip.example.com lane=modern lane_reason=able \
        tls_version=TLSv1.3 cipher_suite=TLS_AES_128_GCM_SHA256 group=X25519 resumed=false bytes_received=10 \
        bytes_sent=20 handshake_us=1500 lifetime_us=250000\n";
    assert_eq!(text(&record(), LogFormat::Text), expected);
}

#[test]
fn the_upstreams_side_is_told_too() {
    let mut record = record();
    let outcome = &mut record.outcome;
    let facts = outcome.tls.take().expect("a handshake that is done");
    let subject = Some(Arc::from("CN=component.example"));
    let serial = Some(Arc::from("0a:1b"));
    let lane = Lane::Legacy;
    outcome.upstream_tls = Some(UpstreamTls { facts, lane, subject, serial });
    outcome.downstream_security = Some(Security::Plaintext);
    outcome.upstream_security = Some(Security::Mutual);
    outcome.upstream_alert_received = Some(42);
    outcome.phases.upstream_handshake = Some(Duration::from_micros(700));
    let value = parsed(&record);
    for (key, expected) in [
        ("downstream_security", json!("plaintext")),
        ("upstream_security", json!("mutual")),
        ("upstream_lane", json!("legacy")),
        ("upstream_tls_version", json!("TLSv1.3")),
        ("upstream_cipher_suite", json!("TLS_AES_128_GCM_SHA256")),
        ("upstream_group", json!("X25519")),
        ("upstream_resumed", json!(false)),
        ("upstream_subject", json!("CN=component.example")),
        ("upstream_serial", json!("0a:1b")),
        ("upstream_alert_received", json!("bad_certificate")),
        ("upstream_alert_received_number", json!(42)),
        ("upstream_handshake_us", json!(700)),
    ] {
        assert_eq!(value[key], expected, "{key}");
    }
    for absent in ["tls_version", "upstream_alert_sent", "upstream_alpn"] {
        assert_eq!(value.get(absent), None, "{absent}");
    }
    let upstream = record.outcome.upstream_tls.as_mut().expect("set above");
    upstream.lane = Lane::Modern;
    assert_eq!(parsed(&record).get("upstream_lane"), None, "weak lanes are told");
}

#[test]
fn failed_handshake_is_its_own_kind_of_line() {
    let value = parsed(&failed("sip"));
    assert_eq!(value["event"], "handshake_failed");
    assert_eq!(value["stage"], "handshake");
    assert_eq!(value["reason"], "alert_received");
    assert_eq!(value["alert_received"], "unknown_ca");
    assert_eq!(value["alert_received_number"], 48);
    assert_eq!(value["detail"], "peer says: \"no\"\n");
    for absent in ["alert_sent", "tls_version", "bytes_sent", "upstream", "resumed"] {
        assert_eq!(value.get(absent), None, "{absent}");
    }
}

#[test]
fn what_a_peer_sends_cannot_break_a_line() {
    let long = "x".repeat(line::MAX_TEXT + 1);
    let boundary = format!("{}\u{e9}", "x".repeat(line::MAX_TEXT - 1));
    for sni in [
        "",
        " ",
        "a b",
        "a=b event=connection",
        "\"",
        "\\",
        "\r\n{\"event\":\"connection\"}",
        "\u{0}\u{1b}[31m\u{7f}\u{85}",
        "\u{202e}gro.\u{1f600}",
        &long,
        &boundary,
    ] {
        let record = failed(sni);
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = text(&record, format);
            assert_eq!(line.find('\n'), Some(line.len() - 1), "one line: {line:?}");
            let printable = line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte));
            assert!(printable, "{line:?}");
        }
        let read = parsed(&record)["sni"].as_str().expect("is a string").to_owned();
        if sni.len() <= line::MAX_TEXT {
            assert_eq!(read, sni);
        } else {
            assert!(read.ends_with("...") && read.len() <= line::MAX_TEXT + 3, "{read}");
        }
    }
    let line = text(&failed("a=b event=connection"), LogFormat::Text);
    assert!(line.contains(" sni=\"a=b event=connection\" "), "{line}");
    assert!(line.contains(" detail=\"peer says: \\\"no\\\"\\n\" "), "{line}");
}

fn start_file(path: &std::path::Path) -> AccessLog {
    let log = AccessLog::start(&to_file(path), LogFormat::Json, Arc::default());
    log.expect("file opens")
}

pub(super) fn to(destination: Destination) -> model::AccessLog {
    model::AccessLog {
        to: destination,
        line: 0,
        facility: Facility::named("local2").expect("one of the words"),
        name: "gate".to_owned(),
        sample: 1,
        limit: None,
    }
}

fn to_file(path: &std::path::Path) -> model::AccessLog {
    to(Destination::File(path.to_owned()))
}

fn connections(path: &std::path::Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).expect("log is there");
    let number = |line| {
        let value: Value = serde_json::from_str(line).expect("a whole line of JSON");
        value["connection"].as_u64().expect("is a number")
    };
    text.lines().map(number).collect()
}

#[expect(clippy::disallowed_methods, reason = "a file has no event to wait for")]
fn wait_for(path: &std::path::Path, lines: usize) {
    for _ in 0..500 {
        if std::fs::read_to_string(path).is_ok_and(|text| text.lines().count() == lines) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} has no {lines} lines after 5 s", path.display());
}

pub(super) fn send(log: &AccessLog, connection: u64) {
    log.sender().send(AccessRecord { connection, ..record() });
}

#[test]
fn file_is_appended_to_flushed_when_idle_and_reopened_for_rotation() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (path, rotated) = (directory.path().join("access.log"), directory.path().join("old.log"));
    let log = start_file(&path);
    send(&log, 1);
    wait_for(&path, 1);
    std::fs::rename(&path, &rotated).expect("renames");
    send(&log, 2);
    wait_for(&rotated, 2);
    log.reopen();
    wait_for(&path, 0);
    send(&log, 3);
    drop(log);
    let log = start_file(&path);
    send(&log, 4);
    drop(log);
    assert_eq!(connections(&rotated), [1, 2]);
    assert_eq!(connections(&path), [3, 4]);
}

#[test]
fn off_takes_no_records_and_an_impossible_file_is_an_error() {
    let start = |target| AccessLog::start(&to(target), LogFormat::Text, Arc::default());
    assert!(!start(Destination::Off).expect("nothing to fail").sender().is_on());
    assert!(start(Destination::File("/nonexistent/access.log".into())).is_err());
    assert!(start(Destination::Stdout).expect("always opens").sender().is_on());
}

#[test]
fn lines_go_to_another_target_from_then_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [first, second] = ["first.log", "second.log"].map(|name| directory.path().join(name));
    let log = start_file(&first);
    let sender = log.sender();
    send(&log, 1);
    send(&log, 2);
    // What was sent before is written first: the writer takes one thing after the other.
    wait_for_lines(&first, 2);
    log.retarget(Target::open(&to_file(&second), LogFormat::Json).expect("file opens"));
    send(&log, 3);
    wait_for_lines(&second, 1);
    log.retarget(Target::open(&to(Destination::Off), LogFormat::Json).expect("nothing to fail"));
    assert!(!sender.is_on());
    drop(log);
    assert_eq!(connections(&first), [1, 2]);
    assert_eq!(connections(&second), [3]);
}

fn wait_for_lines(path: &std::path::Path, lines: usize) {
    for _ in 0..1_000_000 {
        if path.exists() && connections(path).len() >= lines {
            return;
        }
        std::thread::yield_now();
    }
    panic!("no {lines} lines in {}", path.display());
}

fn start_on<W: Write + Send + 'static>(
    open: impl Fn() -> Box<W> + Send + 'static,
    shared: &Arc<SharedCounters>,
    capacity: usize,
) -> AccessLog {
    let open: Open = Box::new(move || Ok(Output::lines(open(), LogFormat::Json)));
    let target = Target::open_with(open).expect("opens");
    AccessLog::start_with(target, Arc::clone(shared), capacity).expect("thread starts")
}

/// Waits for permission before each write.
struct Gate {
    entered: Sender<()>,
    permits: Arc<Mutex<Receiver<()>>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.entered.send(()).map_err(io::Error::other)?;
        let permits = self.permits.lock().expect("one user");
        // Nothing is ever sent: the test opens the gate for good by dropping the other end.
        assert!(permits.recv().is_err());
        self.written.lock().expect("no user panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn full_queue_drops_and_counts() {
    let (entered, inside) = std::sync::mpsc::channel();
    let (permit, permits) = std::sync::mpsc::channel();
    let permits = Arc::new(Mutex::new(permits));
    let written = Arc::new(Mutex::new(Vec::new()));
    let result = Arc::clone(&written);
    let open = move || {
        Box::new(Gate {
            entered: entered.clone(),
            permits: Arc::clone(&permits),
            written: Arc::clone(&result),
        })
    };
    let shared = Arc::new(SharedCounters::default());
    let log = start_on(open, &shared, 4);
    send(&log, 0);
    inside.recv().expect("writer flushes the first line and is held");
    for connection in 1..=10 {
        send(&log, connection);
    }
    assert_eq!(shared.access_log_dropped_queue.get(), 6);
    drop(permit);
    drop(log);
    let text = written.lock().expect("no user panics").clone();
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 5);
}

struct FullDisk;

impl Write for FullDisk {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_the_target_does_not_take_are_counted() {
    let shared = Arc::new(SharedCounters::default());
    let log = start_on(|| Box::new(FullDisk), &shared, 1_000);
    for connection in 0..500 {
        send(&log, connection);
    }
    drop(log);
    let dropped = shared.access_log_dropped_failed.get();
    assert_eq!(dropped, 500, "and none is written twice or forgotten");
}

#[test]
fn a_sample_says_its_weight_and_failures_are_all_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("access.log");
    let shared = Arc::new(SharedCounters::default());
    let sampled = model::AccessLog { sample: 10, ..to_file(&path) };
    let log = AccessLog::start(&sampled, LogFormat::Json, Arc::clone(&shared)).expect("opens");
    let (sender, mut sample) = (log.sender(), Sample::default());
    let mut ends = |record: AccessRecord| {
        if let Some(weight) = sender.choose(&mut sample, &record.outcome, Duration::ZERO) {
            sender.send(AccessRecord { weight, ..record });
        }
    };
    (0..200).for_each(|_| ends(record()));
    (0..30).for_each(|_| ends(failed("sip")));
    log.thin_out(&to_file(&path));
    (0..5).for_each(|_| ends(record()));
    drop(log);
    let text = std::fs::read_to_string(&path).expect("log is there");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    let of = |event: &str| {
        let weights = lines.iter().filter(|line| line["event"] == event);
        weights.map(|line| line["weight"].as_u64().unwrap_or(1)).collect::<Vec<_>>()
    };
    assert_eq!(of("connection"), [vec![10; 20], vec![1; 5]].concat());
    assert_eq!(of("handshake_failed"), [1; 30]);
    assert_eq!(shared.read().access_log_suppressed_sample, 180);
}

#[test]
fn what_is_beyond_the_limit_is_counted_and_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("access.log");
    let shared = Arc::new(SharedCounters::default());
    let limit = Some(model::LineLimit { per_second: 1, burst: 3 });
    let limited = model::AccessLog { limit, ..to_file(&path) };
    let log = AccessLog::start(&limited, LogFormat::Json, Arc::clone(&shared)).expect("opens");
    let (sender, mut sample) = (log.sender(), Sample::default());
    let mut chosen =
        |outcome: &Outcome| sender.choose(&mut sample, outcome, Duration::from_secs(5)).is_some();
    let records = [record(), failed("sip")];
    let taken = records.iter().cycle().take(10).filter(|record| chosen(&record.outcome));
    assert_eq!(taken.count(), 3, "failures, too");
    drop(log);
    let line = std::fs::read_to_string(&path).expect("log is there");
    let line: Value = serde_json::from_str(&line).expect("one line of JSON");
    assert_eq!((&line["event"], &line["lines"]), (&json!("lines_suppressed"), &json!(7)));
    let times = [&line["since"], &line["time"]].map(|time| time.as_str().expect("a time").len());
    assert_eq!(times, ["1970-01-01T00:00:00.000Z".len(); 2]);
    assert_eq!(shared.read().access_log_suppressed_rate, 7);
}

proptest::proptest! {
    #[test]
    fn any_name_survives_json_on_one_line(sni in ".{0,80}", detail in ".{0,80}") {
        let mut record = failed(&sni);
        record.outcome.detail = Some(Arc::from(detail.as_str()));
        let line = text(&record, LogFormat::Json);
        proptest::prop_assert!(line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        let value: Value = serde_json::from_str(&line).expect("lines are JSON");
        proptest::prop_assert_eq!(value["sni"].as_str(), Some(sni.as_str()));
        proptest::prop_assert_eq!(value["detail"].as_str(), Some(detail.as_str()));
    }
}
