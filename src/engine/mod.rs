//! The seam between pure code and the kernel.
//!
//! An [`Engine`] is completion-shaped: an operation is started, and an [`Event`] says how it
//! ended. `uring` is that by nature, `epoll` is made to look so, and a simulated engine can drive
//! the same shard on a virtual clock.
//!
//! Contract, the same for every engine:
//! - events are queued by [`Engine::wait`] and taken one by one; the engine is never called back;
//! - at most one receive and one send are outstanding per socket;
//! - after [`Engine::close`] the only further event of that socket is [`Event::Closed`], and only
//!   then may its [`SocketId`] be used again.

mod effort;
pub mod epoll;
pub mod probe;
pub mod sim;
pub mod socket;
pub mod source;
#[allow(unsafe_code, reason = "the kernel works on memory that it is only told the address of")]
pub mod uring;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::buf::{Buf, BufClass, Layout, Pool};
use crate::config::model::Keepalive;
use crate::time::Time;
pub use source::Source;

/// One per shard, made and used on the shard's thread.
pub trait Engine {
    /// A bound, listening socket.
    type Listener;
    /// An accepted connection that no [`SocketId`] has been given to. Dropping it resets it.
    type Stream;

    /// Reads the clock. Called once per turn.
    fn now(&self) -> Time;

    /// The buffers that received bytes arrive in.
    fn pool(&self) -> &Pool;

    /// Starts accepting.
    ///
    /// # Errors
    /// When the kernel refuses to watch the socket.
    fn listen(&mut self, id: ListenerId, listener: Self::Listener) -> io::Result<()>;

    /// Stops accepting; peers wait in the accept queue.
    fn pause_accept(&mut self, listener: ListenerId);

    /// Accepts again after [`Engine::pause_accept`] or [`Event::AcceptFailed`].
    fn resume_accept(&mut self, listener: ListenerId);

    /// Accepts what is in the accept queue, lets nothing more in, closes the socket and ends with
    /// [`Event::ListenerClosed`].
    fn close_listener(&mut self, listener: ListenerId);

    /// As [`Engine::close_listener`] for a socket that another process has, too: what joins the
    /// accept queue from now on is for that process. What is in it already is accepted here,
    /// because it may be here that the kernel has told of it, and nowhere else.
    fn leave_listener(&mut self, listener: ListenerId) {
        // For engines whose sockets nobody else can have.
        self.close_listener(listener);
    }

    /// Gives an accepted connection its id.
    ///
    /// # Errors
    /// When the kernel refuses to watch the socket; the connection is closed.
    fn adopt(&mut self, socket: SocketId, stream: Self::Stream) -> io::Result<()>;

    /// Gives a connected socket that came from another process its id.
    ///
    /// # Errors
    /// When the kernel refuses to watch it, or the engine has no sockets of the kernel's; it is
    /// closed.
    fn take_over(&mut self, socket: SocketId, with: OwnedFd) -> io::Result<()> {
        let _nobody = (socket, with);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Puts another connected socket in the place of one on which nothing is outstanding, and gives
    /// that one back: for another process to go on with. What was not received is still in it.
    ///
    /// # Errors
    /// As [`Engine::take_over`]; then `with` is closed, and the socket stays where it is.
    fn exchange(&mut self, socket: SocketId, with: OwnedFd) -> io::Result<OwnedFd> {
        let _nobody = (socket, with);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Where the peer of an adopted connection has connected to; `None` for unix sockets.
    fn local_address(&self, socket: SocketId) -> Option<SocketAddr>;

    /// Dials; ends with [`Event::Connected`] or [`Event::Failed`]. EADDRNOTAVAIL says that the source
    /// has no port left towards `to`, or is not of this machine.
    fn connect(&mut self, socket: SocketId, to: &Address, source: Source);

    /// Has the kernel find out when the other end of a dialled socket is gone: for those that last.
    /// Accepted ones have it from their listener. Five system calls, which a short connection is spared.
    fn keep_alive(&mut self, socket: SocketId, keepalive: &Keepalive);

    /// Receives once, at most `class.receive_max(layout)` bytes, which lie in their buffer as
    /// `layout` says. Ends with [`Event::Received`], [`Event::ReceiveClosed`] or [`Event::Failed`].
    /// Not calling it again is backpressure.
    fn receive(&mut self, socket: SocketId, class: BufClass, layout: Layout);

    /// From now on, receives follow each other on this socket, and it is not exchanged: the engine
    /// may have the next bytes brought before they are asked for, as long as it hands out none.
    fn settle(&mut self, socket: SocketId) {
        // For engines that gain nothing by it.
        let _as_before = socket;
    }

    /// Sends the whole buffer, all its ranges one behind the other. Ends with [`Event::Sent`] or [`Event::Failed`].
    fn send(&mut self, socket: SocketId, buf: Buf);

    /// Sends FIN; receiving goes on.
    fn shutdown_write(&mut self, socket: SocketId);

    /// Cancels what is outstanding and closes; ends with [`Event::Closed`].
    fn close(&mut self, socket: SocketId, how: CloseMode);

    /// Submits operations and waits until something ended, `deadline` passed or the waker was
    /// used. Does not wait while events are left to take.
    ///
    /// # Errors
    /// Only when the engine itself is broken; the shard cannot go on.
    fn wait(&mut self, deadline: Option<Time>) -> io::Result<()>;

    /// The next event, or `None` when the turn is over.
    fn next_event(&mut self) -> Option<Event<Self::Stream>>;

    /// Ends a [`Engine::wait`] from another thread, as [`Event::Woken`].
    fn waker(&self) -> Arc<dyn Wake>;

    /// What the engine did since it was made.
    fn stats(&self) -> EngineStats;

    /// What the shard's thread did with its time; none where nobody keeps account of it.
    fn effort(&self) -> Option<Effort> {
        // For engines that have no CPU.
        None
    }
}

/// Wakes a shard from another thread.
pub trait Wake: Send + Sync {
    fn wake(&self);
}

/// How an operation ended, or what happened by itself.
#[derive(Debug)]
pub enum Event<S> {
    Accepted {
        listener: ListenerId,
        stream: S,
        /// `None` for unix sockets.
        peer: Option<SocketAddr>,
    },
    /// Accepting is paused until [`Engine::resume_accept`].
    AcceptFailed {
        listener: ListenerId,
        error: io::Error,
    },
    ListenerClosed {
        listener: ListenerId,
    },
    Connected {
        socket: SocketId,
    },
    Received {
        socket: SocketId,
        buf: Buf,
    },
    /// The peer's FIN.
    ReceiveClosed {
        socket: SocketId,
    },
    Sent {
        socket: SocketId,
    },
    Failed {
        socket: SocketId,
        operation: Operation,
        error: io::Error,
    },
    Closed {
        socket: SocketId,
    },
    Woken,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Connect,
    Receive,
    Send,
}

/// How a socket leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// With FIN, after what was sent.
    Fin,
    /// With RST: the peer must not mistake it for an orderly end.
    Reset,
}

/// Which of a connection's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Downstream,
    Upstream,
}

impl Side {
    pub const ALL: [Self; 2] = [Self::Downstream, Self::Upstream];

    /// Label value in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }

    /// The side that is not this one.
    pub const fn other(self) -> Self {
        match self {
            Self::Downstream => Self::Upstream,
            Self::Upstream => Self::Downstream,
        }
    }
}

/// Names a socket: a connection's slot and the side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    pub slot: u32,
    pub side: Side,
}

impl SocketId {
    /// Position in tables with two entries per slot.
    pub fn index(self) -> usize {
        // A slot index is a u32, so twice that fits a 64-bit usize.
        self.slot as usize * 2 + usize::from(self.side == Side::Upstream)
    }

    /// Inverse of [`SocketId::index`].
    pub fn from_index(index: usize) -> Self {
        let side = if index.is_multiple_of(2) { Side::Downstream } else { Side::Upstream };
        let slot = u32::try_from(index / 2).expect("made by SocketId::index");
        Self { slot, side }
    }
}

/// Names a listener: its position in the configuration the shard started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u32);

/// Where an upstream listens, names already resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Monotonic counts of one engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Returns from the blocking call (io_uring_enter, epoll_wait).
    pub turns: u64,
    /// Events handed to the shard.
    pub events: u64,
    /// System calls made to move data and wait: what batching saves.
    pub system_calls: u64,
    /// Completions that the kernel could not queue.
    pub ring_overflows: u64,
    /// Receives that waited because no buffer was free.
    pub starvations: u64,
}

/// What a thread did with its time since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// On a CPU, in the kernel or not.
    pub ran: Duration,
    /// It could have run, and others had its CPU.
    pub waited: Duration,
}

/// Sizes an engine is built with.
#[derive(Clone, Copy, Debug)]
pub struct EngineLimits {
    /// Connections; an engine holds two sockets for each.
    pub connections: u32,
    /// Bytes of buffers in use.
    pub buffer_memory: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_index_round_trips() {
        for slot in [0, 1, 7, u32::MAX / 2] {
            for side in [Side::Downstream, Side::Upstream] {
                let id = SocketId { slot, side };
                assert_eq!(SocketId::from_index(id.index()), id);
            }
        }
    }
}
