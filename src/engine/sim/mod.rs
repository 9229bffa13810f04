//! A kernel made of chance, on a virtual clock: the engine that the shard is proven under.
//!
//! It drives the shard that the product runs, and is part of the library so that tests outside it
//! can; no program of ours names it, so it is in none of them. Everything it does follows from a
//! seed: same seed, same events, lengths and times. Pure: no sockets, clocks, threads.
//!
//! What it may do is what one of the two real engines may do, of each the harder part: completions
//! in any order and few at a time, short transfers, receives that wait for buffers, operations that
//! end after their socket was asked to close, accepts that fail or come after a pause. What peers
//! and components do is up to an [`Outside`]. It also keeps watch: whatever breaks the engine's
//! contract is a finding, and so is a wait that nothing will ever end.

mod agenda;
pub mod hostility;
mod listeners;
pub mod network;
pub mod ports;
pub mod rng;
mod sockets;
pub mod trace;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Address, CloseMode, Engine, EngineStats, Event, ListenerId, Side, SocketId, Source, Wake,
};
use crate::buf::{Buf, BufClass, Layout, Pool};
use crate::config::model::Keepalive;
use crate::time::Time;
use agenda::Task;
use hostility::Hostility;
use listeners::Listener;
use network::{Dropped, Network, WireId};
use rng::Rng;
use sockets::SocketEntry;
use trace::What;

/// Peers and components: everything beyond the gateway's sockets.
pub trait Outside {
    /// The gateway dials `to`, for the connection that came in on `from`. `wire` may be used once
    /// the answer has come true.
    fn on_dial(&mut self, wire: WireId, from: WireId, to: &Address, network: &mut Network) -> Dial;

    /// Something may have changed at the far end of a wire.
    fn on_wire(&mut self, wire: WireId, network: &mut Network);

    /// See [`Network::alarm`].
    fn on_alarm(&mut self, alarm: usize, network: &mut Network);
}

/// What becomes of an attempt to dial.
#[derive(Clone, Copy, Debug)]
pub enum Dial {
    Accepted { after: Duration },
    Failed { errno: i32, after: Duration },
    Never,
}

/// The simulated engine.
pub struct SimEngine<O> {
    network: Network,
    outside: O,
    pool: Pool,
    sockets: Vec<SocketEntry>,
    listeners: Vec<Option<Listener>>,
    completions: Vec<Event<Stream>>,
    /// How many completions this turn may still hand out.
    quota: usize,
    /// Buffers taken in advance, and how many there may be of each class.
    provided: [Vec<Buf>; BufClass::COUNT],
    most_provided: [usize; BufClass::COUNT],
    /// Positions of sockets whose receive found no buffer.
    starved: VecDeque<usize>,
    stats: EngineStats,
}

/// An accepted connection that nobody has taken over.
#[derive(Debug)]
pub struct Stream {
    wire: WireId,
    /// Where it says that it was dropped; `None` once it was taken over.
    dropped: Option<Dropped>,
}

impl<O: Outside> SimEngine<O> {
    /// An engine with `buffer_memory` bytes of buffers. `outside` is made with the network that it
    /// is going to use.
    pub fn new(
        seed: u64,
        hostility: Hostility,
        buffer_memory: usize,
        outside: impl FnOnce(&mut Network) -> O,
    ) -> Self {
        let most_provided = BufClass::ALL.map(|class| match hostility.provided {
            Some(share) => (buffer_memory / share / class.capacity()).clamp(1, 512),
            None => 0,
        });
        let mut network = Network::new(Rng::new(seed), hostility);
        let outside = outside(&mut network);
        Self {
            network,
            outside,
            pool: Pool::new(buffer_memory, 4),
            sockets: Vec::new(),
            listeners: Vec::new(),
            completions: Vec::new(),
            quota: 0,
            provided: [Vec::new(), Vec::new()],
            most_provided,
            starved: VecDeque::new(),
            stats: EngineStats::default(),
        }
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    pub fn outside(&self) -> &O {
        &self.outside
    }

    /// The end of a run: lets peers and components see what was still on its way to them. Returns
    /// them, and what was found wrong: in the run, and in what a shard that is done left behind.
    pub fn end(mut self) -> (O, Vec<String>) {
        self.reset_dropped();
        while let Some(next) = self.network.agenda.next_time() {
            self.network.clock.set(next.max(self.network.now()));
            self.run_due_task();
            // A command that came too late took sockets with it.
            self.reset_dropped();
        }
        let mut findings = std::mem::take(&mut self.network.findings);
        for (index, socket) in self.sockets.iter().enumerate() {
            if let Some(left) = socket.left() {
                findings.push(format!("{:?} is left behind: {left}", SocketId::from_index(index)));
            }
        }
        if self.listeners.iter().any(Option::is_some) {
            findings.push("a listener was not closed".to_owned());
        }
        if self.network.descriptors > 0 {
            findings.push(format!("{} descriptors leaked", self.network.descriptors));
        }
        self.provided = [Vec::new(), Vec::new()];
        if self.pool.bytes_in_use() > 0 {
            findings.push(format!("{} bytes of buffers leaked", self.pool.bytes_in_use()));
        }
        (self.outside, findings)
    }

    /// Does what is due; false when there was nothing.
    fn run_due_task(&mut self) -> bool {
        let Some(task) = self.network.agenda.pop_due(self.network.now()) else { return false };
        match task {
            Task::Receive(index) => self.try_receive(index),
            Task::Send(index) => self.try_send(index),
            Task::Dialled(index, generation) => self.end_dialling(index, generation),
            Task::Cancelled(index, generation) => self.end_cancelled(index, generation),
            Task::Close(index, generation) => self.end_close(index, generation),
            Task::Accept(index) => self.try_accept(index),
            Task::EndListener(index) => self.end_listener(index),
            Task::TimedOut(wire) => {
                if !self.network.wires[wire.0].near_closed {
                    let errno = *self.network.rng.pick(&VANISHED);
                    self.network.break_near(wire, errno);
                }
            }
            Task::Far(wire) => {
                self.network.far_woken(wire);
                self.outside.on_wire(wire, &mut self.network);
            }
            Task::Alarm(alarm) => self.outside.on_alarm(alarm, &mut self.network),
        }
        true
    }

    /// Lets time pass until something has ended, or `deadline` has passed.
    fn pass_time(&mut self, deadline: Option<Time>) -> io::Result<()> {
        let mut tasks = 0;
        loop {
            while self.run_due_task() {
                tasks += 1;
                if tasks > MOST_TASKS {
                    return Err(io::Error::other("the network spins"));
                }
            }
            if self.network.waker.take() {
                self.completions.push(Event::Woken);
            }
            if !self.completions.is_empty() {
                return Ok(());
            }
            let now = self.network.now();
            match (self.network.agenda.next_time(), deadline) {
                (Some(next), None) => self.network.clock.set(next),
                (Some(next), Some(deadline)) if next <= deadline => self.network.clock.set(next),
                (_, Some(deadline)) => {
                    let late = self.network.rng.time(LATE);
                    self.network.clock.set(deadline.max(now) + late);
                    return Ok(());
                }
                (None, None) => {
                    return Err(io::Error::other("waits, and nothing will ever happen"));
                }
            }
        }
    }

    /// Starts again what had found no buffer, as far as there are buffers now.
    fn feed_starved(&mut self) {
        for class in BufClass::ALL {
            let provided = &mut self.provided[class.index()];
            while provided.len() < self.most_provided[class.index()]
                && let Some(buf) = self.pool.try_take(class)
            {
                provided.push(buf);
            }
        }
        for _ in 0..self.starved.len() {
            let Some(index) = self.starved.pop_front() else { break };
            let Some(class) = self.sockets[index].starved_class() else { continue };
            if self.room(class) > 0 {
                self.sockets[index].feed();
                self.network.schedule(Task::Receive(index));
            } else {
                self.starved.push_back(index);
            }
        }
    }

    fn room(&self, class: BufClass) -> usize {
        match self.network.hostility.provided {
            Some(_) => self.provided[class.index()].len(),
            None => self.pool.room(class),
        }
    }

    fn take_buf(&mut self, class: BufClass) -> Option<Buf> {
        if self.network.rng.chance(self.network.hostility.starvation) {
            return None;
        }
        match self.network.hostility.provided {
            Some(_) => self.provided[class.index()].pop(),
            None => self.pool.try_take(class),
        }
    }

    /// Resets and closes what the shard has dropped.
    fn reset_dropped(&mut self) {
        for wire in self.network.dropped.take() {
            self.network.close_near(wire, true);
        }
        for port in self.network.dropped_sockets.take() {
            self.network.close_port(port);
        }
    }

    /// Which completion comes next.
    fn choose(&mut self) -> usize {
        if !self.network.rng.chance(self.network.hostility.reorder) {
            return 0;
        }
        let chosen = self.network.rng.below(self.completions.len());
        // What was accepted comes before the end of its listener; nothing else has an order.
        let Event::ListenerClosed { listener } = self.completions[chosen] else { return chosen };
        let accepted = |event: &Event<Stream>| matches!(event, Event::Accepted { listener: of, .. } if *of == listener);
        self.completions.iter().position(accepted).unwrap_or(chosen)
    }

    /// Time that the shard takes over one event.
    fn charge(&mut self) {
        let slow = self.network.rng.chance(self.network.hostility.slow_event);
        let most = if slow { SLOW_EVENT } else { USUAL_EVENT };
        self.network.cost.set(self.network.rng.time(most));
    }

    /// Time that the shard takes over things that no event has brought.
    fn set_pace(&mut self) {
        let slow_turn = self.network.hostility.slow_turn;
        if slow_turn > 0 {
            let slow = self.network.rng.chance(slow_turn);
            self.network.pace =
                if slow { self.network.rng.time(SLOW_STEP) } else { Duration::ZERO };
        }
    }

    fn did(&mut self, what: What) {
        self.network.trace.add(self.network.now(), what);
    }
}

impl<O: Outside> Engine for SimEngine<O> {
    type Listener = ports::Socket;
    type Stream = Stream;

    fn now(&self) -> Time {
        let now = self.network.now() + self.network.cost.take() + self.network.pace;
        self.network.clock.set(now);
        now
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn listen(&mut self, id: ListenerId, socket: ports::Socket) -> io::Result<()> {
        self.add_listener(id, socket)
    }

    fn pause_accept(&mut self, listener: ListenerId) {
        self.pause_listener(listener);
    }

    fn resume_accept(&mut self, listener: ListenerId) {
        self.resume_listener(listener);
    }

    fn close_listener(&mut self, listener: ListenerId) {
        self.begin_to_end_listener(listener);
    }

    fn adopt(&mut self, socket: SocketId, stream: Stream) -> io::Result<()> {
        self.open_accepted(socket, stream)
    }

    fn local_address(&self, _socket: SocketId) -> Option<SocketAddr> {
        Some(OURS)
    }

    fn connect(&mut self, socket: SocketId, to: &Address, source: Source) {
        self.dial(socket, to, source);
    }

    fn keep_alive(&mut self, socket: SocketId, _keepalive: &Keepalive) {
        debug_assert!(
            socket.side == Side::Upstream,
            "accepted sockets have it from their listener"
        );
    }

    fn receive(&mut self, socket: SocketId, class: BufClass, layout: Layout) {
        self.start_receive(socket, class, layout);
    }

    fn send(&mut self, socket: SocketId, buf: Buf) {
        self.start_send(socket, buf);
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        self.send_fin(socket);
    }

    fn close(&mut self, socket: SocketId, how: CloseMode) {
        self.start_close(socket, how);
    }

    fn wait(&mut self, deadline: Option<Time>) -> io::Result<()> {
        self.did(What::DoWait { deadline });
        self.set_pace();
        self.reset_dropped();
        self.feed_starved();
        self.stats.turns += 1;
        let something_comes = deadline.is_some() || self.network.agenda.next_time().is_some();
        if !something_comes || !self.network.rng.chance(self.network.hostility.spurious) {
            self.pass_time(deadline)?;
        }
        let count = self.completions.len();
        self.did(What::Turn { completions: count });
        self.quota = match count {
            1.. if self.network.rng.chance(self.network.hostility.pressure) => {
                self.network.rng.between(1, count)
            }
            _ => usize::MAX,
        };
        Ok(())
    }

    fn next_event(&mut self) -> Option<Event<Stream>> {
        self.reset_dropped();
        while self.quota > 0 && !self.completions.is_empty() {
            self.quota -= 1;
            let chosen = self.choose();
            let event = self.completions.remove(chosen);
            if let Some(event) = self.hand_out(event) {
                self.stats.events += 1;
                self.charge();
                return Some(event);
            }
        }
        None
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.network.waker()
    }

    fn stats(&self) -> EngineStats {
        self.stats
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.borrow_mut().push(self.wire);
        }
    }
}

/// Where everybody connects to.
pub const OURS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100)), 5061);
/// What TCP says when a peer does not answer any more (tcp(7), "Error handling").
const VANISHED: [i32; 3] = [libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH];
/// How late a thread may wake up.
pub const LATE: Duration = Duration::from_millis(1);
/// Time that an event usually takes at most.
const USUAL_EVENT: Duration = Duration::from_micros(200);
/// Time that it takes at most on a machine that has other things to do.
const SLOW_EVENT: Duration = Duration::from_millis(30);
/// Time between two looks at the clock in a slow turn.
const SLOW_STEP: Duration = Duration::from_millis(5);
/// Tasks of one wait; more are a mistake of the simulation.
const MOST_TASKS: usize = 1_000_000;
