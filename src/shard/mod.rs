//! One pinned thread and what it owns: an engine, its connections, their deadlines.
//!
//! The only translator between the engine's events and the connections' inputs, and between the
//! connections' actions and the engine's operations. Nothing here is shared with other shards but
//! the count of admitted connections, touched once when a connection comes and once when it goes.

mod accept;
pub mod census;
pub mod dismiss;
pub mod filter;
mod generations;
mod handshakes;
mod inspect;
pub mod mailbox;
pub mod pace;
mod resting;
mod revalidate;
pub mod slots;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these tests watch a thread on the real clock")]
mod tests;
pub mod wheel;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::admission::hello_budget::HelloBudget;
use crate::admission::{Class, Handshakes, Shaking, Shed};
use crate::audit::{Census, Kept};
use crate::config::model::HandshakeLimits;
use crate::conn::outcome::{Outcome, Reason};
use crate::conn::{Action, Connection, Context, Input};
use crate::engine::{Engine, Event, Side, SocketId};
use crate::lane::{Door, Profile, Unpassed};
use crate::policy::{ListenerPolicy, Policy, Route};
use crate::telemetry::aggregator::AnswerSender;
use crate::telemetry::{ShardSnapshot, ShardTelemetry};
use crate::time::Time;
use accept::{Accepting, Newcomer};
use dismiss::Leaving;
use generations::{Generation, Generations};
use mailbox::{BoundId, Command, Mailbox, Reload};
use resting::Resting;
use revalidate::Revalidation;
use slots::{SlotId, Slots};
use wheel::Wheel;

/// What a shard is made of.
pub struct Parts<E: Engine> {
    pub id: usize,
    /// Tells the process's connections from those of others, in their unique ids.
    pub process: u64,
    pub engine: E,
    pub policy: Arc<Policy>,
    /// Most connections of this shard.
    pub capacity: u32,
    /// Connections of all shards, and the most there may be.
    pub admitted: Arc<AtomicU32>,
    pub max_connections: u32,
    pub hellos: HelloBudget,
    pub handshakes: HandshakeLimits,
    pub telemetry: ShardTelemetry,
    pub answers: AnswerSender,
    pub mailbox: Mailbox<E::Listener>,
    /// Where connections of the legacy lane go.
    pub door: Door,
    pub on_finish: OnFinish,
}

/// Told of every connection's end, once.
pub type OnFinish = Box<dyn FnMut(Finished)>;

/// A connection that has ended.
pub struct Finished {
    /// Counts the shard's connections from 1.
    pub connection: u64,
    pub shard: usize,
    pub policy: Arc<ListenerPolicy>,
    pub route: Arc<Route>,
    pub outcome: Box<Outcome>,
}

/// See the module.
pub struct Shard<E: Engine> {
    id: usize,
    process: u64,
    engine: E,
    generations: Generations,
    slots: Slots<Entry>,
    wheel: Wheel,
    hellos: HelloBudget,
    handshakes: Handshakes<SlotId>,
    telemetry: ShardTelemetry,
    answers: AnswerSender,
    mailbox: Mailbox<E::Listener>,
    door: Door,
    on_finish: OnFinish,
    accepting: Accepting,
    newcomers: VecDeque<Newcomer<E::Stream>>,
    census: Census,
    revalidation: Revalidation,
    resting: Resting,
    leaving: Vec<Leaving>,
    connections_seen: u64,
    /// When the drain ends, once it has begun.
    drain_until: Option<Time>,
    /// Why nothing is served any more.
    stopped: Option<Reason>,
    connections_cut: u32,
    now: Time,
}

struct Entry {
    connection: Connection,
    generation: Rc<Generation>,
    id: u64,
    /// What the wheel holds for it. May be earlier than the connection's own deadline, which moves
    /// with every message; it is looked at again when the wheel says so.
    scheduled: Option<Time>,
    /// Present once the census knows it.
    audited: Option<Kept>,
    /// It has lasted: the kernel keeps its upstream alive.
    lasts: bool,
    /// It waits for its turn to end in order.
    leaving: bool,
    /// The step of its handshake that waits, as far as admission knows.
    waits: Option<Class>,
    /// Its handshake is in progress, as far as admission knows.
    shaking: Option<Shaking>,
}

/// As for [`Connection`], which is most of it.
const _: () = assert!(size_of::<Entry>() <= 600);

impl<E: Engine> Shard<E> {
    /// A shard that listens nowhere yet.
    pub fn new(parts: Parts<E>) -> Self {
        let now = parts.engine.now();
        let mut wheel = Wheel::new(now, wheel::TICK);
        let mut census = Census::default();
        census::follow(&mut census, &parts.policy, now);
        if let Some(last) = parts.capacity.checked_sub(1) {
            wheel.ensure(last);
        }
        Self {
            id: parts.id,
            process: parts.process,
            engine: parts.engine,
            revalidation: Revalidation::new(&parts.policy, now),
            generations: Generations::new(parts.policy, parts.id as u64),
            accepting: Accepting::new(parts.admitted, parts.max_connections),
            newcomers: accept::newcomers(),
            slots: Slots::new(parts.capacity),
            census,
            wheel,
            hellos: parts.hellos,
            handshakes: Handshakes::new(parts.handshakes),
            telemetry: parts.telemetry,
            answers: parts.answers,
            mailbox: parts.mailbox,
            door: parts.door,
            on_finish: parts.on_finish,
            resting: Resting::default(),
            leaving: Vec::new(),
            connections_seen: 0,
            drain_until: None,
            stopped: None,
            connections_cut: 0,
            now,
        }
    }

    /// Starts accepting on a socket, for the listener at `position` of the current policy.
    ///
    /// # Errors
    /// When the engine cannot watch the socket, or there are too many.
    pub fn listen(&mut self, id: BoundId, socket: E::Listener, position: usize) -> io::Result<()> {
        let generation = self.generations.current();
        self.accepting.open((id, socket), position, generation, &mut self.engine)
    }

    /// Serves until a drain has ended or a stop has come.
    ///
    /// # Errors
    /// Only when the engine is broken.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.is_done() {
            self.turn()?;
        }
        let mut last = Box::default();
        self.hand_over(&mut last);
        self.answers.end(last);
        Ok(())
    }

    /// One wait and everything it brought.
    ///
    /// # Errors
    /// As [`Shard::run`].
    pub fn turn(&mut self) -> io::Result<()> {
        self.engine.wait(self.next_deadline())?;
        self.now = self.engine.now();
        let began = self.now;
        while let Some(event) = self.engine.next_event() {
            self.on_event(event);
            self.resting.stir(self.now);
            // Handshakes take long enough that the next event's time would be wrong by theirs.
            self.now = self.engine.now();
        }
        while let Some(index) = self.wheel.pop_expired(self.now) {
            if let Some(slot) = self.slots.id_at(index)
                && let Some(entry) = self.slots.get_mut(slot)
            {
                entry.scheduled = None;
                if entry.connection.is_late(self.now) {
                    self.shed(slot, Shed::Late);
                } else {
                    self.drive(slot, Input::Deadline);
                }
            }
        }
        self.take_some_in();
        self.shake_hands(began);
        self.note_calm();
        self.revalidate_some();
        self.dismiss_some();
        self.rest_some();
        self.accepting.resume_when_due(self.now, self.has_room(), &mut self.engine);
        if self.drain_until.is_some_and(|until| until <= self.now) {
            self.drain_until = None;
            self.stop_all(Reason::Drained);
        }
        Ok(())
    }

    /// True when nothing is listened on and nothing is open.
    pub fn is_done(&self) -> bool {
        self.accepting.is_closed() && self.newcomers.is_empty() && self.slots.is_empty()
    }

    /// Connections that were still open when a drain's deadline passed.
    pub fn connections_cut(&self) -> u32 {
        self.connections_cut
    }

    fn next_deadline(&self) -> Option<Time> {
        let own = self.revalidation.next_deadline(self.now);
        if !self.newcomers.is_empty() {
            return Some(self.now);
        }
        let rest = self.resting.next_deadline(self.now);
        let handshakes = self.handshakes.next_deadline(self.now);
        let leave = dismiss::next_deadline(&self.leaving, self.now);
        let (timers, accepting) = (self.wheel.next_deadline(), self.accepting.next_deadline());
        let all = [timers, accepting, self.drain_until, own, rest, handshakes, leave];
        all.into_iter().flatten().min()
    }

    fn on_event(&mut self, event: Event<E::Stream>) {
        let (socket, input) = match event {
            Event::Accepted { listener, stream, peer } => {
                return self.on_accepted(listener, stream, peer);
            }
            Event::AcceptFailed { listener, error } => {
                return self.on_accept_failed(listener, &error);
            }
            Event::ListenerClosed { listener } => return self.accepting.remove(listener),
            Event::Woken => return self.read_mailbox(),
            Event::Connected { socket } => (socket, Input::Connected),
            Event::Received { socket, buf } => (socket, Input::Received(socket.side, buf)),
            Event::ReceiveClosed { socket } => (socket, Input::ReceiveClosed(socket.side)),
            Event::Sent { socket } => (socket, Input::Sent(socket.side)),
            Event::Failed { socket, operation, error } => {
                (socket, Input::Failed(socket.side, operation, error))
            }
            Event::Closed { socket } => (socket, Input::Closed(socket.side)),
        };
        if let Some(slot) = self.slots.id_at(socket.slot) {
            self.drive(slot, input);
        }
    }

    /// Gives a connection one input and does what it then asks for.
    fn drive(&mut self, slot: SlotId, input: Input) {
        let Some(entry) = self.slots.get_mut(slot) else { return };
        let Entry { connection, generation, .. } = entry;
        let mut upstreams = generation.upstreams.borrow_mut();
        let mut context = Context {
            now: self.now,
            pool: &self.engine.pool().clone(),
            upstreams: &mut upstreams,
            hellos: &mut self.hellos,
            telemetry: &mut self.telemetry,
        };
        connection.handle(input, &mut context);
        let finished = loop {
            let Some(action) = connection.poll_action(&mut context) else { break None };
            let socket = |side| SocketId { slot: slot.index, side };
            match action {
                Action::Receive(side, class, layout) => {
                    self.engine.receive(socket(side), class, layout);
                }
                Action::Send(side, buf) => self.engine.send(socket(side), buf),
                Action::ShutdownWrite(side) => self.engine.shutdown_write(socket(side)),
                Action::Close(side, how) => self.engine.close(socket(side), how),
                Action::Connect { to, source, .. } => {
                    self.engine.connect(socket(Side::Upstream), &to.address, source);
                }
                Action::HandOver(side, profile) => {
                    if side == Side::Upstream {
                        // The child sets no options.
                        self.engine.keep_alive(socket(side), &connection.policy().keepalive);
                    }
                    let passed = pass(&mut self.engine, socket(side), &self.door, &profile);
                    connection.passed(side, passed, &mut context);
                }
                Action::Finish(outcome) => break Some(outcome),
            }
        };
        drop(upstreams);
        if entry.audited.is_none() && connection.is_settled() {
            entry.audited = census::enter(connection, &mut self.census, self.now);
            for side in Side::ALL {
                self.engine.settle(SocketId { slot: slot.index, side });
            }
        }
        if let Some(outcome) = finished {
            return self.finish(slot, outcome);
        }
        if let Some(deadline) = connection.next_deadline()
            && entry.scheduled.is_none_or(|scheduled| deadline < scheduled)
        {
            entry.scheduled = Some(deadline);
            self.wheel.set(slot.index, deadline);
        }
        let has_news = connection.take_news();
        let shakes = (connection.waits_for_turn(), connection.is_shaking());
        if shakes != (entry.waits, entry.shaking) {
            self.follow_handshake(slot);
        }
        if has_news {
            self.settle(slot);
        }
    }

    fn finish(&mut self, slot: SlotId, outcome: Box<Outcome>) {
        let Some(mut entry) = self.slots.remove(slot) else { return };
        let now = self.now;
        let audited = entry.audited.take();
        let audited = audited.or_else(|| census::enter(&entry.connection, &mut self.census, now));
        if let Some(kept) = &audited {
            Census::leave(kept, now);
        }
        self.wheel.cancel(slot.index);
        self.handshake_is_gone(&entry);
        entry.generation.connections.update(|connections| connections - 1);
        self.telemetry.on_close(&outcome);
        self.on_left();
        (self.on_finish)(Finished {
            connection: entry.id,
            shard: self.id,
            policy: Arc::clone(entry.connection.policy()),
            route: Arc::clone(entry.connection.route()),
            outcome,
        });
    }

    fn read_mailbox(&mut self) {
        while let Some(command) = self.mailbox.take() {
            match command {
                Command::Collect(mut report) => {
                    self.hand_over(&mut report);
                    self.answers.send(report);
                }
                Command::Reload(reload) => self.reload(*reload),
                Command::Revalidate => self.revalidate_all(),
                Command::Drain { patience, left } => {
                    self.accepting.close_all(&left, &mut self.engine);
                    self.drain_until = Some(self.now + patience);
                }
                Command::Dismiss(dismissal) => self.dismiss(dismissal),
                Command::Ask(question, _waited) => self.answer(question),
                Command::Stop => {
                    self.accepting.close_all(&[], &mut self.engine);
                    self.drain_until = None;
                    self.stop_all(Reason::Stopped);
                }
            }
        }
    }

    fn reload(&mut self, reload: Reload<E::Listener>) {
        let Reload { policy, names, open, serves, done } = reload;
        self.telemetry.set_listeners(names);
        census::follow(&mut self.census, &policy, self.now);
        self.revalidation.follow(&policy);
        self.generations.advance(policy);
        self.revalidate_all();
        let generation = self.generations.current();
        self.accepting.reassign(&serves, generation, &mut self.engine);
        let positions: HashMap<BoundId, usize> = serves.iter().copied().collect();
        let mut failed = Vec::new();
        for (id, socket) in open {
            let opened = positions.get(&id).is_some_and(|position| {
                let bound = (id, socket);
                self.accepting.open(bound, *position, generation, &mut self.engine).is_ok()
            });
            if !opened {
                failed.push(id);
            }
        }
        // Fails only when nobody waits for it any more.
        let _nobody = done.try_send(failed);
    }

    /// Ends what is open, and what still comes out of the accept queues.
    fn stop_all(&mut self, reason: Reason) {
        self.stopped = Some(reason);
        let open: Vec<SlotId> = self.slots.iter().map(|(slot, _)| slot).collect();
        for slot in open {
            self.stop(slot, reason);
        }
    }

    fn stop(&mut self, slot: SlotId, reason: Reason) {
        if reason == Reason::Drained {
            self.connections_cut += 1;
        }
        self.drive(slot, Input::Stop(reason));
    }

    /// Fills in what was measured since the last time.
    fn hand_over(&mut self, report: &mut ShardSnapshot) {
        let stats = self.engine.stats();
        let engine = self.telemetry.engine();
        engine.turns = stats.turns;
        engine.events = stats.events;
        engine.system_calls = stats.system_calls;
        engine.ring_overflows = stats.ring_overflows;
        engine.buffer_starvation = stats.starvations;
        if let Some(effort) = self.engine.effort() {
            self.telemetry.set_effort(self.now, effort.ran, effort.waited);
        }
        self.telemetry.set_generations(self.generations.connections());
        let bytes = self.engine.pool().bytes_in_use();
        self.telemetry.set_buffer_bytes(bytes as u64);
        let Self { handshakes, now, .. } = self;
        let (waiting, age) = (handshakes.waiting(), handshakes.age(*now));
        self.telemetry.set_handshakes(waiting, age, handshakes.longest_step());
        self.telemetry.hand_over(report);
    }
}

/// Passes a socket, with nothing outstanding, to the child, and puts an end of a pair in its place. If
/// that fails, the socket is where it was, or closed if even that fails.
fn pass<E: Engine>(
    engine: &mut E,
    socket: SocketId,
    door: &Door,
    profile: &Profile,
) -> Result<(), Unpassed> {
    let (ours, theirs) = door.pair()?;
    let Ok(passed) = engine.exchange(socket, ours) else { return Err(Unpassed::Down) };
    let result = door.pass(profile, &passed, &theirs);
    if result.is_err() {
        // Where it fails, what is sent on the pair does, too.
        let _pair = engine.exchange(socket, passed);
    }
    result
}
