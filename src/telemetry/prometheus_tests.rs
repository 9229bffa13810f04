use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::audit::report::Traffic;
use crate::conn::outcome::{PhaseTimes, Stage};
use crate::telemetry::ConfigFacts;
use crate::telemetry::merge::Merge;
use crate::telemetry::names::MetricType;
use crate::telemetry::process::ProcessFigures;
use crate::telemetry::shard::tests::{names, outcome};
use crate::telemetry::shard::{ShardSnapshot, ShardTelemetry};
use crate::telemetry::shared::SharedValues;
use crate::telemetry::snapshot::{CertificateFacts, CrlSwaps, Facts, UpstreamFacts};
use crate::time::Time;
use crate::tls::resumption::{Refusal, Refusals, TicketStats, UpstreamStats};
use crate::tls::trust::{CrlFacts, OcspFacts, OcspStatus};
use crate::upstream::{Figures, Role};

/// A sample as the strict parser below read it.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Families in order, each with its type and samples.
type Families = Vec<(String, String, Vec<Sample>)>;

/// Reads the exposition format and panics at whatever the format does not allow.
fn parse(text: &str) -> Families {
    assert!(text.ends_with('\n'), "the last line ends with a line feed");
    let mut families: Families = Vec::new();
    let mut names = HashSet::new();
    let mut series = HashSet::new();
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').expect("help has a name and words");
            assert!(!words.is_empty());
            assert!(names.insert(name.to_owned()), "family {name} is there twice");
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type has a name and a word");
            assert_eq!(help.take().as_deref(), Some(name), "help stands before type");
            families.push((name.to_owned(), kind.to_owned(), Vec::new()));
        } else {
            let sample = parse_sample(line);
            let (family, kind, samples) = families.last_mut().expect("a family comes first");
            let suffix = sample.name.strip_prefix(family.as_str()).expect("sample of its family");
            match kind.as_str() {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                "counter" | "gauge" => assert_eq!(suffix, "", "{line}"),
                other => panic!("type {other}"),
            }
            let identity = (sample.name.clone(), sample.labels.clone());
            assert!(series.insert(identity), "series is there twice: {line}");
            samples.push(sample);
        }
    }
    families
}

fn parse_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a value follows the name");
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("label and value");
            assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{label}");
            let (value, after) = parse_quoted(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "label twice: {line}");
            if let Some(after) = after.strip_prefix(',') {
                rest = after;
            } else {
                rest = after.strip_prefix('}').expect("labels end");
                break;
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("one space before the value");
    assert!(!value.contains(' '), "no timestamp: {line}");
    Sample { name: name.to_owned(), labels, value: value.parse().expect("a number") }
}

fn parse_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return (value, &text[position + 1..]),
            '\\' => match characters.next().expect("something escaped").1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                other => panic!("escape of {other:?}"),
            },
            _ => value.push(character),
        }
    }
    panic!("unterminated label value in {text}");
}

const UGLY: &str = "no io_uring: \"EPERM\"\nC:\\path {a=\"b\"}";

fn example() -> Snapshot {
    let listeners = names(&["sip", "we\"ird\\name"]);
    let mut merge = Merge::new(2, Time::ZERO);
    for number in 0..2 {
        let mut shard = ShardTelemetry::new(number, Arc::clone(&listeners));
        for micros in [80, 400, 400, 900_000, 90_000_000] {
            shard.on_accept(0);
            let time = Some(Duration::from_micros(micros));
            let times = PhaseTimes { hello: time, handshake: time, ..PhaseTimes::default() };
            shard.on_handshake(0, micros == 80, &times);
        }
        shard.on_close(&outcome(0, Stage::Relay, Reason::Truncated, Cause::Downstream));
        shard.on_accept(1);
        shard.on_close(&outcome(1, Stage::Hello, Reason::HelloEof, Cause::Downstream));
        shard.on_received(0, 1_000);
        shard.on_accept(1);
        shard.on_unterminated(1, Unterminated::Plaintext);
        shard.on_upstream_handshake(1, number == 0);
        shard.on_upstream_failure(1, Reason::UpstreamRefused);
        shard.engine().ring_overflows = 3;
        let mut report = ShardSnapshot::default();
        shard.hand_over(&mut report);
        merge.absorb(&mut report, Time::ZERO);
    }
    let certificate = CertificateFacts {
        listener: Arc::from("sip"),
        side: crate::audit::Whose::Downstream,
        subject: "CN=sip.example.com, O=\"Example\\Corp\"".to_owned(),
        serial: "0a1b".to_owned(),
        not_after_unix: 1_900_000_000,
        staple: Some(OcspFacts {
            status: OcspStatus::Good,
            this_update: 1_700_000_000,
            next_update: Some(1_800_000_000),
        }),
    };
    let facts = Facts {
        version: "0.1.0",
        engine: "epoll",
        engine_reason: Arc::from(UGLY),
        sandbox: Arc::from("off"),
        started_unix_ms: 1_700_000_000_123,
        config: ConfigFacts { generation: 3, reloads: 2, ..ConfigFacts::default() },
        listeners: Vec::new(),
        certificates: vec![certificate.clone(), certificate],
        // Two listeners may name the same file.
        crls: vec![crl(), crl()],
        crl_swaps: CrlSwaps { taken: 3, refused: 1 },
        upstreams: vec![upstream()],
        tickets: TicketStats {
            issued: 9,
            accepted: [[1, 2], [3, 0], [4, 0]],
            expired: [5, 0, 0],
            refused: Refusals::from_iter([
                (Refusal::Expired, 5),
                (Refusal::UnknownKey, 6),
                (Refusal::Malformed, 7),
            ]),
        },
        sessions_rejected: Refusals::from_iter([(Refusal::CrlEpoch, 8)]),
        upstream_sessions: UpstreamStats { offered: 10, ..UpstreamStats::default() },
        process: ProcessFigures { open_fds: Some(12), max_fds: Some(1_024), ..Default::default() },
    };
    let shared = SharedValues { session_entries: 42, ..SharedValues::default() };
    merge.snapshot(facts, shared, 1_700_000_001_000, Time::ZERO + Duration::from_secs(1))
}

fn crl() -> CrlFacts {
    CrlFacts {
        file: "ca.crl".into(),
        issuer: "CN=CA".to_owned(),
        this_update: 1_700_000_000,
        next_update: 1_800_000_000,
        revoked: 3,
    }
}

fn upstream() -> UpstreamFacts {
    let figures = Figures {
        disabled: false,
        weight: None,
        connections: 5,
        addresses: 3,
        addresses_down: 1,
        addresses_left_out: 2,
        connect_failures: 7,
        ejections: 4,
        checks_passed: 11,
        checks_failed: 13,
        look_up_failures: 6,
    };
    let (route, endpoint) = (Arc::from("sip"), Arc::from("sip.example.com:5060"));
    let ports_left = vec![(([192, 0, 2, 1], 5060).into(), 28_000)];
    UpstreamFacts { route, endpoint, role: Role::Backup, figures, ports_left }
}

fn find(families: &Families, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    families.iter().flat_map(|(_, _, samples)| samples).find_map(|sample| {
        let is_it = sample.name == name
            && labels
                .iter()
                .all(|(key, value)| sample.labels.get(*key).map(String::as_str) == Some(*value));
        is_it.then_some(sample.value)
    })
}

#[test]
fn text_is_valid_and_says_what_the_snapshot_says() {
    let families = parse(&render(&example()));
    let value = |name: &str, labels: &[(&str, &str)]| find(&families, name, labels);
    assert_eq!(value("tlsgate_build_info", &[("version", "0.1.0")]), Some(1.0));
    assert_eq!(value("tlsgate_engine_info", &[("engine", "epoll"), ("reason", UGLY)]), Some(1.0));
    assert_eq!(value("tlsgate_shards", &[]), Some(2.0));
    assert_eq!(value("process_start_time_seconds", &[]), Some(1_700_000_000.123));
    assert_eq!(value("process_open_fds", &[]), Some(12.0));
    assert_eq!(value("tlsgate_heap_live_bytes", &[]), None);
    let sip = ("listener", "sip");
    assert_eq!(value("tlsgate_connections_accepted_total", &[sip]), Some(10.0));
    assert_eq!(value("tlsgate_connections_open", &[sip]), Some(8.0));
    assert_eq!(value("tlsgate_handshakes_total", &[sip, ("kind", "resumed")]), Some(2.0));
    assert_eq!(value("tlsgate_received_bytes_total", &[sip]), Some(2_000.0));
    let weird = ("listener", "we\"ird\\name");
    for (name, label, expected) in [
        ("tlsgate_connections_unterminated_total", ("downstream", "plaintext"), Some(2.0)),
        ("tlsgate_connections_unterminated_total", ("downstream", "passthrough"), Some(0.0)),
        ("tlsgate_upstream_handshakes_total", ("kind", "full"), Some(1.0)),
        ("tlsgate_upstream_handshakes_total", ("kind", "resumed"), Some(1.0)),
        ("tlsgate_upstream_failures_total", ("reason", "upstream_refused"), Some(2.0)),
        ("tlsgate_upstream_failures_total", ("reason", "upstream_alert"), None),
    ] {
        assert_eq!(value(name, &[weird, label]), expected, "{name} {label:?}");
    }
    let truncated = [sip, ("reason", "truncated"), ("cause", "downstream")];
    assert_eq!(value("tlsgate_connections_closed_total", &truncated), Some(2.0));
    assert_eq!(value("tlsgate_connections_closed_total", &[("cause", "policy")]), None);
    let failed = [weird, ("reason", "hello_eof")];
    assert_eq!(value("tlsgate_handshake_failures_total", &failed), Some(2.0));
    assert_eq!(
        value("tlsgate_handshake_failures_total", &[sip, ("reason", "hello_eof")]),
        Some(0.0)
    );
    assert_eq!(value("tlsgate_engine_ring_overflows_total", &[("shard", "1")]), Some(3.0));
    assert_eq!(value("tlsgate_session_store_entries", &[]), Some(42.0));
    assert_eq!(value("tlsgate_tickets_issued_total", &[]), Some(9.0));
    let accepted = |epoch, secret| {
        value("tlsgate_tickets_accepted_total", &[("epoch", epoch), ("secret", secret)])
    };
    assert_eq!(accepted("previous", "first"), Some(1.0));
    assert_eq!(accepted("previous", "older"), Some(2.0));
    assert_eq!(accepted("next", "first"), Some(4.0));
    let rejected = |cause, epoch| {
        value("tlsgate_tickets_rejected_total", &[("cause", cause), ("epoch", epoch)])
    };
    assert_eq!(rejected("expired", "previous"), Some(5.0));
    assert_eq!(rejected("expired", "next"), Some(0.0));
    assert_eq!(rejected("unknown_key", "unknown"), Some(6.0));
    assert_eq!(rejected("malformed", "unknown"), Some(7.0));
    assert_eq!(value("tlsgate_upstream_sessions_offered_total", &[]), Some(10.0));
    let of_store = |cause| value("tlsgate_session_store_rejected_total", &[("cause", cause)]);
    assert_eq!((of_store("crl_epoch"), of_store("identity")), (Some(8.0), Some(0.0)));
    let certificate = [("subject", "CN=sip.example.com, O=\"Example\\Corp\""), ("serial", "0a1b")];
    assert_eq!(value("tlsgate_certificate_not_after_seconds", &certificate), Some(1_900_000_000.0));
    let crl = [("file", "ca.crl"), ("issuer", "CN=CA")];
    assert_eq!(value("tlsgate_crl_next_update_seconds", &crl), Some(1_800_000_000.0));
    assert_eq!(value("tlsgate_ocsp_this_update_seconds", &certificate), Some(1_700_000_000.0));
    assert_eq!(value("tlsgate_ocsp_next_update_seconds", &certificate), Some(1_800_000_000.0));
    assert_eq!(value("tlsgate_crl_swaps_total", &[("result", "taken")]), Some(3.0));
    assert_eq!(value("tlsgate_crl_swaps_total", &[("result", "refused")]), Some(1.0));
}

#[test]
fn each_upstream_has_its_figures() {
    let families = parse(&render(&example()));
    let upstream = [("route", "sip"), ("upstream", "sip.example.com:5060")];
    let of_upstream = |name: &str, label| {
        let labels: Vec<_> = upstream.into_iter().chain(label).collect();
        find(&families, &format!("tlsgate_upstream_{name}"), &labels)
    };
    for (name, label, expected) in [
        ("up", Some(("role", "backup")), 1.0),
        ("connections", None, 5.0),
        ("connect_failures_total", None, 7.0),
        ("ejections_total", None, 4.0),
        ("look_up_failures_total", None, 6.0),
        ("addresses", Some(("state", "up")), 2.0),
        ("addresses", Some(("state", "down")), 1.0),
        ("addresses", Some(("state", "left_out")), 2.0),
        ("checks_total", Some(("result", "passed")), 11.0),
        ("checks_total", Some(("result", "failed")), 13.0),
        ("ports_left", Some(("address", "192.0.2.1:5060")), 28_000.0),
    ] {
        assert_eq!(of_upstream(name, label), Some(expected), "{name} {label:?}");
    }
}

#[test]
fn histograms_rise_and_agree_with_their_count_and_sum() {
    let families = parse(&render(&example()));
    let mut seen = 0;
    for (family, _, samples) in families.iter().filter(|(_, kind, _)| kind == "histogram") {
        let mut buckets: HashMap<BTreeMap<String, String>, Vec<(f64, f64)>> = HashMap::new();
        for sample in samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").expect("buckets have a bound");
            let bound = bound.parse().expect("bound is a number");
            buckets.entry(labels).or_default().push((bound, sample.value));
        }
        assert_eq!(buckets.len(), 4, "two listeners, two kinds, in {family}");
        for (labels, buckets) in buckets {
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{family} {buckets:?}");
            let (last_bound, last) = *buckets.last().expect("at least +Inf");
            assert_eq!(last_bound, f64::INFINITY);
            let labels: Vec<_> = labels.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!(find(&families, &format!("{family}_count"), &labels), Some(last));
            assert!(find(&families, &format!("{family}_sum"), &labels).is_some());
            seen += 1;
        }
    }
    assert_eq!(seen, 5 * 4);
    let full = [("listener", "sip"), ("kind", "full")];
    let bucket = |bound: &str| {
        let labels = [full[0], full[1], ("le", bound)];
        find(&families, "tlsgate_handshake_seconds_bucket", &labels)
    };
    let expected = [("0.00025", 0.0), ("0.0005", 4.0), ("1", 6.0), ("10", 6.0), ("+Inf", 8.0)];
    for (bound, count) in expected {
        assert_eq!(bucket(bound), Some(count), "up to {bound}");
    }
    assert_eq!(find(&families, "tlsgate_handshake_seconds_sum", &full), Some(181.8016));
}

#[test]
fn every_metric_is_written_with_its_type() {
    let mut snapshot = example();
    snapshot.facts.process.resident_bytes = Some(1);
    snapshot.facts.process.heap_bytes = Some(1);
    let mut text = render(&snapshot);
    write_traffic(&mut text, &Traffic::default());
    write_single(&mut text, &names::ADMIN_REFUSED, 0);
    let written: HashMap<_, _> =
        parse(&text).into_iter().map(|(name, kind, _)| (name, kind)).collect();
    assert_eq!(written.len(), names::ALL.len());
    for metric in names::ALL {
        let kind = written.get(metric.name).map(String::as_str);
        assert_eq!(kind, Some(metric.kind.as_str()), "{}", metric.name);
    }
    assert_eq!(MetricType::Counter.as_str(), "counter");
}

#[test]
fn an_empty_snapshot_is_valid_too() {
    parse(&render(&Snapshot::default()));
}

proptest::proptest! {
    #[test]
    fn any_label_value_is_read_back(value in "(?s).{0,80}") {
        let mut text = String::new();
        write_family(&mut text, &names::ENGINE_INFO);
        let labels = [("engine", value.as_str()), ("reason", "x")];
        write_sample(&mut text, names::ENGINE_INFO.name, &labels, 1);
        // A carriage return is an ordinary character of the format, but not of `str::lines`.
        let line = text.split('\n').nth(2).expect("the sample follows help and type");
        let sample = parse_sample(line);
        proptest::prop_assert_eq!(&sample.labels["engine"], &value);
    }
}
