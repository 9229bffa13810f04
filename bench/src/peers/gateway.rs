//! How the gateway is set up: as it is shipped, with telemetry and its access log on. What a run
//! sets besides addresses and certificates is the number of workers and the engine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use super::target::{Identities, Ports, Stage};
use super::test::Role;
use crate::measure::identity::{Identity, SERVER_NAME};

/// The gateway's own count of its system calls.
const SYSTEM_CALLS: &str = "tlsgate_engine_system_calls_total";
/// What it says that it could still do.
const HEADROOM: &str = "tlsgate_headroom_ratio";

/// What a run sets of the gateway beside its listeners.
pub(crate) struct Head<'a> {
    pub(crate) engine: &'a str,
    pub(crate) workers: usize,
    pub(crate) admin: Option<SocketAddr>,
    /// How long it waits for connections when it is told to end.
    pub(crate) drain: Duration,
}

/// The gateway with these sections.
///
/// # Errors
/// Which file could not be written.
pub(crate) fn with_sections(
    stage: &Stage<'_>,
    head: &Head<'_>,
    sections: &str,
) -> Result<Command, String> {
    let Head { engine, workers, admin, drain } = head;
    let admin = admin.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let name = format!("tlsgate-{engine}-{workers}");
    let log = stage.scratch.path(&format!("{name}-access.log"));
    let text = format!(
        "[gateway]\nworkers = {workers}\nengine = \"{engine}\"\ndrain_timeout = \"{}ms\"\n\
         [admin]\nlisten = \"{admin}\"\n[log]\naccess = \"file:{}\"\n{sections}",
        drain.as_millis(),
        log.display()
    );
    let file = stage.scratch.write(&format!("{name}.toml"), &text)?;
    let mut command = Command::new(stage.gateway);
    command.arg("run").arg("-c").arg(file);
    Ok(command)
}

/// # Errors
/// Which file could not be written.
pub(crate) fn command(
    stage: &Stage<'_>,
    engine: &str,
    ports: Ports,
    admin: Option<SocketAddr>,
    workers: usize,
) -> Result<Command, String> {
    let Identities { ecdsa, rsa, client } = stage.identities;
    let listener = |name: &str, role: Role, upstream: SocketAddr| {
        let listen = ports.of(role);
        format!(
            "[[listener]]\nname = \"{name}\"\nlisten = \"{listen}\"\nupstream = \"{upstream}\"\n"
        )
    };
    let wants = format!("client_cert = \"required\"\ntrusted_ca = {:?}\n", client.ca);
    let trusts = format!(
        "[listener.upstream_tls]\ntrusted_ca = {:?}\nserver_name = \"{SERVER_NAME}\"\n\
         resumption = false\n",
        ecdsa.ca
    );
    let parts = [
        listener("server", Role::Server, stage.backend),
        format!("[listener.tls]\n{}", shown(ecdsa)),
        listener("rsa", Role::Rsa, stage.backend),
        format!("[listener.tls]\n{}", shown(rsa)),
        listener("mutual", Role::Mutual, stage.backend),
        format!("[listener.tls]\n{}{wants}", shown(ecdsa)),
        listener("originate", Role::Originate, stage.front),
        format!("mode = \"originate\"\n{trusts}"),
        listener("pair-entry", Role::PairEntry, ports.of(Role::PairExit)),
        format!("mode = \"pair_entry\"\n{trusts}{}", shown(client)),
        listener("pair-exit", Role::PairExit, stage.backend),
        format!("mode = \"pair_exit\"\n[listener.tls]\n{}{wants}", shown(ecdsa)),
    ];
    let head = Head { engine, workers, admin, drain: Duration::ZERO };
    with_sections(stage, &head, &parts.concat())
}

/// The keys of a listener's certificate.
pub(crate) fn shown(identity: &Identity) -> String {
    let Identity { certificate, key, .. } = identity;
    format!("certificate = {certificate:?}\ncertificate_key = {key:?}\n")
}

/// Asks the admin port.
///
/// # Errors
/// Why it does not tell.
pub(crate) fn system_calls(admin: SocketAddr) -> Result<u64, String> {
    Ok(samples::<u64>(admin, SYSTEM_CALLS)?.iter().sum())
}

/// Asks the admin port for what could still be done, as a share.
///
/// # Errors
/// Why it does not tell.
pub(crate) fn headroom(admin: SocketAddr) -> Result<f64, String> {
    Ok(samples::<f64>(admin, HEADROOM)?[0])
}

/// Every sample of a metric, one at least.
fn samples<T: FromStr>(admin: SocketAddr, name: &str) -> Result<Vec<T>, String> {
    let text = scrape(admin).map_err(|error| format!("admin port {admin}: {error}"))?;
    let own = text.lines().filter(|line| line.starts_with(name));
    let values: Vec<T> = own.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    if values.is_empty() {
        return Err(format!("admin port {admin}: no {name}"));
    }
    Ok(values)
}

fn scrape(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
