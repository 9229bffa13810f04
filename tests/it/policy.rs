//! What holds for a connection: rules, what clients show, pairs of gateways, and `explain`.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::ca::{Files, KeyKind, NAME, ca};
use crate::support::client::connect_plain;
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Ended, gateway_program, run};
use crate::support::{Engine, SOON, engines, has_tool, wait_until};

/// `openssl s_client` that says a line and shows a certificate, if there is one.
fn says(gateway: &Gateway, sni: &str, shown: Option<&Files>) -> Ended {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &gateway.address().to_string()]);
    command.args(["-servername", sni, "-CAfile"]).arg(gateway.ca_file());
    if let Some(files) = shown {
        command.arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key);
    }
    run(&mut command, SOON)
}

/// The last line of the log after one connection.
fn logged(gateway: &mut Gateway, sni: &str, shown: Option<&Files>) -> (String, String) {
    says(gateway, sni, shown);
    let line = gateway.next_line();
    let client = line.value("client_certificate").as_str().unwrap_or_default().to_owned();
    (line.text("reason").to_owned(), client)
}

/// A certificate of its own signature.
fn stranger(directory: &Path) -> Files {
    let (certificate, key) = (directory.join("alone.pem"), directory.join("alone.key"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    command.args(["-nodes", "-subj", "/CN=stranger", "-days", "30"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
    let ended = run(command.arg(&key).arg("-out").arg(&certificate), SOON);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    Files { certificate, key, der: Vec::new() }
}

#[test]
#[ignore = "run by tests/run"]
fn client_certificates_reported() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    let directory = TempDir::new().expect("a temporary directory");
    let good = ca().issue(directory.path(), "phone-7", KeyKind::Ecdsa, &["phone-7.test"]);
    let bad = stranger(directory.path());
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).tls("client_cert = \"report\"");
        let setup = setup.tls("client_cert_until = \"2099-12-31\"\ntrusted_ca = \"ca.pem\"");
        let mut gateway = setup.start();
        let finished = |client: &str| ("finished".to_owned(), client.to_owned());
        assert_eq!(logged(&mut gateway, NAME, None), finished("none"));
        assert_eq!(logged(&mut gateway, NAME, Some(&good)), finished("verified"));
        assert_eq!(logged(&mut gateway, NAME, Some(&bad)), finished("self_signed"));
        let metrics = gateway.metrics();
        for shown in ["none", "verified", "self_signed"] {
            let labels = [("certificate", shown)];
            assert_eq!(metrics.count("tlsgate_client_certificates_total", &labels), 1, "{shown}");
        }
    }
}

/// The list that counts is the one in the file, also after it has changed, without a reload.
#[test]
#[ignore = "run by tests/run"]
fn crl_files_are_watched() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    let directory = TempDir::new().expect("a temporary directory");
    let issue = |stem: &str| ca().issue(directory.path(), stem, KeyKind::Ecdsa, &["phone.test"]);
    let (first, second) = (issue("first"), issue("second"));
    for engine in engines() {
        let setup = Setup::new(engine, backend.address());
        let setup = setup.tls("client_cert = \"required\"\ntrusted_ca = \"ca.pem\"");
        let list = setup.directory().join("ca.crl");
        fs::write(&list, ca().crl(&[&first])).expect("a writable directory");
        let mut gateway = setup.controlled().tls("crl_files = \"ca.crl\"").start();
        let refused = "client_certificate_invalid";
        assert_eq!(logged(&mut gateway, NAME, Some(&first)).0, refused, "{engine:?}");
        assert_eq!(logged(&mut gateway, NAME, Some(&second)).0, "finished", "{engine:?}");
        fs::write(&list, ca().crl(&[&second])).expect("a writable directory");
        while_audited(gateway.config_file().to_owned(), || {
            wait_until("the new list counts", SOON, || {
                logged(&mut gateway, NAME, Some(&second)).0 == refused
            });
        });
        assert_eq!(logged(&mut gateway, NAME, Some(&first)).0, "finished", "{engine:?}");
        let next_update = gateway.metrics().count("tlsgate_crl_next_update_seconds", &[]);
        assert_eq!(next_update, 4_070_908_800, "2099-01-01");
        assert_eq!(gateway.metrics().count("tlsgate_config_generation", &[]), 1, "{engine:?}");
    }
}

/// Whoever asks the gateway all the time keeps it from nothing.
fn while_audited(config: PathBuf, body: impl FnOnce()) {
    let is_done = Arc::new(AtomicBool::new(false));
    let asker = thread::spawn({
        let is_done = Arc::clone(&is_done);
        move || {
            while !is_done.load(Ordering::Relaxed) {
                let mut audit = Command::new(gateway_program());
                let ended = run(audit.arg("audit").arg("-c").arg(&config), SOON);
                assert_eq!(ended.code(), 0, "{}", ended.stderr);
            }
        }
    });
    body();
    is_done.store(true, Ordering::Relaxed);
    asker.join().expect("every audit is answered");
}

const RULES: &str = r#"
[[listener.rule]]
name = "forbidden"
sni = ["forbidden.test", "*.forbidden.test"]
action = "deny"
[[listener.rule]]
name = "phones"
client = "cn:phone-7"
[[listener.rule]]
name = "strangers"
client = "cn:phone-8"
action = "deny"
"#;

fn ruled(engine: Engine, backend: &Backend) -> Gateway {
    let setup = Setup::new(engine, backend.address()).tls("client_cert = \"optional\"");
    setup.tls("trusted_ca = \"ca.pem\"").keepalive(RULES).start()
}

#[test]
#[ignore = "run by tests/run"]
fn rules_decide_as_explain_says() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    let directory = TempDir::new().expect("a temporary directory");
    let issue = |stem: &str| ca().issue(directory.path(), stem, KeyKind::Ecdsa, &["phone.test"]);
    let (seven, eight) = (issue("phone-7"), issue("phone-8"));
    for engine in engines() {
        let mut gateway = ruled(engine, &backend);
        for (sni, shown, verdict, rule) in [
            (NAME, None, "admit", None),
            ("forbidden.test", None, "deny", Some("forbidden")),
            ("a.forbidden.test", None, "deny", Some("forbidden")),
            ("a.b.forbidden.test", None, "admit", None),
            (NAME, Some(&seven), "admit", Some("phones")),
            (NAME, Some(&eight), "deny", Some("strangers")),
            // Who the client is comes before what it asks for.
            ("forbidden.test", Some(&seven), "admit", Some("phones")),
        ] {
            let (reason, _) = logged(&mut gateway, sni, shown);
            let expected = if verdict == "deny" { "policy_denied" } else { "finished" };
            assert_eq!(reason, expected, "{engine:?} {sni} {shown:?}");
            let decision = explained(&gateway, sni, shown);
            assert_eq!(decision["verdict"], verdict, "{decision}");
            assert_eq!(decision["rule"].as_str(), rule, "{decision}");
        }
    }
}

/// What a certificate says that nobody has verified is nobody's name.
#[test]
#[ignore = "run by tests/run"]
fn rules_believe_verified_certificates() {
    const REPORTED: &str = "[[listener.rule]]\nname = \"legacy\"\nsni = \"legacy.test\"\n\
        [listener.rule.tls]\nclient_cert = \"report\"\nclient_cert_until = \"2099-12-31\"\n\
        [[listener.rule]]\nname = \"strangers\"\nclient = \"cn:stranger\"\naction = \"deny\"\n";
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    let directory = TempDir::new().expect("a temporary directory");
    let pretender = stranger(directory.path());
    let real = ca().issue(directory.path(), "stranger", KeyKind::Ecdsa, &["phone.test"]);
    for engine in engines() {
        let setup = Setup::new(engine, backend.address()).tls("client_cert = \"optional\"");
        let mut gateway = setup.tls("trusted_ca = \"ca.pem\"").keepalive(REPORTED).start();
        let said = logged(&mut gateway, "legacy.test", Some(&pretender));
        assert_eq!(said, ("finished".to_owned(), "self_signed".to_owned()), "{engine:?}");
        let (reason, _) = logged(&mut gateway, NAME, Some(&real));
        assert_eq!(reason, "policy_denied", "{engine:?}: verified, so it is who it says");
    }
}

fn explained(gateway: &Gateway, sni: &str, shown: Option<&Files>) -> Value {
    let mut command = Command::new(gateway_program());
    command.args(["explain", "--json", "--route", "main", "--from", "127.0.0.1", "--sni", sni]);
    command.arg("-c").arg(gateway.config_file());
    if let Some(files) = shown {
        command.arg("--client-cert").arg(&files.certificate);
    }
    let ended = run(&mut command, SOON);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    json["decision"].clone()
}

/// Plaintext → gateway = mutual TLS 1.3 ⇒ gateway → plaintext.
#[test]
#[ignore = "run by tests/run"]
fn mode_pair() {
    let backend = Backend::echo();
    for engine in engines() {
        let exit = Setup::new(engine, backend.address()).listener("mode = \"pair_exit\"");
        let exit = exit.tls("client_cert = \"required\"\ntrusted_ca = \"ca.pem\"").start();
        let entry = Setup::new(engine, exit.address()).listener("mode = \"pair_entry\"");
        let files = ca().issue(entry.directory(), "entry", KeyKind::Ecdsa, &["entry.test"]);
        let identity = files.table().replace("{ ", "").replace(" }", "").replace(", ", "\n");
        let entry = entry.without_tls().upstream_tls("trusted_ca = \"ca.pem\"");
        let mut entry = entry.upstream_tls(&identity).start();
        let mut stream = connect_plain(entry.address());
        // Bytes of a protocol that has TLS inside its own packets go through as they are.
        let prelogin = [0x12, 0x01, 0x00, 0x08, 0x00, 0x00, 0x01, 0x00];
        stream.write_all(&prelogin).expect("sent");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, prelogin);
        drop(stream);
        let line = entry.next_line();
        assert_eq!(line.text("upstream_security"), "mutual", "{engine:?}");
        assert_eq!(line.text("upstream_tls_version"), "TLSv1.3");
    }
}
