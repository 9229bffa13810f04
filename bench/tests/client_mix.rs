//! Several flows at the same time, and clients that do what libraries do not: they come back, try again,
//! and begin in odd ways.

#[expect(dead_code, reason = "other tests use the rest of it")]
mod common;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Sessions, TlsEcho};
use tlsgate_bench::backend::{Backend, Mode};
use tlsgate_bench::client::{
    Arrivals, ErrorKind, Flow, Hello, Odd, Pace, Period, Plan, Protocol, Report, Retry, Shape,
    Stop, Talk, TlsPlan, TlsVersion, Wants, Workload, run_mix,
};

const BOTH: [TlsVersion; 2] = [TlsVersion::V12, TlsVersion::V13];

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn plan(target: SocketAddr, tls: Option<TlsPlan>, workload: Workload) -> Plan {
    Plan {
        target,
        tls,
        workload,
        pace: Pace::Closed { concurrency: 4 },
        stop: Stop { after: Duration::from_secs(60), count: Some(20) },
        timeout: Duration::from_secs(20),
        threads: 1,
        cpus: Vec::new(),
    }
}

fn measure(flow: Flow) -> Report {
    run_mix(&[flow], |_| {}).expect("a report").remove(0)
}

fn plain_backend() -> (Backend, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let backend = Backend::start(any, Mode::Echo).expect("a backend");
    let address = backend.tcp_address().expect("a TCP address");
    (backend, address)
}

#[test]
fn flows_begin_together_and_periods_are_on_time() {
    let (_backend, address) = plain_backend();
    let messages = Workload::Messages { size: 50, per_connection_rate: None };
    // Enough for all that is due when a busy machine has stood still for half a second.
    let open = |rate| Pace::Open { arrivals: Arrivals::even(rate), concurrency: 64 };
    let stop = Stop { after: millis(300), count: None };
    let begin = Plan { pace: open(100.0), stop, ..plan(address, None, messages) };
    let second = Period { start: millis(700), length: millis(300), pace: open(50.0) };
    let first = Flow {
        name: "periods".to_owned(),
        start: millis(200),
        later: vec![second],
        ..Flow::alone(begin.clone())
    };
    let stop = Stop { after: millis(1_000), count: None };
    let other = Flow::alone(Plan { stop, threads: 2, ..begin });
    let started = Instant::now();
    let reports = run_mix(&[first, other], |_| {}).expect("reports");
    assert!(started.elapsed() >= millis(980), "{:?}", started.elapsed());
    let done: Vec<(u64, u64)> =
        reports.iter().map(|report| (report.done, report.error_count())).collect();
    assert_eq!(done, [(30 + 15, 0), (100, 0)]);
    // From the first start to the last end, 800 ms of them apart but for one start.
    assert!(reports[0].elapsed >= millis(760), "{:?}", reports[0].elapsed);
}

#[test]
fn periods_that_make_no_sense_are_refused() {
    let (_backend, address) = plain_backend();
    let good = Flow::alone(plan(address, None, Workload::Handshakes { resumed: 0.0 }));
    let pace = good.plan.pace;
    let early = Period { start: millis(1), length: millis(1), pace };
    let open = Pace::Open { arrivals: Arrivals::even(1.0), concurrency: 4 };
    let other = Period { start: Duration::from_secs(90), length: millis(1), pace: open };
    for wrong in [
        Flow { later: vec![early], ..good.clone() },
        Flow { later: vec![other], ..good.clone() },
        Flow { hello: Hello::Odd(Odd::Garbage), ..good.clone() },
        Flow { sources: vec!["::1".parse().expect("an address")], ..good.clone() },
    ] {
        assert!(run_mix(&[wrong], |_| {}).is_err());
    }
}

#[test]
fn connections_come_from_the_sources_in_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    let sources: Vec<IpAddr> =
        ["127.0.0.2", "127.0.0.3"].map(|text| text.parse().expect("an address")).to_vec();
    let hold = Workload::Idle { hold: Duration::ZERO };
    let mut flow = Flow { sources: sources.clone(), ..Flow::alone(plan(address, None, hold)) };
    flow.plan.timeout = millis(200);
    let run = std::thread::spawn(move || measure(flow));
    let mut seen: Vec<IpAddr> =
        (0..4).map(|_| listener.accept().expect("a connection").1.ip()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [sources[0], sources[0], sources[1], sources[1]]);
    drop(listener);
    run.join().expect("it ends");
}

#[test]
fn what_failed_is_tried_again_from_its_first_start() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let retry = Retry { after: millis(20), factor: 2.0, most: millis(100), attempts: 200 };
    let mut flow = Flow::alone(plan(address, None, Workload::Handshakes { resumed: 0.0 }));
    flow.plan.stop.count = Some(4);
    flow.retry = Some(retry);
    let mut backend = None;
    let reports = run_mix(slice::from_ref(&flow), |progress| {
        let refused = progress.reports[0].retried.get(&ErrorKind::Refused);
        if backend.is_none() && refused.is_some_and(|refused| refused.count >= 8) {
            backend = Some(Backend::start(address, Mode::Echo).expect("the port is still free"));
        }
    });
    let report = reports.expect("a report").remove(0);
    assert_eq!((report.done, report.error_count()), (4, 0), "{:?}", report.errors);
    assert!(report.retried[&ErrorKind::Refused].count >= 8, "{:?}", report.retried);
    // Each has waited at least once.
    assert!(report.total.quantile(0.01) >= retry.after, "{:?}", report.total.quantile(0.01));
    // Nobody listens: the last attempt's error is the operation's.
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    flow.plan.target = listener.local_addr().expect("an address");
    drop(listener);
    flow.retry = Some(Retry { attempts: 3, ..retry });
    let report = measure(flow);
    assert_eq!((report.done, report.errors_of(ErrorKind::Refused)), (0, 4), "{:?}", report.errors);
    assert_eq!(report.retried[&ErrorKind::Refused].count, 8);
}

#[test]
fn a_storm_reconnects_everyone_once_within_its_spread() {
    for version in BOTH {
        let server = TlsEcho::start(Sessions::Tickets, &[]);
        let workload = Workload::Reconnect { resumed: 0.5, within: None };
        let shape = Shape::Burst { to: 100.0, length: millis(200), every: millis(1_000) };
        let arrivals = Arrivals { shape, ..Arrivals::even(0.0) };
        let mut plan = plan(server.address, Some(server.plan(version)), workload);
        plan.pace = Pace::Open { arrivals, concurrency: 20 };
        plan.stop = Stop { after: millis(500), count: None };
        let report = measure(Flow::alone(plan));
        assert_eq!((report.done, report.error_count()), (20, 0), "{:?}", report.errors);
        assert_eq!((report.connections, report.resumed), (40, 10), "{version:?}");
        let timed = report.handshake_full.count() + report.handshake_resumed.count();
        assert_eq!((report.handshakes_full, timed), (30, 20), "{version:?}");
        assert_eq!(server.seen.resumed.load(Ordering::SeqCst), 10, "{version:?}");
    }
}

#[test]
fn connections_that_are_lost_come_back() {
    let (backend, address) = plain_backend();
    let workload = Workload::Reconnect { resumed: 0.0, within: Some(millis(100)) };
    let mut plan = plan(address, None, workload);
    let spacing = tlsgate_bench::client::Spacing::Poisson { seed: 1 };
    let arrivals = Arrivals { spacing, ..Arrivals::even(1e-12) };
    plan.pace = Pace::Open { arrivals, concurrency: 10 };
    plan.stop = Stop { after: millis(1_500), count: None };
    let retry = Retry { after: millis(50), factor: 1.0, most: millis(50), attempts: 100 };
    let flow = Flow { retry: Some(retry), ..Flow::alone(plan) };
    let is_refused = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_refused);
    let run = std::thread::spawn(move || {
        run_mix(&[flow], |progress| {
            told.fetch_or(!progress.reports[0].retried.is_empty(), Ordering::SeqCst);
        })
    });
    while backend.counters().open < 10 {
        std::thread::sleep(millis(5));
    }
    std::thread::sleep(millis(200));
    drop(backend);
    // What is lost before the end may come back behind it.
    while !is_refused.load(Ordering::SeqCst) && !run.is_finished() {
        std::thread::sleep(millis(5));
    }
    let _backend = Backend::start(address, Mode::Echo).expect("the same port");
    let report = run.join().expect("it ends").expect("a report").remove(0);
    assert_eq!((report.done, report.lost, report.error_count()), (10, 10, 0), "{report:?}");
    assert!(report.retried.contains_key(&ErrorKind::Refused), "{:?}", report.retried);
}

#[test]
fn odd_hellos_are_refused_and_split_ones_served() {
    for version in BOTH {
        let server = TlsEcho::start(Sessions::None, &[]);
        let handshakes = Workload::Handshakes { resumed: 0.0 };
        let plan = plan(server.address, Some(server.plan(version)), handshakes);
        let flow = |hello, wants| Flow { hello, wants, ..Flow::alone(plan.clone()) };
        for odd in [Odd::Plaintext, Odd::Garbage, Odd::Sslv2, Odd::Oversized] {
            let report = measure(flow(Hello::Odd(odd), Wants::Refusal));
            assert_eq!((report.done, report.error_count()), (20, 0), "{odd:?} {:?}", report.errors);
        }
        let split = Hello::Pieces { bytes: 1, every: Duration::ZERO };
        let report = measure(flow(split, Wants::Answer));
        assert_eq!((report.done, report.error_count()), (20, 0), "{:?}", report.errors);
        // Whoever serves whom it should have refused does wrong.
        let report = measure(flow(Hello::Usual, Wants::Refusal));
        assert_eq!((report.done, report.errors_of(ErrorKind::Admitted)), (0, 20));
        // This server waits for ever.
        for odd in [Odd::Half, Odd::Silent] {
            let mut waiting = flow(Hello::Odd(odd), Wants::Refusal);
            waiting.plan.timeout = millis(100);
            waiting.plan.stop.count = Some(4);
            let report = measure(waiting);
            assert_eq!(report.errors_of(ErrorKind::HandshakeTimeout), 4, "{odd:?}");
        }
    }
}

#[test]
fn a_handshake_may_be_all_there_is() {
    let server = TlsEcho::start(Sessions::Tickets, &[]);
    let silent = Talk { protocol: Protocol::Nothing, at_once: 1, seed: 1 };
    let flow = |version, workload| {
        let plan = plan(server.address, Some(server.plan(version)), workload);
        Flow { talk: Some(silent.clone()), ..Flow::alone(plan) }
    };
    for (version, resumed) in [(TlsVersion::V12, 0.5), (TlsVersion::V13, 0.0)] {
        let report = measure(flow(version, Workload::Handshakes { resumed }));
        assert_eq!((report.done, report.error_count()), (20, 0), "{:?}", report.errors);
        assert_eq!((report.bytes_sent, report.first_byte.count()), (0, 0));
        assert_eq!(report.resumed_share(), Some(resumed));
    }
    for (version, workload) in [
        (TlsVersion::V13, Workload::Handshakes { resumed: 0.5 }),
        (TlsVersion::V12, Workload::Messages { size: 1, per_connection_rate: None }),
    ] {
        assert!(run_mix(&[flow(version, workload)], |_| {}).is_err(), "{workload:?}");
    }
}

#[test]
fn a_slow_hello_takes_its_time() {
    let server = TlsEcho::start(Sessions::None, &[]);
    let handshakes = Workload::Handshakes { resumed: 0.0 };
    let mut plan = plan(server.address, Some(server.plan(TlsVersion::V13)), handshakes);
    plan.stop.count = Some(4);
    let hello = Hello::Pieces { bytes: 100, every: millis(100) };
    let report = measure(Flow { hello, ..Flow::alone(plan) });
    assert_eq!((report.done, report.error_count()), (4, 0), "{:?}", report.errors);
    // A hello has some hundred bytes.
    assert!(report.handshake_full.quantile(0.01) >= millis(200), "{:?}", report.handshake_full);
}
