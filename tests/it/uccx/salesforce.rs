//! Unified CCX, which has nothing but TLS 1.0, and a service that has nothing but TLS 1.2.
//!
//! A Java program with the switches of an old one stands in for a script of Unified CCX, nginx, held to
//! TLS 1.2, for the service. The service says what it was asked.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tlsgate::catalogue::uccx::Lane;

use super::route::{Identities, Route};
use crate::battery::peers::servers::{Only, Server, Start, is_there};
use crate::clients::java;
use crate::support::ca::{KeyKind, ca};
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Ended, run};
use crate::support::{Engine, engines, has_tool};

/// A virtual machine has to start.
const PATIENCE: Duration = Duration::from_secs(90);
const NAME: &str = "login.salesforce.test";
const OTHER: &str = "login.other.test";

/// How the client says hello.
#[derive(Clone, Copy, Debug)]
struct Hello {
    what: &'static str,
    protocols: &'static str,
    has_sni: bool,
}

const HELLOS: [Hello; 3] = [
    Hello { what: "with SNI", protocols: "TLSv1", has_sni: true },
    Hello { what: "without SNI", protocols: "TLSv1", has_sni: false },
    // It has no extensions, so no SNI either.
    Hello { what: "in the format of SSLv2", protocols: "SSLv2Hello,TLSv1", has_sni: false },
];

/// The service, and one with a certificate of another name.
struct Services {
    good: Server,
    other: Server,
    client: Command,
    directory: TempDir,
}

#[test]
#[ignore = "run by tests/run"]
fn uccx_salesforce() {
    if !is_there("nginx") && !has_tool("nginx") || !has_tool("javac") {
        return;
    }
    let services = Services::start();
    for hello in HELLOS {
        let ended = services.ask(hello, services.good.address);
        assert_ne!(ended.code(), 0, "control: {hello:?} {}", ended.stdout);
    }
    let new = Hello { what: "new", protocols: "TLSv1.2", has_sni: true };
    let ended = services.ask(new, services.good.address);
    assert_eq!(ended.code(), 0, "control: the service works: {}", ended.stderr);
    for engine in engines() {
        let (mut gateway, [good, other]) = services.gateway(engine);
        for hello in HELLOS {
            let ended = services.ask(hello, good.entrance);
            let place = format!("{engine:?} {hello:?}\n{}\n{}", ended.stdout, ended.stderr);
            assert_eq!(ended.code(), 0, "{place}");
            assert!(ended.stdout.contains("spoken=TLSv1\n"), "{place}");
            let asked = format!("host={NAME} sni={NAME} tls=TLSv1.2");
            assert!(ended.stdout.contains(&asked), "{place}");
            let line = gateway.next_line();
            assert_eq!(line.text("tls_version"), "TLSv1", "{line:?}");
            assert_eq!(line.text("upstream_tls_version"), "TLSv1.2", "{line:?}");
            assert_eq!(line.value("sni").as_str(), hello.has_sni.then_some(NAME), "{line:?}");
            assert_eq!(line.text("upstream_security"), "server", "{line:?}");
            println!("{engine:?}: {}: TLSv1 > TLSv1.2, {asked}", hello.what);
            // The service is who its name says, whoever asks.
            let ended = services.ask(hello, other.entrance);
            assert_ne!(ended.code(), 0, "{engine:?} {hello:?} {}", ended.stdout);
            let line = gateway.next_line();
            assert_eq!(line.text("reason"), "upstream_certificate_invalid", "{line:?}");
        }
    }
}

impl Services {
    fn start() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let start = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir(&path).expect("a writable directory");
            ca().issue(&path, "component", KeyKind::Rsa, &[name]);
            fs::write(path.join("ca.pem"), ca().pem()).expect("a writable directory");
            Start::new(&path, Some(Only::V1_2)).nginx()
        };
        let (good, other) = (start(NAME), start(OTHER));
        let client = java(directory.path(), "Uccx", &[]);
        Self { good, other, client, directory }
    }

    fn gateway(&self, engine: Engine) -> (Gateway, [Route; 2]) {
        let identities = Identities::named(self.directory.path(), NAME);
        let routes = [("good", &self.good), ("other", &self.other)].map(|(name, server)| {
            identities.route(name, server.address, [Lane::Legacy, Lane::Modern])
        });
        let mut setup = Setup::new(engine, self.good.address);
        for route in &routes {
            setup = setup.keepalive(&route.text);
        }
        (setup.start(), routes)
    }

    fn ask(&self, hello: Hello, to: SocketAddr) -> Ended {
        let mut command = Command::new(self.client.get_program());
        command.arg(format!("-Djsse.enableSNIExtension={}", hello.has_sni));
        command.args(self.client.get_args()).arg(to.port().to_string());
        let ca_file = self.directory.path().join(NAME).join("ca.pem");
        run(command.arg(ca_file).args([NAME, hello.protocols]), PATIENCE)
    }
}
