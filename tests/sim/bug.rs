//! Deliberate bugs, to see that they are found.
//!
//! They sit in the seam, between the shard and its engine: to each side it looks as if the other
//! one had the bug. A completion that the shard's loop drops, and one that the engine drops, are
//! the same thing there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tlsgate::buf::{Buf, BufClass, Layout, Pool};
use tlsgate::config::model::Keepalive;
use tlsgate::engine::sim::ports::Socket;
use tlsgate::engine::sim::rng::Rng;
use tlsgate::engine::sim::{Outside, SimEngine, Stream};
use tlsgate::engine::{
    Address, CloseMode, Engine, EngineStats, Event, ListenerId, SocketId, Source, Wake,
};
use tlsgate::time::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Now and then the end of a receive or a send is not told.
    DroppedCompletion,
    /// Now and then a socket is reported closed twice, the second time when its slot may be
    /// another connection's: as if the slot had been freed twice.
    SlotFreedTwice,
    /// A wake-up from another thread is not told.
    LostWakeUp,
    /// A wait forgets its deadline.
    LostDeadline,
    /// Now and then the first two bytes of a send change places.
    SwappedBytes,
    /// A socket is not closed, and reported to be.
    LeakedSocket,
}

/// The simulated engine, with a bug or without.
pub(crate) struct Buggy<O> {
    sim: SimEngine<O>,
    bug: Option<Bug>,
    rng: Rng,
    /// Told once already.
    closed: Option<SocketId>,
    /// Reported as closed, and not so.
    leaked: Vec<SocketId>,
}

impl<O: Outside> Buggy<O> {
    pub(crate) fn new(sim: SimEngine<O>, bug: Option<Bug>, rng: Rng) -> Self {
        Self { sim, bug, rng, closed: None, leaked: Vec::new() }
    }

    pub(crate) fn into_sim(self) -> SimEngine<O> {
        self.sim
    }

    fn strikes(&mut self, bug: Bug, percent: u32) -> bool {
        self.bug == Some(bug) && self.rng.chance(percent)
    }

    /// True for an event that the shard does not get.
    fn swallows(&mut self, event: &Event<Stream>) -> bool {
        match event {
            Event::Received { .. } | Event::Sent { .. } => self.strikes(Bug::DroppedCompletion, 2),
            Event::Woken => self.strikes(Bug::LostWakeUp, 100),
            _ => false,
        }
    }
}

impl<O: Outside> Engine for Buggy<O> {
    type Listener = Socket;
    type Stream = Stream;

    fn now(&self) -> Time {
        self.sim.now()
    }

    fn pool(&self) -> &Pool {
        self.sim.pool()
    }

    fn listen(&mut self, id: ListenerId, listener: Socket) -> io::Result<()> {
        self.sim.listen(id, listener)
    }

    fn pause_accept(&mut self, listener: ListenerId) {
        self.sim.pause_accept(listener);
    }

    fn resume_accept(&mut self, listener: ListenerId) {
        self.sim.resume_accept(listener);
    }

    fn close_listener(&mut self, listener: ListenerId) {
        self.sim.close_listener(listener);
    }

    fn adopt(&mut self, socket: SocketId, stream: Stream) -> io::Result<()> {
        self.sim.adopt(socket, stream)
    }

    fn local_address(&self, socket: SocketId) -> Option<SocketAddr> {
        self.sim.local_address(socket)
    }

    fn connect(&mut self, socket: SocketId, to: &Address, source: Source) {
        self.sim.connect(socket, to, source);
    }

    fn keep_alive(&mut self, socket: SocketId, keepalive: &Keepalive) {
        self.sim.keep_alive(socket, keepalive);
    }

    fn receive(&mut self, socket: SocketId, class: BufClass, layout: Layout) {
        self.sim.receive(socket, class, layout);
    }

    fn send(&mut self, socket: SocketId, mut buf: Buf) {
        if buf.len() > 1 && self.strikes(Bug::SwappedBytes, 5) {
            buf.contiguous().swap(0, 1);
        }
        self.sim.send(socket, buf);
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        self.sim.shutdown_write(socket);
    }

    fn close(&mut self, socket: SocketId, how: CloseMode) {
        if self.strikes(Bug::LeakedSocket, 20) {
            self.leaked.push(socket);
        } else {
            self.sim.close(socket, how);
        }
    }

    fn wait(&mut self, deadline: Option<Time>) -> io::Result<()> {
        let deadline = deadline.filter(|_| !self.strikes(Bug::LostDeadline, 100));
        self.sim.wait(deadline)
    }

    fn next_event(&mut self) -> Option<Event<Stream>> {
        if let Some(socket) = self.leaked.pop() {
            return Some(Event::Closed { socket });
        }
        if let Some(socket) = self.closed.filter(|_| self.rng.chance(20)) {
            self.closed = None;
            return Some(Event::Closed { socket });
        }
        loop {
            let event = self.sim.next_event()?;
            if self.swallows(&event) {
                continue;
            }
            if let Event::Closed { socket } = &event
                && self.strikes(Bug::SlotFreedTwice, 100)
            {
                self.closed = Some(*socket);
            }
            return Some(event);
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.sim.waker()
    }

    fn stats(&self) -> EngineStats {
        self.sim.stats()
    }
}
