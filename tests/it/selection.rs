//! What the gateway chooses, refuses, and says when it refuses: certificates, versions, alerts.

use std::process::Command;

use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::client::{Version, close, curious_config, try_connect};
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Ended, run};
use crate::support::{Engine, SOON, engines, has_tool};

const EXACT: &str = "a.example.test";
const WILDCARD: &str = "*.example.test";

#[test]
#[ignore = "run by tests/run"]
fn selection_by_name() {
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address())
            .certificate("default", KeyKind::Ecdsa, &["default.test"])
            .certificate("wildcard", KeyKind::Ecdsa, &[WILDCARD])
            .certificate("exact", KeyKind::Ecdsa, &[EXACT])
            .start();
        let certificates = gateway.certificates();
        for version in Version::BOTH {
            for (name, expected) in [
                (EXACT, 2),
                ("A.EXAMPLE.TEST", 2),
                ("b.example.test", 1),
                // A wildcard stands for one label (RFC 9525 section 6.3).
                ("x.y.example.test", 0),
                ("example.test", 0),
                ("default.test", 0),
                ("elsewhere.test", 0),
            ] {
                let stream = try_connect(gateway.address(), &curious_config(version), name)
                    .unwrap_or_else(|error| panic!("{engine:?} {version:?} {name}: {error}"));
                let shown = stream.conn.peer_certificates().expect("a certificate")[0].as_ref();
                assert!(shown == certificates[expected], "{engine:?} {version:?} {name}");
                close(stream);
            }
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn selection_by_signature() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let gateway = Setup::new(engine, backend.address())
            .certificate("rsa", KeyKind::Rsa, &[NAME])
            .certificate("ecdsa", KeyKind::Ecdsa, &[NAME])
            .start();
        for (algorithms, expected) in [
            ("ECDSA+SHA256:RSA+SHA256:RSA-PSS+SHA256", "ECDSA"),
            ("RSA+SHA256:RSA-PSS+SHA256", "RSA"),
            ("RSA-PSS+SHA256", "RSA-PSS"),
        ] {
            for flag in ["-tls1_2", "-tls1_3"] {
                let ended = s_client(&gateway, &[flag, "-sigalgs", algorithms]);
                assert_eq!(ended.code(), 0, "{algorithms} {flag}: {}", ended.stderr);
                let word = format!("Peer signature type: {expected}");
                assert!(ended.stdout.contains(&word), "{algorithms} {flag}: {}", ended.stdout);
            }
        }
    }
}

/// A refusal: what openssl asks for, what it must read, and what the access log must say.
struct Refusal {
    setup: fn(Setup) -> Setup,
    options: &'static [&'static str],
    heard: &'static str,
    reason: &'static str,
    cause: &'static str,
    alert: &'static str,
}

const REFUSALS: [Refusal; 5] = [
    Refusal {
        setup: |setup| setup.tls("strict_sni = true"),
        options: &["-servername", "nobody.example.test"],
        heard: "unrecognized name",
        reason: "unrecognized_name",
        cause: "policy",
        alert: "unrecognized_name",
    },
    Refusal {
        setup: |setup| setup,
        options: &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
        heard: "alert protocol version",
        reason: "version_mismatch",
        cause: "downstream",
        alert: "protocol_version",
    },
    Refusal {
        setup: |setup| setup.tls("min_version = \"1.3\""),
        options: &["-tls1_2"],
        heard: "alert protocol version",
        reason: "version_mismatch",
        cause: "downstream",
        alert: "protocol_version",
    },
    Refusal {
        setup: |setup| setup.tls("alpn = [\"sip\"]"),
        options: &["-alpn", "h2"],
        heard: "no application protocol",
        reason: "no_shared_alpn",
        cause: "downstream",
        alert: "no_application_protocol",
    },
    Refusal {
        setup: |setup| setup,
        options: &["-tls1_2", "-cipher", "AES128-SHA@SECLEVEL=0"],
        heard: "handshake failure",
        reason: "no_shared_parameters",
        cause: "downstream",
        alert: "handshake_failure",
    },
];

#[test]
#[ignore = "run by tests/run"]
fn alerts_are_received() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        for refusal in &REFUSALS {
            let setup = (refusal.setup)(Setup::new(engine, backend.address()));
            let mut gateway = setup.start();
            let ended = s_client(&gateway, refusal.options);
            let place = format!("{engine:?} {:?}: {}", refusal.options, ended.stderr);
            assert_ne!(ended.code(), 0, "{place}");
            assert!(ended.stderr.contains(refusal.heard), "{place}");
            let line = gateway.next_line();
            let ending = (line.text("reason"), line.text("cause"));
            assert_eq!(ending, (refusal.reason, refusal.cause), "{place} {line:?}");
            assert_eq!(line.text("alert_sent"), refusal.alert, "{place}");
            assert_eq!(line.text("event"), "handshake_failed", "{place}");
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn alerts_of_the_peer() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    for engine in engines() {
        let mut gateway = Setup::new(engine, backend.address()).start();
        for flag in ["-tls1_2", "-tls1_3"] {
            // It knows no authority, so it refuses the certificate.
            let options = [flag, "-verify_return_error", "-no-CAfile", "-no-CApath", "-no-CAstore"];
            let ended = s_client_without_ca(&gateway, &options);
            assert_ne!(ended.code(), 0, "{engine:?} {flag}");
            let line = gateway.next_line();
            line.assert_ended("alert_received", "downstream", "handshake");
            assert_eq!(line.text("alert_received"), "unknown_ca", "{engine:?} {flag}");
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn client_certificates() {
    if !has_tool("openssl") {
        return;
    }
    let backend = Backend::echo();
    let directory = TempDir::new().expect("a temporary directory");
    let known = ca().issue(directory.path(), "peer", KeyKind::Ecdsa, &["peer.test"]);
    let (known_pem, known_key) = (known.certificate, known.key);
    let stranger = self_signed(&directory);
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    for engine in engines() {
        for flag in ["-tls1_2", "-tls1_3"] {
            let mut gateway = mutual(engine, &backend, &directory);
            let good =
                s_client(&gateway, &[flag, "-cert", &text(&known_pem), "-key", &text(&known_key)]);
            assert_eq!(good.code(), 0, "{engine:?} {flag}: {}", good.stderr);
            assert_eq!(gateway.next_line().text("event"), "connection");
            // TLS 1.3 clients learn of a refusal only when they read, which -ign_eof makes them.
            let none = s_client(&gateway, &[flag, "-ign_eof"]);
            let heard = if flag == "-tls1_3" { "certificate required" } else { "alert" };
            assert!(none.stderr.contains(heard), "{engine:?} {flag}: {}", none.stderr);
            let line = gateway.next_line();
            line.assert_ended("client_certificate_missing", "downstream", "handshake");
            let options = [flag, "-ign_eof", "-cert", &stranger.0, "-key", &stranger.1];
            let bad = s_client(&gateway, &options);
            assert!(bad.stderr.contains("unknown ca"), "{engine:?} {flag}: {}", bad.stderr);
            let line = gateway.next_line();
            line.assert_ended("client_certificate_invalid", "downstream", "handshake");
        }
    }
}

fn mutual(engine: Engine, backend: &Backend, directory: &TempDir) -> Gateway {
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, ca().pem()).expect("a writable directory");
    let setup = Setup::new(engine, backend.address()).tls("client_cert = \"required\"");
    setup.tls(&format!("trusted_ca = {:?}", file.to_str().expect("UTF-8"))).start()
}

/// A certificate that no authority has signed.
fn self_signed(directory: &TempDir) -> (String, String) {
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let (certificate, key) = (path("stranger.pem"), path("stranger.key"));
    let ended = run(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-subj", "/CN=stranger", "-days", "30"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-out", &certificate, "-keyout", &key]),
        SOON,
    );
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    (certificate, key)
}

/// Connects with openssl and ends at once.
fn s_client(gateway: &Gateway, options: &[&str]) -> Ended {
    let ca_file = gateway.ca_file().to_str().expect("a temporary path is UTF-8");
    let options = [&["-verify_return_error", "-CAfile", ca_file], options].concat();
    s_client_without_ca(gateway, &options)
}

fn s_client_without_ca(gateway: &Gateway, options: &[&str]) -> Ended {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &gateway.address().to_string()]);
    if !options.contains(&"-servername") {
        command.args(["-servername", NAME]);
    }
    // The system's own settings may forbid old versions before the gateway can.
    run(command.args(options).env("OPENSSL_CONF", "/dev/null"), SOON)
}
