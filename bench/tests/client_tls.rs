//! The client against a TLS server: what it counts is what the server saw.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{Sessions, TlsEcho};
use rcgen::{Certificate, CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tlsgate_bench::client::{
    ErrorKind, Pace, Plan, Report, Shown, Stop, TlsPlan, TlsVersion, Trust, Workload, run,
};

const BOTH: [TlsVersion; 2] = [TlsVersion::V12, TlsVersion::V13];

fn plan(server: &TlsEcho, tls: TlsPlan, workload: Workload, count: u64) -> Plan {
    Plan {
        target: server.address,
        tls: Some(tls),
        workload,
        pace: Pace::Closed { concurrency: 4 },
        stop: Stop { after: Duration::from_secs(60), count: Some(count) },
        timeout: Duration::from_secs(20),
        threads: 2,
        cpus: Vec::new(),
    }
}

fn measure(plan: &Plan) -> Report {
    run(plan, |_| {}).expect("a report")
}

#[test]
fn the_share_of_resumptions_is_exact() {
    for version in BOTH {
        let server = TlsEcho::start(Sessions::Tickets, &[]);
        let workload = Workload::Handshakes { resumed: 0.9 };
        let report = measure(&plan(&server, server.plan(version), workload, 200));
        assert_eq!((report.done, report.error_count()), (200, 0), "{:?}", report.errors);
        assert_eq!(report.resumed, 180, "of either thread 90 of 100");
        assert_eq!(server.seen.resumed.load(Ordering::SeqCst), 180);
    }
}

/// The server counts a goodbye when it reads it, which may be after the client has gone.
fn goodbyes_reach(server: &TlsEcho, expected: u64) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if server.seen.goodbyes.load(Ordering::SeqCst) == expected {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn full_handshakes_add_up() {
    for version in BOTH {
        let server = TlsEcho::start(Sessions::Stateful, &[]);
        let workload = Workload::Handshakes { resumed: 0.0 };
        let report = measure(&plan(&server, server.plan(version), workload, 40));
        assert_eq!(report.error_count(), 0, "{:?}", report.errors);
        assert_eq!((report.done, report.handshakes_full, report.handshakes_resumed), (40, 40, 0));
        assert_eq!((report.connections, report.connect.count()), (40, 40));
        assert_eq!((report.handshake_full.count(), report.total.count()), (40, 40));
        assert_eq!((report.bytes_sent, report.bytes_received), (4000, 4000));
        assert_eq!(server.seen.full.load(Ordering::SeqCst), 40);
        assert!(goodbyes_reach(&server, 40), "{version:?}");
        assert!(report.total.quantile(0.5) > report.handshake_full.quantile(0.0));
    }
}

#[test]
fn resumed_handshakes_resume_after_one_full_one_per_slot() {
    for version in BOTH {
        for sessions in [Sessions::Stateful, Sessions::Tickets] {
            let server = TlsEcho::start(sessions, &[]);
            let workload = Workload::Handshakes { resumed: 1.0 };
            let report = measure(&plan(&server, server.plan(version), workload, 40));
            assert_eq!(report.error_count(), 0, "{version:?} {sessions:?} {:?}", report.errors);
            assert_eq!(report.done, 40);
            assert_eq!((report.handshakes_full, report.handshakes_resumed), (4, 40));
            assert_eq!(report.handshake_resumed.count(), 40);
            assert_eq!(server.seen.full.load(Ordering::SeqCst), 4);
            assert_eq!(server.seen.resumed.load(Ordering::SeqCst), 40);
        }
    }
}

#[test]
fn a_server_that_does_not_resume_is_reported() {
    for version in BOTH {
        let server = TlsEcho::start(Sessions::None, &[]);
        let workload = Workload::Handshakes { resumed: 1.0 };
        let report = measure(&plan(&server, server.plan(version), workload, 10));
        assert_eq!(report.done, 0);
        assert_eq!(report.errors_of(ErrorKind::NotResumed), 10, "{:?}", report.errors);
        assert_eq!(report.error_count(), 10);
    }
}

#[test]
fn messages_keep_their_connections() {
    for version in BOTH {
        let server = TlsEcho::start(Sessions::Stateful, &[]);
        let workload = Workload::Messages { size: 30_000, per_connection_rate: None };
        let report = measure(&plan(&server, server.plan(version), workload, 100));
        assert_eq!(report.error_count(), 0, "{:?}", report.errors);
        assert_eq!((report.done, report.connections), (100, 4));
        assert_eq!((report.first_byte.count(), report.total.count()), (100, 100));
        assert_eq!(report.bytes_received, 3_000_000);
        // Larger than all buffers between the two ends.
        let workload = Workload::Messages { size: 20_000_000, per_connection_rate: None };
        let report = measure(&plan(&server, server.plan(version), workload, 4));
        assert_eq!((report.done, report.error_count()), (4, 0), "{:?}", report.errors);
    }
}

#[test]
fn idle_connections_live_through_the_hold() {
    let server = TlsEcho::start(Sessions::Stateful, &[]);
    let hold = Duration::from_millis(600);
    let mut plan = plan(&server, server.plan(TlsVersion::V13), Workload::Idle { hold }, 1);
    plan.pace = Pace::Closed { concurrency: 50 };
    let start = Instant::now();
    let mut most_open = 0;
    let report = run(&plan, |progress| most_open = most_open.max(progress.open)).expect("a report");
    assert!(start.elapsed() >= hold);
    assert_eq!(report.error_count(), 0, "{:?}", report.errors);
    assert_eq!((report.done, report.connections, most_open), (50, 50, 50));
}

#[test]
fn an_unknown_ca_and_a_wrong_name_are_tls_errors() {
    let server = TlsEcho::start(Sessions::Stateful, &[]);
    let other = TlsEcho::start(Sessions::Stateful, &[]);
    let workload = Workload::Handshakes { resumed: 0.0 };
    let wrong_name =
        TlsPlan { server_name: "elsewhere".to_owned(), ..server.plan(TlsVersion::V13) };
    for tls in [other.plan(TlsVersion::V13), wrong_name] {
        let report = measure(&plan(&server, tls, workload, 6));
        assert_eq!((report.done, report.errors_of(ErrorKind::Tls)), (0, 6), "{:?}", report.errors);
    }
}

#[test]
fn careless_clients_shake_hands_as_others_do() {
    for version in BOTH {
        let server = TlsEcho::start(Sessions::Stateful, &[]);
        let workload = Workload::Handshakes { resumed: 0.0 };
        let server_name = "elsewhere".to_owned();
        let tls = TlsPlan { trust: Trust::Careless, server_name, ..server.plan(version) };
        let report = measure(&plan(&server, tls, workload, 20));
        assert_eq!((report.done, report.error_count()), (20, 0), "{:?}", report.errors);
        assert_eq!(server.seen.full.load(Ordering::SeqCst), 20);
    }
}

#[test]
fn alpn_is_offered_and_required() {
    let server = TlsEcho::start(Sessions::Stateful, &["wanted"]);
    let workload = Workload::Handshakes { resumed: 0.0 };
    let tls = TlsPlan { alpn: vec!["wanted".to_owned()], ..server.plan(TlsVersion::V13) };
    let report = measure(&plan(&server, tls.clone(), workload, 4));
    assert_eq!((report.done, report.error_count()), (4, 0), "{:?}", report.errors);
    let without = TlsEcho::start(Sessions::Stateful, &[]);
    let tls = TlsPlan { alpn: tls.alpn, ..without.plan(TlsVersion::V13) };
    let report = measure(&plan(&without, tls, workload, 4));
    assert_eq!((report.done, report.errors_of(ErrorKind::Tls)), (0, 4), "{:?}", report.errors);
}

#[test]
fn suite_and_group_can_be_chosen() {
    let server = TlsEcho::start(Sessions::Stateful, &[]);
    let tls = TlsPlan {
        suites: vec!["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256".to_owned()],
        groups: vec!["P-384".to_owned()],
        ..server.plan(TlsVersion::V12)
    };
    let report = measure(&plan(&server, tls, Workload::Handshakes { resumed: 0.0 }, 4));
    assert_eq!((report.done, report.error_count()), (4, 0), "{:?}", report.errors);
}

#[test]
fn an_end_without_close_notify_is_a_truncation() {
    let server = TlsEcho::start(Sessions::Stateful, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let target = listener.local_addr().expect("an address");
    let config = Arc::clone(&server.config);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("accept");
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("a server");
            let mut request = [0; 100];
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            stream.read_exact(&mut request).expect("the request");
        }
    });
    for version in BOTH {
        let workload = Workload::Handshakes { resumed: 0.0 };
        let plan = plan(&server, server.plan(version), workload, 6);
        let report = measure(&Plan { target, ..plan });
        assert_eq!(
            (report.done, report.errors_of(ErrorKind::Truncated)),
            (0, 6),
            "{:?}",
            report.errors
        );
    }
}

/// Echoes once to clients that show `cert`.
fn serve_those_who_show(cert: &Certificate, key: &KeyPair) -> SocketAddr {
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("configuration");
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").expect("listen"));
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("accept");
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("a server");
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            let mut request = [0; 100];
            // Who shows nothing is not served; its error is the client's to see.
            if stream.read_exact(&mut request).is_ok() && stream.write_all(&request).is_ok() {
                stream.conn.send_close_notify();
                stream.flush().expect("the socket takes it");
            }
        }
    });
    address
}

#[test]
fn a_certificate_is_shown_to_who_asks() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let shown = Shown {
        certificate: path("certificate.pem", cert.pem()),
        key: path("key.pem", signing_key.serialize_pem()),
    };
    let target = serve_those_who_show(&cert, &signing_key);
    let server = TlsEcho::start(Sessions::None, &[]);
    for version in BOTH {
        for (shown, done) in [(Some(shown.clone()), 6), (None, 0)] {
            let tls = TlsPlan { trust: Trust::CaPem(cert.pem()), shown, ..server.plan(version) };
            let workload = Workload::Handshakes { resumed: 0.0 };
            let report = measure(&Plan { target, ..plan(&server, tls, workload, 6) });
            assert_eq!(
                (report.done, report.error_count()),
                (done, 6 - done),
                "{:?}",
                report.errors
            );
        }
    }
}
