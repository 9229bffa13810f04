//! Connections that an operator has end, at the rate that was asked for, and of the generation that was
//! meant.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;

use crate::control::{rows, tell, told};
use crate::support::client::{TlsStream, Version, assert_echo, close, config, connect, local};
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Process, descriptor_limit, gateway_program};
use crate::support::{SOON, engines, sized, wait_until};

/// When each of `streams` was ended, since `began`; all must end in order.
fn ends(streams: &mut [TlsStream], began: Instant) -> Vec<Duration> {
    let mut poll = Poll::new().expect("an epoll");
    for (number, stream) in streams.iter().enumerate() {
        stream.sock.set_nonblocking(true).expect("ours");
        let descriptor = stream.sock.as_raw_fd();
        let registered =
            poll.registry().register(&mut SourceFd(&descriptor), Token(number), Interest::READABLE);
        registered.expect("an open socket");
    }
    let (mut ended, mut events) = (Vec::new(), Events::with_capacity(1024));
    let mut is_up = vec![true; streams.len()];
    while ended.len() < streams.len() {
        let patience = Some(SOON);
        poll.poll(&mut events, patience).expect("it waits");
        assert!(!events.is_empty(), "{} of {} have ended", ended.len(), streams.len());
        let at = began.elapsed();
        for event in &events {
            let number = event.token().0;
            match streams[number].read(&mut [0; 16]) {
                // close_notify, and FIN may be told of apart.
                Ok(0) if !std::mem::take(&mut is_up[number]) => {}
                Ok(0) => ended.push(at),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => panic!("not in order: {other:?}"),
            }
        }
    }
    ended
}

fn connected(gateway: &Gateway, count: u64) -> Vec<TlsStream> {
    let config = config(Version::V13);
    let connect = |_| {
        let mut stream = connect(gateway.address(), &config);
        assert_echo(&mut stream, b"here");
        stream
    };
    (0..count).map(connect).collect()
}

/// Drains them and returns how many ended in a second, from the first to the last.
fn rate_of_drain(gateway: &Gateway, streams: &mut [TlsStream]) -> f64 {
    let mut command = Command::new(gateway_program());
    command.args(["drain", "--listener", "main", "--rate", "500/s", "--jitter", "10%", "-c"]);
    let process = Process::start(command.arg(gateway.config_file()));
    let ended = ends(streams, Instant::now());
    let said = process.wait(SOON);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let count = streams.len();
    assert!(
        said.stdout.contains(&format!("{count} of {count} connections ended")),
        "{}",
        said.stdout
    );
    let (first, last) = (ended[0], ended[ended.len() - 1]);
    (count - 1) as f64 / (last - first).as_secs_f64()
}

#[test]
#[ignore = "run by tests/run"]
fn drain_at_a_rate() {
    let limit = descriptor_limit().unwrap_or(u64::MAX);
    let wanted = sized(9_000, 1_000);
    // Two descriptors each in the gateway, one each here and in the component.
    let count = wanted.min(limit.saturating_sub(512) / 2);
    println!("{count} connections: {wanted} wanted, {limit} descriptors allow that");
    for engine in engines() {
        let component = Component::start();
        let setup = Setup::new(engine, component.address()).controlled().workers(2);
        let gateway = setup.start();
        let mut tries = 0;
        loop {
            let mut all = connected(&gateway, count);
            let peer = local(&all[0]);
            let rate = rate_of_drain(&gateway, &mut all);
            println!("{engine:?}: {count} connections at {rate:.1} a second");
            drop(all);
            let line = gateway.line_of(peer);
            assert_eq!((line.text("reason"), line.text("cause")), ("dismissed", "local"));
            gateway.wait_until_idle();
            tries += 1;
            if (475.0..=525.0).contains(&rate) {
                break;
            }
            // The machine may have been elsewhere for a while.
            assert!(tries < 3, "{engine:?}: {rate:.1} a second");
        }
    }
}

/// Who comes while others are sent away stays; an order can be called off; and who is closed is closed
/// at once.
#[test]
#[ignore = "run by tests/run"]
fn drain_spares_newcomers_and_can_be_called_off() {
    for engine in engines() {
        let component = Component::start();
        let setup = Setup::new(engine, component.address()).controlled().workers(2);
        let gateway = setup.start();
        let mut old = connected(&gateway, 20);
        let all = tell(&gateway, &["drain", "--rate", "20"]);
        assert!(all.stderr.contains("say which connections"), "{}", all.stderr);
        told(&gateway, &["drain", "--source", "127.0.0.1", "--rate", "20/s", "--no-wait"]);
        let mut new = connected(&gateway, 5);
        ends(&mut old, Instant::now());
        new.iter_mut().for_each(|stream| assert_echo(stream, b"still here"));
        let begun = told(&gateway, &["drain", "--phase", "relay", "--rate", "1", "--no-wait"]);
        let number = begun[0]["number"].as_u64().expect("a number");
        told(&gateway, &["drain", "--call-off", &number.to_string()]);
        let of_it = || {
            let shown = told(&gateway, &["show", "dismissals"]);
            let rows = shown.as_array().expect("a list").iter();
            rows.clone().find(|row| row["number"] == number).cloned().expect("it is known")
        };
        wait_until("nobody else goes", SOON, || of_it()["workers_busy"] == 0);
        let gone = of_it()["ended"].as_u64().expect("a number");
        assert!(gone < 5, "{engine:?}: {gone}");
        let closed = told(&gateway, &["close", "--generation", "1"]);
        assert_eq!(closed[0]["ended"], 5 - gone, "{engine:?}");
        let ended = new.iter_mut().map(|stream| stream.read(&mut [0]));
        let reset = ended.filter(
            |ended| matches!(ended, Err(error) if error.kind() == ErrorKind::ConnectionReset),
        );
        assert_eq!(reset.count() as u64, 5 - gone, "{engine:?}");
    }
}

/// Connections per generation, as every reader is told them, while configurations follow each other
/// faster than their connections go.
#[test]
#[ignore = "run by tests/run"]
fn generations_over_five_reloads() {
    for engine in engines() {
        let component = Component::start();
        let setup = Setup::new(engine, component.address()).controlled().workers(2);
        let gateway = setup.start();
        let mut all: BTreeMap<u64, Vec<TlsStream>> = BTreeMap::new();
        for generation in 1..=5 {
            all.insert(generation, connected(&gateway, 3 * generation));
            if generation == 3 {
                // Two at once: one of them is the fourth, the other the fifth.
                let reload = || {
                    let mut command = Command::new(gateway_program());
                    Process::start(command.args(["reload", "-c"]).arg(gateway.config_file()))
                };
                let both = [reload(), reload()];
                both.into_iter().for_each(|one| assert_eq!(one.wait(SOON).code(), 0));
                all.insert(4, Vec::new());
                break;
            }
            assert_eq!(tell(&gateway, &["reload"]).code(), 0);
        }
        all.insert(5, connected(&gateway, 15));
        assert_eq!(tell(&gateway, &["reload"]).code(), 0);
        all.insert(6, Vec::new());
        assert_generations(&gateway, &all, 6);
        // One of the old ones goes, then all of them; who is of the current one stays.
        all.insert(6, connected(&gateway, 2));
        drain(&gateway, &mut all, "2", &[2]);
        assert_generations(&gateway, &all, 6);
        drain(&gateway, &mut all, "old", &[1, 3, 5]);
        assert_generations(&gateway, &all, 6);
        all.into_values().flatten().for_each(close);
    }
}

/// Everybody who is asked says the same.
fn assert_generations(gateway: &Gateway, all: &BTreeMap<u64, Vec<TlsStream>>, current: u64) {
    let counts = all.iter().map(|(generation, streams)| (*generation, streams.len() as u64));
    let expected: BTreeMap<u64, u64> =
        counts.filter(|(generation, count)| *count > 0 || *generation == current).collect();
    let by_name = |status: &Value| -> BTreeMap<u64, u64> {
        serde_json::from_value(status["generations"].clone()).expect("numbers")
    };
    // What has just ended takes a moment to be gone.
    wait_until("the right generations", SOON, || by_name(&gateway.status()) == expected);
    assert_eq!(by_name(&told(gateway, &["show", "info"])), expected);
    let metrics = gateway.metrics();
    for (generation, count) in &expected {
        let number = generation.to_string();
        let labels = [("generation", number.as_str())];
        assert_eq!(metrics.count("tlsgate_generation_connections_open", &labels), *count);
        let listed = rows(gateway, &["--generation", &number]).len();
        assert_eq!(listed as u64, *count, "generation {number}");
    }
    assert_eq!(metrics.count("tlsgate_config_generation", &[]), current);
}

/// Drains a generation, or all old ones, of which these have connections.
fn drain(gateway: &Gateway, all: &mut BTreeMap<u64, Vec<TlsStream>>, which: &str, gone: &[u64]) {
    let said = told(gateway, &["drain", "--generation", which, "--rate", "500/s", "--no-wait"]);
    for generation in gone {
        let mut streams = all.insert(*generation, Vec::new()).expect("they were there");
        ends(&mut streams, Instant::now());
    }
    assert_eq!(said[0]["connections"], format!("generation {which}"));
}
