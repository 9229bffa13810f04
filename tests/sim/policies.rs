//! Policies of a run: each configuration of the plan becomes one, when its time has come.

use std::sync::Arc;
use std::time::Duration;

use tlsgate::config::model::Keepalive;
use tlsgate::engine::Address;
use tlsgate::policy::{Downstream, ListenerPolicy, Policy, Route};
use tlsgate::telemetry::ListenerNames;

use crate::plan::{Configuration, ListenerPlan, Mode};
use crate::tls::Maker;

/// Makes policies, and remembers the telemetry index of every listener there was.
pub(crate) struct Policies {
    pub(crate) maker: Maker,
    generation: u64,
    /// Addresses by telemetry index.
    known: Vec<usize>,
}

impl Policies {
    pub(crate) fn new(maker: Maker) -> Self {
        Self { maker, generation: 0, known: Vec::new() }
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
        let secure = matches!(plan.mode, Mode::Originate | Mode::Bridge | Mode::DetectBridge);
        let speaks_tls = secure || plan.mode == Mode::Passthrough;
        let network = if speaks_tls { TLS_COMPONENTS } else { 2 };
        let upstreams: Vec<Address> =
            (1..=plan.endpoints).map(|number| endpoint(network, number)).collect();
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
            timeouts: plan.timeouts,
            keepalive: Keepalive {
                idle: None,
                interval: Duration::from_secs(1),
                probes: 1,
                user_timeout: Duration::ZERO,
            },
            routes: vec![Arc::new(Route {
                tls: terminates.then(|| self.maker.server(&name, &plan.tls)),
                upstream_tls: secure.then(|| self.maker.dialler(plan.endpoints)),
                name: name.into(),
                group: position,
                connect: plan.connect,
                upstream_names: upstreams
                    .iter()
                    .map(|address| address.to_string().into())
                    .collect(),
                upstreams,
            })],
        })
    }
}

fn name(address: usize) -> String {
    format!("listener {address}")
}

fn endpoint(network: u8, number: usize) -> Address {
    Address::Tcp(([192, 0, network, u8::try_from(number).expect("a few")], 5060).into())
}

/// Whether the component at an address speaks TLS.
pub(crate) fn speaks_tls(address: &Address) -> bool {
    let Address::Tcp(std::net::SocketAddr::V4(address)) = address else { return false };
    address.ip().octets()[2] == TLS_COMPONENTS
}

/// Third byte of the addresses of components that speak TLS.
const TLS_COMPONENTS: u8 = 3;
