//! HAProxy in TCP mode.

use std::path::Path;
use std::process::Command;

use super::{Relay, Role, write};
use crate::support::ca::Files;

pub(super) fn command(directory: &Path, config: &str) -> Command {
    let text = format!(
        "global
    nbthread 1
    log stdout format raw daemon
defaults
    mode tcp
    log global
    option tcplog
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{config}"
    );
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(write(directory, "haproxy.cfg", &text));
    command
}

pub(super) fn relay(relay: &Relay<'_>) -> String {
    let Relay { listen, to, version, ca, role } = relay;
    let (version, ca) = (version.name(), ca.display());
    let tls =
        format!("ssl verify required ca-file {ca} ssl-min-ver {version} ssl-max-ver {version}");
    let (bind, server) = match role {
        Role::Client { name, identity } => {
            let certificate = identity.map_or_else(String::new, certificate);
            (String::new(), format!("{tls} sni str({name}) verifyhost {name} {certificate}"))
        }
        Role::Server { identity } => (format!("{tls} {}", certificate(identity)), String::new()),
    };
    format!("listen relay\n    bind 127.0.0.1:{listen} {bind}\n    server to {to} {server}\n")
}

/// HAProxy looks for the key beside the certificate, under its name and `.key`.
fn certificate(files: &Files) -> String {
    let beside = format!("{}.key", files.certificate.display());
    std::fs::copy(&files.key, beside).expect("a writable directory");
    format!("crt {}", files.certificate.display())
}
