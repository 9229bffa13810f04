//! Programs of other projects in front of the gateway and behind it, each with one file of
//! configuration.

mod envoy;
mod haproxy;
mod nginx;
mod stunnel;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::ca::Files;
use super::client::Version;
use super::ports::is_listened_on;
use super::process::{Process, both_ends, run};
use super::{SOON, has_tool, wait_until};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Haproxy,
    Nginx,
    Stunnel,
    Envoy,
}

/// One that runs; killed when dropped.
pub(crate) struct Peer {
    program: Program,
    /// The first of its ports.
    port: u16,
    process: Process,
    _directory: TempDir,
}

/// A peer that relays between plaintext and mutual TLS.
pub(crate) struct Relay<'a> {
    /// Where it listens on the loopback address.
    pub(crate) listen: u16,
    pub(crate) to: SocketAddr,
    /// The only one that it speaks.
    pub(crate) version: Version,
    /// Whom it trusts.
    pub(crate) ca: &'a Path,
    pub(crate) role: Role<'a>,
}

/// The side on which a peer speaks TLS.
pub(crate) enum Role<'a> {
    /// Towards `to`, whose certificate must be for this name; it shows this certificate.
    Client { name: &'a str, identity: Option<&'a Files> },
    /// Where it listens; it demands a certificate.
    Server { identity: &'a Files },
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Stunnel => "stunnel",
            Self::Envoy => "envoy",
        }
    }

    /// Whether it is there; says that the check is skipped when it is not.
    pub(crate) fn is_installed(self) -> bool {
        has_tool(self.name())
    }

    /// As it says it: numbers and dots.
    pub(crate) fn version(self) -> String {
        let (option, before) = match self {
            Self::Haproxy => ("-v", "version "),
            Self::Nginx => ("-v", "nginx/"),
            Self::Stunnel => ("-version", "stunnel "),
            Self::Envoy => ("--version", "version: "),
        };
        let ended = run(Command::new(self.name()).arg(option), SOON);
        let text = format!("{}\n{}", ended.stdout, ended.stderr);
        let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no version: {text}"));
        let mut words = rest.split(|letter: char| letter != '.' && !letter.is_ascii_digit());
        words.find(|word| word.contains('.')).unwrap_or_else(|| panic!("none: {text}")).to_owned()
    }

    /// Starts it and waits until it listens on `ports` of the loopback address. `config` is what
    /// goes into its file below what all have: sections for HAProxy, the inside of nginx's
    /// `stream`, stunnel's services, Envoy's `static_resources` as JSON.
    ///
    /// # Panics
    /// When it does not come to listen.
    pub(crate) fn start(self, config: &str, ports: &[u16]) -> Peer {
        let directory = TempDir::new().expect("a temporary directory");
        let mut command = match self {
            Self::Haproxy => haproxy::command(directory.path(), config),
            Self::Nginx => nginx::command(directory.path(), config),
            Self::Stunnel => stunnel::command(directory.path(), config),
            Self::Envoy => envoy::command(directory.path(), config),
        };
        let process = Process::start(&mut command);
        let mut peer = Peer { program: self, port: ports[0], process, _directory: directory };
        wait_until(&format!("{} listens", self.name()), SOON, || {
            let ended = peer.process.poll();
            assert!(ended.is_none(), "{ended:?}: {}\n{config}", peer.said());
            ports.iter().all(|port| is_listened_on(*port))
        });
        peer
    }

    /// Starts it as a relay.
    ///
    /// # Panics
    /// As [`Program::start`].
    pub(crate) fn relay(self, relay: &Relay<'_>) -> Peer {
        let config = match self {
            Self::Haproxy => haproxy::relay(relay),
            Self::Nginx => nginx::relay(relay),
            Self::Stunnel => stunnel::relay(relay),
            Self::Envoy => envoy::relay(relay),
        };
        self.start(&config, &[relay.listen])
    }
}

impl Peer {
    /// Where it listens: on the first of its ports.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The first line of its output that has this text.
    pub(crate) fn line_with(&self, text: &str) -> Option<String> {
        self.process.stdout().into_iter().find(|line| line.contains(text))
    }

    /// What it has written so far, to either output.
    pub(crate) fn said(&self) -> String {
        let (out, errors) = (self.process.stdout(), self.process.stderr());
        format!("{}\n{}", both_ends(&out), both_ends(&errors))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}", self.program.name(), self.said());
        }
    }
}

/// Writes a file of a peer.
fn write(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a writable directory");
    path
}
