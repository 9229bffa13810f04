//! The legacy lane's process: what it is, what becomes of it, and of others without it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use openssl::pkey::PKey;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::backend::Backend;
use crate::support::ca::{Files, KeyKind, NAME, ca};
use crate::support::client::{Version, assert_echo, close, config, connect};
use crate::support::gateway::{Gateway, Setup};
use crate::support::old_peers::{OldClient, OldComponent, begun};
use crate::support::{Engine, SOON, engines, has_tool, skip_impossible, wait_for, wait_until};

/// What the gateway takes of handshakes at the same time.
const HANDSHAKES: usize = 256;

/// A listener that lets peers of this machine take the lane.
pub(crate) fn legacy(engine: Engine, upstream: std::net::SocketAddr) -> (Setup, Files) {
    legacy_for(engine, upstream, "127.0.0.0/8", "2099-12-31")
}

/// The same for some of them, and up to a day.
pub(crate) fn legacy_for(
    engine: Engine,
    upstream: std::net::SocketAddr,
    sources: &str,
    last_day: &str,
) -> (Setup, Files) {
    let setup = Setup::new(engine, upstream);
    let names = [NAME, "127.0.0.1"];
    let files = ca().issue(setup.directory(), "legacy", KeyKind::Rsa, &names);
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let setup = setup
        .tls("lane = \"legacy\"")
        .tls(&format!("allow_from = [\"{sources}\"]"))
        .tls(&format!("legacy_until = \"{last_day}\""))
        .tls(&format!("legacy_certificate = \"{certificate}\""))
        .tls(&format!("legacy_certificate_key = \"{key}\""));
    (setup, files)
}

/// The child of a gateway: the starter's, by the command line that it has.
fn child_of(gateway: u32) -> Option<u32> {
    let starter = started_by(gateway, b"starter")?;
    started_by(starter, b"legacy-child")
}

/// A process that this one has started, with that word in its command line.
pub(crate) fn started_by(parent: u32, word: &[u8]) -> Option<u32> {
    let field = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc_pid_stat(5): state and parent follow the name in parentheses.
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?.to_owned();
        Some((state, fields.next()?.parse::<u32>().ok()?))
    };
    let all = fs::read_dir("/proc")
        .expect("it is there")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    all.filter(|pid| field(*pid).is_some_and(|(state, of)| of == parent && state != "Z")).find(
        |pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|one| one == word)
        },
    )
}

fn child(gateway: &Gateway) -> u32 {
    wait_for("the child runs", SOON, || child_of(gateway.id()))
}

pub(crate) fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::KILL).expect("it lives");
}

fn has_ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
        || !PathBuf::from(format!("/proc/{pid}")).exists()
}

fn is_up(gateway: &Gateway) -> bool {
    gateway.metrics().count("tlsgate_legacy_child_up", &[]) == 1
}

fn deaths(gateway: &Gateway) -> u64 {
    gateway.metrics().count("tlsgate_legacy_child_deaths_total", &[])
}

/// Connections that ended for this reason.
fn ended(gateway: &Gateway, reason: &str) -> usize {
    gateway.lines().iter().filter(|line| line.text("reason") == reason).count()
}

/// A field of /proc/PID/status.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let line = line.unwrap_or_else(|| panic!("no {field}"));
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
#[ignore = "run by tests/run"]
fn legacy_child_is_nobody_and_has_nothing() {
    if !has_tool("openssl") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip_impossible("root alone can look into the child");
    }
    let backend = Backend::echo();
    for engine in engines() {
        let (setup, files) = legacy(engine, backend.address());
        let secret: Vec<u8> = (0..32).map(|at| 0x80 ^ (7 * at)).collect();
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let file = setup.directory().join("ticket.secret");
        fs::write(&file, format!("{hex}\n")).expect("a writable directory");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("our file");
        let setup = setup.resumption(&format!("ticket_secret = \"{}\"", file.display()));
        let gateway = setup.start();
        let mut old = OldClient::quiet(gateway.address());
        old.echo();
        let modern = config(Version::V13);
        let mut stream = connect(gateway.address(), &modern);
        assert_echo(&mut stream, b"modern");
        let pid = child(&gateway);
        assert_eq!(status(pid, "Uid"), "65534 65534 65534 65534");
        assert_eq!(status(pid, "Gid"), "65534 65534 65534 65534");
        assert_eq!(status(pid, "Groups"), "");
        for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(pid, capabilities), "0000000000000000", "{capabilities}");
        }
        assert_eq!(status(pid, "NoNewPrivs"), "1");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it lives");
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        assert!(core.is_some_and(|line| line.split_ascii_whitespace().nth(4) == Some("0")));
        assert_eq!(
            fs::metadata(format!("/proc/{pid}/maps")).expect("it lives").uid(),
            0,
            "dumpable"
        );
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).expect("it lives"), b"");
        assert_holds_no_files(pid);
        let memory = memory_of(pid);
        let legacy = fs::read(&files.key).expect("our file");
        let prime = PKey::private_key_from_pem(&legacy).and_then(|key| key.rsa());
        let prime = prime.expect("an RSA key").p().expect("a private one").to_vec();
        assert!(holds(&memory, &prime), "its own key is found where it is: the search works");
        let usual = gateway.directory().join("server.key");
        let pem = fs::read(usual).expect("our file");
        let scalar = PKey::private_key_from_pem(&pem).and_then(|key| key.ec_key());
        let scalar = scalar.expect("an EC key").private_key().to_vec();
        for (name, bytes) in [
            ("the modern key", &scalar[..]),
            ("its file", &pem[40..120]),
            ("the secret of tickets", &secret),
            ("its file", hex.as_bytes()),
        ] {
            assert!(!holds(&memory, bytes), "{name} is in the child");
        }
        close(stream);
        old.end();
    }
}

/// What it has open: its channel, its connections, what its engine is made of.
fn assert_holds_no_files(pid: u32) {
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives") {
        let Ok(target) = fs::read_link(entry.expect("it lives").path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        let is_nothing =
            ["socket:", "pipe:", "anon_inode:"].iter().any(|one| target.starts_with(one));
        assert!(is_nothing || target == "/dev/null", "{target} is open");
    }
}

/// All that the process can write to.
fn memory_of(pid: u32) -> Vec<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("root may");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("root may");
    let regions = maps.lines().filter(|line| line.contains(" rw")).filter_map(|line| {
        let (range, _) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = (number(from), number(to));
        let mut region = vec![0; usize::try_from(to - from).expect("it fits")];
        // What belongs to a device cannot be read.
        memory.read_exact_at(&mut region, from).ok().map(|()| region)
    });
    regions.collect()
}

/// Whether the bytes are somewhere, in one order or the other: numbers are kept from their low end on.
fn holds(memory: &[Vec<u8>], bytes: &[u8]) -> bool {
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    memory
        .iter()
        .any(|region| [bytes, &reversed].into_iter().any(|wanted| contains(region, wanted)))
}

fn contains(region: &[u8], wanted: &[u8]) -> bool {
    let mut rest = region;
    while let Some(at) = rest.iter().position(|byte| *byte == wanted[0]) {
        if rest[at..].starts_with(wanted) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[test]
#[ignore = "run by tests/run"]
fn legacy_child_that_is_killed_comes_back() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let (setup, _) = legacy(engine, backend.address());
        let gateway = setup.start();
        let mut stream = connect(gateway.address(), &config(Version::V13));
        let mut old = OldClient::quiet(gateway.address());
        old.echo();
        kill(child(&gateway));
        wait_until("its connection ends", SOON, || ended(&gateway, "legacy_died") == 1);
        old.ended();
        let line = gateway.lines().into_iter().find(|line| line.text("reason") == "legacy_died");
        line.expect("found above").assert_ended("legacy_died", "local", "relay");
        // Each death makes the pause longer, so that somebody comes while there is none.
        let mut killed = 1;
        while ended(&gateway, "legacy_down") == 0 {
            assert!(killed < 8, "nobody was refused: {engine:?}");
            wait_until("it is back", SOON, || is_up(&gateway));
            let pid = child(&gateway);
            kill(pid);
            wait_until("it has ended", SOON, || has_ended(pid));
            killed += 1;
            let before = gateway.lines().len();
            let mut answer = Vec::new();
            // Refused by alert, or what became of it was seen by a reset.
            let _end = begun(gateway.address()).read_to_end(&mut answer);
            wait_until("it is told", SOON, || gateway.lines().len() > before);
            assert_echo(&mut stream, b"nothing has happened");
        }
        let line = wait_for("a line about it", SOON, || {
            gateway.lines().into_iter().find(|line| line.text("reason") == "legacy_down")
        });
        assert_eq!((line.text("cause"), line.number("alert_sent_number")), ("local", 80));
        wait_until("it is back", SOON, || is_up(&gateway));
        assert_eq!(deaths(&gateway), killed, "{engine:?}");
        OldClient::quiet(gateway.address()).echo();
        assert_echo(&mut stream, b"still");
        close(stream);
    }
}

#[test]
#[ignore = "run by tests/run"]
fn legacy_child_takes_so_much_and_no_more() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let (setup, _) = legacy(engine, backend.address());
        // The worker lets more in than the child takes.
        let gateway = setup
            .gateway("[handshakes]\nlegacy_in_progress = 4096\nlegacy_rate = \"off\"")
            .gateway("source_failures = \"off\"")
            .start();
        let begun: Vec<_> = (0..HANDSHAKES + 20).map(|_| begun(gateway.address())).collect();
        wait_until("the rest is refused", SOON, || ended(&gateway, "legacy_busy") >= 20);
        let mut stream = connect(gateway.address(), &config(Version::V13));
        assert_echo(&mut stream, b"modern");
        close(stream);
        let closed = ["tlsgate_connections_closed_total", "tlsgate_handshake_failures_total"];
        for metric in closed {
            let count = gateway.metrics().count(metric, &[("reason", "legacy_busy")]);
            assert_eq!(count, 20, "{metric}");
        }
        drop(begun);
        gateway.wait_until_idle();
        OldClient::quiet(gateway.address()).echo();
        assert_eq!(deaths(&gateway), 0);
    }
}

#[test]
#[ignore = "run by tests/run"]
fn legacy_child_ends_with_its_gateway() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let (setup, _) = legacy(engine, backend.address());
        let gateway = setup.start();
        let pid = child(&gateway);
        // The whole group is told, as by a terminal: the child leaves it to the gateway.
        let of = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(of, Signal::TERM).expect("it lives");
        let mut old = OldClient::quiet(gateway.address());
        old.echo();
        gateway.signal(Signal::TERM);
        old.echo();
        old.end();
        let stopped = gateway.wait(SOON);
        assert_eq!(stopped.code(), 0, "{engine:?}: {}", stopped.stderr);
        assert!(has_ended(pid), "it is still there");

        let (setup, _) = legacy(engine, backend.address());
        let gateway = setup.start();
        let pid = child(&gateway);
        gateway.signal(Signal::KILL);
        wait_until("the child ends", SOON, || has_ended(pid));
        gateway.wait(SOON);
    }
}

#[test]
#[ignore = "run by tests/run"]
fn legacy_child_of_a_successor_is_its_own() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let (setup, _) = legacy(engine, backend.address());
        let mut gateway = setup.start();
        let first = child(&gateway);
        let mut before = OldClient::quiet(gateway.address());
        before.echo();
        gateway.restart();
        let second = child(&gateway);
        assert_ne!(first, second);
        let mut after = OldClient::quiet(gateway.address());
        after.echo();
        before.echo();
        assert!(!has_ended(first));
        before.end();
        gateway.wait_for_predecessor();
        wait_until("the first child ends", SOON, || has_ended(first));
        after.echo();
        after.end();
    }
}

#[test]
#[ignore = "run by tests/run"]
fn legacy_child_keeps_sessions_over_a_reload_that_changes_nothing() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let (setup, _) = legacy(engine, backend.address());
        let gateway = setup.start();
        let pid = child(&gateway);
        let file = gateway.directory().join("session.pem");
        let file = file.to_str().expect("an ASCII path");
        let first = OldClient::start(gateway.address(), &["-sess_out", file]).end();
        assert!(first.contains("\nNew, "), "{first}");
        let again = OldClient::start(gateway.address(), &["-sess_in", file]).end();
        assert!(again.contains("\nReused, "), "{engine:?}: {again}");
        assert!(gateway.reload());
        let again = OldClient::start(gateway.address(), &["-sess_in", file]).end();
        assert!(again.contains("\nReused, "), "{engine:?}: {again}");
        assert_eq!(child(&gateway), pid);
        gateway.wait_until_idle();
        assert_eq!(gateway.at_least(3).iter().filter(|line| line.is_resumed()).count(), 2);
    }
}

#[test]
#[ignore = "run by tests/run"]
fn legacy_child_speaks_to_old_components() {
    if !has_tool("openssl") {
        return;
    }
    for engine in engines() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = [NAME, "127.0.0.1"];
        let files = ca().issue(directory.path(), "component", KeyKind::Rsa, &names);
        let component = OldComponent::start(directory.path(), &files);
        let trusted = directory.path().join("ca.pem");
        fs::write(&trusted, ca().pem()).expect("a writable directory");
        let gateway = Setup::new(engine, component.address())
            .listener("mode = \"bridge\"")
            .upstream_tls(&format!(
                "trusted_ca = \"{}\"\nserver_name = \"{NAME}\"",
                trusted.display()
            ))
            .upstream_tls("lane = \"legacy\"\nlegacy_until = \"2099-12-31\"")
            .upstream_tls("allow_from = [\"127.0.0.0/8\"]")
            .start();
        let mut stream = connect(gateway.address(), &config(Version::V13));
        stream.write_all(b"olleh\n").expect("sent");
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"hello\n");
        kill(child(&gateway));
        wait_until("it ends", SOON, || ended(&gateway, "legacy_died") == 1);
        let lines = gateway.lines();
        let line = lines.iter().find(|line| line.text("reason") == "legacy_died").expect("found");
        assert_eq!((line.text("cause"), line.text("upstream_tls_version")), ("local", "TLSv1"));
        assert_eq!((line.text("lane"), line.text("upstream_lane")), ("modern", "legacy"));
        wait_until("it is back", SOON, || is_up(&gateway));
        let mut stream = connect(gateway.address(), &config(Version::V13));
        stream.write_all(b"niaga\n").expect("sent");
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"again\n");
        drop(stream);
    }
}
