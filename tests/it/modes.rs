//! What is spoken on the two sides: every mode, with the openssl command and curl as peers and
//! components. Mode "terminate" is what all other checks are about.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::backend::{Backend, dead_address};
use crate::support::ca::{Files, KeyKind, NAME, ca};
use crate::support::client::{Version, close, config, connect, connect_plain, local, try_connect};
use crate::support::gateway::{Gateway, Setup, free_port};
use crate::support::log::Line;
use crate::support::process::{Process, run};
use crate::support::{Engine, SOON, engines, has_tool, wait_until};

/// What a component must show when it is down: within a second.
const DOWN: Duration = Duration::from_secs(1);

/// A component: `openssl s_server`, which answers each line with its letters in reverse.
pub(crate) struct OpenSsl {
    process: Process,
    pub(crate) address: SocketAddr,
    files: Files,
    _input: ChildStdin,
    _directory: TempDir,
}

impl OpenSsl {
    pub(crate) fn start(options: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let files = ca().issue(directory.path(), "component", KeyKind::Ecdsa, &[NAME, "127.0.0.1"]);
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, ca().pem()).expect("a writable directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new("openssl");
        command.args(["s_server", "-rev", "-accept", &address.port().to_string(), "-cert"]);
        command.arg(&files.certificate).arg("-key").arg(&files.key).arg("-CAfile").arg(&ca_file);
        let mut process = Process::start(command.args(options));
        let input = process.stdin();
        wait_until("the component listens", SOON, || {
            process.stdout().iter().any(|line| line.starts_with("ACCEPT"))
        });
        Self { process, address, files, _input: input, _directory: directory }
    }

    /// Waits for it to say so of a handshake.
    fn wait_for_error(&self, words: &str) {
        wait_until(&format!("the component says {words:?}"), SOON, || {
            self.process.stderr().iter().any(|line| line.contains(words))
        });
    }
}

/// A gateway that trusts the checks' authority for its component.
fn dials(engine: Engine, mode: &str, component: SocketAddr) -> Setup {
    mode_setup(engine, mode, component).upstream_tls("trusted_ca = \"ca.pem\"")
}

fn mode_setup(engine: Engine, mode: &str, component: SocketAddr) -> Setup {
    let setup = Setup::new(engine, component).listener(&format!("mode = {mode:?}"));
    if mode == "bridge" { setup } else { setup.without_tls() }
}

pub(crate) fn assert_reversed(stream: &mut (impl Read + Write)) {
    stream.write_all(b"component\n").expect("sent");
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"tnenopmoc\n");
}

/// Certificates that the gateway does not trust: signed by nobody it knows.
fn trusts_nobody_here(setup: Setup) -> Setup {
    let file = setup.directory().join("stranger.pem");
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=stranger"]);
    let key = file.with_extension("key");
    let ended = run(command.arg("-keyout").arg(key).arg("-out").arg(&file), SOON);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    setup.upstream_tls("trusted_ca = \"stranger.pem\"")
}

#[test]
#[ignore = "run by tests/run"]
fn mode_originate() {
    for version in Version::BOTH {
        let component = OpenSsl::start(&[flag(version)]);
        for engine in engines() {
            let gateway = dials(engine, "originate", component.address).start();
            let mut stream = connect_plain(gateway.address());
            let peer = stream.local_addr().expect("connected");
            assert_reversed(&mut stream);
            stream.shutdown(Shutdown::Write).expect("an open socket");
            assert_eq!(stream.read(&mut [0; 1]).expect("an orderly end"), 0);
            let line = gateway.line_of(peer);
            line.assert_ended("finished", "downstream", "relay");
            assert_eq!(line.text("upstream_tls_version"), version.name());
            assert_eq!(line.text("upstream_subject"), "CN=component");
            assert_security(&line, "plaintext", "server");
            assert!(line.value("tls_version").is_null());
            let metrics = gateway.metrics();
            let unterminated = "tlsgate_connections_unterminated_total";
            assert_eq!(metrics.count(unterminated, &[("downstream", "plaintext")]), 1);
            assert_eq!(metrics.count("tlsgate_upstream_handshakes_total", &[("kind", "full")]), 1);
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn mode_originate_refusals() {
    let component = OpenSsl::start(&[]);
    for engine in engines() {
        let setup = mode_setup(engine, "originate", component.address);
        let gateway = trusts_nobody_here(setup).start();
        assert_reset(&gateway, "upstream_certificate_invalid", |line| {
            assert_eq!(line.text("upstream_alert_sent"), "unknown_ca", "{line:?}");
        });
        component.wait_for_error("alert unknown ca");
        let gateway = dials(engine, "originate", dead_address()).start();
        assert_reset(&gateway, "upstream_refused", |_| ());
        // Listens, and does not speak TLS.
        let backend = Backend::start(|mut stream| {
            let _sent = stream.write_all(b"220 ready\r\n");
            let _ended = stream.read_to_end(&mut Vec::new());
        });
        let gateway = dials(engine, "originate", backend.address()).start();
        assert_reset(&gateway, "upstream_protocol", |_| ());
        // Listens, and says nothing.
        let silent = Backend::start(|mut stream| {
            let _ended = stream.read_to_end(&mut Vec::new());
        });
        let setup = dials(engine, "originate", silent.address());
        let gateway = setup.timeouts("connect = \"700ms\"").start();
        assert_reset(&gateway, "upstream_handshake_timeout", |_| ());
    }
}

/// The peer is reset within a second.
fn assert_reset(gateway: &Gateway, reason: &str, check: impl Fn(&Line)) {
    let begin = Instant::now();
    let mut stream = connect_plain(gateway.address());
    let peer = stream.local_addr().expect("connected");
    let read = stream.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(read, Err(ErrorKind::ConnectionReset), "{reason}");
    assert!(begin.elapsed() < DOWN, "{reason} after {:?}", begin.elapsed());
    let line = gateway.line_of(peer);
    line.assert_ended(reason, "upstream", "connecting");
    check(&line);
}

#[test]
#[ignore = "run by tests/run"]
fn mode_bridge() {
    for inner in Version::BOTH {
        let component = OpenSsl::start(&[flag(inner)]);
        for engine in engines() {
            let gateway = dials(engine, "bridge", component.address).start();
            for outer in Version::BOTH {
                let line = through_s_client(&gateway, outer);
                assert_eq!(line.text("tls_version"), outer.name(), "{line:?}");
                assert_eq!(line.text("upstream_tls_version"), inner.name(), "{line:?}");
                assert_security(&line, "server", "server");
                let mut stream = connect(gateway.address(), &config(outer));
                assert_reversed(&mut stream);
                let peer = local(&stream);
                close(stream);
                gateway.line_of(peer).assert_ended("finished", "downstream", "relay");
            }
        }
    }
}

/// Talks to the component by `openssl s_client`.
fn through_s_client(gateway: &Gateway, version: Version) -> Line {
    let before = gateway.lines().len();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-servername", NAME]);
    command.args([flag(version), "-connect", &gateway.address().to_string(), "-CAfile"]);
    let mut process = Process::start(command.arg(gateway.ca_file()));
    let mut input = process.stdin();
    input.write_all(b"component\n").expect("it waits for input");
    wait_until("the component's answer", SOON, || {
        process.stdout().iter().any(|line| line == "tnenopmoc")
    });
    drop(input);
    drop(process);
    wait_until("a line in the access log", SOON, || gateway.lines().len() > before);
    gateway.lines()[before].clone()
}

#[test]
#[ignore = "run by tests/run"]
fn mode_bridge_refusals() {
    let component = OpenSsl::start(&[]);
    let picky = OpenSsl::start(&["-tls1_2", "-Verify", "1", "-verify_return_error"]);
    for engine in engines() {
        let setup = mode_setup(engine, "bridge", component.address);
        let mut gateway = trusts_nobody_here(setup).start();
        assert_alert(&mut gateway, "upstream_certificate_invalid");
        let mut gateway = dials(engine, "bridge", dead_address()).start();
        assert_alert(&mut gateway, "upstream_refused");
        // It wants a certificate, and there is none to show.
        let mut gateway = dials(engine, "bridge", picky.address).start();
        assert_alert(&mut gateway, "upstream_alert");
    }
}

/// The handshake fails within a second: it is not completed in front of such a component.
fn assert_alert(gateway: &mut Gateway, reason: &str) {
    let begin = Instant::now();
    let failed = try_connect(gateway.address(), &config(Version::V13), NAME);
    assert!(failed.is_err(), "{reason}: a handshake in front of nobody");
    assert!(begin.elapsed() < DOWN, "{reason} after {:?}", begin.elapsed());
    let line = gateway.next_line();
    line.assert_ended(reason, "upstream", "handshake");
    assert_eq!(line.text("alert_sent"), "internal_error", "{line:?}");
}

#[test]
#[ignore = "run by tests/run"]
fn mode_passthrough() {
    let component = OpenSsl::start(&[]);
    for engine in engines() {
        let gateway = mode_setup(engine, "passthrough", component.address).start();
        for version in Version::BOTH {
            let mut stream = connect(gateway.address(), &config(version));
            let shown =
                stream.conn.peer_certificates().expect("a server's certificate")[0].to_vec();
            assert_eq!(shown, component.files.der, "the component's own");
            assert_reversed(&mut stream);
            let peer = local(&stream);
            close(stream);
            let line = gateway.line_of(peer);
            // Whose FIN comes first is between the two of them.
            assert_eq!((line.text("reason"), line.text("stage")), ("finished", "relay"));
            assert_eq!(line.text("sni"), NAME);
            assert_security(&line, "unread", "unread");
        }
        let line = through_s_client(&gateway, Version::V13);
        assert_security(&line, "unread", "unread");
        // What is not TLS is not passed through.
        let mut stream = connect_plain(gateway.address());
        let peer = stream.local_addr().expect("connected");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
        stream.shutdown(Shutdown::Write).expect("an open socket");
        gateway.line_of(peer).assert_ended("hello_malformed", "downstream", "hello");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn mode_autodetect() {
    if !has_tool("curl") {
        return;
    }
    const BODY: &str = "the component's answer";
    let backend = Backend::http(BODY);
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).timeouts("handshake = \"1s\"");
        let setup = setup.listener("mode = \"autodetect\"\nautodetect_until = \"2099-12-31\"");
        let mut gateway = setup.listener("first_speaker = \"client\"").start();
        for (scheme, security) in [("http", "plaintext"), ("https", "server")] {
            let url = format!("{scheme}://localhost:{}/", gateway.port());
            let mut command = Command::new("curl");
            command.args(["--silent", "--show-error", "--ipv4", "--cacert"]);
            let ended = run(command.arg(gateway.ca_file()).arg(&url), SOON);
            assert_eq!(ended.stdout, BODY, "{engine:?} {url}: {}", ended.stderr);
            assert_security(&gateway.next_line(), security, "plaintext");
        }
        let metrics = gateway.metrics();
        let unterminated = "tlsgate_connections_unterminated_total";
        assert_eq!(metrics.count(unterminated, &[("downstream", "plaintext")]), 1);
        // Whoever says nothing is not taken for either.
        let silent = TcpStream::connect(gateway.address()).expect("it accepts");
        let peer = silent.local_addr().expect("connected");
        gateway.line_of(peer).assert_ended("detect_timeout", "downstream", "hello");
    }
}

fn assert_security(line: &Line, downstream: &str, upstream: &str) {
    let told = [line.text("downstream_security"), line.text("upstream_security")];
    assert_eq!(told, [downstream, upstream], "{line:?}");
}

/// The version, as openssl's options say it.
fn flag(version: Version) -> &'static str {
    match version {
        Version::V12 => "-tls1_2",
        Version::V13 => "-tls1_3",
    }
}
