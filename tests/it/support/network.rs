//! A second host: a network namespace at the other end of a virtual cable that can be pulled.

use std::process::Command;
use std::time::Duration;

use super::process::{Ended, run};

const PATIENCE: Duration = Duration::from_secs(20);

/// The namespace and its cable; both go when dropped.
pub(crate) struct Network {
    name: String,
    number: u32,
}

impl Network {
    /// # Errors
    /// What `ip` said: usually that the process may not do this.
    pub(crate) fn new() -> Result<Self, String> {
        let number = std::process::id();
        let network = Self { name: format!("tlsgate-{number}"), number: number % 250 + 1 };
        let (name, near, far) = (network.name.as_str(), network.near(), network.far());
        let (gateway, peer) = (network.gateway_ip(), network.peer_ip());
        for line in [
            format!("netns add {name}"),
            format!("link add {near} type veth peer name {far} netns {name}"),
            format!("addr add {gateway}/30 dev {near}"),
            format!("link set {near} up"),
            format!("-n {name} addr add {peer}/30 dev {far}"),
            format!("-n {name} link set lo up"),
            format!("-n {name} link set {far} up"),
        ] {
            let ended = ip(&line);
            if ended.code() != 0 {
                return Err(format!("ip {line}: {}", ended.stderr));
            }
        }
        Ok(network)
    }

    /// Address of this host on the cable.
    pub(crate) fn gateway_ip(&self) -> String {
        format!("10.213.{}.1", self.number)
    }

    /// Address of the other host on the cable.
    pub(crate) fn peer_ip(&self) -> String {
        format!("10.213.{}.2", self.number)
    }

    /// A command that runs on the other host.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = privileged("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Pulls the cable: no packet arrives any more, and nobody is told.
    pub(crate) fn cut(&self) {
        let ended = ip(&format!("-n {} link set {} down", self.name, self.far()));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }

    fn near(&self) -> String {
        format!("tg{}n", self.number)
    }

    fn far(&self) -> String {
        format!("tg{}f", self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.near()));
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(line: &str) -> Ended {
    run(privileged("ip").args(line.split(' ')), PATIENCE)
}

/// A command as root: directly, or by sudo where that asks for no password.
pub(crate) fn privileged(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}
