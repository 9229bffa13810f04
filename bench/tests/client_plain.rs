//! The client in plaintext against the backends: loops, limits, errors.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tlsgate_bench::backend::{Address, Backend, Mode};
use tlsgate_bench::client::{
    Arrivals, Error, ErrorKind, Pace, Plan, Progress, Report, Stage, Stop, TlsPlan, TlsVersion,
    Trust, Workload, run,
};

const MESSAGES: Workload = Workload::Messages { size: 100, per_connection_rate: None };

fn backend(mode: Mode) -> (Backend, SocketAddr) {
    let any: Address = "127.0.0.1:0".parse().expect("an address");
    let backend = Backend::start(any, mode).expect("a backend");
    let address = backend.tcp_address().expect("a TCP backend");
    (backend, address)
}

fn plan(target: SocketAddr, workload: Workload, concurrency: usize, count: u64) -> Plan {
    Plan {
        target,
        tls: None,
        workload,
        pace: Pace::Closed { concurrency },
        stop: Stop { after: Duration::from_secs(60), count: Some(count) },
        timeout: Duration::from_secs(20),
        threads: 1,
        cpus: Vec::new(),
    }
}

fn measure(plan: &Plan) -> Report {
    run(plan, |_| {}).expect("a report")
}

#[test]
fn closed_loop_with_256_connections() {
    let (backend, target) = backend(Mode::Echo);
    let report = measure(&Plan { threads: 2, ..plan(target, MESSAGES, 256, 5000) });
    assert_eq!(report.error_count(), 0, "{:?}", report.errors);
    assert_eq!((report.done, report.connections, report.total.count()), (5000, 256, 5000));
    assert_eq!((report.handshakes_full, report.handshakes_resumed), (0, 0));
    assert_eq!((report.bytes_sent, report.bytes_received), (500_000, 500_000));
    assert_eq!(backend.counters().accepted, 256);
    assert!(report.rate() > 0.0);
}

#[test]
fn connect_request_close_in_plaintext() {
    let (backend, target) = backend(Mode::Sniff);
    let report = measure(&plan(target, Workload::Handshakes { resumed: 0.0 }, 8, 200));
    assert_eq!((report.done, report.error_count()), (200, 0), "{:?}", report.errors);
    assert_eq!(backend.counters().accepted, 200);
}

#[test]
fn bulk_transfers_are_complete_and_checked() {
    let (_backend, target) = backend(Mode::Http);
    let bytes = 3_000_000;
    let down = measure(&plan(target, Workload::BulkDown { bytes }, 3, 6));
    assert_eq!((down.done, down.error_count()), (6, 0), "{:?}", down.errors);
    assert!(down.bytes_received > 6 * bytes && down.bytes_sent < 6 * 100);
    let up = measure(&plan(target, Workload::BulkUp { bytes }, 3, 6));
    assert_eq!((up.done, up.error_count()), (6, 0), "{:?}", up.errors);
    assert!(up.bytes_sent > 6 * bytes && up.bytes_received < 6 * 300);
    assert_eq!(up.connections, 3);
}

#[test]
fn open_loop_starts_what_it_should() {
    let (_backend, target) = backend(Mode::Echo);
    for (workload, threads) in [(MESSAGES, 2), (Workload::Handshakes { resumed: 0.0 }, 1)] {
        let plan = Plan {
            pace: Pace::Open { arrivals: Arrivals::even(500.0), concurrency: 64 },
            stop: Stop { after: Duration::from_secs(1), count: None },
            threads,
            ..plan(target, workload, 64, 0)
        };
        let report = measure(&plan);
        // Every start within the second is accounted for, as done or as an error.
        assert_eq!(report.done + report.error_count(), 500, "{:?}", report.errors);
        assert!(report.done > 250, "{} done, {:?}", report.done, report.errors);
    }
}

#[test]
fn latency_counts_from_the_intended_start() {
    // One connection, an answer takes 50 ms, a start is due every 5 ms: waiting piles up.
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let target = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accept");
        let mut message = [0; 100];
        while socket.read_exact(&mut message).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
            socket.write_all(&message).expect("answer");
        }
    });
    let plan = Plan {
        pace: Pace::Open { arrivals: Arrivals::even(200.0), concurrency: 1 },
        stop: Stop { after: Duration::from_millis(500), count: None },
        ..plan(target, MESSAGES, 1, 0)
    };
    let report = measure(&plan);
    assert_eq!(report.done + report.errors_of(ErrorKind::NotStarted), 100, "{:?}", report.errors);
    assert!(report.done <= 11, "{}", report.done);
    assert!(report.first_byte.quantile(0.0) >= Duration::from_millis(49));
    assert!(report.total.max() >= Duration::from_millis(250), "{:?}", report.total.max());
}

#[test]
fn each_connection_keeps_its_own_rate() {
    let (_backend, target) = backend(Mode::Echo);
    let workload = Workload::Messages { size: 100, per_connection_rate: Some(20.0) };
    let stop = Stop { after: Duration::from_secs(1), count: None };
    let report = measure(&Plan { stop, threads: 2, ..plan(target, workload, 10, 0) });
    assert_eq!(report.done + report.error_count(), 200, "{:?}", report.errors);
    assert!(report.done > 100, "{} done", report.done);
}

#[test]
fn a_dead_target_gives_counted_errors_and_an_end() {
    let target = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        listener.local_addr().expect("an address")
    };
    let report = measure(&plan(target, Workload::Handshakes { resumed: 0.0 }, 4, 20));
    assert_eq!((report.done, report.errors_of(ErrorKind::Refused)), (0, 20), "{:?}", report.errors);
    assert_eq!(report.connections, 0);
    // Connections that are to stay are tried once in advance and once for each operation.
    let report = measure(&plan(target, MESSAGES, 4, 20));
    assert_eq!((report.done, report.errors_of(ErrorKind::Refused)), (0, 24), "{:?}", report.errors);
    let idle = Workload::Idle { hold: Duration::ZERO };
    let report = measure(&plan(target, idle, 4, 1));
    assert_eq!((report.done, report.error_count()), (0, 4), "{:?}", report.errors);
}

/// A target that accepts by its queue only and never says a word.
fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[test]
fn a_silent_target_is_a_timeout_of_the_step_that_waits() {
    let (_listener, target) = silent();
    let timeout = Duration::from_millis(200);
    let start = Instant::now();
    let report = measure(&Plan { timeout, ..plan(target, MESSAGES, 2, 4) });
    assert_eq!(report.errors_of(ErrorKind::ExchangeTimeout), 4, "{:?}", report.errors);
    let tls = TlsPlan {
        version: TlsVersion::V13,
        server_name: "localhost".to_owned(),
        trust: Trust::Insecure,
        shown: None,
        alpn: Vec::new(),
        suites: Vec::new(),
        groups: Vec::new(),
    };
    let workload = Workload::Handshakes { resumed: 0.0 };
    let report = measure(&Plan { timeout, tls: Some(tls), ..plan(target, workload, 2, 4) });
    assert_eq!(report.errors_of(ErrorKind::HandshakeTimeout), 4, "{:?}", report.errors);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_trickle_cannot_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let target = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accept");
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
        let body = tlsgate_bench::content::at(0, 1000);
        for byte in head.iter().chain(body) {
            std::thread::sleep(Duration::from_millis(20));
            if socket.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let plan = Plan {
        stop: Stop { after: Duration::from_millis(300), count: None },
        timeout: Duration::from_millis(500),
        ..plan(target, Workload::BulkDown { bytes: 1_000_000 }, 1, 0)
    };
    let start = Instant::now();
    let report = measure(&plan);
    assert_eq!(report.errors_of(ErrorKind::ExchangeTimeout), 1, "{:?}", report.errors);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn wrong_answers_are_errors() {
    let (_greeter, target) = backend(Mode::Greeter { banner: b"not asked".to_vec() });
    let report = measure(&plan(target, Workload::Handshakes { resumed: 0.0 }, 2, 4));
    assert_eq!((report.done, report.errors_of(ErrorKind::Content)), (0, 4), "{:?}", report.errors);
    let (_source, target) = backend(Mode::Source { bytes: 0 });
    let report = measure(&plan(target, Workload::Handshakes { resumed: 0.0 }, 2, 4));
    assert_eq!((report.done, report.errors_of(ErrorKind::Closed)), (0, 4), "{:?}", report.errors);
}

/// A target that treats every connection by `behave`, one after the other.
fn target(behave: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            behave(socket.expect("accept"));
        }
    });
    address
}

#[test]
fn an_answer_cut_short_is_noticed_at_once() {
    let target = target(|mut socket| {
        let mut message = [0; 100];
        socket.read_exact(&mut message).expect("the request");
        socket.write_all(&message[..50]).expect("half an answer");
    });
    let report = measure(&plan(target, Workload::Handshakes { resumed: 0.0 }, 16, 500));
    assert_eq!((report.done, report.errors_of(ErrorKind::Closed)), (0, 500), "{:?}", report.errors);
}

#[test]
fn a_reset_is_a_reset() {
    // Closing with unread input makes the kernel reset the connection.
    let target = target(|socket| {
        socket.peek(&mut [0]).expect("the request");
    });
    let report = measure(&plan(target, Workload::Handshakes { resumed: 0.0 }, 2, 6));
    assert_eq!((report.done, report.errors_of(ErrorKind::Reset)), (0, 6), "{:?}", report.errors);
}

#[test]
fn progress_is_told_while_it_runs() {
    let (_backend, target) = backend(Mode::Echo);
    let stop = Stop { after: Duration::from_secs(1), count: None };
    let mut calls = Vec::new();
    let plan = Plan { stop, ..plan(target, MESSAGES, 2, 0) };
    let report = run(&plan, |progress| calls.push(Progress { reports: &[], ..progress }));
    let report = report.expect("a report");
    assert!(calls.len() >= 4, "{} calls", calls.len());
    assert!(calls.is_sorted_by_key(|progress| progress.done));
    assert!(calls.iter().any(|progress| progress.stage == Stage::Measure && progress.rate > 0.0));
    assert!(calls.iter().all(|progress| progress.open <= 2 && progress.done <= report.done));
}

#[test]
fn senseless_plans_are_refused() {
    let target = "127.0.0.1:1".parse().expect("an address");
    let good = plan(target, MESSAGES, 1, 1);
    let nan = Pace::Open { arrivals: Arrivals::even(f64::NAN), concurrency: 1 };
    let rated = Workload::Messages { size: 1, per_connection_rate: Some(0.0) };
    let empty = Workload::Messages { size: 0, per_connection_rate: None };
    let plans = [
        Plan { threads: 0, ..good.clone() },
        Plan { threads: 2, ..good.clone() },
        Plan { pace: nan, ..good.clone() },
        Plan { pace: Pace::Closed { concurrency: 0 }, ..good.clone() },
        Plan { timeout: Duration::ZERO, ..good.clone() },
        Plan { workload: rated, ..good.clone() },
        Plan { workload: empty, ..good.clone() },
        Plan { workload: Workload::Handshakes { resumed: 1.0 }, ..good.clone() },
        Plan { cpus: vec![usize::MAX], ..good },
    ];
    for plan in plans {
        assert!(matches!(run(&plan, |_| {}), Err(Error::Plan(_))), "{plan:?}");
    }
}
