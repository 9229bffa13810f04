//! How the peers are set up: with the versions, suites, group and kind of key that the gateway is
//! measured with, everything else as the packages have it.

use std::net::SocketAddr;
use std::process::Command;

use super::target::{Ports, Stage};
use super::test::{GROUP, SUITES};
use crate::measure::identity::{Identity, SERVER_NAME};
use crate::measure::process::program;
use crate::measure::scratch::Scratch;

pub(crate) fn stunnel(stage: &Stage<'_>, ports: Ports) -> Result<Command, String> {
    let Stage { backend, front10, front12, legacy, scratch, .. } = stage;
    let client = |name: &str, version: &str, accept: SocketAddr, connect: &SocketAddr| {
        format!(
            "[{name}]
client = yes
accept = {accept}
connect = {connect}
sslVersion = {version}
CAfile = {}
verifyChain = yes
checkHost = {SERVER_NAME}
sni = {SERVER_NAME}
sessionResume = no
",
            legacy.ca.display()
        )
    };
    let text = format!(
        "foreground = yes
pid =
debug = err
securityLevel = 0
ciphers = {}
curves = {GROUP}
TIMEOUTclose = 0
[server]
accept = {}
connect = {backend}
cert = {}
key = {}
sslVersionMin = TLSv1
sslVersionMax = TLSv1.2
sessionCacheSize = 20000
{}{}",
        openssl_suites(),
        ports.server,
        legacy.certificate.display(),
        legacy.key.display(),
        client("client10", "TLSv1", ports.client10, front10),
        client("client12", "TLSv1.2", ports.client12, front12),
    );
    let mut command = Command::new(program("stunnel")?);
    command.arg(scratch.write("stunnel.conf", &text)?);
    Ok(command)
}

pub(crate) fn haproxy(stage: &Stage<'_>, ports: Ports) -> Result<Command, String> {
    let Stage { backend, front10, front12, legacy, scratch, .. } = stage;
    let client = |name: &str, version: &str, listen: SocketAddr, to: &SocketAddr| {
        format!(
            "listen {name}
    bind {listen}
    server front {to} ssl verify required ca-file {} sni str({SERVER_NAME}) no-ssl-reuse \
             ssl-min-ver {version} ssl-max-ver {version} ciphers {}
",
            legacy.ca.display(),
            openssl_suites(),
        )
    };
    let text = format!(
        "listen server
    bind {} ssl crt {} curves {GROUP} ssl-min-ver TLSv1.0 ssl-max-ver TLSv1.2
    server backend {backend}
{}{}",
        ports.server,
        legacy.combined.display(),
        client("client10", "TLSv1.0", ports.client10, front10),
        client("client12", "TLSv1.2", ports.client12, front12),
    );
    start_haproxy(scratch, "haproxy", &text)
}

/// What is in front of the backend where the server that is measured is TLS's client: HAProxy, too.
pub(crate) fn front(
    scratch: &Scratch,
    identity: &Identity,
    backend: SocketAddr,
    listen: [SocketAddr; 2],
) -> Result<Command, String> {
    let [tls10, tls12] = listen;
    let listen = |name: &str, version: &str, address: SocketAddr| {
        let certificate = identity.combined.display();
        format!(
            "listen {name}
    bind {address} ssl crt {certificate} curves {GROUP} ssl-min-ver {version} ssl-max-ver {version}
    server backend {backend}
"
        )
    };
    let text = [listen("tls10", "TLSv1.0", tls10), listen("tls12", "TLSv1.2", tls12)].concat();
    start_haproxy(scratch, "front", &text)
}

fn start_haproxy(scratch: &Scratch, name: &str, sections: &str) -> Result<Command, String> {
    let text = format!(
        "global
    nbthread 1
    maxconn 5000
    tune.ssl.cachesize 20000
    ssl-default-bind-ciphers {}
defaults
    mode tcp
    timeout connect 5s
    timeout client 120s
    timeout server 120s
{sections}",
        openssl_suites()
    );
    let mut command = Command::new(program("haproxy")?);
    command.arg("-db").arg("-f").arg(scratch.write(&format!("{name}.cfg"), &text)?);
    Ok(command)
}

/// At security level 0: OpenSSL 3 has TLS before 1.2 at no other.
fn openssl_suites() -> String {
    format!("{}:@SECLEVEL=0", SUITES.map(|[_, name]| name).join(":"))
}
