//! Several upstreams: what a component's death costs, and names whose addresses change.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::backend::{Backend, dead_address};
use crate::support::ca::NAME;
use crate::support::client::{
    TlsStream, Version, assert_echo, close, config, connect, connection, dial, handshake,
    try_connect,
};
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Ended, gateway_program, run};
use crate::support::{SOON, engines, has_tool, is_full, skip_impossible, wait_until};

/// What a component must show when it is down: within a second.
const DOWN: Duration = Duration::from_secs(1);

/// Clients, one after the other, that each send a message and want it back.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Served>,
}

/// How they fared.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) well: u64,
    pub(crate) errors: Vec<io::Error>,
    pub(crate) slowest: Duration,
}

impl Clients {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut served = Served::default();
            while !stopped.load(Ordering::Acquire) {
                let begin = Instant::now();
                match one(address) {
                    Ok(()) => served.well += 1,
                    Err(error) => served.errors.push(error),
                }
                served.slowest = served.slowest.max(begin.elapsed());
            }
            served
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Served {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("clients do not panic")
    }
}

/// A client's whole life.
pub(crate) fn one(address: SocketAddr) -> io::Result<()> {
    let mut stream = try_connect(address, &config(Version::V13), NAME)?;
    let mut answer = [0; 5];
    stream.write_all(b"hello")?;
    stream.flush()?;
    stream.read_exact(&mut answer)?;
    if answer == *b"hello" { Ok(()) } else { Err(io::Error::other("another answer")) }
}

#[test]
#[ignore = "run by tests/run"]
fn upstream_failover() {
    for engine in engines() {
        let mut components = [(); 2].map(|()| Component::start());
        let names = components.each_ref().map(Component::name);
        let names = names.each_ref().map(String::as_str);
        let gateway = Setup::new(engine, dead_address()).upstreams(&names).start();
        let of = |metric: &str, upstream: &str| {
            let labels = [("route", "main"), ("upstream", upstream)];
            gateway.metrics().count(&format!("tlsgate_upstream_{metric}"), &labels)
        };
        let mut held: Vec<TlsStream> =
            (0..10).map(|_| connect(gateway.address(), &config(Version::V13))).collect();
        held.iter_mut().for_each(|stream| assert_echo(stream, b"held"));
        assert_eq!(names.map(|name| of("connections", name)), [5, 5], "they take turns");
        // The next configuration knows about the connections of this one.
        assert!(gateway.reload());
        assert_eq!(names.map(|name| of("connections", name)), [5, 5]);
        held.into_iter().for_each(close);
        gateway.wait_until_idle();
        assert_eq!(names.map(|name| of("connections", name)), [0, 0]);

        let clients = Clients::start(gateway.address());
        components[0].kill();
        wait_until("it is taken out", SOON, || of("ejections_total", names[0]) > 0);
        let begin = gateway.metrics().count("tlsgate_connections_accepted_total", &[]);
        wait_until("clients go on", SOON, || {
            gateway.metrics().count("tlsgate_connections_accepted_total", &[]) > begin + 50
        });
        let served = clients.stop();
        println!("{engine:?}: {served:?}");
        // That of a client that was being served when the component died.
        assert!(served.errors.len() <= 1, "{engine:?}: {served:?}");
        assert!(served.slowest < DOWN, "{engine:?}: {served:?}");
        let failures = of("connect_failures_total", names[0]);
        // Once it is known to be down, connections do not find that out one by one.
        assert!((1..=3).contains(&failures), "{engine:?}: {failures}");

        components[1].kill();
        for _ in 0..3 {
            let begin = Instant::now();
            one(gateway.address()).expect_err("nobody is there");
            assert!(begin.elapsed() < DOWN, "{engine:?}: {:?}", begin.elapsed());
        }
        components[0].start_again();
        wait_until("it serves again", SOON, || one(gateway.address()).is_ok());
        for _ in 0..10 {
            one(gateway.address()).expect("the one that is up");
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn upstream_weights() {
    for engine in engines() {
        let components = [(); 2].map(|()| Component::start());
        let names = components.each_ref().map(Component::name);
        let heavy = format!("{} weight=3", names[0]);
        let setup = Setup::new(engine, dead_address()).upstreams(&[&heavy, &names[1]]);
        let gateway = setup.listener("balance = { policy = \"round_robin\" }").start();
        let connections = |name: &String| {
            gateway.metrics().count("tlsgate_upstream_connections", &[("upstream", name)])
        };
        for policy in ["round_robin", "least_connections", "power_of_two", "source_hash"] {
            gateway.rewrite(|text| {
                let (before, rest) = text.split_once("policy = \"").expect("written above");
                let (_, after) = rest.split_once('"').expect("as before");
                format!("{before}policy = \"{policy}\"{after}")
            });
            assert!(gateway.reload());
            let client = |last: u8| {
                let from = ([127, 0, 2, last], 0).into();
                let stream = dial(from, gateway.address()).expect("it accepts");
                handshake(stream, connection(&config(Version::V13), NAME)).expect("served")
            };
            // Who owns a source is as good as chance: so many that shares show.
            let (count, slack) = if policy == "source_hash" { (200, 30) } else { (40, 0) };
            let held: Vec<TlsStream> = (1..=count).map(client).collect();
            let counts = names.each_ref().map(connections);
            println!("{engine:?} {policy}: {counts:?}");
            let expected = u64::from(count) * 3 / 4;
            assert!(counts[0].abs_diff(expected) <= slack, "{engine:?} {policy}: {counts:?}");
            assert_eq!(counts.iter().sum::<u64>(), u64::from(count));
            held.into_iter().for_each(close);
            gateway.wait_until_idle();
        }
    }
}

/// A name that only a file of hosts knows, which takes the place of /etc/hosts.
const HOST: &str = "component.invalid";

/// What stands in front of a command that sees this file of hosts.
fn with_hosts(hosts: &Path) -> Vec<String> {
    let namespace = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let hosts = hosts.display().to_string();
    ["unshare", namespace, "sh", "-c", script, &hosts].map(str::to_owned).to_vec()
}

fn run_with_hosts(hosts: &Path, command: &[&str]) -> Ended {
    let launcher = with_hosts(hosts);
    run(Command::new(&launcher[0]).args(&launcher[1..]).args(command), SOON)
}

/// Whom a new connection reaches.
fn greeting(gateway: &Gateway) -> String {
    let mut stream = connect(gateway.address(), &config(Version::V13));
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).expect("a greeting and an orderly end");
    greeting
}

/// Greets, and leaves when the peer does.
fn greeter(listener: TcpListener, word: &'static str) -> Backend {
    Backend::serve(listener, move |mut stream| {
        // The peer's errors are not what this is about.
        let _greeted = stream.write_all(word.as_bytes());
    })
}

#[test]
#[ignore = "run by tests/run"]
fn upstream_names() {
    if !has_tool("unshare") {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let hosts = directory.path().join("hosts");
    // Written in place: what is mounted is the file, not its name.
    let know = |address: &str| fs::write(&hosts, format!("{address} {HOST}\n")).expect("writable");
    know("127.0.0.1");
    let tried = run_with_hosts(&hosts, &["true"]);
    if tried.code() != 0 {
        return skip_impossible(&format!("no mount namespaces: {}", tried.stderr.trim()));
    }
    let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = first.local_addr().expect("bound").port();
    let Ok(second) = TcpListener::bind(("127.0.0.2", port)) else {
        return skip_impossible("another address of the loopback interface is in use");
    };
    let _components = [greeter(first, "first"), greeter(second, "second")];
    let upstream = format!("{HOST}:{port}");
    for engine in engines() {
        know("127.0.0.1");
        let setup = Setup::new(engine, dead_address()).upstreams(&[&upstream]);
        // A name may be anybody's.
        let setup = setup.listener("plaintext_reason = \"names of this machine\"");
        let gateway = setup.under(&with_hosts(&hosts)).start();
        assert_eq!(greeting(&gateway), "first");
        know("127.0.0.2");
        assert_eq!(greeting(&gateway), "first", "nobody has looked yet");
        assert!(gateway.reload());
        assert_eq!(greeting(&gateway), "second");
        let labels = [("route", "main"), ("upstream", &*upstream)];
        let failures =
            || gateway.metrics().count("tlsgate_upstream_look_up_failures_total", &labels);
        assert_eq!(failures(), 0);
        fs::write(&hosts, "").expect("writable");
        assert!(gateway.reload(), "its last addresses are good enough");
        assert_eq!((greeting(&gateway), failures()), ("second".to_owned(), 1));
        let warning = "cannot be resolved, and keeps its last addresses";
        assert!(gateway.stderr().contains(warning), "{}", gateway.stderr());
        // A start has no last addresses.
        let program = gateway_program().display().to_string();
        let file = gateway.config_file().display().to_string();
        let checked = run_with_hosts(&hosts, &[&program, "check", "-c", &file]);
        assert_ne!(checked.code(), 0);
        assert!(checked.stderr.contains("cannot be resolved"), "{}", checked.stderr);
        if is_full() {
            know("127.0.0.1");
            // Twice the time from one look-up to the next.
            wait_until("it looks again by itself", Duration::from_secs(60) + SOON, || {
                greeting(&gateway) == "first"
            });
        }
    }
}
