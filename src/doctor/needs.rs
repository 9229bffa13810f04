//! What a configuration and a profile ask of the machine.

use std::collections::BTreeSet;

use super::facts::Facts;
use super::profile::Profile;
use crate::config;
use crate::config::model::{
    Config, Endpoint, EngineChoice, ListenAddress, Listener, Polling, SourceSettings, Upstream,
};

/// See the module. Without a configuration, what the defaults ask for.
#[derive(Clone, Debug)]
pub struct Needs {
    pub profile: Option<&'static Profile>,
    pub engine: EngineChoice,
    pub polling: Polling,
    pub workers: usize,
    /// Whether the configuration says so, and not the machine.
    pub says_workers: bool,
    /// Connections that were asked for; `None` is as many as descriptors allow.
    pub connections: Option<u32>,
    /// Descriptors besides those of connections.
    pub own_descriptors: u64,
    /// The longest accept queue.
    pub backlog: u32,
    /// Most bytes of buffers, over all workers.
    pub buffers: u64,
    /// TCP ports that are listened on.
    pub listened: BTreeSet<u16>,
    /// Connections to one address from one source that there may be at most, where upstreams are
    /// reached over TCP.
    pub towards_one: Option<u32>,
    /// Where connections come from as their client's (IP_TRANSPARENT needs a capability).
    pub spoofs: bool,
    /// Whether the process is to give up what it does not need.
    pub sandbox: bool,
}

impl Needs {
    /// `own_descriptors` says what workers and listeners take of descriptors.
    pub fn of(
        config: Option<&Config>,
        profile: Option<&'static Profile>,
        facts: &Facts<'_>,
        own_descriptors: impl Fn(usize, usize) -> u64,
    ) -> Self {
        let example =
            profile.and_then(|profile| config::parse(profile.name, profile.settings).ok());
        let gateway = config.or(example.as_ref()).map(|config| &config.gateway);
        let says = gateway.and_then(|gateway| gateway.workers).map(usize::from);
        let polling = gateway.map_or_else(Polling::default, |gateway| gateway.polling.clone());
        let workers = says.unwrap_or_else(|| polling.workers_on(facts.default_workers()));
        let listeners = config.map_or(&[][..], |config| &config.listeners);
        let of_example = example.iter().flat_map(|config| &config.listeners);
        let backlogs = listeners.iter().chain(of_example).map(|listener| listener.backlog);
        let own = config.and_then(|config| config.gateway.max_connections);
        let of_profile = example.as_ref().and_then(|config| config.gateway.max_connections);
        let connections = own.or(of_profile);
        let buffer_memory = gateway.map_or(DEFAULT_BUFFERS, |gateway| gateway.buffer_memory as u64);
        Self {
            profile,
            engine: config.map_or(EngineChoice::Auto, |config| config.gateway.engine),
            polling,
            workers,
            says_workers: says.is_some(),
            connections,
            own_descriptors: own_descriptors(workers, listeners.len().max(1)),
            backlog: backlogs.max().unwrap_or(DEFAULT_BACKLOG),
            buffers: buffer_memory * workers as u64,
            listened: listeners.iter().filter_map(port).collect(),
            towards_one: towards_one(listeners, connections),
            spoofs: listeners.iter().any(spoofs),
            sandbox: config.is_none_or(|config| config.gateway.sandbox),
        }
    }

    /// Descriptors for so many connections as were asked for.
    pub fn descriptors(&self) -> Option<u64> {
        self.connections.map(|connections| self.own_descriptors + 2 * u64::from(connections))
    }

    pub(super) fn is_for(&self, profile: &str) -> bool {
        self.profile.is_some_and(|chosen| chosen.name == profile)
    }
}

fn port(listener: &Listener) -> Option<u16> {
    match &listener.listen {
        ListenAddress::Tcp(address) => Some(address.port()),
        _ => None,
    }
}

fn spoofs(listener: &Listener) -> bool {
    matches!(listener.source, SourceSettings::Client { .. })
}

/// Of all connections, those that the busiest pair of listener and upstream may come to: ports are
/// taken for each address, port and source (ip(7), IP_BIND_ADDRESS_NO_PORT).
fn towards_one(listeners: &[Listener], connections: Option<u32>) -> Option<u32> {
    let shares = listeners.iter().filter_map(|listener| {
        let is_tcp = |upstream: &&Upstream| !matches!(upstream.endpoint, Endpoint::Unix(_));
        let upstreams = u32::try_from(listener.upstreams.iter().filter(is_tcp).count()).ok()?;
        let sources = match &listener.source {
            SourceSettings::Any => 1,
            SourceSettings::From(sources) => u32::try_from(sources.len()).ok()?,
            // The clients' own.
            SourceSettings::Client { .. } => return None,
        };
        Some(connections?.div_ceil(sources.max(1) * (upstreams > 0).then_some(upstreams)?))
    });
    shares.max()
}

/// `gateway.buffer_memory` and `listener.backlog` where nothing is said.
const DEFAULT_BUFFERS: u64 = 256 << 20;
const DEFAULT_BACKLOG: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::profile::PROFILES;

    #[test]
    fn defaults_are_those_of_the_configuration() {
        let text = "[[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nupstream = \"[::1]:2\"\n\
                    [listener.tls]\ncertificate = \"a\"\ncertificate_key = \"b\"\n";
        let config = config::parse("a", text).unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(config.gateway.buffer_memory as u64, DEFAULT_BUFFERS);
        assert_eq!(config.listeners[0].backlog, DEFAULT_BACKLOG);
    }

    #[test]
    fn profiles_are_configurations() {
        for profile in PROFILES {
            let parsed = config::parse(profile.name, profile.settings);
            let config = parsed.unwrap_or_else(|found| panic!("{}: {found}", profile.name));
            assert_eq!(config.listeners[0].name, profile.name);
            assert!(!profile.settings_of_kernel().is_empty(), "{}", profile.name);
        }
    }
}
