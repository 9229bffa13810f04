//! Cells that are decided before anything listens: what a configuration must not say, and what
//! becomes of a vendor's.

use std::fs;
use std::process::Command;

use tempfile::TempDir;
use tlsgate::catalogue::Mutual;
use toml::{Table, Value};

use super::super::case::Case;
use super::super::estate::Routes;
use crate::support::SOON;
use crate::support::process::{Ended, gateway_program, run};

pub(super) fn assert(word: &str, case: &Case) {
    match word {
        "autodetect-ended" => autodetect_ended(case),
        "plaintext-off-host" => plaintext_off_host(case),
        "terminate-tds7" => terminate_tds7(case),
        "unverified" => unverified(case),
        "esp-renamed" => esp_renamed(case),
        "sip-transport-import" => sip_transport_import(),
        "udp" => udp(),
        "transport-import" => transport_import(case),
        "space-in-transport" => space_in_transport(),
        other => panic!("{case}: nothing is known about {other}"),
    }
}

/// What `tlsgate check` says to the row's route, changed.
fn checked(case: &Case, change: impl Fn(&mut Table)) -> (bool, String) {
    let directory = TempDir::new().expect("a temporary directory");
    let mut routes = Routes::new(directory.path());
    let upstream = "127.0.0.1:6100".parse().expect("an address");
    routes.add(case, &case.name(), upstream, change);
    let file = directory.path().join("tlsgate.toml");
    fs::write(&file, routes.text()).expect("a writable directory");
    let mut command = Command::new(gateway_program());
    said(&run(command.args(["check", "-c"]).arg(&file), SOON))
}

fn said(ended: &Ended) -> (bool, String) {
    (ended.code() == 0, format!("{}{}", ended.stdout, ended.stderr))
}

/// Refused, with these words; without the change it is a good configuration.
fn refused(case: &Case, words: &[&str], change: impl Fn(&mut Table)) {
    let (is_good, text) = checked(case, |_| ());
    assert!(is_good, "{case}: {text}");
    let (is_good, text) = checked(case, change);
    assert!(!is_good, "{case}: taken: {text}");
    assert!(words.iter().all(|word| text.contains(word)), "{case}: {text}");
}

fn autodetect_ended(case: &Case) {
    refused(case, &["autodetect_until", "2020-12-31"], |one| {
        one.insert("autodetect_until".to_owned(), "2020-12-31".into());
    });
}

/// The side without TLS; where there is none, the same row without TLS towards the component.
fn plaintext_off_host(case: &Case) {
    let off_host = |one: &mut Table| {
        let key = match one["mode"].as_str() {
            Some("pair_entry" | "originate") => "listen",
            Some("bridge") => {
                one.insert("mode".to_owned(), "terminate".into());
                one.remove("upstream_tls");
                "upstream"
            }
            _ => "upstream",
        };
        let address = if key == "listen" { "0.0.0.0:6101" } else { "192.0.2.1:6100" };
        one.insert(key.to_owned(), address.into());
    };
    refused(case, &["lets plaintext leave this machine", "plaintext_reason"], off_host);
    let (is_good, text) = checked(case, |one| {
        off_host(one);
        one.insert("plaintext_reason".to_owned(), "a VLAN of its own".into());
    });
    assert!(is_good, "{case}: with a reason: {text}");
}

fn terminate_tds7(case: &Case) {
    refused(case, &["begins TLS inside its own packets", "tds7"], |one| {
        one.insert("mode".to_owned(), "terminate".into());
        one.remove("upstream_tls");
        let tls = "certificate = \"certificates/gateway.pem\"\n\
                   certificate_key = \"certificates/gateway.key\"\n";
        one.entry("tls").or_insert_with(|| Value::Table(tls.parse().expect("a table")));
    });
}

/// Nobody is left unverified for ever.
fn unverified(case: &Case) {
    refused(case, &["verify"], |one| {
        one.insert("upstream".to_owned(), "192.0.2.1:443".into());
        let tls = one["upstream_tls"].as_table_mut().expect("it has TLS with the component");
        tls.remove("trusted_ca");
        tls.insert("verify".to_owned(), "none".into());
    });
}

/// A client looks for the port by its name.
fn esp_renamed(case: &Case) {
    let text = case.route("127.0.0.1:6101", "127.0.0.1:6100");
    let has_port = |text: &str| {
        let route: Table = text.parse().expect("a route");
        let listeners = route["listener"].as_array().expect("listeners");
        listeners.iter().any(|one| one["name"].as_str().is_some_and(|name| name.ends_with(".ESP")))
    };
    assert!(has_port(&text), "{case}: {text}");
    assert!(!has_port(&text.replace(".ESP\"", ".default\"")), "{case}: found under another name");
    let says_so = text.contains("must be called ESP");
    assert_eq!(says_so, case.is_port_fixed, "{case}: {text}");
}

fn sip_transport_import() {
    let (is_good, text) =
        imported("[gvp]\nsip.transport.0=transport0 tls:any:5061 cert=/a.pem key=/a.key\n");
    assert!(is_good, "{text}");
    for line in ["listen = \"0.0.0.0:5061\"", "mode = \"terminate\"", "certificate = \"/a.pem\""] {
        assert!(text.contains(line), "{text}");
    }
}

fn udp() {
    let (is_good, text) = imported("[gvp]\nsip.transport.0=transport0 udp:any:5060\n");
    assert!(!is_good && text.contains("is UDP: the gateway speaks TLS over TCP"), "{text}");
}

fn imported(file: &str) -> (bool, String) {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("component.cfg");
    fs::write(&path, file).expect("a writable directory");
    let mut command = Command::new(gateway_program());
    command.args(["import", "genesys", "--upstream", "127.0.0.1:5060"]);
    said(&run(command.arg(&path), SOON))
}

/// The same options as the vendor's reader finds: `lint` has nothing to say.
fn transport_import(case: &Case) {
    assert_ne!(case.combination.mutual, Mutual::Required);
    let transport =
        "tls=1;certificate=/a.pem;certificate-key=/a.key;trusted-ca=/ca.pem;tls-mutual=1";
    let mut command = Command::new(gateway_program());
    command.args(["import", "genesys", "--name", "psdk", "--transport", transport]);
    command.args(["--listen", "127.0.0.1:6101", "--upstream", "127.0.0.1:6100"]);
    let (is_good, text) = said(&run(&mut command, SOON));
    assert!(is_good, "{text}");
    for line in ["client_cert = \"required\"", "trusted_ca = \"/ca.pem\""] {
        assert!(text.contains(line), "{text}");
    }
    let (is_good, text) = linted(transport);
    assert!(is_good && text.contains("no differences"), "{text}");
}

fn space_in_transport() {
    let (is_good, text) = linted("tls=1; certificate=/a.pem");
    assert!(!is_good && text.contains("takes no spaces off"), "{text}");
}

fn linted(transport: &str) -> (bool, String) {
    let mut command = Command::new(gateway_program());
    command.args(["lint", "--genesys", "--transport", transport]);
    said(&run(&mut command, SOON))
}
