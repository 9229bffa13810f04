//! What runs out: a reader's patience, descriptors, places for connections.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};
use tlsgate_bench::{content, procstat};

use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::client::{
    TlsStream, Version, assert_echo, close, config, connect, try_connect,
};
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{cpu_time, open_descriptors, resident_bytes, run};
use crate::support::session::{self, Session};
use crate::support::way::each_way;
use crate::support::{SOON, engines, has_tool, settled, sized, wait_until};

const MIB: u64 = 1024 * 1024;
/// What a stalled reader's connection may take in each of the gateway's processes: high water in records, the piece
/// that overshoots it, and what the allocator rounds up.
const STALL_MEMORY: u64 = 8 * MIB;

/// Connections that want in, and descriptors that there are for them.
const WAITING: usize = 40;
const LEFT: usize = 21;

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn endings_slow_reader() {
    let total = sized(100, 64) * MIB;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let backend = Backend::start(move |mut stream| {
        let mut done = 0;
        while done < total {
            let piece = content::at(done, total - done);
            if stream.write_all(piece).is_err() {
                return;
            }
            done += piece.len() as u64;
            counter.store(done, Ordering::Release);
        }
    });
    each_way(backend.address(), |gateway, way| {
        // One connection before measuring, so that what the first one allocates is there.
        session::reset(way.connect(gateway));
        gateway.wait_until_idle();
        let (before, processes) = resident(gateway);
        let limit = STALL_MEMORY * processes;
        sent.store(0, Ordering::Release);
        let mut slow = way.connect(gateway);
        let calm = Duration::from_millis(700);
        let ask = || sent.load(Ordering::Acquire);
        let stalled_at = settled("the component is held back", calm, SOON, ask);
        assert!(stalled_at < total / 2, "{way:?}: {stalled_at} bytes went somewhere");
        let grown = resident(gateway).0.saturating_sub(before);
        assert!(grown < limit, "{way:?}: {grown} bytes more");
        let buffers = gateway.metrics().count("tlsgate_buffer_bytes", &[]);
        println!("held at {stalled_at}, {grown} bytes more, {buffers} in buffers");
        assert!(buffers < STALL_MEMORY, "{way:?}: {buffers} bytes in buffers");
        assert_content(&mut *slow, total);
        let line = gateway.line_of({
            let peer = session::local(&*slow);
            assert_eq!(slow.read(&mut [0; 1]).expect("the end behind the last byte"), 0);
            session::end(&mut *slow);
            peer
        });
        line.assert_ended("finished", "upstream", "relay");
        assert_eq!(line.number("bytes_sent"), total);
    });
}

/// Of the gateway and the process of its lane `legacy`, if it has one; and how many they are.
fn resident(gateway: &Gateway) -> (u64, u64) {
    let family = procstat::family(gateway.id()).expect("it runs");
    (family.iter().map(|id| resident_bytes(*id)).sum(), family.len() as u64)
}

fn assert_content(session: &mut dyn Session, total: u64) {
    let (mut context, mut expected) = (Context::new(&SHA256), Context::new(&SHA256));
    let (mut done, mut buffer) = (0, vec![0; 64 * 1024]);
    while done < total {
        let length = session.read(&mut buffer).expect("more");
        assert!(length > 0, "an early end after {done}");
        context.update(&buffer[..length]);
        for piece in pieces(done, length as u64) {
            expected.update(piece);
        }
        done += length as u64;
    }
    assert_eq!(context.finish().as_ref(), expected.finish().as_ref(), "the bytes are others");
}

fn pieces(offset: u64, length: u64) -> impl Iterator<Item = &'static [u8]> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let piece = content::at(offset + done, length - done);
        done += piece.len() as u64;
        (!piece.is_empty()).then_some(piece)
    })
}

#[test]
#[ignore = "run by tests/run"]
fn endings_descriptors_exhausted() {
    if !has_tool("prlimit") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address());
        let gateway = setup.gateway(&format!("max_connections = {WAITING}")).start();
        close(connect(gateway.address(), &config(Version::V13)));
        gateway.wait_until_idle();
        // The admin port may still be about to close what was asked there.
        let calm = Duration::from_millis(300);
        let idle = settled("descriptors", calm, SOON, || open_descriptors(gateway.id()));
        // The gateway counts on the limit it started with; somebody lowers it behind its back.
        // io_uring takes notice when an accept is armed anew, so accepting is made to pause first.
        let waiting = wait_in_line(&gateway);
        wait_until("it is full", SOON, || open_descriptors(gateway.id()) >= idle + WAITING);
        limit_descriptors(&gateway, idle + LEFT);
        drop(waiting);
        wait_until("it is empty", SOON, || open_descriptors(gateway.id()) <= idle + 1);
        let mut first = connect(gateway.address(), &config(Version::V13));
        let waiting = wait_in_line(&gateway);
        wait_until("it runs out", SOON, || open_descriptors(gateway.id()) >= idle + LEFT - 1);
        let used = cpu_over(&gateway, Duration::from_secs(2));
        assert!(used < Duration::from_millis(200), "{engine:?}: it spins, {used:?} in 2 s");
        assert_echo(&mut first, b"those who are in do not notice");
        drop(waiting);
        wait_until("it gets them back", SOON, || open_descriptors(gateway.id()) <= idle + 3);
        close(connect(gateway.address(), &config(Version::V13)));
        close(first);
        let metrics = gateway.metrics();
        let errors = metrics.count("tlsgate_accept_errors_total", &[("kind", "emfile")]);
        println!("{engine:?}: {errors} times EMFILE, {used:?} of CPU in 2 s without descriptors");
        assert!(errors > 0, "{engine:?}: EMFILE is counted");
    }
}

/// Connections whose peers say nothing.
fn wait_in_line(gateway: &Gateway) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect(gateway.address()).expect("the kernel's queue takes it");
    (0..WAITING).map(connect).collect()
}

#[test]
#[ignore = "run by tests/run"]
fn endings_no_descriptor_for_upstream() {
    if !has_tool("prlimit") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let mut gateway = Setup::new(engine, backend.address()).start();
        close(connect(gateway.address(), &config(Version::V13)));
        gateway.next_line();
        gateway.wait_until_idle();
        // Room for the downstream socket alone.
        let calm = Duration::from_millis(300);
        let free = settled("descriptors", calm, SOON, || next_free_descriptor(&gateway));
        limit_descriptors(&gateway, free + 1);
        let failed = try_connect(gateway.address(), &config(Version::V13), NAME);
        assert!(failed.is_err(), "{engine:?}");
        let line = gateway.next_line();
        line.assert_ended("upstream_resources", "local", "handshake");
        limit_descriptors(&gateway, 1000);
        close(connect(gateway.address(), &config(Version::V13)));
    }
}

#[test]
#[ignore = "run by tests/run"]
fn endings_connection_limit() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).gateway("max_connections = 3").start();
        let config = config(Version::V13);
        let mut held: Vec<TlsStream> =
            (0..3).map(|_| connect(gateway.address(), &config)).collect();
        // The fourth waits in the kernel's queue or is refused; it is not served.
        let mut fourth = TcpStream::connect(gateway.address()).expect("the kernel takes it");
        let patience = Duration::from_millis(500);
        fourth.set_read_timeout(Some(patience)).expect("not zero");
        let read = fourth.read(&mut [0; 1]).map_err(|error| error.kind());
        let is_unserved =
            matches!(read, Ok(0) | Err(ErrorKind::WouldBlock | ErrorKind::ConnectionReset));
        assert!(is_unserved, "{engine:?}: {read:?}");
        drop(fourth);
        assert!(gateway.open_connections() <= 3, "{engine:?}");
        let used = cpu_over(&gateway, Duration::from_secs(1));
        assert!(used < Duration::from_millis(150), "{engine:?}: it spins, {used:?} in 1 s");
        for stream in &mut held {
            assert_echo(stream, b"in");
        }
        close(held.pop().expect("three"));
        // The place that became free is the next one's.
        let mut next = connect(gateway.address(), &config);
        assert_echo(&mut next, b"in, too");
        close(next);
        held.into_iter().for_each(close);
    }
}

fn limit_descriptors(gateway: &Gateway, limit: usize) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &gateway.id().to_string(), &format!("--nofile={limit}:")]);
    let ended = run(&mut command, SOON);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

/// The number that the kernel would give out next.
fn next_free_descriptor(gateway: &Gateway) -> usize {
    let id = gateway.id();
    let is_open =
        |number: &usize| std::fs::exists(format!("/proc/{id}/fd/{number}")).unwrap_or(false);
    (0..).find(|number| !is_open(number)).expect("descriptors end")
}

/// CPU time that the gateway uses during `span`.
fn cpu_over(gateway: &Gateway, span: Duration) -> Duration {
    let (begin, used) = (Instant::now(), cpu_time(gateway.id()));
    wait_until("time passes", span * 2, || begin.elapsed() >= span);
    cpu_time(gateway.id()).saturating_sub(used)
}
