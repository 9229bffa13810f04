//! The servers that are measured: the gateway with each engine, its peers, and the floors.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use serde::Serialize;

use super::gateway;
use super::servers::{envoy, haproxy, hitch, nginx, stunnel};
use super::test::{Role, Test};
use crate::measure::identity::Identity;
use crate::measure::process::{Process, find_program, free_address, program};
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
    /// HAProxy in TCP mode.
    #[serde(rename = "haproxy")]
    Haproxy,
    /// nginx with its stream module.
    #[serde(rename = "nginx")]
    Nginx,
    /// hitch.
    #[serde(rename = "hitch")]
    Hitch,
    /// stunnel, which has a thread for each connection.
    #[serde(rename = "stunnel")]
    Stunnel,
    /// Envoy.
    #[serde(rename = "envoy")]
    Envoy,
    /// A floor: a relay without TLS, of this program.
    #[serde(rename = "plain relay")]
    Relay,
    /// A floor: TLS in memory, without a socket.
    #[serde(rename = "TLS in memory")]
    Memory,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::IoUring,
        Self::Epoll,
        Self::Haproxy,
        Self::Nginx,
        Self::Hitch,
        Self::Stunnel,
        Self::Envoy,
        Self::Relay,
        Self::Memory,
    ];

    /// Processes at work: some have a master and a worker.
    fn processes(self) -> usize {
        if matches!(self, Self::Nginx | Self::Hitch) { 2 } else { 1 }
    }

    pub(crate) fn is_gateway(self) -> bool {
        matches!(self, Self::IoUring | Self::Epoll)
    }

    /// Whether it is no server to compare with, but what none can go below.
    pub(crate) fn is_floor(self) -> bool {
        matches!(self, Self::Relay | Self::Memory)
    }

    /// Whether there is no such program here.
    pub(crate) fn is_missing(self) -> bool {
        self.is_peer() && find_program(self.name()).is_none()
    }

    pub(crate) fn is_peer(self) -> bool {
        !self.is_gateway() && !self.is_floor()
    }

    /// Whether it can do this at all.
    pub(crate) fn does(self, test: Test) -> bool {
        match self {
            Self::IoUring | Self::Epoll => true,
            // What a relay does is the same for all handshakes.
            Self::Relay => test.has_plaintext_form() && test == test.plaintext(),
            Self::Memory => test.has_plaintext_form(),
            // The OpenSSL of their packages is older than the group.
            Self::Haproxy | Self::Stunnel => test != Test::Mlkem13,
            Self::Nginx | Self::Hitch => test != Test::Mlkem13 && test.has_plaintext_form(),
            Self::Envoy => test.has_plaintext_form(),
        }
    }

    /// Only stunnel's threads come and go.
    pub(crate) fn clock(self) -> Clock {
        if self == Self::Stunnel { Clock::Ticks } else { Clock::Threads }
    }
}

impl Server for Kind {
    fn name(self) -> &'static str {
        match self {
            Self::IoUring => "tlsgate io_uring",
            Self::Epoll => "tlsgate epoll",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Hitch => "hitch",
            Self::Stunnel => "stunnel",
            Self::Envoy => "envoy",
            Self::Relay => "plain relay",
            Self::Memory => "TLS in memory",
        }
    }
}

/// Who shows what.
#[derive(Debug)]
pub(crate) struct Identities {
    pub(crate) ecdsa: Identity,
    pub(crate) rsa: Identity,
    /// Of clients, also of a server that is TLS's client.
    pub(crate) client: Identity,
}

impl Identities {
    /// # Errors
    /// What failed, for the user to read.
    pub(crate) fn new(scratch: &Scratch) -> Result<Self, String> {
        Ok(Self {
            ecdsa: Identity::ecdsa(scratch, "")?,
            rsa: Identity::rsa(scratch, "rsa-")?,
            client: Identity::ecdsa(scratch, "client-")?,
        })
    }
}

/// What every target is started with.
#[derive(Debug)]
pub(crate) struct Stage<'run> {
    pub(crate) gateway: &'run Path,
    /// The CPU of the server that is measured.
    pub(crate) cpu: usize,
    pub(crate) backend: SocketAddr,
    /// In front of the backend, with TLS.
    pub(crate) front: SocketAddr,
    pub(crate) identities: &'run Identities,
    pub(crate) scratch: &'run Scratch,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports([SocketAddr; Role::ALL.len()]);

impl Ports {
    pub(crate) fn free() -> Result<Self, String> {
        let mut ports = [SocketAddr::from(([127, 0, 0, 1], 0)); Role::ALL.len()];
        for port in &mut ports {
            *port = free_address()?;
        }
        Ok(Self(ports))
    }

    pub(crate) fn of(self, role: Role) -> SocketAddr {
        self.0[role as usize]
    }
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) ports: Ports,
    /// The process that was started, and its descendants.
    pub(crate) pids: Vec<u32>,
    admin: Option<SocketAddr>,
    _process: Process,
}

impl Target {
    /// # Errors
    /// Why it does not serve, for the user to read.
    pub(crate) fn start(kind: Kind, stage: &Stage<'_>) -> Result<Self, String> {
        Self::start_on(kind, stage, &[stage.cpu])
    }

    /// The same on other CPUs; the gateway has as many workers as CPUs.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_on(kind: Kind, stage: &Stage<'_>, cpus: &[usize]) -> Result<Self, String> {
        Self::start_as(kind, stage, cpus, Ok)
    }

    /// The same under callgrind.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_counted(
        kind: Kind,
        stage: &Stage<'_>,
        cpus: &[usize],
    ) -> Result<Self, String> {
        Self::start_as(kind, stage, cpus, |command| {
            let mut counted = Command::new(program("valgrind")?);
            counted.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
            counted.arg(command.get_program()).args(command.get_args());
            Ok(counted)
        })
    }

    fn start_as(
        kind: Kind,
        stage: &Stage<'_>,
        cpus: &[usize],
        inside: impl FnOnce(Command) -> Result<Command, String>,
    ) -> Result<Self, String> {
        let ports = Ports::free()?;
        let admin = kind.is_gateway().then(free_address).transpose()?;
        let command = match kind {
            Kind::IoUring => gateway::command(stage, "io_uring", ports, admin, cpus.len())?,
            Kind::Epoll => gateway::command(stage, "epoll", ports, admin, cpus.len())?,
            Kind::Haproxy => haproxy(stage, ports)?,
            Kind::Nginx => nginx(stage, ports)?,
            Kind::Hitch => hitch(stage, ports)?,
            Kind::Stunnel => stunnel(stage, ports)?,
            Kind::Envoy => envoy(stage, ports)?,
            Kind::Relay => relay(stage, ports)?,
            Kind::Memory => return Err("TLS in memory is no process".to_owned()),
        };
        let name = kind.name().replace(' ', "-");
        let addresses: Vec<SocketAddr> = match kind {
            Kind::Relay => vec![ports.of(Role::Server)],
            Kind::Nginx | Kind::Hitch | Kind::Envoy => {
                [Role::Server, Role::Rsa, Role::Mutual].map(|role| ports.of(role)).to_vec()
            }
            _ => ports.0.to_vec(),
        };
        let process = Process::serve(&name, inside(command)?, cpus, &addresses, stage.scratch)?;
        Ok(Self { kind, ports, pids: process.family(kind.processes())?, admin, _process: process })
    }

    /// System calls by the gateway's own count; none for peers, which do not count.
    ///
    /// # Errors
    /// Why the admin port does not tell.
    pub(crate) fn own_count(&self) -> Result<Option<u64>, String> {
        self.admin.map(gateway::system_calls).transpose()
    }

    /// What the gateway says that it could still do, as a share; none of peers.
    ///
    /// # Errors
    /// Why the admin port does not tell.
    pub(crate) fn headroom(&self) -> Result<Option<f64>, String> {
        self.admin.map(gateway::headroom).transpose()
    }
}

fn relay(stage: &Stage<'_>, ports: Ports) -> Result<Command, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    let listen = ports.of(Role::Server).to_string();
    command.args(["relay", "--listen", &listen, "--to", &stage.backend.to_string()]);
    Ok(command)
}
