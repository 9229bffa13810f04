//! Everybody whom the gateway deals with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tlsgate::engine::Address;
use tlsgate::engine::sim::network::{Network, Port, WireId};
use tlsgate::engine::sim::rng::Rng;
use tlsgate::engine::sim::{Dial, Outside};
use tlsgate::shard::mailbox::Command;
use tlsgate::telemetry::ShardSnapshot;
use tlsgate::time::Time;

use crate::client::Client;
use crate::component::Component;
use crate::plan::{DialPlan, Order, Plan};
use crate::tls::Maker;

/// Peers, components, and the main thread.
pub struct World {
    plan: Plan,
    rng: Rng,
    pub maker: Maker,
    pub ports: Vec<Port>,
    others: Others,
    /// Orders that were given.
    pub given: Vec<(Time, Order)>,
    /// By number; `None` before it comes and when it was refused.
    pub clients: Vec<Option<Client>>,
    /// In the order in which they were dialled.
    pub components: Vec<Component>,
    /// How often a component of each client was dialled.
    dialled: Vec<usize>,
    ends: BTreeMap<WireId, End>,
}

/// What the shard shares with other threads.
pub struct Others {
    pub commands: SyncSender<Command>,
    /// Connections of all shards.
    pub admitted: Arc<AtomicU32>,
}

/// Who is at the far end of a wire.
#[derive(Clone, Copy, Debug)]
enum End {
    Client(usize),
    Component(usize),
}

impl World {
    pub fn new(plan: &Plan, rng: Rng, maker: Maker, others: Others, network: &mut Network) -> Self {
        let starts = plan.clients.iter().map(|client| client.start);
        let times: Vec<Duration> = starts.chain(plan.orders.iter().map(|order| order.0)).collect();
        for (alarm, time) in times.into_iter().enumerate() {
            network.alarm(time, alarm);
        }
        Self {
            ports: plan.listeners.iter().map(|_| network.bind()).collect(),
            clients: plan.clients.iter().map(|_| None).collect(),
            dialled: vec![0; plan.clients.len()],
            plan: plan.clone(),
            rng,
            maker,
            others,
            given: Vec::new(),
            components: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Number of the client whose connection this is.
    pub fn client_on(&self, wire: WireId) -> Option<usize> {
        match self.ends.get(&wire) {
            Some(End::Client(number)) => Some(*number),
            _ => None,
        }
    }

    /// The component that the gateway came to speak to for a client, if it came to that.
    pub fn component_of(&self, client: usize) -> Option<&Component> {
        self.components.iter().rev().find(|component| component.client == client)
    }

    fn start_client(&mut self, number: usize, network: &mut Network) {
        let plan = self.plan.clients[number].clone();
        let port = self.ports[plan.listener];
        match network.connect(port, address(plan.source, number)) {
            Some(wire) => {
                network.note(format!("client {number} is {wire:?}"));
                let client = Client::new(plan, number, self.rng.fork(), &mut self.maker);
                self.clients[number] = Some(client);
                self.ends.insert(wire, End::Client(number));
                network.wake_far_in(wire, Duration::ZERO);
            }
            None => network.note(format!("client {number} is refused")),
        }
    }

    fn give(&mut self, order: Order, network: &mut Network) {
        network.note(format!("{order:?}"));
        self.given.push((network.now(), order));
        let admitted = &self.others.admitted;
        let command = match order {
            Order::Collect => Command::Collect(Box::<ShardSnapshot>::default()),
            Order::Wake => return network.waker().wake(),
            Order::OthersCome(count) => {
                admitted.fetch_add(count, Ordering::Relaxed);
                return;
            }
            Order::OthersGo(count) => {
                admitted.fetch_sub(count, Ordering::Relaxed);
                return;
            }
            Order::Drain { patience } => Command::Drain { patience },
            Order::Stop => Command::Stop,
        };
        // A shard that has ended takes no commands, and needs none.
        let _ended = self.others.commands.try_send(command);
        network.waker().wake();
    }
}

impl Outside for World {
    fn on_dial(
        &mut self,
        wire: WireId,
        from: WireId,
        _to: &Address,
        network: &mut Network,
    ) -> Dial {
        let Some(End::Client(client)) = self.ends.get(&from).copied() else {
            network.find(format!("{wire:?} is dialled for nobody"));
            return Dial::Never;
        };
        let plan = &self.plan.clients[client];
        let attempt = self.dialled[client];
        self.dialled[client] += 1;
        match plan.dials[attempt.min(plan.dials.len() - 1)] {
            DialPlan::Accepted(after) => {
                self.ends.insert(wire, End::Component(self.components.len()));
                let plan = plan.component.clone();
                self.components.push(Component::new(client, plan, self.rng.fork()));
                Dial::Accepted { after }
            }
            DialPlan::Failed(errno, after) => Dial::Failed { errno, after },
            DialPlan::Never => Dial::Never,
        }
    }

    fn on_wire(&mut self, wire: WireId, network: &mut Network) {
        match self.ends.get(&wire) {
            Some(End::Client(number)) => {
                if let Some(client) = &mut self.clients[*number] {
                    client.step(wire, network);
                }
            }
            Some(End::Component(number)) => self.components[*number].step(wire, network),
            None => network.find(format!("{wire:?} has nobody at its end")),
        }
    }

    fn on_alarm(&mut self, alarm: usize, network: &mut Network) {
        match alarm.checked_sub(self.plan.clients.len()) {
            None => self.start_client(alarm, network),
            Some(order) => self.give(self.plan.orders[order].1, network),
        }
    }
}

fn address(source: u8, number: usize) -> SocketAddr {
    let port = FIRST_PORT + u16::try_from(number).expect("a few clients");
    ([198, 51, 100, source], port).into()
}

const FIRST_PORT: u16 = 20_000;
