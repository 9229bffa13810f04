//! stunnel.

use std::path::Path;
use std::process::Command;

use super::{Relay, Role, write};
use crate::support::ca::Files;

pub(super) fn command(directory: &Path, config: &str) -> Command {
    let text = format!("foreground = yes\npid =\ndebug = info\n{config}");
    let mut command = Command::new("stunnel");
    command.arg(write(directory, "stunnel.conf", &text));
    command
}

pub(super) fn relay(relay: &Relay<'_>) -> String {
    let Relay { listen, to, version, ca, role } = relay;
    let role = match role {
        Role::Client { name, identity } => {
            let identity = identity.map_or_else(String::new, certificate);
            format!("client = yes\nsni = {name}\ncheckHost = {name}\n{identity}")
        }
        Role::Server { identity } => certificate(identity),
    };
    format!(
        "[relay]
accept = 127.0.0.1:{listen}
connect = {to}
sslVersion = {}
CAfile = {}
verifyChain = yes
{role}",
        version.name(),
        ca.display()
    )
}

fn certificate(files: &Files) -> String {
    format!("cert = {}\nkey = {}\n", files.certificate.display(), files.key.display())
}
