//! Taking connections in, within limits: what cannot be served waits in the accept queue.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::generations::Generation;
use super::mailbox::BoundId;
use super::slots::{SlotId, Slots};
use super::{Entry, Shard};
use crate::admission::Shed;
use crate::conn::{Connection, Input};
use crate::engine::{Engine, ListenerId, Operation, Side, SocketId};
use crate::policy::Downstream;
use crate::telemetry::{AcceptError, Refusal};
use crate::time::Time;

/// Where the shard listens, and whether it may accept now.
pub(super) struct Accepting {
    /// By the engine's [`ListenerId`].
    sockets: Slots<Bound>,
    /// Connections of all shards.
    admitted: Arc<AtomicU32>,
    max_connections: u32,
    /// Set while accepting is paused: when to try again.
    resume_at: Option<Time>,
    closing: bool,
}

/// A listening socket.
struct Bound {
    id: BoundId,
    /// What its connections are admitted under.
    generation: Rc<Generation>,
    /// Position of its listener in the generation's policy.
    position: usize,
    closing: bool,
}

impl Accepting {
    pub(super) fn new(admitted: Arc<AtomicU32>, max_connections: u32) -> Self {
        let sockets = Slots::new(MAX_SOCKETS);
        Self { sockets, admitted, max_connections, resume_at: None, closing: false }
    }

    /// Listens on one more socket, for the listener at `position` of the generation's policy.
    ///
    /// # Errors
    /// When the engine cannot watch the socket, there are too many, or all are being closed.
    pub(super) fn open<E: Engine>(
        &mut self,
        (id, socket): (BoundId, E::Listener),
        position: usize,
        generation: &Rc<Generation>,
        engine: &mut E,
    ) -> io::Result<()> {
        if self.closing {
            return Err(io::Error::other("the worker drains"));
        }
        let generation = Rc::clone(generation);
        let bound = Bound { id, generation, position, closing: false };
        let slot = self.sockets.insert(bound).ok_or_else(|| io::Error::other(TOO_MANY))?;
        if let Err(error) = engine.listen(ListenerId(slot.index), socket) {
            self.sockets.remove(slot);
            return Err(error);
        }
        if self.resume_at.is_some() {
            engine.pause_accept(ListenerId(slot.index));
        }
        Ok(())
    }

    /// Lets the sockets that `serves` names serve `generation`, and closes the others.
    pub(super) fn reassign<E: Engine>(
        &mut self,
        serves: &[(BoundId, usize)],
        generation: &Rc<Generation>,
        engine: &mut E,
    ) {
        let serves: HashMap<BoundId, usize> = serves.iter().copied().collect();
        for (slot, bound) in self.sockets.iter_mut().filter(|(_, bound)| !bound.closing) {
            match serves.get(&bound.id) {
                Some(position) => {
                    bound.generation = Rc::clone(generation);
                    bound.position = *position;
                }
                None => {
                    bound.closing = true;
                    engine.close_listener(ListenerId(slot.index));
                }
            }
        }
    }

    pub(super) fn remove(&mut self, listener: ListenerId) {
        if let Some(slot) = self.sockets.id_at(listener.0) {
            self.sockets.remove(slot);
        }
    }

    /// True when a drain or a stop has closed every listener.
    pub(super) fn is_closed(&self) -> bool {
        self.closing && self.sockets.is_empty()
    }

    /// Closes every socket; those that are `left` have another process to go on with.
    pub(super) fn close_all<E: Engine>(&mut self, left: &[BoundId], engine: &mut E) {
        self.closing = true;
        let left: HashSet<BoundId> = left.iter().copied().collect();
        for (slot, bound) in self.sockets.iter_mut().filter(|(_, bound)| !bound.closing) {
            bound.closing = true;
            let listener = ListenerId(slot.index);
            if left.contains(&bound.id) {
                engine.leave_listener(listener);
            } else {
                engine.close_listener(listener);
            }
        }
    }

    /// What a connection that came in on `listener` is admitted under.
    fn admit(&self, listener: ListenerId) -> Option<(Rc<Generation>, usize)> {
        let bound = self.sockets.get(self.sockets.id_at(listener.0)?)?;
        Some((Rc::clone(&bound.generation), bound.position))
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.resume_at
    }

    /// Accepts again when it is time to try and there is `room` in this shard and in all.
    pub(super) fn resume_when_due<E: Engine>(&mut self, now: Time, room: bool, engine: &mut E) {
        if self.resume_at.is_some_and(|at| at <= now) {
            if room {
                self.resume(engine);
            } else {
                // Accepting now would only be to turn away who can wait.
                self.resume_at = Some(now + RETRY);
            }
        }
    }

    /// Counts a connection out that has ended.
    fn leave(&self) {
        self.admitted.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one more connection in, if there is room.
    fn enter(&self) -> bool {
        if self.admitted.fetch_add(1, Ordering::Relaxed) < self.max_connections {
            return true;
        }
        self.admitted.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Whether there is room for one more than those that are open and `waiting`.
    fn has_room(&self, waiting: usize) -> bool {
        self.admitted.load(Ordering::Relaxed) as usize + waiting < self.max_connections as usize
    }

    /// Stops accepting for a while. Retrying by the clock also covers room that other shards make.
    fn pause<E: Engine>(&mut self, now: Time, engine: &mut E) {
        if self.resume_at.is_none() {
            for (slot, _) in self.sockets.iter() {
                engine.pause_accept(ListenerId(slot.index));
            }
        }
        self.resume_at = Some(now + RETRY);
    }

    /// Accepts again after a failure that says nothing about room; where there is none, later.
    fn go_on<E: Engine>(&self, listener: ListenerId, engine: &mut E) {
        if self.resume_at.is_none() {
            engine.resume_accept(listener);
        }
    }

    fn resume<E: Engine>(&mut self, engine: &mut E) {
        self.resume_at = None;
        for (slot, _) in self.sockets.iter().filter(|(_, bound)| !bound.closing) {
            engine.resume_accept(ListenerId(slot.index));
        }
    }
}

/// A connection that the kernel has accepted, and that has not had its turn yet.
pub(super) struct Newcomer<S> {
    /// What it is admitted under.
    generation: Rc<Generation>,
    /// Position of its listener in the generation's policy.
    position: usize,
    stream: S,
    peer: Option<SocketAddr>,
}

/// Room for them, made at once: memory at rest is the same from then on.
pub(super) fn newcomers<S>() -> VecDeque<Newcomer<S>> {
    VecDeque::with_capacity(ENOUGH_NEWCOMERS)
}

impl<E: Engine> Shard<E> {
    /// A few newcomers go in each turn, with what connections that are up want in between: however many
    /// come at once, a message waits for a few of them only.
    pub(super) fn on_accepted(
        &mut self,
        listener: ListenerId,
        stream: E::Stream,
        peer: Option<SocketAddr>,
    ) {
        let Some((generation, position)) = self.accepting.admit(listener) else {
            debug_assert!(false, "a listener that has closed accepts nothing");
            return;
        };
        if self.newcomers.len() >= MAX_NEWCOMERS {
            // Dropping the stream resets it.
            return self.turn_away(Shed::Queue);
        }
        self.newcomers.push_back(Newcomer { generation, position, stream, peer });
        // Who cannot be served soon waits in the accept queue.
        if !self.has_room() {
            self.accepting.pause(self.now, &mut self.engine);
        }
    }

    /// Whether one more could be let in behind those that wait.
    pub(super) fn has_room(&self) -> bool {
        let waiting = self.newcomers.len();
        waiting < ENOUGH_NEWCOMERS
            && self.slots.len() + waiting < self.slots.capacity()
            && self.accepting.has_room(waiting)
    }

    /// The turn's share of newcomers.
    pub(super) fn take_some_in(&mut self) {
        if self.newcomers.is_empty() {
            return;
        }
        for _ in 0..NEWCOMERS {
            let Some(newcomer) = self.newcomers.pop_front() else { break };
            self.let_in(newcomer);
            self.now = self.engine.now();
        }
        if self.newcomers.len() < ENOUGH_NEWCOMERS / 2 {
            self.newcomers.shrink_to(ENOUGH_NEWCOMERS);
            self.resume_accepting();
        }
    }

    /// A connection has ended.
    pub(super) fn on_left(&mut self) {
        self.accepting.leave();
        if self.newcomers.is_empty() {
            self.resume_accepting();
        }
    }

    /// Accepts again if that is paused and there is room.
    fn resume_accepting(&mut self) {
        if self.accepting.resume_at.is_some() && self.has_room() {
            self.accepting.resume(&mut self.engine);
        }
    }

    /// Counts one that has not become a connection.
    fn turn_away(&mut self, why: Shed) {
        self.telemetry.on_shed(why);
        self.note_shed(why);
        self.telemetry.on_refused(Refusal::Overload);
    }

    fn let_in(&mut self, newcomer: Newcomer<E::Stream>) {
        let Newcomer { generation, position, stream, peer } = newcomer;
        let policy = Arc::clone(&generation.policy.listeners[position]);
        if policy.downstream == Downstream::Tls
            && policy.proxy_in.is_none()
            && let Err(why) = self.handshakes.may_come(peer.map(|peer| peer.ip()), self.now)
        {
            // Dropping the stream resets it, before anything was spent on it.
            return self.turn_away(why);
        }
        if self.slots.is_full() || !self.accepting.enter() {
            // Dropping the stream resets it: it was already accepted when the limit was reached.
            self.telemetry.on_refused(Refusal::ConnectionLimit);
            return self.accepting.pause(self.now, &mut self.engine);
        }
        self.connections_seen += 1;
        self.telemetry.on_accept(policy.index);
        generation.connections.update(|connections| connections + 1);
        let connection = Connection::new(policy, peer, self.now);
        let id = self.connections_seen;
        let entry = Entry {
            connection,
            generation,
            id,
            scheduled: None,
            audited: None,
            lasts: false,
            leaving: false,
            waits: None,
            shaking: None,
        };
        let slot = self.slots.insert(entry).expect("checked above that there is room");
        let socket = SocketId { slot: slot.index, side: Side::Downstream };
        let first = match self.engine.adopt(socket, stream) {
            Ok(()) => {
                self.note_arrival(slot, socket);
                Input::Accepted
            }
            Err(error) => Input::Failed(Side::Downstream, Operation::Receive, error),
        };
        self.drive(slot, first);
        if let Some(reason) = self.stopped {
            // It was in the queue of a listener that closed after the others were stopped.
            self.stop(slot, reason);
        }
        if !self.has_room() {
            self.accepting.pause(self.now, &mut self.engine);
        }
    }

    /// Tells a connection what its component will want to know.
    fn note_arrival(&mut self, slot: SlotId, socket: SocketId) {
        let Some(Entry { connection, id, .. }) = self.slots.get_mut(slot) else { return };
        if connection.policy().introduces || connection.policy().proxy_in.is_some() {
            let unique_id = format!("{:016x}-{}-{id}", self.process, self.id);
            connection.arrived(self.engine.local_address(socket), unique_id);
        }
    }

    pub(super) fn on_accept_failed(&mut self, listener: ListenerId, error: &io::Error) {
        let kind = match error.raw_os_error() {
            Some(libc::EMFILE) => AcceptError::Emfile,
            Some(libc::ENFILE) => AcceptError::Enfile,
            Some(libc::ENOMEM | libc::ENOBUFS) => AcceptError::NoMemory,
            Some(libc::ECONNABORTED) => {
                self.telemetry.on_accept_error(AcceptError::Aborted);
                return self.accepting.go_on(listener, &mut self.engine);
            }
            _ => AcceptError::Other,
        };
        self.telemetry.on_accept_error(kind);
        // Without descriptors every further attempt fails, too: wait instead of spinning.
        self.accepting.pause(self.now, &mut self.engine);
    }
}

/// Newcomers of a turn. Each costs about 30 µs, of which a flood of them that are refused is made.
pub(super) const NEWCOMERS: usize = 8;
/// Above that, the others wait in the accept queue until half of them are in.
const ENOUGH_NEWCOMERS: usize = 256;
/// As many as the kernel may have accepted before it hears of that; others are reset.
const MAX_NEWCOMERS: usize = 4_096;
/// How long accepting pauses when a limit was hit and no connection of this shard ends meanwhile.
const RETRY: Duration = Duration::from_millis(50);
/// Listening sockets of one shard: those of the largest configuration, while a new one replaces
/// all of them.
const MAX_SOCKETS: u32 = 2 * 4096;
const TOO_MANY: &str = "more than 8,192 listening sockets on one worker";
