//! Everybody whom the gateway deals with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tlsgate::audit::{Part, Query, Section, ShardCensus};
use tlsgate::conn::Farewell;
use tlsgate::engine::Address;
use tlsgate::engine::sim::network::{Network, WireId};
use tlsgate::engine::sim::ports::{Port, Socket};
use tlsgate::engine::sim::rng::Rng;
use tlsgate::engine::sim::{Dial, Outside};
use tlsgate::shard::census::{Live, Question, Which};
use tlsgate::shard::dismiss::Dismissal;
use tlsgate::shard::filter::Filter;
use tlsgate::shard::mailbox::{BoundId, Command, Reload};
use tlsgate::shard::pace::Pace;
use tlsgate::telemetry::ShardSnapshot;
use tlsgate::time::Time;

use crate::client::Client;
use crate::component::Component;
use crate::plan::{Configuration, DialPlan, Order, Plan};
use crate::policies::{Policies, speaks_tls};

/// Peers, components, and the main thread.
pub(crate) struct World {
    plan: Plan,
    rng: Rng,
    policies: Policies,
    /// Sockets of the current configuration.
    bound: Vec<Bound>,
    bound_ever: u64,
    others: Others,
    /// Orders that were given.
    pub(crate) given: Vec<Given>,
    /// By number; `None` before it comes and when it was refused.
    pub(crate) clients: Vec<Option<Client>>,
    /// In the order in which they were dialled.
    pub(crate) components: Vec<Component>,
    /// How often a component of each client was dialled.
    dialled: Vec<usize>,
    ends: BTreeMap<WireId, End>,
}

/// An order that was given.
pub(crate) struct Given {
    pub(crate) at: Time,
    /// Entries of the trace before it.
    pub(crate) position: usize,
    pub(crate) order: Order,
    /// Of a reload: the sockets that it names.
    pub(crate) serves: Option<Vec<Port>>,
    /// Of a reload: where the shard answers.
    pub(crate) done: Option<Receiver<Vec<BoundId>>>,
    /// Of a question: where the shard answers.
    pub(crate) answers: Option<(Receiver<ShardCensus>, Receiver<Vec<Live>>)>,
    /// What was ordered, where it is to have connections end.
    pub(crate) dismissal: Option<Arc<Dismissal>>,
}

/// A listening socket of the gateway.
#[derive(Clone, Copy)]
struct Bound {
    id: BoundId,
    address: usize,
    port: Port,
}

/// What a configuration listens on.
pub(crate) struct Bindings {
    /// Sockets that were not there before.
    pub(crate) open: Vec<(BoundId, Socket)>,
    /// All sockets, and the positions of their listeners.
    pub(crate) serves: Vec<(BoundId, usize)>,
}

/// What the shard shares with other threads.
pub(crate) struct Others {
    pub(crate) commands: SyncSender<Command<Socket>>,
    pub(crate) max_connections: u32,
    /// Connections of all shards.
    pub(crate) admitted: Arc<AtomicU32>,
    /// Those that are not ours.
    pub(crate) count: u32,
}

/// Who is at the far end of a wire.
#[derive(Clone, Copy, Debug)]
enum End {
    Client(usize),
    Component(usize),
}

impl World {
    pub(crate) fn new(
        plan: &Plan,
        rng: Rng,
        policies: Policies,
        others: Others,
        network: &mut Network,
    ) -> Self {
        let starts = plan.clients.iter().map(|client| client.start);
        let times: Vec<Duration> = starts.chain(plan.orders.iter().map(|order| order.0)).collect();
        for (alarm, time) in times.into_iter().enumerate() {
            network.alarm(time, alarm);
        }
        Self {
            clients: plan.clients.iter().map(|_| None).collect(),
            dialled: vec![0; plan.clients.len()],
            plan: plan.clone(),
            rng,
            policies,
            bound: Vec::new(),
            bound_ever: 0,
            others,
            given: Vec::new(),
            components: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Number of the client whose connection this is.
    pub(crate) fn client_on(&self, wire: WireId) -> Option<usize> {
        match self.ends.get(&wire) {
            Some(End::Client(number)) => Some(*number),
            _ => None,
        }
    }

    /// The component that the gateway came to speak to for a client, if it came to that.
    pub(crate) fn component_of(&self, client: usize) -> Option<&Component> {
        self.components.iter().rev().find(|component| component.client == client)
    }

    fn start_client(&mut self, number: usize, network: &mut Network) {
        let plan = self.plan.clients[number].clone();
        let bound = self.bound.iter().find(|bound| bound.address == plan.address);
        let from = address(plan.source, number);
        match bound.and_then(|bound| network.connect(bound.port, from)) {
            Some(wire) => {
                network.note(format!("client {number} is {wire:?}"));
                let client = Client::new(plan, number, self.rng.fork(), &mut self.policies.maker);
                self.clients[number] = Some(client);
                self.ends.insert(wire, End::Client(number));
                network.wake_far_in(wire, Duration::ZERO);
            }
            None => network.note(format!("client {number} is refused")),
        }
    }

    /// Binds what a configuration needs and is not bound yet; the rest is given up.
    pub(crate) fn bind(
        &mut self,
        configuration: &Configuration,
        network: &mut Network,
    ) -> Bindings {
        let before = std::mem::take(&mut self.bound);
        let (mut open, mut serves) = (Vec::new(), Vec::new());
        for (position, listener) in configuration.listeners.iter().enumerate() {
            let address = listener.address;
            let kept = before.iter().find(|bound| bound.address == address).copied();
            let bound = kept.unwrap_or_else(|| {
                self.bound_ever += 1;
                let (id, socket) = (BoundId(self.bound_ever), network.bind());
                let port = socket.port();
                open.push((id, socket));
                Bound { id, address, port }
            });
            self.bound.push(bound);
            serves.push((bound.id, position));
        }
        Bindings { open, serves }
    }

    fn reload(&mut self, next: usize, given: &mut Given, network: &mut Network) -> Reload<Socket> {
        let configuration = self.plan.configurations[next].clone();
        // What the last reload could not listen on is bound again.
        for earlier in &self.given {
            for failed in earlier.done.iter().flat_map(Receiver::try_iter).flatten() {
                self.bound.retain(|bound| bound.id != failed);
            }
        }
        let policy = self.policies.next(&configuration);
        let Bindings { open, serves } = self.bind(&configuration, network);
        given.serves = Some(self.bound.iter().map(|bound| bound.port).collect());
        let (done, answer) = sync_channel(1);
        given.done = Some(answer);
        Reload { policy, names: self.policies.names(), open, serves: serves.into(), done }
    }

    fn give(&mut self, order: Order, network: &mut Network) {
        network.note(format!("{order:?}"));
        let (at, position) = (network.now(), network.trace().len());
        let mut given =
            Given { at, position, order, serves: None, done: None, answers: None, dismissal: None };
        let command = match order {
            Order::Collect => Some(Command::Collect(Box::<ShardSnapshot>::default())),
            Order::Wake => None,
            Order::Ask => {
                let ((census, answer), (live, connections)) = (sync_channel(1), sync_channel(1));
                given.answers = Some((answer, connections));
                let query = Query { limit: usize::MAX, ..Query::of(Section::Connections) };
                let which = Which::Of(Box::new(query));
                // In one turn, so that the two are about the same moment.
                let first = Command::Ask(Question::Connections(which, live), Arc::default());
                let _ended = self.others.commands.try_send(first);
                Some(Command::Ask(Question::Census(Part::All, census), Arc::default()))
            }
            Order::OthersCome(_) | Order::OthersGo(_) => {
                given.order = self.others.change(order);
                return self.given.push(given);
            }
            Order::Reload(next) => {
                Some(Command::Reload(Box::new(self.reload(next, &mut given, network))))
            }
            Order::Dismiss { in_order, rate } => {
                let farewell = if in_order { Farewell::InOrder } else { Farewell::AtOnce };
                let pace = rate.map(|rate| Pace::new(rate, 10));
                let dismissal = Arc::new(Dismissal::new(Filter::default(), farewell, pace, 1));
                given.dismissal = Some(Arc::clone(&dismissal));
                Some(Command::Dismiss(dismissal.part()))
            }
            Order::Drain { patience } => Some(Command::Drain { patience, left: [].into() }),
            Order::Revalidate => Some(Command::Revalidate),
            Order::Stop => Some(Command::Stop),
        };
        self.given.push(given);
        if let Some(command) = command {
            // A shard that has ended takes no commands, and needs none.
            let _ended = self.others.commands.try_send(command);
        }
        network.waker().wake();
    }
}

impl Others {
    /// Connections come to other shards as far as there is room, and go as far as they are there.
    fn change(&mut self, order: Order) -> Order {
        match order {
            Order::OthersCome(count) => {
                let room = self.max_connections - self.admitted.load(Ordering::Relaxed);
                let count = count.min(room);
                self.count += count;
                self.admitted.fetch_add(count, Ordering::Relaxed);
                Order::OthersCome(count)
            }
            _ => {
                self.admitted.fetch_sub(self.count, Ordering::Relaxed);
                Order::OthersGo(std::mem::take(&mut self.count))
            }
        }
    }
}

impl Outside for World {
    fn on_dial(&mut self, wire: WireId, from: WireId, to: &Address, network: &mut Network) -> Dial {
        let Some(End::Client(client)) = self.ends.get(&from).copied() else {
            network.find(format!("{wire:?} is dialled for nobody"));
            return Dial::Never;
        };
        let plan = &self.plan.clients[client];
        let said = plan.introduction.as_ref().and_then(|introduction| introduction.source);
        let source = said.unwrap_or_else(|| address(plan.source, client));
        let told = plan.is_told.then_some(source);
        let attempt = self.dialled[client];
        self.dialled[client] += 1;
        match plan.dials[attempt.min(plan.dials.len() - 1)] {
            DialPlan::Accepted(after) => {
                self.ends.insert(wire, End::Component(self.components.len()));
                let plan = plan.component.clone();
                let tls = speaks_tls(to).then(|| self.policies.maker.component(&plan));
                self.components.push(Component::new(client, plan, self.rng.fork(), tls, told));
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
