//! Who still needs TLS 1.0: as the running gateway has seen it.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tlsgate::catalogue::uccx::{Lane, Version};

use super::ends::{echo, server};
use super::route::Identities;
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Ended, gateway_program, run};
use crate::support::{SOON, engines, wait_until};

/// Something was looked for and found.
const FOUND: i32 = 6;

#[test]
#[ignore = "run by tests/run"]
fn uccx_audit() {
    let directory = TempDir::new().expect("a temporary directory");
    let identity = ca().issue(directory.path(), "component", KeyKind::Rsa, &[NAME]);
    let identities = Identities::issue(directory.path());
    let old = server(&[Version::V1_0], &identity);
    let new = server(&[Version::V1_2, Version::V1_3], &identity);
    for engine in engines() {
        let both = [Lane::Legacy, Lane::Legacy];
        let routes = [("script", &new), ("mail", &old), ("unused", &new)]
            .map(|(name, server)| identities.route(name, server.address(), both));
        let mut setup = Setup::new(engine, new.address()).controlled();
        for route in &routes {
            setup = setup.keepalive(&route.text);
        }
        let gateway = setup.start();
        let ask = |versions: &[Version], to: SocketAddr| {
            let (_, spoken) = echo(versions, to, gateway.ca_file());
            spoken.unwrap_or_else(|error| panic!("{engine:?}: {error}"));
        };
        ask(&[Version::V1_0], routes[0].entrance);
        ask(&[Version::V1_2], routes[0].entrance);
        ask(&[Version::V1_2], routes[1].entrance);
        gateway.wait_until_idle();
        let (ended, told) = lanes(&gateway, "7d");
        assert_eq!(ended.code(), 0, "nobody has been watched for long: {}", ended.stdout);
        // The script's client, not its service, and the mail's server, not its client.
        assert_eq!(need(&told, "script", "downstream"), ("needed", 1));
        assert_eq!(need(&told, "script", "upstream"), ("unknown", 1));
        assert_eq!(need(&told, "mail", "downstream"), ("unknown", 0));
        assert_eq!(need(&told, "mail", "upstream"), ("needed", 1));
        let user = &opening(&told, "script", "downstream")["users"]["rows"][0];
        assert_eq!((&user["source"], &user["version"]), (&"127.0.0.1".into(), &"TLSv1".into()));
        // After a second, which is enough for whoever asks so, nobody has come to the third.
        wait_until("a quiet second", SOON, || {
            let (ended, told) = lanes(&gateway, "1s");
            let is_unneeded = need(&told, "unused", "downstream") == ("unneeded", 0);
            assert!(!is_unneeded || ended.code() == FOUND, "{}", ended.stdout);
            is_unneeded
        });
        let ended = run(audit(&gateway).arg("--lanes"), SOON);
        for text in ["until 2099-12-31", "127.0.0.1 to", "TLSv1 TLS_", "for 127.0.0.1/32"] {
            assert!(ended.stdout.contains(text), "{text}: {}", ended.stdout);
        }
        println!("{engine:?}\n{}", ended.stdout);
    }
}

fn audit(gateway: &Gateway) -> Command {
    let mut command = Command::new(gateway_program());
    command.arg("audit").arg("-c").arg(gateway.config_file());
    command
}

fn lanes(gateway: &Gateway, quiet: &str) -> (Ended, Value) {
    let ended = run(audit(gateway).args(["--lanes", "--json", "--quiet", quiet]), SOON);
    let told = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", ended.stdout, ended.stderr));
    (ended, told)
}

fn opening<'a>(told: &'a Value, listener: &str, side: &str) -> &'a Value {
    let rows = told["lanes"].as_array().expect("asked for");
    let mut rows = rows.iter().filter(|row| row["listener"] == listener && row["side"] == side);
    rows.next().unwrap_or_else(|| panic!("no {listener} {side}: {told}"))
}

/// Whether it is needed, and by how many kinds of connections it was taken.
fn need<'a>(told: &'a Value, listener: &str, side: &str) -> (&'a str, usize) {
    let row = opening(told, listener, side);
    let users = row["users"]["rows"].as_array().expect("a list");
    (row["need"].as_str().expect("a word"), users.len())
}
