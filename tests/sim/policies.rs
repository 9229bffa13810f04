//! Policies of a run: each configuration of the plan becomes one, when its time has come.

use std::sync::Arc;
use std::time::Duration;

use tlsgate::config::model::{Keepalive, Revalidate};
use tlsgate::engine::Address;
use tlsgate::policy::{Downstream, ListenerPolicy, Policy, Route};
use tlsgate::telemetry::ListenerNames;
use tlsgate::upstream::{
    Balance, BalanceSettings, Endpoint, Group, Presence, Presences, Role, SourceSettings,
};

use crate::plan::{Configuration, ListenerPlan, Mode};
use crate::tls::Maker;

/// Makes policies, and remembers the telemetry index of every listener there was.
pub(crate) struct Policies {
    pub(crate) maker: Maker,
    generation: u64,
    /// Addresses by telemetry index.
    known: Vec<usize>,
    presences: Presences,
}

impl Policies {
    pub(crate) fn new(maker: Maker) -> Self {
        Self { maker, generation: 0, known: Vec::new(), presences: Presences::default() }
    }

    /// The next generation.
    pub(crate) fn next(&mut self, configuration: &Configuration) -> Arc<Policy> {
        self.generation += 1;
        let listeners = configuration.listeners.iter().enumerate();
        let listeners = listeners.map(|(position, plan)| self.listener(position, plan)).collect();
        Arc::new(Policy { generation: self.generation, listeners })
    }

    /// Of all listeners so far, by telemetry index.
    pub(crate) fn names(&self) -> ListenerNames {
        self.known.iter().map(|address| Arc::from(name(*address))).collect()
    }

    fn listener(&mut self, position: usize, plan: &ListenerPlan) -> Arc<ListenerPolicy> {
        let known = self.known.iter().position(|address| *address == plan.address);
        let index = known.unwrap_or_else(|| {
            self.known.push(plan.address);
            self.known.len() - 1
        });
        let name = name(plan.address);
        let upstreams = self.group(&name, plan);
        let secure = matches!(plan.mode, Mode::Originate | Mode::Bridge | Mode::DetectBridge);
        let terminates = !matches!(plan.mode, Mode::Originate | Mode::Passthrough);
        Arc::new(ListenerPolicy {
            generation: self.generation,
            position,
            index,
            name: name.as_str().into(),
            rules: Arc::default(),
            downstream: match plan.mode {
                Mode::Terminate | Mode::Bridge => Downstream::Tls,
                Mode::Originate => Downstream::Plaintext,
                Mode::Passthrough => Downstream::Passthrough,
                Mode::Detect | Mode::DetectBridge => Downstream::Detect,
            },
            proxy_in: plan.around.proxy_in(),
            introduces: plan.around.outgoing.is_some(),
            timeouts: plan.timeouts,
            keepalive: Keepalive {
                idle: None,
                interval: Duration::from_secs(1),
                probes: 1,
                user_timeout: Duration::ZERO,
            },
            routes: vec![Arc::new(Route {
                tls: terminates.then(|| {
                    self.maker.server(&name, &plan.tls, fate(plan.address, self.generation))
                }),
                upstream_tls: secure.then(|| self.maker.dialler(plan.endpoints)),
                upstreams,
                name: name.into(),
                group: position,
                connect: plan.connect,
                proxy_out: plan.around.outgoing,
            })],
        })
    }

    /// All ways to choose, and backups, in turn from one configuration to the next; what is known
    /// about an endpoint goes along.
    fn group(&self, name: &str, plan: &ListenerPlan) -> Arc<Group> {
        let number = plan.address + usize::try_from(self.generation).expect("a few");
        let policy = Balance::ALL[number % Balance::ALL.len()];
        let network = match plan.mode {
            Mode::Terminate | Mode::Detect => 2,
            _ => TLS_COMPONENTS,
        };
        let mut endpoints = Vec::new();
        for position in 1..=plan.endpoints {
            let address = address(network, position);
            let text = address.to_string();
            let known = self.presences.get(name, &text);
            let presence = known.unwrap_or_else(|| Presence::new(&[address]));
            self.presences.add(name, &text, &presence);
            let mut endpoint = Endpoint::new(&text, presence);
            if position == 3 {
                endpoint.role = Role::Backup;
            }
            endpoints.push(endpoint);
        }
        Arc::new(Group {
            name: name.into(),
            endpoints,
            balance: BalanceSettings { policy, ..BalanceSettings::default() },
            source: source(number),
            checks: None,
            resolve_interval: None,
        })
    }
}

/// Each way to choose where dials come from, in turn with the ways to choose where they go.
fn source(number: usize) -> SourceSettings {
    match number % 3 {
        0 => SourceSettings::From([1, 2, 3].map(|last| [198, 51, 100, last].into()).into()),
        1 => SourceSettings::Any,
        _ => SourceSettings::Client { keep_port: number.is_multiple_of(2) },
    }
}

/// What becomes of connections of a listener that a generation would not admit; in turn.
pub(crate) fn fate(address: usize, generation: u64) -> Revalidate {
    let number = address + usize::try_from(generation).expect("a few");
    Revalidate::ALL[number % Revalidate::ALL.len()]
}

pub(crate) fn name(address: usize) -> String {
    format!("listener {address}")
}

fn address(network: u8, number: usize) -> Address {
    Address::Tcp(([192, 0, network, u8::try_from(number).expect("a few")], 5060).into())
}

/// Whether the component at an address speaks TLS.
pub(crate) fn speaks_tls(address: &Address) -> bool {
    let Address::Tcp(std::net::SocketAddr::V4(address)) = address else { return false };
    address.ip().octets()[2] == TLS_COMPONENTS
}

/// Third byte of the addresses of components that speak TLS.
const TLS_COMPONENTS: u8 = 3;
