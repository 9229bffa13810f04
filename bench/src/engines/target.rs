//! The servers that are measured: the gateway with each engine, and its peers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::identity::Identity;
use super::peers;
use super::process::{Process, free_address};
use super::rounds::Server;
use super::scratch::Scratch;

/// The gateway's own count of its system calls.
const SYSTEM_CALLS: &str = "tlsgate_engine_system_calls_total";

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
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::IoUring, Self::Epoll, Self::Haproxy, Self::Nginx];

    /// Processes at work: nginx has a master and a worker.
    fn processes(self) -> usize {
        if self == Self::Nginx { 2 } else { 1 }
    }

    pub(crate) fn is_gateway(self) -> bool {
        matches!(self, Self::IoUring | Self::Epoll)
    }
}

impl Server for Kind {
    fn name(self) -> &'static str {
        match self {
            Self::IoUring => "tlsgate io_uring",
            Self::Epoll => "tlsgate epoll",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }
}

/// What every target is started with.
#[derive(Debug)]
pub(crate) struct Stage<'run> {
    pub(crate) gateway: &'run Path,
    /// The CPU of the server that is measured.
    pub(crate) cpu: usize,
    pub(crate) backend: SocketAddr,
    pub(crate) identity: &'run Identity,
    pub(crate) scratch: &'run Scratch,
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// The process that was started, and its descendants.
    pub(crate) pids: Vec<u32>,
    admin: Option<SocketAddr>,
    _process: Process,
}

impl Target {
    /// # Errors
    /// Why it does not serve, for the user to read.
    pub(crate) fn start(kind: Kind, stage: &Stage<'_>) -> Result<Self, String> {
        let address = free_address()?;
        let admin = kind.is_gateway().then(free_address).transpose()?;
        let command = match kind {
            Kind::IoUring => gateway(stage, "io_uring", address, admin)?,
            Kind::Epoll => gateway(stage, "epoll", address, admin)?,
            Kind::Haproxy => peers::haproxy(stage, address)?,
            Kind::Nginx => peers::nginx(stage, address)?,
        };
        let name = kind.name().replace(' ', "-");
        let process = Process::serve(&name, command, stage.cpu, address, stage.scratch)?;
        Ok(Self {
            kind,
            address,
            pids: process.family(kind.processes())?,
            admin,
            _process: process,
        })
    }

    /// System calls by the gateway's own count; none for peers, which do not count.
    ///
    /// # Errors
    /// Why the admin port does not tell.
    pub(crate) fn own_count(&self) -> Result<Option<u64>, String> {
        let Some(admin) = self.admin else { return Ok(None) };
        let text = scrape(admin).map_err(|error| format!("admin port {admin}: {error}"))?;
        let counts: Vec<u64> = text
            .lines()
            .filter(|line| line.starts_with(SYSTEM_CALLS))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        if counts.is_empty() {
            return Err(format!("admin port {admin}: no {SYSTEM_CALLS}"));
        }
        Ok(Some(counts.iter().sum()))
    }
}

fn gateway(
    stage: &Stage<'_>,
    engine: &str,
    address: SocketAddr,
    admin: Option<SocketAddr>,
) -> Result<Command, String> {
    let admin = admin.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let text = format!(
        "[gateway]\nworkers = 1\nengine = \"{engine}\"\ndrain_timeout = \"0s\"\n\
         [admin]\nlisten = \"{admin}\"\n\
         [log]\nlevel = \"warn\"\naccess = \"off\"\n\
         [[listener]]\nname = \"bench\"\nlisten = \"{address}\"\nupstream = \"{}\"\n\
         [listener.tls]\ncertificate = {:?}\ncertificate_key = {:?}\n",
        stage.backend, stage.identity.certificate, stage.identity.key
    );
    let file = stage.scratch.write(&format!("tlsgate-{engine}.toml"), &text)?;
    let mut command = Command::new(stage.gateway);
    command.arg("run").arg("-c").arg(file);
    Ok(command)
}

fn scrape(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The path of a program in the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    // Servers are often outside of the search path of people who are not root.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let candidates = std::env::split_paths(&path).chain(more);
    candidates.map(|directory| directory.join(name)).find(|file| file.is_file())
}
