//! The servers that are measured: the gateway with all lanes and each engine, and its peers, all of
//! them with the same versions, suites, group, key and number of threads at work where they have one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use serde::Serialize;

use super::test::{GROUP, SUITES};
use crate::engines::identity::Identity;
use crate::engines::peers::program;
use crate::engines::process::{Process, free_address};
use crate::engines::rounds::Server;
use crate::engines::sample::Clock;
use crate::engines::scratch::Scratch;

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
        if self.is_gateway() { 2 } else { 1 }
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
    /// Each lane has a key of its own; the peers have that of `legacy`.
    pub(crate) modern: &'run Identity,
    pub(crate) compat12: &'run Identity,
    pub(crate) legacy: &'run Identity,
    pub(crate) scratch: &'run Scratch,
}

/// A running server; it ends when dropped.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// The process that was started, and its descendants.
    pub(crate) pids: Vec<u32>,
    _process: Process,
}

impl Target {
    /// # Errors
    /// Why it does not serve, for the user to read.
    pub(crate) fn start(kind: Kind, stage: &Stage<'_>) -> Result<Self, String> {
        let address = free_address()?;
        let command = match kind {
            Kind::IoUring => gateway(stage, "io_uring", address)?,
            Kind::Epoll => gateway(stage, "epoll", address)?,
            Kind::Stunnel => stunnel(stage, address)?,
            Kind::Haproxy => haproxy(stage, address)?,
        };
        let name = kind.name().replace(' ', "-");
        let process = Process::serve(&name, command, stage.cpu, address, stage.scratch)?;
        let pids = process.family(kind.processes())?;
        Ok(Self { kind, address, pids, _process: process })
    }
}

fn gateway(stage: &Stage<'_>, engine: &str, address: SocketAddr) -> Result<Command, String> {
    let Stage { backend, modern, compat12, legacy, .. } = stage;
    let names = SUITES.map(|[name, _]| name);
    let text = format!(
        "[gateway]\nworkers = 1\nengine = \"{engine}\"\ndrain_timeout = \"0s\"\n\
         [admin]\nlisten = \"off\"\n\
         [log]\nlevel = \"warn\"\naccess = \"off\"\n\
         [[listener]]\nname = \"bench\"\nlisten = \"{address}\"\nupstream = \"{backend}\"\n\
         [listener.tls]\ncertificate = {:?}\ncertificate_key = {:?}\n\
         lane = \"legacy\"\nlegacy_until = \"2099-12-31\"\nallow_from = [\"127.0.0.0/8\"]\n\
         legacy_certificate = {:?}\nlegacy_certificate_key = {:?}\nlegacy_ciphers = {names:?}\n\
         compat12_certificate = {:?}\ncompat12_certificate_key = {:?}\n\
         compat12_ciphers = {names:?}\n",
        modern.certificate,
        modern.key,
        legacy.certificate,
        legacy.key,
        compat12.certificate,
        compat12.key,
    );
    let file = stage.scratch.write(&format!("tlsgate-{engine}.toml"), &text)?;
    let mut command = Command::new(stage.gateway);
    command.arg("run").arg("-c").arg(file);
    Ok(command)
}

fn stunnel(stage: &Stage<'_>, address: SocketAddr) -> Result<Command, String> {
    let Stage { backend, legacy, scratch, .. } = stage;
    let text = format!(
        "foreground = yes
pid =
debug = err
[lanes]
accept = {address}
connect = {backend}
cert = {}
key = {}
sslVersionMin = TLSv1
sslVersionMax = TLSv1.2
securityLevel = 0
ciphers = {}
curves = {GROUP}
sessionCacheSize = 20000
TIMEOUTclose = 0
",
        legacy.certificate.display(),
        legacy.key.display(),
        openssl_suites(),
    );
    let mut command = Command::new(program("stunnel")?);
    command.arg(scratch.write("stunnel.conf", &text)?);
    Ok(command)
}

fn haproxy(stage: &Stage<'_>, address: SocketAddr) -> Result<Command, String> {
    let Stage { backend, legacy, scratch, .. } = stage;
    let text = format!(
        "global
    nbthread 1
    maxconn 5000
    tune.ssl.cachesize 20000
    ssl-default-bind-options ssl-min-ver TLSv1.0 ssl-max-ver TLSv1.2
    ssl-default-bind-ciphers {}
defaults
    mode tcp
    timeout connect 5s
    timeout client 120s
    timeout server 120s
frontend tls
    bind {address} ssl crt {} curves {GROUP}
    default_backend be
backend be
    server b {backend}
",
        openssl_suites(),
        legacy.combined.display(),
    );
    let mut command = Command::new(program("haproxy")?);
    command.arg("-db").arg("-f").arg(scratch.write("haproxy.cfg", &text)?);
    Ok(command)
}

/// At security level 0: OpenSSL 3 has TLS before 1.2 at no other.
fn openssl_suites() -> String {
    format!("{}:@SECLEVEL=0", SUITES.map(|[_, name]| name).join(":"))
}
