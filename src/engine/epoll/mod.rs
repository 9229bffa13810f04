//! Readiness made to look like completions: mio's epoll.
//!
//! For machines whose kernel or container blocks io_uring. A send is tried at once; a receive is
//! tried when the kernel has said that bytes are there. Both then surface as events, so the shard
//! cannot tell this engine from `uring`.

mod listener;
mod transfer;
mod waker;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::Shutdown;
use socket2::SockRef;

use super::{
    Address, CloseMode, Effort, Engine, EngineLimits, EngineStats, Event, ListenerId, Operation,
    SocketId, Source, Wake, effort, socket,
};
use crate::buf::{Buf, BufClass, Layout, Pool};
use crate::config::model::Keepalive;
use crate::time::Time;
use listener::Listeners;
use transfer::{receive, send};
use waker::Waker;

/// The epoll engine.
pub struct EpollEngine {
    poll: Poll,
    poll_events: Events,
    pool: Pool,
    sockets: Vec<SocketEntry>,
    listeners: Listeners,
    events: VecDeque<Event<socket::Stream>>,
    /// Sockets worth an attempt in this turn.
    ready: VecDeque<SocketId>,
    /// How many of `ready` this turn may still attempt.
    attempts: usize,
    /// Sockets whose receive found no buffer, per class.
    starved: [VecDeque<SocketId>; BufClass::COUNT],
    waker: Arc<Waker>,
    origin: Instant,
    stats: EngineStats,
}

#[derive(Default)]
struct SocketEntry {
    fd: Option<OwnedFd>,
    connecting: bool,
    /// Bytes may be there: set by the kernel's edge, cleared by a receive that drained it.
    readable: bool,
    /// The kernel has said FIN, or urgent data, at whose mark a receive stops: a short receive does
    /// not mean drained.
    ending: bool,
    receiving: Option<(BufClass, Layout)>,
    sending: Option<Buf>,
    /// In `ready`.
    queued: bool,
    /// In `starved`.
    starved: bool,
    /// Closed, which the shard does not know before it has taken [`Event::Closed`].
    closed: bool,
}

/// There are two for each connection, and most are idle.
const _: () = assert!(size_of::<SocketEntry>() <= 40);

impl EpollEngine {
    /// An engine for the calling thread.
    ///
    /// # Errors
    /// When there are no descriptors left for it.
    #[expect(clippy::disallowed_methods, reason = "an edge: the origin of the shard's clock")]
    pub fn new(limits: EngineLimits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let pool = Pool::new(limits.buffer_memory, RETAINED_BUFFERS);
        pool.stock();
        Ok(Self {
            poll,
            poll_events: Events::with_capacity(1024),
            pool,
            sockets: Vec::with_capacity(limits.connections as usize * 2),
            listeners: Listeners::default(),
            events: VecDeque::with_capacity(1024),
            ready: VecDeque::with_capacity(1024),
            attempts: 0,
            starved: [VecDeque::new(), VecDeque::new()],
            waker,
            origin: Instant::now(),
            stats: EngineStats::default(),
        })
    }

    fn entry(&mut self, socket: SocketId) -> &mut SocketEntry {
        let index = socket.index();
        if self.sockets.len() <= index {
            self.sockets.resize_with(index + 1, SocketEntry::default);
        }
        &mut self.sockets[index]
    }

    fn watch(&mut self, socket: SocketId, fd: &OwnedFd) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let token = Token(socket.index());
        self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, interest)
    }

    fn enqueue(&mut self, socket: SocketId) {
        let entry = &mut self.sockets[socket.index()];
        if !entry.queued {
            entry.queued = true;
            self.ready.push_back(socket);
        }
    }

    /// One attempt at whatever the socket waits for; more work queues it again.
    fn attempt(&mut self, socket: SocketId) -> Option<Event<socket::Stream>> {
        let entry = &mut self.sockets[socket.index()];
        entry.queued = false;
        entry.fd.as_ref()?;
        if entry.connecting {
            return self.try_connected(socket);
        }
        if entry.sending.is_some() {
            let event = self.try_send(socket);
            if event.is_some() {
                let entry = &self.sockets[socket.index()];
                if entry.readable && entry.receiving.is_some() {
                    self.enqueue(socket);
                }
                return event;
            }
        }
        self.try_receive(socket)
    }

    fn try_connected(&mut self, socket: SocketId) -> Option<Event<socket::Stream>> {
        let entry = &mut self.sockets[socket.index()];
        let fd = entry.fd.as_ref()?;
        let sock = SockRef::from(fd);
        let error = sock.take_error().unwrap_or_else(Some);
        if error.is_none() && sock.peer_addr().is_err() {
            return None; // An edge from before the connection was there.
        }
        entry.connecting = false;
        Some(match error {
            None => Event::Connected { socket },
            Some(error) => Event::Failed { socket, operation: Operation::Connect, error },
        })
    }

    fn try_send(&mut self, socket: SocketId) -> Option<Event<socket::Stream>> {
        let entry = &mut self.sockets[socket.index()];
        let fd = entry.fd.as_ref()?;
        let buf = entry.sending.as_mut()?;
        let failure = loop {
            self.stats.system_calls += 1;
            match send(fd, buf) {
                Ok(sent) => {
                    buf.advance(sent);
                    if buf.is_empty() {
                        break None;
                    }
                }
                Err(Errno::WOULDBLOCK) => return None,
                Err(Errno::INTR) => {}
                Err(errno) => break Some(io::Error::from(errno)),
            }
        };
        entry.sending = None;
        Some(match failure {
            None => Event::Sent { socket },
            Some(error) => Event::Failed { socket, operation: Operation::Send, error },
        })
    }

    fn try_receive(&mut self, socket: SocketId) -> Option<Event<socket::Stream>> {
        let entry = &mut self.sockets[socket.index()];
        let fd = entry.fd.as_ref()?;
        let (class, layout) = entry.receiving?;
        if !entry.readable || entry.starved {
            return None;
        }
        let Some(mut buf) = self.pool.try_take(class) else {
            self.stats.starvations += 1;
            entry.starved = true;
            self.starved[class.index()].push_back(socket);
            return None;
        };
        self.stats.system_calls += 1;
        match receive(fd, &mut buf, layout) {
            Ok(0) => {
                entry.receiving = None;
                Some(Event::ReceiveClosed { socket })
            }
            Ok(len) => {
                // Edge-triggered: less than asked for means drained, unless a FIN waits behind.
                entry.readable = len == class.receive_max(layout) || entry.ending;
                entry.receiving = None;
                buf.set_received(layout, len);
                Some(Event::Received { socket, buf })
            }
            Err(Errno::WOULDBLOCK) => {
                entry.readable = false;
                None
            }
            Err(Errno::INTR) => {
                self.enqueue(socket);
                None
            }
            Err(errno) => {
                entry.receiving = None;
                let operation = Operation::Receive;
                Some(Event::Failed { socket, operation, error: errno.into() })
            }
        }
    }

    /// False for what a socket had queued when it was closed.
    fn is_current(&mut self, event: &Event<socket::Stream>) -> bool {
        match event {
            Event::Closed { socket } => {
                self.sockets[socket.index()].closed = false;
                true
            }
            Event::Sent { socket } | Event::Connected { socket } | Event::Failed { socket, .. } => {
                !self.sockets[socket.index()].closed
            }
            _ => true,
        }
    }

    /// Lets as many starved sockets try again as there are buffers for.
    fn feed_starved(&mut self) {
        for class in BufClass::ALL {
            let mut room = self.pool.room(class);
            while room > 0
                && let Some(socket) = self.starved[class.index()].pop_front()
            {
                room -= 1;
                self.sockets[socket.index()].starved = false;
                self.enqueue(socket);
            }
            if self.starved[class.index()].is_empty() {
                // A burst leaves no memory behind.
                self.starved[class.index()] = VecDeque::new();
            }
        }
    }

    /// Turns the kernel's edges into attempts.
    fn take_edges(&mut self) {
        for event in &self.poll_events {
            match event.token() {
                WAKER => self.events.push_back(Event::Woken),
                Token(index) if index >= LISTENERS => self.listeners.mark_ready(index - LISTENERS),
                Token(index) => {
                    let socket = SocketId::from_index(index);
                    let Some(entry) = self.sockets.get_mut(index) else { continue };
                    entry.readable |= event.is_readable() || event.is_read_closed();
                    entry.ending |=
                        event.is_read_closed() || event.is_error() || event.is_priority();
                    if !entry.queued {
                        entry.queued = true;
                        self.ready.push_back(socket);
                    }
                }
            }
        }
    }
}

impl Engine for EpollEngine {
    type Listener = socket::Listener;
    type Stream = socket::Stream;

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn listen(&mut self, id: ListenerId, listener: socket::Listener) -> io::Result<()> {
        let token = Token(LISTENERS + id.0 as usize);
        self.listeners.add(self.poll.registry(), token, id, listener)
    }

    fn pause_accept(&mut self, listener: ListenerId) {
        self.listeners.pause(listener);
    }

    fn resume_accept(&mut self, listener: ListenerId) {
        self.listeners.resume(listener);
    }

    fn close_listener(&mut self, listener: ListenerId) {
        self.listeners.close(self.poll.registry(), listener, &mut self.events);
    }

    fn leave_listener(&mut self, listener: ListenerId) {
        self.listeners.share(listener);
        self.close_listener(listener);
    }

    fn adopt(&mut self, socket: SocketId, stream: socket::Stream) -> io::Result<()> {
        let fd = stream.into_socket();
        self.watch(socket, &fd)?;
        let entry = self.entry(socket);
        debug_assert!(entry.fd.is_none(), "socket id in use");
        entry.fd = Some(fd);
        // Bytes may have come with the handshake's last ACK; registering reports them, too.
        Ok(())
    }

    fn take_over(&mut self, socket: SocketId, with: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&with, true)?;
        self.watch(socket, &with)?;
        let entry = self.entry(socket);
        debug_assert!(entry.fd.is_none(), "socket id in use");
        entry.fd = Some(with);
        Ok(())
    }

    fn exchange(&mut self, socket: SocketId, with: OwnedFd) -> io::Result<OwnedFd> {
        rustix::io::ioctl_fionbio(&with, true)?;
        self.watch(socket, &with)?;
        let entry = self.entry(socket);
        debug_assert!(
            entry.receiving.is_none() && entry.sending.is_none() && !entry.connecting,
            "nothing may be outstanding"
        );
        let queued = entry.queued;
        // Edges of the old socket say nothing about the new one, whose own are reported anew.
        let old =
            std::mem::replace(entry, SocketEntry { fd: Some(with), queued, ..Default::default() });
        let old = old.fd.ok_or(io::ErrorKind::NotConnected)?;
        self.poll.registry().deregister(&mut SourceFd(&old.as_raw_fd()))?;
        Ok(old)
    }

    fn local_address(&self, socket: SocketId) -> Option<SocketAddr> {
        socket::local_of(self.sockets.get(socket.index())?.fd.as_ref()?)
    }

    fn connect(&mut self, socket: SocketId, to: &Address, source: Source) {
        let dialled = socket::dialler(to, source).and_then(|(dialler, address)| {
            dialler.set_nonblocking(true)?;
            let in_progress = match dialler.connect(&address) {
                Ok(()) => false,
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => true,
                Err(error) => return Err(error),
            };
            let fd = OwnedFd::from(dialler);
            self.watch(socket, &fd)?;
            Ok((fd, in_progress))
        });
        match dialled {
            Ok((fd, in_progress)) => {
                let entry = self.entry(socket);
                entry.fd = Some(fd);
                entry.connecting = in_progress;
                if !in_progress {
                    self.events.push_back(Event::Connected { socket });
                }
            }
            Err(error) => {
                let operation = Operation::Connect;
                self.entry(socket);
                self.events.push_back(Event::Failed { socket, operation, error });
            }
        }
    }

    fn keep_alive(&mut self, socket: SocketId, keepalive: &Keepalive) {
        if let Some(fd) = self.sockets.get(socket.index()).and_then(|entry| entry.fd.as_ref()) {
            socket::keep_alive(fd, keepalive);
        }
    }

    fn receive(&mut self, socket: SocketId, class: BufClass, layout: Layout) {
        let entry = &mut self.sockets[socket.index()];
        debug_assert!(entry.receiving.is_none(), "one receive at a time");
        entry.receiving = Some((class, layout));
        if entry.readable {
            self.enqueue(socket);
        }
    }

    fn send(&mut self, socket: SocketId, buf: Buf) {
        let entry = &mut self.sockets[socket.index()];
        debug_assert!(entry.sending.is_none(), "one send at a time");
        entry.sending = Some(buf);
        if let Some(event) = self.try_send(socket) {
            self.events.push_back(event);
        }
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        if let Some(fd) = &self.sockets[socket.index()].fd {
            self.stats.system_calls += 1;
            // Fails only when the peer has gone, which the next receive reports.
            let _gone = rustix::net::shutdown(fd, Shutdown::Write);
        }
    }

    fn close(&mut self, socket: SocketId, how: CloseMode) {
        let entry = self.entry(socket);
        if let (Some(fd), CloseMode::Reset) = (&entry.fd, how) {
            socket::reset_on_close(fd);
        }
        let was_starved = entry.starved;
        *entry = SocketEntry { queued: entry.queued, closed: true, ..SocketEntry::default() };
        if was_starved {
            self.starved.iter_mut().for_each(|starved| starved.retain(|of| *of != socket));
        }
        self.events.push_back(Event::Closed { socket });
    }

    fn wait(&mut self, deadline: Option<Time>) -> io::Result<()> {
        self.feed_starved();
        let busy = !self.events.is_empty() || !self.ready.is_empty() || self.listeners.any_ready();
        let timeout = match deadline {
            _ if busy => Some(std::time::Duration::ZERO),
            Some(deadline) => Some(deadline.since(self.now())),
            None => None,
        };
        self.stats.turns += 1;
        self.stats.system_calls += 1;
        match self.poll.poll(&mut self.poll_events, timeout) {
            Ok(()) => self.take_edges(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        self.attempts = self.ready.len();
        self.listeners.start_turn();
        Ok(())
    }

    fn next_event(&mut self) -> Option<Event<socket::Stream>> {
        let event = loop {
            if let Some(event) = self.events.pop_front() {
                if self.is_current(&event) {
                    break event;
                }
            } else if self.attempts > 0 {
                // Attempts queued during this turn wait for the next, so that timers and new
                // edges get their chance under any load.
                self.attempts -= 1;
                let attempt = self.ready.pop_front().and_then(|socket| self.attempt(socket));
                if let Some(event) = attempt {
                    break event;
                }
            } else {
                break self.listeners.accept()?;
            }
        };
        self.stats.events += 1;
        Some(event)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }

    fn stats(&self) -> EngineStats {
        self.stats
    }

    fn effort(&self) -> Option<Effort> {
        effort::of_this_thread()
    }
}

const WAKER: Token = Token(usize::MAX);
/// Tokens from here on are listeners; sockets are below, two per connection.
const LISTENERS: usize = 1 << 40;
/// Free buffers kept per class: a turn's worth.
const RETAINED_BUFFERS: usize = 64;
