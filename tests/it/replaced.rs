//! Certificates, CAs and lists of revoked certificates that are replaced through the control socket.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use crate::control::{tell, told};
use crate::support::backend::Backend;
use crate::support::ca::{Ca, Files, KeyKind, NAME, ca};
use crate::support::client::{
    TlsStream, Version, assert_echo, close, connect, showing, try_connect,
};
use crate::support::gateway::{Gateway, Setup};
use crate::support::load::{Load, StopOnDrop};
use crate::support::{engines, sized};

const BAD: i32 = 1;

/// What is to be put, beside the gateway's own files.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    fn issue(&self) -> Files {
        ca().issue(self.0.path(), "server", KeyKind::Ecdsa, &[NAME, "127.0.0.1"])
    }

    /// `name` as the configuration has it, and a file with this content.
    fn pair(&self, name: &str, content: &str) -> String {
        let file = self.0.path().join(name);
        fs::write(&file, content).expect("a writable directory");
        format!("{name}={}", file.display())
    }
}

fn pair(name: &str, file: &Path) -> String {
    format!("{name}={}", file.display())
}

fn shown(gateway: &Gateway) -> Vec<u8> {
    let stream = connect(gateway.address(), &showing(Version::V13, &ca().client("phone")));
    let der = stream.conn.peer_certificates().expect("a server shows one")[0].to_vec();
    close(stream);
    der
}

/// Content of every file in the gateway's directory but its socket.
fn files(gateway: &Gateway) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(gateway.directory()).expect("a directory");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let mut all: Vec<_> = paths
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("readable")))
        .collect();
    all.sort();
    all
}

#[test]
#[ignore = "run by tests/run"]
fn certificates_replaced_through_the_socket() {
    let backend = Backend::echo();
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).controlled().workers(2);
        fs::write(setup.directory().join("ca.crl"), ca().crl(&[])).expect("a writable directory");
        let mutual = "client_cert = \"required\"\ntrusted_ca = \"ca.pem\"\ncrl_files = \"ca.crl\"";
        let gateway = setup.tls(&format!("{mutual}\nrevalidate = \"close\"")).start();
        let before = files(&gateway);
        let (stop, load) = (AtomicBool::new(false), Load::default());
        let clients = [0, 1, 0].map(|place| showing(Version::BOTH[place], &ca().client("phone")));
        std::thread::scope(|scope| {
            load.start(scope, gateway.address(), &stop, clients);
            // Whatever ends this ends the load, too.
            let _stop = StopOnDrop(&stop);
            for _ in 0..sized(20, 3) {
                replace_certificate(&gateway);
                load.wait_for(31);
            }
            what_is_half_done_leaves_no_trace(&gateway);
            replace_authorities(&gateway);
            replace_revoked(&gateway);
        });
        println!("{engine:?}: {} connections, none failed", load.done());
        assert!(files(&gateway) == before, "no file was touched");
        what_was_put_stays_until_its_file_changes(&gateway);
    }
}

fn replace_certificate(gateway: &Gateway) {
    let desk = Desk::new();
    let new = desk.issue();
    let (certificate, key) = (pair("server.pem", &new.certificate), pair("server.key", &new.key));
    let said = told(gateway, &["certificates", "replace", &certificate, &key]);
    assert!(said["generation"].as_u64() > Some(1), "{said}");
    assert!(shown(gateway) == new.der, "from then on");
}

/// Aborted, refused, or without an end: nothing has changed, and nothing is kept.
fn what_is_half_done_leaves_no_trace(gateway: &Gateway) {
    let (before, generation) = (shown(gateway), gateway.status()["config"]["generation"].clone());
    let desk = Desk::new();
    let new = desk.issue();
    let alone = pair("server.pem", &new.certificate);
    let step = |step: &str, number: &str, more: &[&str]| {
        tell(gateway, &[&["certificates", step, "--transaction", number], more].concat())
    };
    let begin = || told(gateway, &["certificates", "begin"])["transaction"].to_string();
    let number = begin();
    let second = tell(gateway, &["certificates", "begin"]);
    assert!(second.stderr.contains("is open"), "one at a time: {}", second.stderr);
    assert_eq!(step("add", &number, &[&alone]).code(), 0);
    assert_eq!(step("abort", &number, &[]).code(), 0);
    for over in ["add", "commit", "abort"] {
        let more: &[&str] = if over == "add" { &[&alone] } else { &[] };
        assert_eq!(step(over, &number, more).code(), BAD, "{over} after the end");
    }
    // A certificate without its key, and what no configuration names, or is none.
    let number = begin();
    assert_eq!(step("add", &number, &[&alone]).code(), 0);
    let refused = step("commit", &number, &[]);
    assert_eq!(refused.code(), BAD);
    assert!(refused.stderr.contains("the key of another certificate"), "{}", refused.stderr);
    let other = desk.pair("other.pem", "nonsense");
    let unknown = tell(gateway, &["certificates", "replace", &other]);
    assert!(unknown.stderr.contains("names no other.pem"), "{}", unknown.stderr);
    let nonsense = tell(gateway, &["certificates", "replace", &desk.pair("ca.crl", "nonsense")]);
    assert_eq!(nonsense.code(), BAD, "{}", nonsense.stderr);
    assert!(shown(gateway) == before);
    assert_eq!(gateway.status()["config"]["generation"], generation);
    // Nothing waits to be counted later.
    assert_eq!(tell(gateway, &["reload"]).code(), 0);
    assert!(shown(gateway) == before);
}

fn is_admitted(gateway: &Gateway, config: &std::sync::Arc<rustls::ClientConfig>) -> bool {
    // TLS 1.2, where the client hears in the handshake that it is refused.
    try_connect(gateway.address(), config, NAME).is_ok_and(|mut stream| {
        assert_echo(&mut stream, b"here");
        true
    })
}

fn replace_authorities(gateway: &Gateway) {
    let (desk, other) = (Desk::new(), Ca::named("another authority"));
    let stranger = showing(Version::V12, &other.client("stranger"));
    assert!(!is_admitted(gateway, &stranger));
    let crl = fs::read_to_string(gateway.directory().join("ca.crl")).expect("a list");
    let both = desk.pair("ca.pem", &(ca().pem() + &other.pem()));
    let lists = desk.pair("ca.crl", &(crl + &other.crl(&[])));
    told(gateway, &["certificates", "replace", &both, &lists]);
    assert!(is_admitted(gateway, &stranger));
    let only = desk.pair("ca.pem", &ca().pem());
    let lists = desk.pair("ca.crl", &ca().crl(&[]));
    told(gateway, &["certificates", "replace", &only, &lists]);
    assert!(!is_admitted(gateway, &stranger));
}

fn replace_revoked(gateway: &Gateway) {
    let (desk, victim) = (Desk::new(), ca().client("victim"));
    let mut stream: TlsStream = connect(gateway.address(), &showing(Version::V12, &victim));
    assert_echo(&mut stream, b"here");
    let list = desk.pair("ca.crl", &ca().crl_of(&[&victim.der]));
    told(gateway, &["certificates", "replace", &list]);
    let error = stream.read(&mut [0]).expect_err("it is revoked").to_string();
    assert!(error.contains("CertificateRevoked"), "{error}");
}

fn what_was_put_stays_until_its_file_changes(gateway: &Gateway) {
    let put = shown(gateway);
    let said = told(gateway, &["reload"]);
    let warning = said["warnings"][0].as_str().expect("a warning");
    assert!(warning.contains("server.pem") && warning.contains("ca.crl"), "{warning}");
    assert!(shown(gateway) == put, "a reload keeps it");
    let replaced = told(gateway, &["show", "certificates"])["replaced_files"].to_string();
    assert!(replaced.contains("server.key"), "{replaced}");
    let new = ca().issue(gateway.directory(), "server", KeyKind::Ecdsa, &[NAME, "127.0.0.1"]);
    assert_eq!(tell(gateway, &["reload"]).code(), 0);
    assert!(shown(gateway) == new.der, "the newer file counts");
}
