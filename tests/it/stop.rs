//! Stopping: in order, in time, or at once; and not starting.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::ClientConfig;

use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::client::{
    TlsStream, Version, assert_echo, close, config, connect, connect_plain, connection, handshake,
    local,
};
use crate::support::gateway::{Gateway, Setup};
use crate::support::{Engine, SOON, engines, http, wait_until};

/// Longest time for stopping at once.
const AT_ONCE: Duration = Duration::from_secs(3);

#[test]
#[ignore = "run by tests/run"]
fn stop_and_drain() {
    let backend = Backend::echo();
    let config = config(Version::V13);
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        let mut stream = connect(gateway.address(), &config);
        gateway.signal(Signal::TERM);
        wait_until("it is not ready any more", SOON, || {
            http::get(gateway.admin(), "/readyz").is_ok_and(|answer| answer.status == 503)
        });
        wait_until("the port is closed", SOON, || TcpStream::connect(gateway.address()).is_err());
        assert_eq!(http::get(gateway.admin(), "/healthz").expect("it lives").status, 200);
        for _ in 0..10 {
            assert_echo(&mut stream, &[7; 20_000]);
        }
        let peer = local(&stream);
        close(stream);
        gateway.line_of(peer).assert_ended("finished", "downstream", "relay");
        let ended = gateway.wait(SOON);
        assert_eq!(ended.code(), 0, "{engine:?}: {}", ended.stderr);
    }
}

#[test]
#[ignore = "run by tests/run"]
fn stop_serves_the_accept_queue() {
    const WAITING: usize = 20;
    let backend = Backend::echo();
    let config = config(Version::V13);
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        // While it is held, the kernel completes connections that it has not accepted.
        gateway.signal(Signal::STOP);
        let waiting: Vec<TcpStream> =
            (0..WAITING).map(|_| connect_plain(gateway.address())).collect();
        gateway.signal(Signal::TERM);
        gateway.signal(Signal::CONT);
        for (number, stream) in waiting.into_iter().enumerate() {
            let mut stream = handshake(stream, connection(&config, NAME))
                .unwrap_or_else(|error| panic!("{engine:?}: number {number}: {error}"));
            assert_echo(&mut stream, b"served");
            close(stream);
        }
        let ended = gateway.wait(SOON);
        assert_eq!(ended.code(), 0, "{engine:?}: {}", ended.stderr);
        let served = ended.stdout.matches("\"finished\"").count();
        assert_eq!(served, WAITING, "{engine:?}");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn stop_when_the_drain_deadline_passes() {
    for engine in engines() {
        let (gateway, mut stream, _backend) = busy(engine, "drain_timeout = \"1s\"");
        let begin = Instant::now();
        gateway.signal(Signal::TERM);
        let ended = gateway.wait(SOON);
        let took = begin.elapsed();
        assert_eq!(ended.code(), 5, "{engine:?}: {}", ended.stderr);
        assert!(took >= Duration::from_secs(1) && took < 2 * AT_ONCE, "{engine:?}: {took:?}");
        assert!(ended.stdout.contains("\"drained\""), "{engine:?}: {}", ended.stdout);
        assert_cut(&mut stream);
    }
}

#[test]
#[ignore = "run by tests/run"]
fn stop_at_once() {
    for engine in engines() {
        for signals in
            [&[Signal::TERM, Signal::TERM][..], &[Signal::TERM, Signal::INT], &[Signal::INT]]
        {
            let (gateway, mut stream, _backend) = busy(engine, "drain_timeout = \"1h\"");
            for (number, signal) in signals.iter().enumerate() {
                if number > 0 {
                    // Two signals of one kind at the same time are one.
                    wait_until("it drains", SOON, || {
                        TcpStream::connect(gateway.address()).is_err()
                    });
                }
                gateway.signal(*signal);
            }
            let ended = gateway.wait(AT_ONCE);
            let place = format!("{engine:?} {signals:?}: {}", ended.stderr);
            println!("{engine:?} {signals:?}: exit code {}", ended.code());
            assert!(ended.stdout.contains("\"stopped\""), "{place} {}", ended.stdout);
            assert!(ended.code() >= 0, "a signal killed it, {place}");
            assert_cut(&mut stream);
        }
    }
}

/// A gateway with a connection that will not end by itself.
fn busy(engine: Engine, line: &str) -> (Gateway, TlsStream, Backend) {
    let backend = Backend::echo();
    let gateway = Setup::new(engine, backend.address()).gateway(line).start();
    let config: Arc<ClientConfig> = config(Version::V13);
    let mut stream = connect(gateway.address(), &config);
    assert_echo(&mut stream, b"busy");
    (gateway, stream, backend)
}

/// The connection was cut off, and does not look as if it had ended in order.
fn assert_cut(stream: &mut TlsStream) {
    let read = stream.read(&mut [0; 1]);
    assert!(read.is_err(), "an end without close_notify, not {read:?}");
    // Nothing more can be sent, sooner or later.
    wait_until("writing fails", SOON, || {
        stream.write_all(&[0; 1000]).and_then(|()| stream.flush()).is_err()
    });
}
