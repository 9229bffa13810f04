//! Taking connections in, within limits: what cannot be served waits in the accept queue.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Entry, Shard};
use crate::conn::{Connection, Input};
use crate::engine::{Engine, ListenerId, Operation, Side, SocketId};
use crate::telemetry::{AcceptError, Refusal};
use crate::time::Time;

/// Where the shard listens, and whether it may accept now.
pub(super) struct Accepting {
    /// Listeners that are not closed.
    listeners: Vec<ListenerId>,
    /// Connections of all shards.
    admitted: Arc<AtomicU32>,
    max_connections: u32,
    /// Set while accepting is paused: when to try again.
    resume_at: Option<Time>,
    closing: bool,
}

impl Accepting {
    pub(super) fn new(admitted: Arc<AtomicU32>, max_connections: u32) -> Self {
        let listeners = Vec::new();
        Self { listeners, admitted, max_connections, resume_at: None, closing: false }
    }

    pub(super) fn add(&mut self, listener: ListenerId) {
        self.listeners.push(listener);
    }

    pub(super) fn remove(&mut self, listener: ListenerId) {
        self.listeners.retain(|open| *open != listener);
    }

    /// True when a drain or a stop has closed every listener.
    pub(super) fn is_closed(&self) -> bool {
        self.closing && self.listeners.is_empty()
    }

    pub(super) fn close_all<E: Engine>(&mut self, engine: &mut E) {
        if !std::mem::replace(&mut self.closing, true) {
            for listener in &self.listeners {
                engine.close_listener(*listener);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.resume_at
    }

    /// Accepts again when it is time to try and there is `room` in this shard and in all.
    pub(super) fn resume_when_due<E: Engine>(&mut self, now: Time, room: bool, engine: &mut E) {
        if self.resume_at.is_some_and(|at| at <= now) {
            if room && !self.is_full() {
                self.resume(engine);
            } else {
                // Accepting now would only be to turn away who can wait.
                self.resume_at = Some(now + RETRY);
            }
        }
    }

    /// A connection has ended, so there may be room again.
    pub(super) fn leave<E: Engine>(&mut self, engine: &mut E) {
        self.admitted.fetch_sub(1, Ordering::Relaxed);
        if self.resume_at.is_some() {
            self.resume(engine);
        }
    }

    /// Counts one more connection in, if there is room.
    fn enter(&self) -> bool {
        if self.admitted.fetch_add(1, Ordering::Relaxed) < self.max_connections {
            return true;
        }
        self.admitted.fetch_sub(1, Ordering::Relaxed);
        false
    }

    fn is_full(&self) -> bool {
        self.admitted.load(Ordering::Relaxed) >= self.max_connections
    }

    /// Stops accepting for a while. Retrying by the clock also covers room that other shards make.
    fn pause<E: Engine>(&mut self, now: Time, engine: &mut E) {
        if self.resume_at.is_none() {
            for listener in &self.listeners {
                engine.pause_accept(*listener);
            }
        }
        self.resume_at = Some(now + RETRY);
    }

    fn resume<E: Engine>(&mut self, engine: &mut E) {
        self.resume_at = None;
        if !self.closing {
            for listener in &self.listeners {
                engine.resume_accept(*listener);
            }
        }
    }
}

impl<E: Engine> Shard<E> {
    pub(super) fn on_accepted(
        &mut self,
        listener: ListenerId,
        stream: E::Stream,
        peer: Option<SocketAddr>,
    ) {
        if self.slots.is_full() || !self.accepting.enter() {
            // Dropping the stream resets it: it was already accepted when the limit was reached.
            self.telemetry.on_refused(Refusal::ConnectionLimit);
            return self.accepting.pause(self.now, &mut self.engine);
        }
        let policy = &self.policy.listeners[listener.0 as usize];
        self.connections_seen += 1;
        self.telemetry.on_accept(policy.index);
        let connection = Connection::new(Arc::clone(policy), peer, self.now);
        let entry = Entry { connection, id: self.connections_seen, scheduled: None };
        let slot = self.slots.insert(entry).expect("checked above that there is room");
        let socket = SocketId { slot: slot.index, side: Side::Downstream };
        let first = match self.engine.adopt(socket, stream) {
            Ok(()) => Input::Accepted,
            Err(error) => Input::Failed(Side::Downstream, Operation::Receive, error),
        };
        self.drive(slot, first);
        if let Some(reason) = self.stopped {
            // It was in the queue of a listener that closed after the others were stopped.
            self.stop(slot, reason);
        }
        if self.slots.is_full() || self.accepting.is_full() {
            self.accepting.pause(self.now, &mut self.engine);
        }
    }

    pub(super) fn on_accept_failed(&mut self, listener: ListenerId, error: &io::Error) {
        let kind = match error.raw_os_error() {
            Some(libc::EMFILE) => AcceptError::Emfile,
            Some(libc::ENFILE) => AcceptError::Enfile,
            Some(libc::ENOMEM | libc::ENOBUFS) => AcceptError::NoMemory,
            Some(libc::ECONNABORTED) => {
                self.telemetry.on_accept_error(AcceptError::Aborted);
                return self.engine.resume_accept(listener);
            }
            _ => AcceptError::Other,
        };
        self.telemetry.on_accept_error(kind);
        // Without descriptors every further attempt fails, too: wait instead of spinning.
        self.accepting.pause(self.now, &mut self.engine);
    }
}

/// How long accepting pauses when a limit was hit and no connection of this shard ends meanwhile.
const RETRY: Duration = Duration::from_millis(50);
