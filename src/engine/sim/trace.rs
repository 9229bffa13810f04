//! What happened, in order: two runs of one seed must tell the same.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::network::WireId;
use super::ports::Port;
use crate::buf::BufClass;
use crate::engine::{CloseMode, ListenerId, Operation, SocketId};
use crate::time::Time;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub at: Time,
    pub what: What,
}

/// Operations that the shard started (`Do`), events that it was given (`Got`), and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    DoWait {
        deadline: Option<Time>,
    },
    /// The wait is over; this many completions are there.
    Turn {
        completions: usize,
    },
    DoListen {
        listener: ListenerId,
        port: Port,
    },
    DoPause {
        listener: ListenerId,
    },
    DoResume {
        listener: ListenerId,
    },
    DoCloseListener {
        listener: ListenerId,
    },
    DoAdopt {
        socket: SocketId,
        wire: WireId,
        ok: bool,
    },
    DoConnect {
        socket: SocketId,
        wire: Option<WireId>,
    },
    DoReceive {
        socket: SocketId,
        class: BufClass,
    },
    DoSend {
        socket: SocketId,
        len: usize,
    },
    DoShutdown {
        socket: SocketId,
    },
    DoClose {
        socket: SocketId,
        how: CloseMode,
        /// Of its connection's downstream and upstream.
        standing: [Standing; 2],
    },
    GotAccepted {
        listener: ListenerId,
        wire: WireId,
    },
    GotAcceptFailed {
        listener: ListenerId,
        errno: i32,
    },
    GotListenerClosed {
        listener: ListenerId,
    },
    GotConnected {
        socket: SocketId,
    },
    GotReceived {
        socket: SocketId,
        len: usize,
    },
    GotReceiveClosed {
        socket: SocketId,
    },
    GotSent {
        socket: SocketId,
    },
    GotFailed {
        socket: SocketId,
        operation: Operation,
        errno: i32,
    },
    GotClosed {
        socket: SocketId,
    },
    GotWoken,
    /// A peer waits to be accepted.
    Queued {
        wire: WireId,
    },
    /// What somebody outside the engine has to say.
    Note(String),
}

/// What a socket was at when its connection began to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Bytes that have come and were not received.
    pub unread: usize,
    pub receiving: bool,
    pub sending: bool,
}

/// A handle of one trace; clones write to the same.
#[derive(Clone, Debug, Default)]
pub struct Trace(Rc<RefCell<Vec<Entry>>>);

impl Trace {
    pub fn add(&self, at: Time, what: What) {
        self.0.borrow_mut().push(Entry { at, what });
    }

    /// Entries so far.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what was written so far.
    pub fn take(&self) -> Vec<Entry> {
        self.0.take()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at.as_nanos() / 1000;
        write!(f, "{:>5}.{:06} ", micros / 1_000_000, micros % 1_000_000)?;
        match &self.what {
            What::Note(note) => f.write_str(note),
            what => what.fmt(f),
        }
    }
}
