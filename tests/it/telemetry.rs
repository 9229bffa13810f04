//! What the gateway says about itself is what happened.

use std::io::Write;
use std::time::Duration;

use rustls::ClientConfig;
use std::sync::Arc;

use crate::support::backend::{Backend, dead_address};
use crate::support::client::{
    Version, assert_echo, close, config, connect, connect_plain, local, resuming_config,
};
use crate::support::gateway::{Gateway, LISTENER, Setup};
use crate::support::{SOON, engines, http, wait_until};

const FULL: u64 = 5;
const RESUMED: u64 = 3;
const MESSAGE: &[u8] = &[42; 1000];

/// Full and resumed connections, and one that is no TLS: what every check below counts.
fn traffic(gateway: &Gateway, version: Version) {
    let once = |config: &Arc<ClientConfig>| {
        let mut stream = connect(gateway.address(), config);
        assert_echo(&mut stream, MESSAGE);
        close(stream);
    };
    for _ in 1..FULL {
        once(&config(version));
    }
    let resuming = resuming_config(version);
    for _ in 0..=RESUMED {
        once(&resuming);
    }
    let mut stranger = connect_plain(gateway.address());
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let peer = stranger.local_addr().expect("connected");
    gateway.line_of(peer).assert_ended("hello_malformed", "downstream", "hello");
    gateway.wait_until_idle();
}

#[test]
#[ignore = "run by tests/run"]
fn telemetry_metrics() {
    let backend = Backend::echo();
    for engine in engines() {
        for version in Version::BOTH {
            let gateway = Setup::new(engine, backend.address()).workers(2).start();
            traffic(&gateway, version);
            let metrics = gateway.metrics();
            let count = |name: &str, labels: &[(&str, &str)]| metrics.count(name, labels);
            let place = format!("{engine:?} {version:?}");
            let (all, bytes) = (FULL + RESUMED, (FULL + RESUMED) * 1000);
            assert_eq!(count("tlsgate_connections_accepted_total", &[]), all + 1, "{place}");
            assert_eq!(count("tlsgate_connections_open", &[]), 0, "{place}");
            assert_eq!(count("tlsgate_handshakes_total", &[("kind", "full")]), FULL, "{place}");
            let resumed = count("tlsgate_handshakes_total", &[("kind", "resumed")]);
            assert_eq!(resumed, RESUMED, "{place}");
            assert_eq!(count("tlsgate_received_bytes_total", &[]), bytes, "{place}");
            assert_eq!(count("tlsgate_sent_bytes_total", &[]), bytes, "{place}");
            let closed = |reason, cause| {
                count("tlsgate_connections_closed_total", &[("reason", reason), ("cause", cause)])
            };
            assert_eq!(closed("finished", "downstream"), all, "{place}");
            assert_eq!(closed("hello_malformed", "downstream"), 1, "{place}");
            assert_eq!(count("tlsgate_connections_closed_total", &[]), all + 1, "{place}");
            assert_eq!(count("tlsgate_handshake_failures_total", &[]), 1, "{place}");
            for (phase, expected) in [
                ("hello", all),
                ("handshake", all),
                ("connect", all),
                ("first_byte", all),
                ("connection_lifetime", all),
            ] {
                let name = format!("tlsgate_{phase}_seconds_count");
                assert_eq!(count(&name, &[("listener", LISTENER)]), expected, "{phase} {place}");
            }
            let engines = metrics.label_values("tlsgate_engine_info", "engine");
            assert_eq!(engines, [engine.name()], "{place}");
            assert_eq!(count("tlsgate_shards", &[]), 2, "{place}");
            assert_eq!(count("tlsgate_access_log_dropped_lines_total", &[]), 0, "{place}");
            assert_eq!(count("tlsgate_unattributed_events_total", &[]), 0, "{place}");
            let expiry = metrics.sum("tlsgate_certificate_not_after_seconds", &[]);
            assert!(expiry.is_some_and(|at| at > 1.7e9), "{place}");
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn telemetry_status() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        traffic(&gateway, Version::V13);
        let status = gateway.status();
        assert_eq!(status["engine"], engine.name());
        assert_eq!(status["workers"], 1);
        let listener = &status["listeners"][0];
        assert_eq!(listener["name"], LISTENER);
        assert_eq!(listener["address"], gateway.address().to_string());
        assert_eq!(listener["accepted"], FULL + RESUMED + 1);
        assert_eq!(listener["handshakes_full"], FULL);
        assert_eq!(listener["handshakes_resumed"], RESUMED);
        assert_eq!(listener["closed"]["finished"]["downstream"], FULL + RESUMED);
        let rows = status["percentiles"].as_array().expect("a list");
        for phase in ["hello", "handshake", "connect", "first_byte", "lifetime"] {
            for (kind, count) in [("full", FULL), ("resumed", RESUMED)] {
                let row = rows
                    .iter()
                    .find(|row| {
                        row["phase"] == phase && row["kind"] == kind && row["span"] == "total"
                    })
                    .unwrap_or_else(|| panic!("{phase} {kind}: {status}"));
                assert_eq!(row["count"], count, "{row}");
                let values: Vec<u64> = ["p50", "p90", "p99", "p99.9", "p99.99"]
                    .map(|name| row["percentiles_us"][name].as_u64().expect("a number"))
                    .to_vec();
                assert!(values.is_sorted() && values[4] > 0, "{row}");
                assert!(row["max_us"].as_u64().is_some_and(|max| max >= values[4]), "{row}");
            }
        }
        let process = &status["process"];
        assert!(process["resident_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
        assert!(process["open_fds"].as_u64().is_some_and(|count| count > 3));
    }
}

#[test]
#[ignore = "run by tests/run"]
fn telemetry_health() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/nowhere", 404)] {
            let answer = http::get(gateway.admin(), path).expect("an answer");
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
        }
        let answer = http::get(gateway.admin(), "/metrics").expect("an answer");
        let kind = "content-type: text/plain; version=0.0.4";
        assert!(answer.head.contains(kind), "{}", answer.head);
        assert!(gateway.stderr().contains(engine.name()), "the log names the engine");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn telemetry_access_log() {
    let backend = Backend::echo();
    for engine in engines() {
        for version in Version::BOTH {
            let mut gateway = Setup::new(engine, backend.address()).tls("alpn = [\"x\"]").start();
            let mut offering = (*config(version)).clone();
            offering.alpn_protocols = vec![b"x".to_vec()];
            let mut stream = connect(gateway.address(), &Arc::new(offering));
            assert_echo(&mut stream, MESSAGE);
            let peer = local(&stream);
            close(stream);
            let line = gateway.next_line();
            assert!(line.is_of(peer), "{line:?}");
            line.assert_ended("finished", "downstream", "relay");
            for (key, expected) in [
                ("event", "connection"),
                ("listener", LISTENER),
                ("upstream", &backend.address().to_string()),
                ("tls_version", version.name()),
                ("sni", "localhost"),
                ("alpn", "x"),
            ] {
                assert_eq!(line.text(key), expected, "{engine:?} {line:?}");
            }
            // The name in the registry "TLS Cipher Suites" of IANA.
            let suite = line.text("cipher_suite");
            assert!(suite.starts_with("TLS_"), "{suite}");
            let time = line.text("time");
            assert!(time.len() >= 20 && time.ends_with('Z') && time.contains('T'), "{time}");
            assert!(!line.text("group").is_empty());
            assert!(!line.is_resumed());
            assert_eq!((line.number("bytes_received"), line.number("bytes_sent")), (1000, 1000));
            let phases = ["hello_us", "handshake_us", "connect_us", "first_byte_us"];
            let lifetime = line.number("lifetime_us");
            for phase in phases {
                assert!(line.number(phase) <= lifetime, "{phase} {line:?}");
            }
            assert!(Duration::from_micros(lifetime) < SOON);
            assert!(line.value("alert_sent").is_null() && line.value("alert_received").is_null());
            assert!(line.value("resumed").is_boolean(), "{:?}", line.keys());
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn telemetry_of_failures() {
    for engine in engines() {
        let gateway = Setup::new(engine, dead_address()).start();
        for _ in 0..3 {
            let config = config(Version::V13);
            let failed =
                crate::support::client::try_connect(gateway.address(), &config, "localhost");
            assert!(failed.is_err());
        }
        wait_until("the failures are counted", SOON, || {
            let metrics = gateway.metrics();
            let labels = [("reason", "upstream_refused"), ("cause", "upstream")];
            metrics.count("tlsgate_connections_closed_total", &labels) == 3
        });
    }
}
