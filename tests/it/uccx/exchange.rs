//! SocialMiner, which has no TLS 1.0, and Exchange 2010, which has nothing else.
//!
//! Dovecot, Exim and Apache, held to TLS 1.0, stand in for Exchange; Python's mail and HTTP clients,
//! held to TLS 1.2, for SocialMiner. A mail of 10 MB must come through as it is, all three ways.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tlsgate::catalogue::uccx::Lane;

use super::route::{Identities, Route};
use crate::battery::peers::servers::{Only, Server, Start, is_there};
use crate::clients::source;
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::run;
use crate::support::{Engine, engines, has_tool, skip_impossible, wait_for};

/// A mail takes its time on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Characters of a line of the mail's base64, and lines, for 10 MB.
const LINE: usize = 76;
const LINES: usize = 10 * 1024 * 1024 / (LINE + 2);

const SERVICES: [&str; 3] = ["smtp", "imap", "https"];

/// The servers, in the order of [`SERVICES`].
struct Exchange {
    servers: [Server; 3],
    directory: TempDir,
}

#[test]
#[ignore = "run by tests/run"]
fn uccx_exchange() {
    if !rustix::process::getuid().is_root() {
        skip_impossible("mail servers are started as users of their own");
        return;
    }
    let tools = ["exim4", "dovecot", "apache2", "python3"];
    if !tools.iter().all(|tool| is_there(tool) || has_tool(tool)) {
        return;
    }
    let exchange = Exchange::start();
    let addresses = exchange.servers.each_ref().map(|server| server.address);
    let ca_file = exchange.directory.path().join("ca.pem");
    let direct = |version| exchange.ask(version, &ca_file, addresses);
    for (service, said) in SERVICES.iter().zip(direct("1.2")) {
        assert!(said.starts_with("failed:"), "control: {service} {said}");
    }
    assert_eq!(direct("1.0"), ["TLSv1"; 3], "control: the servers work");
    let mut delivered = 1;
    for engine in engines() {
        let (gateway, routes) = exchange.gateway(engine);
        let entrances = routes.each_ref().map(|route| route.entrance);
        assert_eq!(exchange.ask("1.2", gateway.ca_file(), entrances), ["TLSv1.2"; 3]);
        delivered += 1;
        exchange.assert_delivered(delivered);
        let lines = gateway.at_least(SERVICES.len());
        assert_eq!(lines.len(), SERVICES.len(), "{lines:?}");
        for line in lines {
            assert_eq!(line.text("tls_version"), "TLSv1.2", "{line:?}");
            assert_eq!(line.text("upstream_tls_version"), "TLSv1", "{line:?}");
            let bytes = line.number("bytes_received") + line.number("bytes_sent");
            println!(
                "{engine:?}: {}: {} > {}, {bytes} bytes",
                line.text("listener"),
                line.text("tls_version"),
                line.text("upstream_tls_version")
            );
        }
    }
}

impl Exchange {
    fn start() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path();
        ca().issue(path, "component", KeyKind::Rsa, &[NAME]);
        fs::write(path.join("ca.pem"), ca().pem()).expect("a writable directory");
        let start = Start::new(path, Some(Only::V1_0));
        fs::write(path.join("www/mail"), mail()).expect("a writable directory");
        let servers = [start.exim(true), start.dovecot(), start.apache()];
        Self { servers, directory }
    }

    fn gateway(&self, engine: Engine) -> (Gateway, [Route; 3]) {
        let identities = Identities::issue(self.directory.path());
        let mut setup = Setup::new(engine, self.servers[0].address);
        let routes = [0, 1, 2].map(|at| {
            let to = self.servers[at].address;
            let mut route = identities.route(SERVICES[at], to, [Lane::Modern, Lane::Legacy]);
            // Who greets first is said, so that nobody waits for the client.
            let speaker = if at == 2 { "client" } else { "server" };
            let with = format!("mode = \"bridge\"\nfirst_speaker = \"{speaker}\"");
            route.text = route.text.replace("mode = \"bridge\"", &with);
            route
        });
        for route in &routes {
            setup = setup.keepalive(&route.text);
        }
        (setup.start(), routes)
    }

    /// What SocialMiner says about each service: the version that it spoke, or how it failed.
    fn ask(&self, version: &str, ca: &Path, to: [SocketAddr; 3]) -> [String; 3] {
        let mut command = Command::new("python3");
        command.arg(source("mail.py")).arg(version).arg(ca).arg(NAME);
        command.args(to.map(|address| address.port().to_string()));
        let ended = run(command.arg(self.directory.path().join("www/mail")), PATIENCE);
        assert_eq!(ended.code(), 0, "{}\n{}", ended.stdout, ended.stderr);
        SERVICES.map(|service| {
            let mut lines = ended.stdout.lines();
            let said = lines.find_map(|line| line.strip_prefix(service));
            said.unwrap_or_else(|| panic!("{}", ended.stdout)).trim().to_owned()
        })
    }

    /// Waits for so many mails, each as it was sent, below what the server puts on top.
    fn assert_delivered(&self, count: usize) {
        let folder = self.directory.path().join("exim/mail/new");
        let files = wait_for("mails are delivered", PATIENCE, || {
            let files: Vec<_> = fs::read_dir(&folder).ok()?.map_while(Result::ok).collect();
            (files.len() >= count).then_some(files)
        });
        assert_eq!(files.len(), count, "each once");
        // It stores lines with LF.
        let sent = String::from_utf8(mail()).expect("ASCII").replace("\r\n", "\n");
        for file in files {
            let text = fs::read_to_string(file.path()).expect("ASCII");
            assert!(text.ends_with(&sent), "{} is not what was sent", file.path().display());
        }
    }
}

/// The same one each time: headers and lines of base64, with the line ends of mail.
fn mail() -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = b"Subject: campaign\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
    let mut state = 1_u64;
    for _ in 0..LINES {
        for _ in 0..LINE {
            // Knuth's MMIX generator: its upper bits are random enough to tell bytes apart.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push(alphabet[usize::try_from(state >> 58).expect("6 bits")]);
        }
        text.extend_from_slice(b"\r\n");
    }
    text
}
