//! Accepting on non-blocking listeners, a bounded number per turn.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::engine::{Event, ListenerId, socket};

/// The listeners of one shard.
#[derive(Default)]
pub(super) struct Listeners {
    entries: Vec<Option<Entry>>,
    /// Accepts left in this turn.
    budget: usize,
    /// The listener that comes first in this turn: the next one in the next.
    first: usize,
}

struct Entry {
    listener: socket::Listener,
    paused: bool,
    /// The kernel has said that connections wait; cleared when the queue is empty.
    ready: bool,
}

impl Listeners {
    pub(super) fn add(
        &mut self,
        registry: &Registry,
        token: Token,
        id: ListenerId,
        listener: socket::Listener,
    ) -> io::Result<()> {
        let fd = listener.socket.as_raw_fd();
        rustix::io::ioctl_fionbio(&listener.socket, true)?;
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        let index = id.0 as usize;
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        self.entries[index] = Some(Entry { listener, paused: false, ready: true });
        Ok(())
    }

    pub(super) fn pause(&mut self, listener: ListenerId) {
        if let Some(entry) = self.get(listener) {
            entry.paused = true;
        }
    }

    pub(super) fn resume(&mut self, listener: ListenerId) {
        if let Some(entry) = self.get(listener) {
            entry.paused = false;
            entry.ready = true;
        }
    }

    pub(super) fn close(
        &mut self,
        registry: &Registry,
        listener: ListenerId,
        events: &mut VecDeque<Event<socket::Stream>>,
    ) {
        let Some(entry) = self.remove(registry, listener) else { return };
        for stream in socket::drain_accept_queue(&entry.listener, FLAGS) {
            let peer = stream.peer();
            events.push_back(Event::Accepted { listener, stream, peer });
        }
        events.push_back(Event::ListenerClosed { listener });
    }

    /// Closing is not enough to unwatch a socket that others have open, too (epoll(7), Q6).
    fn remove(&mut self, registry: &Registry, listener: ListenerId) -> Option<Entry> {
        let entry = self.entries.get_mut(listener.0 as usize)?.take()?;
        let fd = entry.listener.socket.as_raw_fd();
        // It was registered, so this cannot fail; if it did, its events would find no entry.
        let _registered = registry.deregister(&mut SourceFd(&fd));
        Some(entry)
    }

    pub(super) fn mark_ready(&mut self, index: usize) {
        if let Some(Some(entry)) = self.entries.get_mut(index) {
            entry.ready = true;
        }
    }

    pub(super) fn any_ready(&self) -> bool {
        self.entries.iter().flatten().any(|entry| entry.ready && !entry.paused)
    }

    pub(super) fn start_turn(&mut self) {
        self.budget = ACCEPTS_PER_TURN;
        self.first = self.first.wrapping_add(1);
    }

    /// The next connection of this turn.
    pub(super) fn accept(&mut self) -> Option<Event<socket::Stream>> {
        let count = self.entries.len();
        for index in (0..count).map(|step| self.first.wrapping_add(step) % count) {
            let Some(entry) = &mut self.entries[index] else { continue };
            if !entry.ready || entry.paused {
                continue;
            }
            let listener = ListenerId(u32::try_from(index).expect("added by a u32"));
            while self.budget > 0 {
                self.budget -= 1;
                match rustix::net::accept_with(&entry.listener.socket, FLAGS) {
                    Ok(fd) => {
                        let peer = socket::peer_of(&fd);
                        let stream = socket::Stream::new(fd);
                        return Some(Event::Accepted { listener, stream, peer });
                    }
                    Err(Errno::WOULDBLOCK) => {
                        entry.ready = false;
                        break;
                    }
                    Err(Errno::INTR | Errno::CONNABORTED) => {}
                    Err(errno) => {
                        entry.paused = true;
                        return Some(Event::AcceptFailed { listener, error: errno.into() });
                    }
                }
            }
        }
        None
    }

    pub(super) fn share(&mut self, listener: ListenerId) {
        if let Some(entry) = self.get(listener) {
            entry.listener.shared = true;
        }
    }

    fn get(&mut self, listener: ListenerId) -> Option<&mut Entry> {
        self.entries.get_mut(listener.0 as usize)?.as_mut()
    }
}

/// Accepts per turn over all listeners: more would let a storm of new connections hold up the
/// established ones.
const ACCEPTS_PER_TURN: usize = 64;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
