//! Where peers connect to, and wait to be accepted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use super::agenda::Task;
use super::network::{Network, Wire, WireId};
use super::trace::What;

/// Names a listening socket for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(pub usize);

/// A bound, listening socket; closed when dropped.
#[derive(Debug)]
pub struct Socket {
    pub(super) port: Port,
    /// Where it says that it was dropped; `None` once an engine listens on it.
    pub(super) dropped: Option<DroppedSockets>,
}

/// Sockets that were dropped and are not closed yet.
pub(super) type DroppedSockets = Rc<RefCell<Vec<Port>>>;

/// What waits to be accepted.
#[derive(Debug, Default)]
pub(super) struct AcceptQueue {
    pub(super) waiting: VecDeque<(WireId, SocketAddr)>,
    pub(super) open: bool,
    /// Position of the listener that accepts from it.
    pub(super) listener: Option<usize>,
}

impl Socket {
    pub fn port(&self) -> Port {
        self.port
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.borrow_mut().push(self.port);
        }
    }
}

impl Network {
    /// A socket that can be connected to; what comes waits until somebody listens.
    pub fn bind(&mut self) -> Socket {
        self.descriptors += 1;
        self.ports.push(AcceptQueue { open: true, ..AcceptQueue::default() });
        let dropped = Some(Rc::clone(&self.dropped_sockets));
        Socket { port: Port(self.ports.len() - 1), dropped }
    }

    /// Connects to the gateway; `None` when it refuses.
    pub fn connect(&mut self, port: Port, from: SocketAddr) -> Option<WireId> {
        let backlog = self.hostility.backlog;
        let queue = &mut self.ports[port.0];
        if !queue.open || queue.waiting.len() >= backlog {
            return None;
        }
        let wire = WireId(self.wires.len());
        queue.waiting.push_back((wire, from));
        let listener = queue.listener;
        self.wires.push(Wire::new());
        self.trace.add(self.now(), What::Queued { wire });
        if let Some(listener) = listener {
            self.schedule(Task::Accept(listener));
        }
        Some(wire)
    }

    /// Closes a socket; who still waits there is turned away.
    pub(super) fn close_port(&mut self, port: Port) {
        self.descriptors -= 1;
        let queue = &mut self.ports[port.0];
        (queue.open, queue.listener) = (false, None);
        for (wire, _) in std::mem::take(&mut queue.waiting) {
            self.turn_away(wire);
        }
    }
}
