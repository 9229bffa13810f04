//! Connections as both of their ends see them, and who may still join.
//!
//! A [`Wire`] is one TCP connection: its near end belongs to the gateway, its far end to a peer or
//! a component. Bytes that were written and not yet read wait in one of its two [`Pipe`]s, which
//! stand for both sockets' buffers and all that is between them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::agenda::{Agenda, Task};
use super::hostility::Hostility;
use super::ports::{AcceptQueue, DroppedSockets};
use super::rng::Rng;
use super::trace::{Trace, What};
use crate::engine::Wake;
use crate::time::Time;

/// Names a connection; counts from zero over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WireId(pub usize);

/// The clock of a run. Only the engine moves it; TLS on both sides reads it.
#[derive(Clone, Debug, Default)]
pub struct SimClock(Arc<AtomicU64>);

impl SimClock {
    pub fn now(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, now: Time) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }
}

/// What a far end gets when it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FarRead {
    Data(Vec<u8>),
    /// Not now.
    Nothing,
    Fin,
    Reset,
}

/// All connections, accept queues, and what is going to happen.
pub struct Network {
    pub(super) clock: SimClock,
    /// What the event that is being handled takes; becomes time when the clock is read next.
    pub(super) cost: Cell<Duration>,
    /// Time that passes between two looks at the clock besides.
    pub(super) pace: Duration,
    pub(super) rng: Rng,
    pub(super) hostility: Hostility,
    pub(super) agenda: Agenda,
    pub(super) wires: Vec<Wire>,
    pub(super) ports: Vec<AcceptQueue>,
    /// Descriptors of the gateway that are open.
    pub(super) descriptors: usize,
    pub(super) dropped: Dropped,
    pub(super) dropped_sockets: DroppedSockets,
    pub(super) waker: Arc<Waker>,
    pub(super) findings: Vec<String>,
    pub(super) trace: Trace,
}

/// Streams that were dropped and whose wires nobody has reset yet.
pub(super) type Dropped = Rc<RefCell<Vec<WireId>>>;

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// Bytes for the gateway.
    pub(super) inbound: Pipe,
    /// Bytes for the far end.
    pub(super) outbound: Pipe,
    /// Position of the gateway's socket, once it has one.
    pub(super) socket: Option<usize>,
    /// The gateway has closed it.
    pub(super) near_closed: bool,
    /// The far end has closed it: what is still sent there is answered by RST.
    far_closed: bool,
    /// Nothing moves any more, and nobody says so.
    pub(super) vanished: bool,
    /// RST, or an error that came of itself, has reached the gateway.
    pub(super) near_broken: bool,
    /// What the gateway's next operation fails with; told once, as SO_ERROR is.
    pub(super) near_error: Option<i32>,
    /// RST has reached the far end.
    far_reset: bool,
    /// The far end is going to be woken.
    far_due: bool,
    /// Both ends exist.
    established: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) bytes: VecDeque<u8>,
    /// FIN is behind `bytes`.
    pub(super) fin: bool,
}

/// Sets a flag that the engine looks at.
#[derive(Debug, Default)]
pub(super) struct Waker(AtomicBool);

impl Wake for Waker {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Waker {
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Network {
    pub(super) fn new(rng: Rng, hostility: Hostility) -> Self {
        Self {
            clock: SimClock::default(),
            cost: Cell::default(),
            pace: Duration::ZERO,
            rng,
            hostility,
            agenda: Agenda::default(),
            wires: Vec::new(),
            ports: Vec::new(),
            descriptors: 0,
            dropped: Dropped::default(),
            dropped_sockets: DroppedSockets::default(),
            waker: Arc::default(),
            findings: Vec::new(),
            trace: Trace::default(),
        }
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// What TLS on both sides reads the time from.
    pub fn clock(&self) -> SimClock {
        self.clock.clone()
    }

    /// A handle of the trace of this run.
    pub fn trace(&self) -> Trace {
        self.trace.clone()
    }

    /// Wakes the shard, as another thread would.
    pub fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }

    /// Says something in the trace.
    pub fn note(&self, note: String) {
        self.trace.add(self.now(), What::Note(note));
    }

    /// Something is not as it should be.
    pub fn find(&mut self, finding: String) {
        self.note(format!("FINDING: {finding}"));
        self.findings.push(finding);
    }

    /// Has [`Outside::on_alarm`](super::Outside::on_alarm) called with `alarm` after `time`.
    pub fn alarm(&mut self, time: Duration, alarm: usize) {
        let at = self.now() + time;
        self.agenda.add(at, Task::Alarm(alarm));
    }

    /// Reads at most `most` bytes at the far end.
    pub fn read(&mut self, wire: WireId, most: usize) -> FarRead {
        let state = &mut self.wires[wire.0];
        let len = most.min(state.outbound.bytes.len());
        let answer = match len {
            _ if state.vanished || most == 0 => FarRead::Nothing,
            0 if state.far_reset => FarRead::Reset,
            0 if state.outbound.fin => FarRead::Fin,
            0 => FarRead::Nothing,
            _ => FarRead::Data(state.outbound.take(len)),
        };
        if len > 0 {
            self.touch_near(wire);
        }
        answer
    }

    /// Writes at the far end; says how much there was room for, or `None` after RST.
    pub fn write(&mut self, wire: WireId, data: &[u8]) -> Option<usize> {
        let capacity = self.hostility.capacity;
        let state = &mut self.wires[wire.0];
        if state.far_reset || state.near_broken {
            return None;
        }
        if state.vanished {
            return Some(0);
        }
        if state.near_closed {
            // Answered by RST (RFC 9293 §3.10.7.1).
            self.reset_far(wire);
            return Some(data.len());
        }
        debug_assert!(!state.inbound.fin, "writes after FIN");
        let len = data.len().min(capacity.saturating_sub(state.inbound.bytes.len()));
        state.inbound.bytes.extend(&data[..len]);
        self.touch_near(wire);
        Some(len)
    }

    /// The far end has nothing more to say.
    pub fn shut_down(&mut self, wire: WireId) {
        let state = &mut self.wires[wire.0];
        if !state.vanished && !state.near_broken {
            state.inbound.fin = true;
            self.touch_near(wire);
        }
    }

    /// The far end's socket closes: with FIN, or with RST when bytes are unread (RFC 2525 §2.17).
    pub fn close(&mut self, wire: WireId) {
        let state = &mut self.wires[wire.0];
        if state.outbound.bytes.is_empty() {
            self.shut_down(wire);
            self.wires[wire.0].far_closed = true;
        } else {
            self.reset(wire);
        }
    }

    /// RST from the far end.
    pub fn reset(&mut self, wire: WireId) {
        if !self.wires[wire.0].vanished {
            self.break_near(wire, libc::ECONNRESET);
        }
    }

    /// The far end is gone without a word. After `notice`, the gateway's kernel gives up on it.
    pub fn vanish(&mut self, wire: WireId, notice: Option<Duration>) {
        self.wires[wire.0].vanished = true;
        if let Some(notice) = notice {
            let at = self.now() + notice;
            self.agenda.add(at, Task::TimedOut(wire));
        }
    }

    /// Calls [`Outside::on_wire`](super::Outside::on_wire) after `time`.
    pub fn wake_far_in(&mut self, wire: WireId, time: Duration) {
        let at = self.now() + time;
        self.agenda.add(at, Task::Far(wire));
    }

    /// Does `task` when the kernel comes to it.
    pub(super) fn schedule(&mut self, task: Task) {
        let at = self.now() + self.rng.time(self.hostility.latency);
        self.agenda.add(at, task);
    }

    /// The near end fails with `errno` from now on. What has not arrived by then may be lost.
    pub(super) fn break_near(&mut self, wire: WireId, errno: i32) {
        let state = &mut self.wires[wire.0];
        if state.near_broken {
            return;
        }
        state.near_broken = true;
        state.near_error = Some(errno);
        let kept = self.rng.below(state.inbound.bytes.len() + 1);
        state.inbound.bytes.truncate(kept);
        state.inbound.fin = false;
        self.touch_near(wire);
    }

    /// RST arrives at the far end. What it has not read may be lost.
    pub(super) fn reset_far(&mut self, wire: WireId) {
        let state = &mut self.wires[wire.0];
        state.far_reset = true;
        let kept = self.rng.below(state.outbound.bytes.len() + 1);
        state.outbound.bytes.truncate(kept);
        state.outbound.fin = false;
        self.touch_far(wire);
    }

    /// The gateway has closed its end.
    pub(super) fn close_near(&mut self, wire: WireId, reset: bool) {
        self.descriptors -= 1;
        let state = &mut self.wires[wire.0];
        debug_assert!(!state.near_closed, "closed twice");
        state.near_closed = true;
        state.socket = None;
        if state.near_broken || state.far_closed && state.outbound.bytes.is_empty() {
            return;
        }
        // Closing with bytes unread sends RST (RFC 2525 §2.17).
        if reset || !state.inbound.bytes.is_empty() {
            self.reset_far(wire);
        } else {
            state.outbound.fin = true;
            self.touch_far(wire);
        }
    }

    /// Bytes from the gateway.
    pub(super) fn push_outbound(&mut self, wire: WireId, data: &[u8]) {
        let state = &mut self.wires[wire.0];
        if state.far_closed {
            // Answered by RST.
            self.break_near(wire, libc::ECONNRESET);
        } else {
            state.outbound.bytes.extend(data);
            self.touch_far(wire);
        }
    }

    /// Somebody has taken the gateway's call.
    pub(super) fn establish(&mut self, wire: WireId) {
        self.wires[wire.0].established = true;
        self.touch_far(wire);
    }

    /// A connection that was never accepted ends.
    pub(super) fn turn_away(&mut self, wire: WireId) {
        self.wires[wire.0].near_closed = true;
        self.reset_far(wire);
    }

    /// Something has changed for the far end.
    pub(super) fn touch_far(&mut self, wire: WireId) {
        let state = &mut self.wires[wire.0];
        if state.established && !std::mem::replace(&mut state.far_due, true) {
            self.schedule(Task::Far(wire));
        }
    }

    /// The far end is being woken.
    pub(super) fn far_woken(&mut self, wire: WireId) {
        self.wires[wire.0].far_due = false;
    }

    /// Something has changed for the gateway's socket.
    fn touch_near(&mut self, wire: WireId) {
        if let Some(socket) = self.wires[wire.0].socket {
            self.schedule(Task::Receive(socket));
            self.schedule(Task::Send(socket));
        }
    }
}

impl Pipe {
    /// Takes the first `len` bytes, which are there.
    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        let rest = self.bytes.split_off(len);
        std::mem::replace(&mut self.bytes, rest).into()
    }
}

impl Wire {
    pub(super) fn new() -> Self {
        Self { established: true, ..Self::unconnected() }
    }

    /// The gateway's socket at this position calls.
    pub(super) fn dialled(socket: usize) -> Self {
        Self { socket: Some(socket), ..Self::unconnected() }
    }

    fn unconnected() -> Self {
        Self {
            inbound: Pipe::default(),
            outbound: Pipe::default(),
            socket: None,
            near_closed: false,
            far_closed: false,
            vanished: false,
            near_broken: false,
            near_error: None,
            far_reset: false,
            far_due: false,
            established: false,
        }
    }
}
