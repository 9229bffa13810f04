//! The servers that are measured: the gateway with all lanes and each engine, and its peers.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use serde::Serialize;

use super::peers;
use super::test::{Role, SUITES};
use crate::measure::identity::{Identity, SERVER_NAME};
use crate::measure::process::{Process, free_address};
use crate::measure::rounds::Server;
use crate::measure::sample::Clock;
use crate::measure::scratch::Scratch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
pub(crate) enum Kind {
    /// The gateway on io_uring.
    #[value(name = "io_uring")]
    #[serde(rename = "tlsgate io_uring")]
    IoUring,
    /// The gateway on epoll.
    #[serde(rename = "tlsgate epoll")]
    Epoll,
    /// stunnel, which has a thread for each connection.
    #[serde(rename = "stunnel")]
    Stunnel,
    /// HAProxy in TCP mode.
    #[serde(rename = "haproxy")]
    Haproxy,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::IoUring, Self::Epoll, Self::Stunnel, Self::Haproxy];

    pub(crate) fn is_gateway(self) -> bool {
        matches!(self, Self::IoUring | Self::Epoll)
    }

    /// Processes at work: the gateway has a child for the lane `legacy`.
    fn processes(self) -> usize {
        // The starter, and the child of the lane.
        if self.is_gateway() { 3 } else { 1 }
    }

    pub(crate) fn clock(self) -> Clock {
        if self == Self::Stunnel { Clock::Ticks } else { Clock::Threads }
    }
}

impl Server for Kind {
    fn name(self) -> &'static str {
        match self {
            Self::IoUring => "tlsgate io_uring",
            Self::Epoll => "tlsgate epoll",
            Self::Stunnel => "stunnel",
            Self::Haproxy => "haproxy",
        }
    }
}

/// What every server is started with.
pub(crate) struct Stage<'run> {
    pub(crate) gateway: &'run Path,
    /// The CPU of the server.
    pub(crate) cpu: usize,
    pub(crate) backend: SocketAddr,
    /// In front of the backend, with nothing but TLS 1.0.
    pub(crate) front10: SocketAddr,
    /// In front of the backend, with nothing but TLS 1.2 and CBC.
    pub(crate) front12: SocketAddr,
    /// Each lane has a key of its own; the peers and what is in front of the backend have that of
    /// `legacy`.
    pub(crate) modern: &'run Identity,
    pub(crate) compat12: &'run Identity,
    pub(crate) legacy: &'run Identity,
    pub(crate) scratch: &'run Scratch,
}

/// Where a server listens.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    /// For clients of TLS.
    pub(crate) server: SocketAddr,
    /// For plaintext, which goes on in TLS 1.0.
    pub(crate) client10: SocketAddr,
    /// For plaintext, which goes on in TLS 1.2 with CBC.
    pub(crate) client12: SocketAddr,
}

impl Ports {
    fn all(self) -> [SocketAddr; 3] {
        [self.server, self.client10, self.client12]
    }

    pub(crate) fn of(self, role: Role) -> SocketAddr {
        match role {
            Role::Server => self.server,
            Role::Client10 => self.client10,
            Role::Client12 => self.client12,
        }
    }
}

/// A running server; it ends when dropped.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) ports: Ports,
    /// The process that was started, and its descendants.
    pub(crate) pids: Vec<u32>,
    _process: Process,
}

impl Target {
    /// # Errors
    /// Why it does not serve, for the user to read.
    pub(crate) fn start(kind: Kind, stage: &Stage<'_>) -> Result<Self, String> {
        let ports =
            Ports { server: free_address()?, client10: free_address()?, client12: free_address()? };
        let command = match kind {
            Kind::IoUring => gateway(stage, "io_uring", ports)?,
            Kind::Epoll => gateway(stage, "epoll", ports)?,
            Kind::Stunnel => peers::stunnel(stage, ports)?,
            Kind::Haproxy => peers::haproxy(stage, ports)?,
        };
        let name = kind.name().replace(' ', "-");
        let process = Process::serve(&name, command, &[stage.cpu], &ports.all(), stage.scratch)?;
        let pids = process.family(kind.processes())?;
        Ok(Self { kind, ports, pids, _process: process })
    }
}

fn gateway(stage: &Stage<'_>, engine: &str, ports: Ports) -> Result<Command, String> {
    let Stage { backend, front10, front12, modern, compat12, legacy, .. } = stage;
    let suites = SUITES.map(|[name, _]| name);
    let lane = format!(
        "lane = \"legacy\"\nlegacy_until = \"2099-12-31\"\nallow_from = [\"127.0.0.0/8\"]\n\
         legacy_ciphers = {suites:?}\n"
    );
    let listener = |name: &str, listen: SocketAddr, upstream: &SocketAddr| {
        format!(
            "[[listener]]\nname = \"{name}\"\nlisten = \"{listen}\"\nupstream = \"{upstream}\"\n"
        )
    };
    let trust = format!(
        "mode = \"originate\"\n[listener.upstream_tls]\ntrusted_ca = {:?}\n\
         server_name = \"{SERVER_NAME}\"\n",
        legacy.ca
    );
    let text = [
        format!(
            "[gateway]\nworkers = 1\nengine = \"{engine}\"\ndrain_timeout = \"0s\"\n\
                 # As many as the lane can do are measured.\n\
                 [handshakes]\nlegacy_in_progress = 256\nlegacy_rate = \"off\"\n"
        ),
        "[admin]\nlisten = \"off\"\n[log]\nlevel = \"warn\"\naccess = \"off\"\n".to_owned(),
        listener("server", ports.server, backend),
        "[listener.tls]\n".to_owned(),
        lane.clone(),
        format!("compat12_ciphers = {suites:?}\n"),
        shown("", modern),
        shown("compat12_", compat12),
        shown("legacy_", legacy),
        listener("client10", ports.client10, front10),
        trust.clone(),
        lane,
        listener("client12", ports.client12, front12),
        trust,
        format!("lane = \"compat12\"\ncompat12_ciphers = {suites:?}\n"),
    ];
    let file = stage.scratch.write(&format!("tlsgate-{engine}.toml"), &text.concat())?;
    let mut command = Command::new(stage.gateway);
    command.arg("run").arg("-c").arg(file);
    Ok(command)
}

fn shown(prefix: &str, identity: &Identity) -> String {
    let Identity { certificate, key, .. } = identity;
    format!("{prefix}certificate = {certificate:?}\n{prefix}certificate_key = {key:?}\n")
}
