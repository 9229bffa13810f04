//! Seven TLS implementations as clients: TLS 1.2 and 1.3, full and resumed, through each engine.
//!
//! Every client makes two connections, the second with the session of the first, and sends an
//! HTTP request in each. Resumption is proved twice: by the access log and by the client's word.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::client::Version;
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Ended, run, run_with_input};
use crate::support::{engines, has_tool};

const BODY: &str = "the component's answer";
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
/// A Java program has to be compiled and a virtual machine started.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a client said about its two connections.
struct Word {
    /// Everything it wrote.
    text: String,
    /// Whether it says that the first, and that the second connection resumed a session.
    resumed: [bool; 2],
    /// Whether it sent a request in the first, and in the second connection.
    asked: [bool; 2],
}

impl Word {
    fn new(text: String, resumed: [bool; 2]) -> Self {
        Self { text, resumed, asked: [true; 2] }
    }
}

/// Runs a client through all engines and versions and holds its word against the access log.
fn check(client: impl Fn(&Gateway, Version) -> Word) {
    let backend = Backend::http(BODY);
    for engine in engines() {
        for version in Version::BOTH {
            let mut gateway = Setup::new(engine, backend.address()).start();
            let word = client(&gateway, version);
            let place = format!("{engine:?} {version:?}:\n{}", word.text);
            assert_eq!(word.resumed, [false, true], "{place}");
            let asked = word.asked.iter().filter(|asked| **asked).count();
            assert_eq!(word.text.matches(BODY).count(), asked, "{place}");
            for (resumed, asked) in [false, true].into_iter().zip(word.asked) {
                let line = gateway.next_line();
                assert_eq!(line.text("event"), "connection", "{line:?} {place}");
                assert_eq!(line.text("tls_version"), version.name(), "{line:?} {place}");
                assert_eq!(line.is_resumed(), resumed, "{line:?} {place}");
                let answered = line.number("bytes_sent") > BODY.len() as u64;
                assert_eq!(answered, asked, "{line:?} {place}");
                assert_eq!(line.text("stage"), "relay", "{line:?} {place}");
            }
            let metrics = gateway.metrics();
            for kind in ["full", "resumed"] {
                let count = metrics.count("tlsgate_handshakes_total", &[("kind", kind)]);
                assert_eq!(count, 1, "{kind} {place}");
            }
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn clients_curl() {
    if !has_tool("curl") {
        return;
    }
    check(|gateway, version| {
        let url = format!("https://localhost:{}/", gateway.port());
        let number = version.number();
        let ended = run(
            Command::new("curl")
                .args(["--verbose", "--silent", "--show-error", "--noproxy", "*", "--http1.1"])
                .arg("--cacert")
                .arg(gateway.ca_file())
                .args(["--resolve", &format!("localhost:{}:127.0.0.1", gateway.port())])
                .args([&format!("--tlsv{number}"), "--tls-max", number, &url, &url]),
            PATIENCE,
        );
        let text = said(&ended);
        // One line for the second connection; curl words it differently from version to version.
        let reuses = ["re-using session ID", "reusing session", "SSL reusing session"];
        let count = text.lines().filter(|line| reuses.iter().any(|word| line.contains(word)));
        let resumed = count.count() == 1;
        Word::new(text, [false, resumed])
    });
}

#[test]
#[ignore = "run by tests/run"]
fn clients_openssl() {
    if !has_tool("openssl") {
        return;
    }
    check(|gateway, version| {
        let directory = TempDir::new().expect("a temporary directory");
        let session = directory.path().join("session.pem");
        let connect = |option: &str| {
            let flag = if version == Version::V12 { "-tls1_2" } else { "-tls1_3" };
            let ended = run_with_input(
                Command::new("openssl")
                    .args(["s_client", "-ign_eof", "-verify_return_error", flag])
                    .args(["-connect", &gateway.address().to_string()])
                    .args(["-servername", "localhost", "-CAfile"])
                    .arg(gateway.ca_file())
                    .arg(option)
                    .arg(&session),
                REQUEST,
                PATIENCE,
            );
            said(&ended)
        };
        let texts = [connect("-sess_out"), connect("-sess_in")];
        let resumed = texts.each_ref().map(|text| text.contains("Reused, TLSv1."));
        Word::new(texts.concat(), resumed)
    });
}

#[test]
#[ignore = "run by tests/run"]
fn clients_gnutls() {
    if !has_tool("gnutls-cli") {
        return;
    }
    check(|gateway, version| {
        let priority = format!("NORMAL:-VERS-ALL:+VERS-TLS{}", version.number());
        // Its first connection ends after the handshake.
        let ended = run_with_input(
            Command::new("gnutls-cli")
                .args(["--resume", "--waitresumption", "--priority", &priority])
                .args(["--port", &gateway.port().to_string(), "--sni-hostname", "localhost"])
                .args(["--verify-hostname", "localhost", "--logfile", "/dev/stderr"])
                .arg("--x509cafile")
                .arg(gateway.ca_file())
                .arg("127.0.0.1"),
            REQUEST,
            PATIENCE,
        );
        let text = said(&ended);
        let resumed = text.matches("This is a resumed session").count() == 1;
        Word { text, resumed: [false, resumed], asked: [false, true] }
    });
}

#[test]
#[ignore = "run by tests/run"]
fn clients_python() {
    check_program("python3", |_| {
        let mut command = Command::new("python3");
        command.arg(source("client.py"));
        command
    });
}

#[test]
#[ignore = "run by tests/run"]
fn clients_node() {
    check_program("node", |_| {
        let mut command = Command::new("node");
        command.arg(source("client.js"));
        command
    });
}

#[test]
#[ignore = "run by tests/run"]
fn clients_java() {
    check_program("javac", |directory| java(directory, "Client", &[]));
}

#[test]
#[ignore = "run by tests/run"]
fn clients_go() {
    check_program("go", |directory| {
        let program = directory.join("client");
        let mut build = Command::new("go");
        build
            .args(["build", "-o"])
            .arg(&program)
            .arg(source("client.go"))
            // Only the standard library, nothing from the network, nothing written elsewhere.
            .env("GO111MODULE", "off")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "")
            .env("GOCACHE", directory.join("cache"))
            .env("GOPATH", directory.join("path"));
        said(&run(&mut build, Duration::from_secs(300)));
        Command::new(program)
    });
}

/// A program of ours in a language: it is given the port, the authority's file and the version,
/// and writes for each of two connections a line `resumed=true` or `resumed=false` and the answer.
fn check_program(tool: &str, prepare: impl Fn(&Path) -> Command) {
    if !has_tool(tool) {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let prepared = prepare(directory.path());
    check(|gateway, version| {
        let mut command = Command::new(prepared.get_program());
        command.args(prepared.get_args()).arg(gateway.port().to_string());
        let ended = run(command.arg(gateway.ca_file()).arg(version.number()), PATIENCE);
        let text = said(&ended);
        let words: Vec<bool> =
            text.lines().filter_map(|line| line.strip_prefix("resumed=")?.parse().ok()).collect();
        assert_eq!(words.len(), 2, "{text}");
        Word::new(text, [words[0], words[1]])
    });
}

/// A program of ours in Java, compiled into `directory`, with these files of classes.
pub(crate) fn java(directory: &Path, name: &str, classes: &[&str]) -> Command {
    let source = source(&format!("{name}.java"));
    let mut compiler = Command::new("javac");
    compiler.arg("-sourcepath").arg(source.parent().expect("a folder")).arg("-d").arg(directory);
    said(&run(compiler.arg(source), PATIENCE));
    let path: Vec<String> = std::iter::once(directory.display().to_string())
        .chain(classes.iter().map(|&class| class.to_owned()))
        .collect();
    let mut command = Command::new("java");
    command.arg("-cp").arg(path.join(":")).arg(name);
    command
}

/// A file of `clients`.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(name)
}

/// What a program wrote, which must have succeeded.
fn said(ended: &Ended) -> String {
    let text = format!("{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code(), 0, "{text}");
    text
}
