//! Many connections at a time, and many after each other: nothing stays behind, all is counted.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::Value;
use tlsgate_bench::backend::{Address, Backend as Component, Mode};

use crate::support::backend::reset;
use crate::support::ca::NAME;
use crate::support::client::{
    Version, assert_echo, close, config, connect, connect_plain, connection,
};
use crate::support::gateway::{Gateway, LISTENER, Setup};
use crate::support::holdings::Holdings;
use crate::support::process::{Process, bench_program, descriptor_limit, run};
use crate::support::{Engine, SOON, engines, sized, wait_for, wait_until};

/// Which pages the allocator has given back when it is looked at is chance: 2.3 MiB between equal
/// runs were seen. The heap in use is compared by the byte ([`Holdings::back_at`]).
const ALLOCATOR_NOISE: u64 = 4 * 1024 * 1024;

#[test]
#[ignore = "run by tests/run"]
fn many_connections() {
    let limit = descriptor_limit().unwrap_or(u64::MAX);
    // Two descriptors each in the gateway, and some of its own; one each in client and component,
    // which are processes of their own with the same limit.
    let possible = limit.saturating_sub(512) / 2;
    let wanted = sized(9_000, 1_500);
    let count = wanted.min(possible);
    println!("{count} connections: {wanted} wanted, {limit} descriptors allow {possible}");
    for engine in engines() {
        hold_and_release(engine, count);
    }
}

fn hold_and_release(engine: Engine, count: u64) {
    let mut component =
        Process::start(Command::new(bench_program()).args(["backend", "--mode", "echo"]));
    let address = wait_for("the component", SOON, || {
        assert!(component.poll().is_none(), "{:?}", component.stderr());
        let lines = component.stdout();
        lines.iter().find_map(|line| line.strip_prefix("listening on ")?.parse().ok())
    });
    let gateway = Setup::new(engine, address).counts_heap().start();
    let start = Holdings::warmed_up(&gateway);
    let mut first: Option<Holdings> = None;
    for cycle in 1..=2 {
        let most = idle_connections(&gateway, count);
        assert_eq!(most, count, "open at a time in cycle {cycle}");
        let now = Holdings::back_at(&start, &gateway, &format!("{engine:?} after cycle {cycle}"));
        println!("{engine:?} cycle {cycle}: start {start:?}, now {now:?}");
        let ceiling = first.map_or(u64::MAX, |first| first.resident + ALLOCATOR_NOISE);
        assert!(now.resident <= ceiling, "{engine:?}: {now:?} after {first:?}");
        first.get_or_insert(now);
    }
}

/// Opens `count` connections, has each prove itself by a message, closes them. Returns how many
/// the gateway has seen at a time.
fn idle_connections(gateway: &Gateway, count: u64) -> u64 {
    let before = gateway.metrics().count("tlsgate_connections_accepted_total", &[]);
    let mut client = Process::start(
        Command::new(bench_program())
            .arg("load")
            .arg(gateway.address().to_string())
            .args(["--workload", "idle", "--hold", "3s", "--timeout", "60s", "--json", "-"])
            .args(["--concurrency", &count.to_string(), "--server-name", NAME, "--ca"])
            .arg(gateway.ca_file()),
    );
    let mut most = 0;
    let status = wait_for("the client", Duration::from_secs(180), || {
        most = most.max(gateway.open_connections());
        client.poll()
    });
    let ended = client.wait(SOON);
    assert!(status.success(), "{} {}", ended.stdout, ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).expect("the client's report");
    assert_eq!(json["report"]["done"].as_u64(), Some(count), "{json}");
    let metrics = gateway.metrics();
    assert_eq!(metrics.count("tlsgate_connections_accepted_total", &[]), before + count);
    most
}

#[test]
#[ignore = "run by tests/run"]
fn churn_100k() {
    for engine in engines() {
        churn(engine, sized(100_000, 8_000));
    }
}

fn churn(engine: Engine, cycles: u64) {
    const THREADS: u64 = 8;
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let component = Component::start(Address::Tcp(any), Mode::Echo).expect("a free port");
    let Address::Tcp(address) = *component.address() else { unreachable!("asked for TCP") };
    // The session store would rightly hold what was not there at the start.
    let setup = Setup::new(engine, address).tls("resumption = \"off\"");
    let gateway = setup.counts_heap().start();
    let start = Holdings::warmed_up(&gateway);
    let (next, done, cut) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let configs = Version::BOTH.map(config);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= cycles {
                        break;
                    }
                    let version = usize::from(number % 8 >= 4);
                    if number % 4 == 3 {
                        abandon(gateway.address(), &configs[version], number / 4)
                            .unwrap_or_else(|error| panic!("cycle {number}: {error}"));
                        cut.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let mut stream = connect(gateway.address(), &configs[version]);
                        if number % 16 == 0 {
                            assert_echo(&mut stream, b"alive");
                        }
                        close(stream);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (done, cut) = (done.into_inner(), cut.into_inner());
    println!("{engine:?}: {done} complete, {cut} reset in the handshake");
    assert_eq!(done + cut, cycles);
    Holdings::back_at(&start, &gateway, &format!("{engine:?}"));
    assert_counters_add_up(&gateway, done + 1, cut);
    // The line of the first connection, and one for each of the others.
    let lines = usize::try_from(cycles + 1).expect("a test's size");
    wait_until("a line for each connection", SOON, || gateway.lines().len() >= lines);
    assert_eq!(gateway.lines().len(), lines);
}

/// Resets a connection in its handshake: at different points, by `variant`.
fn abandon(address: SocketAddr, config: &Arc<ClientConfig>, variant: u64) -> io::Result<()> {
    let mut stream = connect_plain(address);
    let mut hello = Vec::new();
    connection(config, NAME).write_tls(&mut hello)?;
    match variant % 3 {
        // In the middle of the ClientHello.
        0 => stream.write_all(&hello[..hello.len() / 2])?,
        // Right behind it.
        1 => stream.write_all(&hello)?,
        // When the answer has begun to come.
        _ => {
            stream.write_all(&hello)?;
            stream.read_exact(&mut [0; 5])?;
        }
    }
    reset(stream);
    Ok(())
}

fn assert_counters_add_up(gateway: &Gateway, complete: u64, cut: u64) {
    let metrics = gateway.metrics();
    let count = |name: &str, labels: &[(&str, &str)]| metrics.count(name, labels);
    assert_eq!(count("tlsgate_connections_accepted_total", &[]), complete + cut);
    assert_eq!(count("tlsgate_connections_closed_total", &[]), complete + cut);
    assert_eq!(count("tlsgate_connections_open", &[]), 0);
    assert_eq!(count("tlsgate_connections_refused_total", &[]), 0);
    assert_eq!(count("tlsgate_unattributed_events_total", &[]), 0);
    assert_eq!(count("tlsgate_handshakes_total", &[("listener", LISTENER)]), complete);
    assert_eq!(count("tlsgate_handshake_failures_total", &[]), cut);
    assert_eq!(count("tlsgate_connections_closed_total", &[("reason", "finished")]), complete);
    let early = ["reset", "hello_eof", "handshake_eof"]
        .map(|reason| count("tlsgate_connections_closed_total", &[("reason", reason)]));
    assert_eq!(early.iter().sum::<u64>(), cut, "reset, hello_eof, handshake_eof: {early:?}");
}

/// The measuring tool as a client of its own makes, for a whole minute at most, what it says.
#[test]
#[ignore = "run by tests/run"]
fn open_loop_load() {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let component = Component::start(Address::Tcp(any), Mode::Echo).expect("a free port");
    let Address::Tcp(address) = *component.address() else { unreachable!("asked for TCP") };
    for engine in engines() {
        for (tls, workload) in [("1.2", "resumed"), ("1.3", "resumed"), ("1.3", "handshakes")] {
            let gateway = Setup::new(engine, address).workers(2).start();
            let ended = run(
                Command::new(bench_program())
                    .arg("load")
                    .arg(gateway.address().to_string())
                    .args(["--workload", workload, "--tls", tls, "--rate", "100"])
                    .args(["--count", "300", "--server-name", NAME, "--json", "-", "--ca"])
                    .arg(gateway.ca_file()),
                Duration::from_secs(60),
            );
            assert_eq!(ended.code(), 0, "{engine:?} {tls} {workload}: {}", ended.stdout);
            let json: Value = serde_json::from_str(&ended.stdout).expect("the client's report");
            let report = |key: &str| json["report"][key].as_u64().expect("a number");
            gateway.wait_until_idle();
            let metrics = gateway.metrics();
            for kind in ["full", "resumed"] {
                let counted = metrics.count("tlsgate_handshakes_total", &[("kind", kind)]);
                let said = report(&format!("handshakes_{kind}"));
                assert_eq!(counted, said, "{engine:?} {tls} {workload} {kind}");
            }
            let received = metrics.count("tlsgate_received_bytes_total", &[]);
            assert!(received >= report("bytes_sent"), "{received} bytes");
        }
    }
}
