//! Completions from the kernel: io_uring, one ring per shard.
//!
//! One receive is armed per socket, picks its buffer from a ring of provided buffers only when
//! bytes are there, and so an idle connection owns no memory. While messages follow each other, it
//! stays armed (see `transfer`). Everything a turn starts is submitted by the one system call that
//! waits for the next completions; with [`Polling`], by a thread of the kernel, and there may be none.
//!
//! Why the unsafe code in this directory is sound:
//! - memory that a submission names (buffers that are sent or filled, socket address, wake-up
//!   counter, provided buffers) is owned by this engine's tables until that submission's last
//!   completion; headers of vectored operations are, until the submission is with the kernel: a
//!   vectored receive does not wait, so it has ended by then (see `vectors`). A submitting thread
//!   moves the queue's head when it has started all that it took, so this holds for it, too;
//! - a socket is closed only when nothing is in flight on it, and its table entry is reused only
//!   after [`Event::Closed`], so a completion always finds the socket it belongs to;
//! - dropping the engine cancels everything and waits for the completions before memory is freed.

mod accept;
mod bufring;
mod polling;
mod ring;
mod transfer;
mod vectors;
mod waker;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{cqueue, opcode, squeue, types};
use socket2::SockAddr;

use super::{
    Address, CloseMode, Effort, Engine, EngineLimits, EngineStats, Event, ListenerId, Operation,
    SocketId, Source, Wake, effort, socket,
};
use crate::buf::{Buf, BufClass, Layout, Pool};
use crate::config::model::Keepalive;
use crate::time::Time;
use accept::{ListenerEntry, close_accepted};
use bufring::BufRing;
pub use polling::{Polling, Submitter};
use ring::{Completion, Ring, Token, Work};
use transfer::{Armed, Early, Receiving};
use vectors::Vectors;
use waker::Waker;

/// The io_uring engine.
pub struct UringEngine {
    // Order matters: `drop` has quiesced the ring, but it must still go before the memory below.
    ring: Ring,
    pool: Pool,
    buf_rings: [BufRing; BufClass::COUNT],
    sockets: Vec<SocketEntry>,
    listeners: Vec<Option<ListenerEntry>>,
    completions: VecDeque<Completion>,
    /// Events that no completion brings.
    events: VecDeque<Event<socket::Stream>>,
    /// Sockets whose receive found no buffer, per class.
    starved: [VecDeque<SocketId>; BufClass::COUNT],
    vectors: Vectors,
    /// Multishot receives, which kernels before 6.0 do not have.
    has_multishot: bool,
    waker: Arc<Waker>,
    origin: Instant,
    /// How long to look for completions before sleeping, and the sum of what that has taken.
    busy: Duration,
    looked: Duration,
    stats: EngineStats,
}

/// Completions handled before timers and the mailbox get their turn.
const COMPLETIONS_PER_TURN: usize = 4096;

/// Provided buffers per class: enough for every connection that becomes readable in one turn.
const BUFFERS: [u16; BufClass::COUNT] = [512, 32];
/// The part of all buffer memory that one class may hold provided: where memory is short, neither
/// class takes the other's, and half is left for what is on its way.
const BUFFERS_SHARE: usize = 4;

#[derive(Default)]
struct SocketEntry {
    fd: Option<OwnedFd>,
    /// Submissions whose last completion is still to come.
    in_flight: u32,
    sending: Option<Buf>,
    address: Option<Box<SockAddr>>,
    /// The last receive left bytes in the kernel, so the next need not poll first.
    readable: bool,
    /// What the shard asks for and has not got yet.
    receiving: Option<Receiving>,
    armed: Armed,
    /// See [`Engine::settle`].
    is_settled: bool,
    /// What came before it was asked for.
    #[expect(clippy::box_collection, reason = "it is rare, and entries are many")]
    early: Option<Box<VecDeque<Early>>>,
    /// The buffer of a vectored receive.
    filling: Option<Buf>,
    closing: Option<CloseMode>,
}

/// There are two for each connection, and most are idle.
const _: () = assert!(size_of::<SocketEntry>() <= 72);

impl UringEngine {
    /// An engine for the calling thread: the ring accepts submissions from no other.
    ///
    /// # Errors
    /// What the kernel said to the ring or its buffers; `probe` turns it into a sentence.
    pub fn new(limits: EngineLimits) -> io::Result<Self> {
        Self::polling(limits, Polling::default())
    }

    /// The same, with CPU time to spend.
    ///
    /// # Errors
    /// Besides, EINVAL where the submitting thread may not run on its CPU.
    #[expect(clippy::disallowed_methods, reason = "an edge: the origin of the shard's clock")]
    pub fn polling(limits: EngineLimits, polling: Polling) -> io::Result<Self> {
        let mut ring = Ring::new(polling)?;
        let retained = usize::from(BUFFERS[BufClass::Message.index()]);
        let pool = Pool::new(limits.buffer_memory, retained / 4);
        let share = limits.buffer_memory / BUFFERS_SHARE;
        let mut message = BufRing::new(BufClass::Message, BUFFERS[0], share)?;
        let mut bulk = BufRing::new(BufClass::Bulk, BUFFERS[1], share)?;
        for buf_ring in [&mut message, &mut bulk] {
            ring.register(buf_ring)?;
            buf_ring.refill(&pool);
        }
        ring.enable()?;
        pool.stock();
        let mut engine = Self {
            ring,
            pool,
            buf_rings: [message, bulk],
            sockets: Vec::with_capacity(limits.connections as usize * 2),
            listeners: Vec::new(),
            completions: VecDeque::with_capacity(COMPLETIONS_PER_TURN),
            events: VecDeque::with_capacity(64),
            starved: [VecDeque::new(), VecDeque::new()],
            vectors: Vectors::default(),
            has_multishot: true,
            waker: Arc::new(Waker::new()?),
            origin: Instant::now(),
            busy: polling.busy,
            looked: Duration::ZERO,
            stats: EngineStats::default(),
        };
        engine.arm_waker();
        Ok(engine)
    }

    /// Why the ring takes other operations than the engine's, too.
    pub fn unrestricted(&self) -> Option<&io::Error> {
        self.ring.unrestricted()
    }

    fn arm_waker(&mut self) {
        let (fd, counter) = self.waker.read_into();
        let read = opcode::Read::new(types::Fd(fd), counter, 8).build();
        self.ring.push(read, Token::new(Work::Wake, 0));
    }

    /// Starts an operation on a socket. The caller keeps what it points to in the socket's entry.
    fn start(
        &mut self,
        socket: SocketId,
        work: Work,
        make: impl FnOnce(types::Fd) -> squeue::Entry,
    ) {
        let entry = &mut self.sockets[socket.index()];
        let Some(fd) = &entry.fd else { return };
        let operation = make(types::Fd(fd.as_raw_fd()));
        entry.in_flight += 1;
        self.ring.push(operation, Token::new(work, socket.index()));
    }

    fn cancel_on(&mut self, socket: SocketId, work: Work) {
        self.sockets[socket.index()].in_flight += 1;
        let index = socket.index();
        self.ring.cancel(Token::new(work, index), Token::new(Work::Cancel, index));
    }

    /// Looks for completions instead of sleeping, for a while and up to `deadline`.
    fn look(&mut self, deadline: Option<Time>) -> io::Result<()> {
        self.ring.hand_over()?;
        let (origin, began) = (self.origin, self.now());
        let longest = began + self.busy;
        let until = deadline.map_or(longest, |deadline| deadline.min(longest));
        self.ring.look(|| Time::ZERO + origin.elapsed() < until);
        self.looked += self.now() - began;
        Ok(())
    }

    fn translate(&mut self, completion: Completion) -> Option<Event<socket::Stream>> {
        let index = completion.token.index();
        match completion.token.work() {
            Work::Wake => {
                self.arm_waker();
                Some(Event::Woken)
            }
            Work::Accept => self.accepted(index, completion),
            Work::CancelAccept => None,
            Work::Close => {
                self.sockets[index] = SocketEntry::default();
                Some(Event::Closed { socket: SocketId::from_index(index) })
            }
            work => self.socket_event(work, index, completion),
        }
    }

    fn socket_event(
        &mut self,
        work: Work,
        index: usize,
        completion: Completion,
    ) -> Option<Event<socket::Stream>> {
        let entry = &mut self.sockets[index];
        debug_assert!(entry.in_flight > 0, "completion of {work:?} without a submission");
        entry.in_flight -= u32::from(!cqueue::more(completion.flags));
        let socket = SocketId::from_index(index);
        let event = match work {
            Work::Receive => self.received(socket, completion),
            Work::Send => self.sent(socket, completion),
            Work::Connect => {
                self.sockets[index].address = None;
                Some(match completion.result {
                    0.. => Event::Connected { socket },
                    errno => failed(socket, Operation::Connect, errno),
                })
            }
            _ => None,
        };
        if self.sockets[index].closing.is_some() {
            drop(event);
            self.finish_close(socket);
            return None;
        }
        event
    }

    /// Closes a socket that is to be closed, once nothing is in flight on it.
    fn finish_close(&mut self, socket: SocketId) {
        let entry = &mut self.sockets[socket.index()];
        if entry.in_flight > 0 {
            return;
        }
        let Some(mode) = entry.closing else { return };
        (entry.sending, entry.address, entry.early) = (None, None, None);
        match entry.fd.take() {
            Some(fd) => {
                if mode == CloseMode::Reset {
                    socket::reset_on_close(&fd);
                }
                entry.in_flight = 1;
                let close = opcode::Close::new(types::Fd(fd.into_raw_fd())).build();
                self.ring.push(close, Token::new(Work::Close, socket.index()));
            }
            None => {
                *entry = SocketEntry::default();
                self.events.push_back(Event::Closed { socket });
            }
        }
    }

    fn entry(&mut self, socket: SocketId) -> &mut SocketEntry {
        let index = socket.index();
        if self.sockets.len() <= index {
            self.sockets.resize_with(index + 1, SocketEntry::default);
        }
        &mut self.sockets[index]
    }
}

impl Engine for UringEngine {
    type Listener = socket::Listener;
    type Stream = socket::Stream;

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn listen(&mut self, id: ListenerId, listener: socket::Listener) -> io::Result<()> {
        self.add_listener(id, listener)
    }

    fn pause_accept(&mut self, listener: ListenerId) {
        self.pause_listener(listener);
    }

    fn resume_accept(&mut self, listener: ListenerId) {
        self.resume_listener(listener);
    }

    fn close_listener(&mut self, listener: ListenerId) {
        self.end_listener(listener);
    }

    fn leave_listener(&mut self, listener: ListenerId) {
        self.share_listener(listener);
        self.end_listener(listener);
    }

    fn adopt(&mut self, socket: SocketId, stream: socket::Stream) -> io::Result<()> {
        let entry = self.entry(socket);
        debug_assert!(entry.fd.is_none() && entry.in_flight == 0, "socket id in use");
        entry.fd = Some(stream.into_socket());
        Ok(())
    }

    fn take_over(&mut self, socket: SocketId, with: OwnedFd) -> io::Result<()> {
        // Non-blocking, an operation would end where it should wait for the socket.
        rustix::io::ioctl_fionbio(&with, false)?;
        let entry = self.entry(socket);
        debug_assert!(entry.fd.is_none() && entry.in_flight == 0, "socket id in use");
        entry.fd = Some(with);
        Ok(())
    }

    fn exchange(&mut self, socket: SocketId, with: OwnedFd) -> io::Result<OwnedFd> {
        rustix::io::ioctl_fionbio(&with, false)?;
        let entry = self.entry(socket);
        debug_assert!(
            entry.in_flight == 0 && entry.closing.is_none(),
            "nothing may be outstanding"
        );
        debug_assert!(!entry.is_settled, "it was to stay what it is");
        let old = entry.fd.replace(with).ok_or(io::ErrorKind::NotConnected)?;
        entry.readable = false;
        Ok(old)
    }

    fn local_address(&self, socket: SocketId) -> Option<SocketAddr> {
        socket::local_of(self.sockets.get(socket.index())?.fd.as_ref()?)
    }

    fn connect(&mut self, socket: SocketId, to: &Address, source: Source) {
        let entry = self.entry(socket);
        debug_assert!(entry.fd.is_none() && entry.in_flight == 0, "socket id in use");
        match socket::dialler(to, source) {
            Ok((dialler, address)) => {
                entry.fd = Some(dialler.into());
                let address = entry.address.insert(Box::new(address));
                let (pointer, len) = (address.as_ptr().cast(), address.len());
                self.start(socket, Work::Connect, |fd| {
                    opcode::Connect::new(fd, pointer, len).build()
                });
            }
            Err(error) => {
                let operation = Operation::Connect;
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
        self.ask(socket, Receiving { class, layout });
    }

    fn settle(&mut self, socket: SocketId) {
        let entry = self.entry(socket);
        entry.is_settled = entry.fd.is_some() && entry.closing.is_none();
    }

    fn send(&mut self, socket: SocketId, buf: Buf) {
        let entry = &mut self.sockets[socket.index()];
        debug_assert!(entry.sending.is_none(), "one send at a time");
        entry.sending = Some(buf);
        self.arm_send(socket);
    }

    fn shutdown_write(&mut self, socket: SocketId) {
        // Not IORING_OP_SHUTDOWN, which the kernel always hands to a worker thread.
        if let Some(fd) = &self.sockets[socket.index()].fd {
            self.stats.system_calls += 1;
            // Fails only when the peer has gone, which the next receive reports.
            let _gone = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
        }
    }

    fn close(&mut self, socket: SocketId, how: CloseMode) {
        let entry = self.entry(socket);
        entry.closing = Some(how);
        // A dialling that failed at once, or what came before it was asked for.
        self.events.retain(|event| match event {
            Event::Failed { socket: of, .. }
            | Event::Received { socket: of, .. }
            | Event::ReceiveClosed { socket: of } => *of != socket,
            _ => true,
        });
        for starved in &mut self.starved {
            starved.retain(|starved| *starved != socket);
        }
        let entry = &mut self.sockets[socket.index()];
        if entry.in_flight == 0 {
            self.finish_close(socket);
            return;
        }
        let outstanding = [
            (Work::Connect, entry.address.is_some()),
            (Work::Receive, entry.armed != Armed::Nothing),
            (Work::Send, entry.sending.is_some()),
        ];
        for (work, _) in outstanding.into_iter().filter(|(_, is_outstanding)| *is_outstanding) {
            self.cancel_on(socket, work);
        }
    }

    fn wait(&mut self, deadline: Option<Time>) -> io::Result<()> {
        self.feed_starved();
        self.rearm_accepts();
        let idle = self.events.is_empty() && self.completions.is_empty();
        if idle && !self.busy.is_zero() {
            self.look(deadline)?;
        }
        let timeout = deadline.map(|deadline| deadline.since(self.now()));
        self.ring.submit_and_wait(idle, timeout)?;
        if self.vectors.are_many() {
            self.ring.let_catch_up()?;
        }
        if self.ring.has_submitted_all() {
            self.vectors.submitted();
        }
        self.ring.reap(&mut self.completions);
        self.stats.turns += 1;
        Ok(())
    }

    fn next_event(&mut self) -> Option<Event<socket::Stream>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.stats.events += 1;
                return Some(event);
            }
            let completion = self.completions.pop_front()?;
            if let Some(event) = self.translate(completion) {
                self.stats.events += 1;
                return Some(event);
            }
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            system_calls: self.stats.system_calls + self.ring.enters(),
            ring_overflows: self.ring.overflows(),
            ..self.stats
        }
    }

    fn effort(&self) -> Option<Effort> {
        let effort = effort::of_this_thread()?;
        // Looking for something to do is no work: it ends when there is some.
        Some(Effort { ran: effort.ran.saturating_sub(self.looked), ..effort })
    }
}

impl Drop for UringEngine {
    fn drop(&mut self) {
        let unhandled = std::mem::take(&mut self.completions);
        unhandled.into_iter().for_each(close_accepted);
        self.ring.quiesce(close_accepted);
    }
}

fn failed(socket: SocketId, operation: Operation, errno: i32) -> Event<socket::Stream> {
    Event::Failed { socket, operation, error: io::Error::from_raw_os_error(-errno) }
}
