//! A new configuration in a running gateway: nobody who connects notices, and what is wrong with
//! it leaves the old one running.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tlsgate_bench::backend::{Address, Backend as Component, Mode};

use crate::corpus::{self, Mistake};
use crate::support::backend::Backend;
use crate::support::ca::NAME;
use crate::support::client::{
    TlsStream, Version, assert_echo, close, config, connect, connect_plain, connection, handshake,
    local, resuming_config,
};
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::load::{Load, StopOnDrop};
use crate::support::openssl::Old;
use crate::support::process::{gateway_program, run};
use crate::support::session;
use crate::support::way::{Way, each_way_with};
use crate::support::{SOON, engines, sized, wait_until};
use crate::systemd::hold_worker;

const BAD_CONFIG: i32 = 3;

#[test]
#[ignore = "run by tests/run"]
fn reload_under_load() {
    let backend = Backend::echo();
    for engine in engines() {
        let mut gateway = Setup::new(engine, backend.address()).workers(2).start();
        let address = gateway.address();
        let mut kept: Vec<TlsStream> =
            (0..50).map(|_| connect(address, &config(Version::V13))).collect();
        let (stop, load) = (AtomicBool::new(false), Load::default());
        let clients = (0..6_usize).map(|number| {
            let version = Version::BOTH[number % 2];
            if number < 3 { config(version) } else { resuming_config(version) }
        });
        std::thread::scope(|scope| {
            load.start(scope, address, &stop, clients);
            // Whatever ends this ends the load, too.
            let _stop = StopOnDrop(&stop);
            for generation in 2..=21 {
                let der = gateway.renew_certificate();
                gateway.signal(Signal::HUP);
                wait_for_certificate(&gateway, &der);
                // Shards follow before readers are told.
                wait_until("readers are told", SOON, || {
                    gateway.metrics().count("tlsgate_config_generation", &[]) == generation
                });
                kept.iter_mut().for_each(|stream| assert_echo(stream, b"still here"));
                load.wait_for(sized(500, 50));
            }
        });
        let done = load.done();
        println!("{engine:?}: 20 reloads, {done} connections, none failed");
        let metrics = gateway.metrics();
        let old = metrics.count("tlsgate_generation_connections_open", &[("generation", "1")]);
        assert_eq!(old, 50, "{engine:?}: connections of the first generation");
        assert_eq!(metrics.count("tlsgate_connections_refused_total", &[]), 0);
        assert_eq!(metrics.count("tlsgate_handshake_failures_total", &[]), 0);
        let peer = local(&kept[0]);
        kept.into_iter().for_each(close);
        assert_eq!(gateway.line_of(peer).number("generation"), 1);
    }
}

/// Demands that new handshakes see the certificate within a second of now.
fn wait_for_certificate(gateway: &Gateway, der: &[u8]) {
    let since = Instant::now();
    while shown_certificate(gateway) != der {
        let waited = since.elapsed();
        assert!(waited < Duration::from_secs(1), "the old certificate after {waited:?}");
    }
}

fn shown_certificate(gateway: &Gateway) -> Vec<u8> {
    let stream = connect(gateway.address(), &config(Version::V13));
    let shown = stream.conn.peer_certificates().expect("a server shows one")[0].to_vec();
    close(stream);
    shown
}

#[test]
#[ignore = "run by tests/run"]
fn reload_memory() {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    for engine in engines() {
        let component = Component::start(Address::Tcp(any), Mode::Echo).expect("a free port");
        let Address::Tcp(address) = *component.address() else { unreachable!("asked for TCP") };
        let mut gateway = Setup::new(engine, address).counts_heap().start();
        // Whatever the first reload makes for good.
        gateway.renew_certificate();
        assert!(gateway.reload());
        let count = sized(5_000, 1_000);
        let config = config(Version::V13);
        let mut idle: Vec<TlsStream> = (0..count)
            .map(|_| {
                let mut stream = connect(gateway.address(), &config);
                assert_echo(&mut stream, b"alive");
                stream
            })
            .collect();
        let heap = || gateway_heap(&gateway);
        let before = heap();
        for _ in 0..20 {
            gateway.renew_certificate();
            assert!(gateway.reload(), "{engine:?}");
        }
        let after = gateway_heap(&gateway);
        println!("{engine:?}: {count} idle connections, heap {before} before, {after} after");
        let limit = before + before / 50;
        assert!(after <= limit, "{engine:?}: {after} bytes after 20 reloads, {before} before");
        idle.iter_mut().for_each(|stream| assert_echo(stream, b"still alive"));
        idle.into_iter().for_each(close);
    }
}

fn gateway_heap(gateway: &Gateway) -> u64 {
    gateway.metrics().count("tlsgate_heap_live_bytes", &[])
}

/// Every configuration of the corpus of mistakes, put in the place of the one that runs.
#[test]
#[ignore = "run by tests/run"]
fn reload_of_broken_configurations() {
    let backend = Backend::echo();
    let broken: Vec<Mistake> = corpus::all().into_iter().filter(Mistake::is_refused).collect();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).start();
        let mut kept = connect(gateway.address(), &config(Version::V13));
        let shown = shown_certificate(&gateway);
        let place = format!("{}/", gateway.directory().display());
        for mistake in &broken {
            let what = format!("{engine:?}: {}: {}", mistake.source.display(), mistake.title);
            mistake.write(gateway.directory());
            assert!(!gateway.reload(), "taken, {what}");
            let config = &gateway.status()["config"];
            let told = config["last_failure"].as_str().expect("why").replace(&place, "");
            assert_eq!(told.lines().next(), mistake.message.lines().next(), "{what}");
            assert_eq!(config["generation"], 1, "{what}");
            assert_echo(&mut kept, b"served");
            assert_eq!(shown_certificate(&gateway), shown, "{what}");
            clear(gateway.directory());
        }
        println!("{engine:?}: {} broken configurations, none taken", broken.len());
        close(kept);
    }
}

/// What only the kernel finds wrong is told with file and line, too, and leaves nothing behind.
#[test]
#[ignore = "run by tests/run"]
fn reload_that_cannot_listen_or_write() {
    let backend = Backend::echo();
    for engine in engines() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = (taken.local_addr().expect("bound").to_string(), taken);
        let setup = Setup::new(engine, backend.address());
        let (new, file) = (setup.directory().join("new.sock"), setup.directory().join("no/log"));
        let free = SocketAddr::from(([127, 0, 0, 1], free_port())).to_string();
        let (free, backend) = (free.as_str(), backend.address().to_string());
        let gateway =
            setup.another("second", free, &backend).another("third", "unix:third", &backend);
        let gateway = gateway.start();
        let good = fs::read_to_string(gateway.config_file()).expect("a file");
        let to_new = good.replace("unix:third", &format!("unix:{}", new.display()));
        let to_taken = to_new.replace(free, &taken.0);
        let log = format!("access = {:?}", format!("file:{}", file.display()));
        for (text, line_with, key, message) in [
            (to_taken, taken.0.as_str(), "listener[second].listen", "cannot be listened on"),
            (
                to_new.replace("access = \"stdout\"", &log),
                "access",
                "log.access",
                "cannot be written",
            ),
        ] {
            let line = 1 + text.lines().position(|line| line.contains(line_with)).expect("a line");
            gateway.rewrite(|_| text);
            assert!(!gateway.reload(), "{engine:?}: {key}");
            let name = gateway.config_file().display();
            let expected = format!("{name}:{line}:1: {key}: {message}\n");
            let told = gateway.status()["config"]["last_failure"].to_string();
            let told: String = serde_json::from_str(&told).expect("text");
            assert!(told.starts_with(&expected), "{engine:?}: {told}");
            assert!(!new.exists(), "{engine:?}: a socket of a configuration that was refused");
        }
        gateway.rewrite(|_| to_new.clone());
        assert!(gateway.reload());
        assert!(new.exists());
    }
}

/// A worker that hangs does not make the gateway deaf: what is ordered is refused or done.
#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn reload_with_a_worker_that_hangs() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).workers(2).start();
        let refused =
            || gateway.metrics().count("tlsgate_config_reloads_total", &[("result", "refused")]);
        let Some(mut holder) = hold_worker(gateway.id()) else { return };
        for _ in 0..40 {
            gateway.signal(Signal::HUP);
        }
        let warned = || gateway.stderr().contains("1 worker(s) do not answer");
        wait_until("it is told that a worker does not answer", SOON, warned);
        gateway.signal(Signal::HUP);
        wait_until("another configuration is refused", SOON, || refused() > 0);
        let failure = gateway.status()["config"]["last_failure"].to_string();
        assert!(failure.contains("a worker has not taken the last configuration"), "{failure}");
        drop(holder.stdin());
        holder.wait(SOON);
        let before = gateway.metrics().count("tlsgate_config_generation", &[]);
        wait_until("the next one is taken", SOON, || {
            gateway.signal(Signal::HUP);
            gateway.metrics().count("tlsgate_config_generation", &[]) > before
        });
        close(connect(gateway.address(), &config(Version::V13)));
    }
}

#[test]
#[ignore = "run by tests/run"]
fn reload_between_all_addresses_and_one() {
    let backend = Backend::echo();
    let config = config(Version::V13);
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address()).listen_ip("0.0.0.0").workers(2).start();
        let one = SocketAddr::from(([127, 0, 0, 1], gateway.port()));
        let all = gateway.address().to_string();
        let mut kept = connect(one, &config);
        gateway.rewrite(|text| text.replace(&all, &one.to_string()));
        assert!(gateway.reload(), "{engine:?}: {}", gateway.stderr());
        close(connect(one, &config));
        let other = SocketAddr::from(([127, 0, 0, 2], gateway.port()));
        wait_until("all addresses are closed", SOON, || TcpStream::connect(other).is_err());
        gateway.rewrite(|text| text.replace(&one.to_string(), &all));
        assert!(gateway.reload(), "{engine:?}: {}", gateway.stderr());
        close(connect(other, &config));
        assert_echo(&mut kept, b"all the while");
        close(kept);
    }
}

/// Removes what a mistake has left, but for the certificate that the gateway runs with.
fn clear(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            fs::remove_dir(&path).expect("an empty directory");
        } else if path.file_stem().is_none_or(|stem| stem != "server") {
            fs::remove_file(&path).expect("a writable directory");
        }
    }
}

/// Neither a reload nor the renewal of a certificate ends a connection, or makes peers shake hands in
/// full again.
#[test]
#[ignore = "run by tests/run"]
fn reload_keeps_sessions() {
    let backend = Backend::echo();
    for mode in ["tickets", "store"] {
        let change = |setup: Setup| setup.tls(&format!("resumption = \"{mode}\""));
        each_way_with(backend.address(), change, |gateway, way| {
            let mut kept = way.connect(gateway);
            let mut client = way.resuming();
            let mut assert_resumed = |gateway: &Gateway, expected: bool, when: &str| {
                session::assert_echo(&mut *kept, b"as ever");
                if let Some(client) = &mut client {
                    assert_eq!(client.is_resumed(gateway), expected, "{mode} {way:?}: {when}");
                }
            };
            assert_resumed(gateway, false, "there is no session yet");
            assert_resumed(gateway, true, "there is one");
            assert!(gateway.reload());
            assert_resumed(gateway, true, "after a reload");
            gateway.renew_certificate();
            assert!(gateway.reload());
            // OpenSSL's sessions are those of one certificate; compat12 shows the modern lane's here.
            let is_another = way == Way::From(Old::Cbc12);
            assert_resumed(gateway, !is_another, "with another certificate");
            session::close(kept);
        });
    }
}

#[test]
#[ignore = "run by tests/run"]
fn reload_opens_and_closes_listeners() {
    let (one, other) = (Backend::echo(), Backend::http("the other component"));
    for engine in engines() {
        let second = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let gateway = Setup::new(engine, one.address())
            .workers(2)
            .another("second", &second.to_string(), &one.address().to_string())
            .start();
        let config = config(Version::V13);
        let mut on_second = connect(second, &config);
        assert_echo(&mut on_second, b"before");
        // Connections that wait in its queue when it is closed are served.
        gateway.signal(Signal::STOP);
        let waiting: Vec<TcpStream> = (0..10).map(|_| connect_plain(second)).collect();
        let third = SocketAddr::from(([127, 0, 0, 1], free_port()));
        gateway.rewrite(|text| {
            let moved = text.replace(&second.to_string(), &third.to_string());
            moved.replace("name = \"second\"", "name = \"third\"")
        });
        gateway.signal(Signal::HUP);
        gateway.signal(Signal::CONT);
        for stream in waiting {
            let mut stream = handshake(stream, connection(&config, NAME))
                .unwrap_or_else(|error| panic!("{engine:?}: a peer in the queue: {error}"));
            assert_echo(&mut stream, b"from the queue");
            close(stream);
        }
        let is_open = |address| TcpStream::connect(address).is_ok();
        wait_until("the new listener is open", SOON, || is_open(third));
        wait_until("the old listener is closed", SOON, || !is_open(second));
        let mut on_third = connect(third, &config);
        assert_echo(&mut on_third, b"new");
        assert_echo(&mut on_second, b"after");
        // What stays may have another upstream: for new connections.
        let old = one.address().to_string();
        gateway.rewrite(|text| text.replace(&old, &other.address().to_string()));
        assert!(gateway.reload());
        assert_echo(&mut on_third, b"as before");
        let mut stream = connect(third, &config);
        assert!(get(&mut stream).ends_with("the other component"), "{engine:?}");
        let peer = local(&on_second);
        close(on_second);
        close(on_third);
        let line = gateway.line_of(peer);
        assert_eq!((line.text("listener"), line.number("generation")), ("second", 1));
        let metrics = gateway.metrics();
        let accepted =
            |name| metrics.count("tlsgate_connections_accepted_total", &[("listener", name)]);
        assert_eq!(accepted("second"), 11, "{engine:?}");
        assert!(accepted("third") >= 2, "{engine:?}");
        assert_eq!(metrics.count("tlsgate_unattributed_events_total", &[]), 0);
    }
}

/// Asks the HTTP component for its answer.
fn get(stream: &mut TlsStream) -> String {
    use std::io::{Read, Write};
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
#[ignore = "run by tests/run"]
fn reload_by_the_control_socket() {
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address());
        let socket = setup.directory().join("control.sock");
        let mut gateway = setup.controlled().start();
        let reload = |arguments: &[&str]| {
            let mut command = Command::new(gateway_program());
            run(command.arg("reload").args(arguments).arg("-c").arg(gateway.config_file()), SOON)
        };
        let ended = reload(&[]);
        assert_eq!((ended.code(), ended.stdout.trim()), (0, "loaded; this is generation 2"));
        // What a restart would change is told, and does not hold up the rest.
        gateway.rewrite(|text| text.replace("workers = 1", "workers = 2"));
        let ended = reload(&["--json"]);
        let answer: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!(answer["generation"], 3, "{answer}");
        let warning = answer["warnings"][0].as_str().expect("a warning");
        assert!(warning.starts_with("gateway.workers has changed"), "{warning}");
        // The gateway says itself what is wrong with the file that it reads.
        let good = fs::read_to_string(gateway.config_file()).expect("a file");
        gateway.rewrite(|text| text.replace("server.pem", "nowhere.pem"));
        let by_socket =
            run(Command::new(gateway_program()).arg("reload").arg("--socket").arg(&socket), SOON);
        assert_eq!(by_socket.code(), BAD_CONFIG, "{}", by_socket.stderr);
        assert!(by_socket.stderr.contains("nowhere.pem cannot be used"), "{}", by_socket.stderr);
        assert!(by_socket.stderr.contains("runs on"), "{}", by_socket.stderr);
        fs::write(gateway.config_file(), good).expect("a writable directory");
        let der = gateway.renew_certificate();
        gateway.signal(Signal::HUP);
        wait_for_certificate(&gateway, &der);
        drop(gateway);
        assert!(!socket.exists(), "the socket's file goes with the gateway");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn reload_of_watched_certificates() {
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).gateway("certificate_watch = \"1s\"");
        let mut gateway = setup.start();
        // Only certificates: another change of the file waits for a reload.
        gateway.rewrite(|text| text.replace("name = \"main\"", "name = \"renamed\""));
        let old = shown_certificate(&gateway);
        let der = gateway.renew_certificate();
        wait_until("the new certificate", SOON, || shown_certificate(&gateway) == der);
        assert_ne!(old, der);
        let listeners = gateway.status()["listeners"].to_string();
        assert!(!listeners.contains("renamed"), "{listeners}");
        // A key that does not belong to the certificate: the old pair stays, and is told.
        let key = gateway.directory().join("server.key");
        let good = fs::read(&key).expect("a key");
        fs::write(&key, "nonsense").expect("a writable directory");
        let refused =
            || gateway.metrics().count("tlsgate_config_reloads_total", &[("result", "refused")]);
        wait_until("the change is refused", SOON, || refused() == 1);
        assert_eq!(shown_certificate(&gateway), der);
        // A mode that would give the key away: told with what to do, which is seen when it is done.
        let mode =
            |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("ours");
        mode(0o644);
        fs::write(&key, good).expect("a writable directory");
        wait_until("the mode is refused", SOON, || {
            let failure = gateway.status()["config"]["last_failure"].to_string();
            failure.contains("open to everybody")
        });
        let refusals = refused();
        mode(0o600);
        let taken =
            || gateway.metrics().count("tlsgate_config_reloads_total", &[("result", "taken")]);
        wait_until("the good key is taken again", SOON, || taken() == 2);
        assert_eq!(shown_certificate(&gateway), der);
        assert_eq!(refused(), refusals, "told once for each change");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn reload_changes_the_logs() {
    let backend = Backend::echo();
    for engine in engines() {
        // In it, no file could be written to where none was named at start.
        let setup = Setup::new(engine, backend.address()).gateway("sandbox = \"off\"");
        let file = setup.directory().join("access.log");
        let gateway = setup.start();
        let config = config(Version::V13);
        let first = connect(gateway.address(), &config);
        let peer = local(&first);
        close(first);
        gateway.line_of(peer);
        gateway.rewrite(|text| {
            let target = format!("access = {:?}", format!("file:{}", file.display()));
            text.replace("access = \"stdout\"", &target)
                .replace("[log]", "[log]\nlevel = \"error\"")
        });
        assert!(gateway.reload());
        let second = connect(gateway.address(), &config);
        let peer = local(&second).to_string();
        close(second);
        let written = || fs::read_to_string(&file).is_ok_and(|text| text.contains(&peer));
        wait_until("the line is in the file", SOON, written);
        assert_eq!(gateway.lines().len(), 1, "and not where they went before");
        let before = gateway.stderr();
        assert!(gateway.reload());
        assert_eq!(gateway.stderr(), before, "messages below the new level are not written");
    }
}
