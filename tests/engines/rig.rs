//! An engine and the other ends of its sockets.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tlsgate::buf::{Buf, BufClass, Layout};
use tlsgate::engine::epoll::EpollEngine;
use tlsgate::engine::socket::{Listener, Stream};
use tlsgate::engine::uring::{Polling, Submitter, UringEngine};
use tlsgate::engine::{Engine, EngineLimits, Event, ListenerId, Side, SocketId};

/// Makes an engine that takes real sockets.
pub(crate) trait Kernel {
    type Engine: Engine<Listener = Listener, Stream = Stream>;

    fn make(limits: EngineLimits) -> io::Result<Self::Engine>;
}

impl Kernel for EpollEngine {
    type Engine = Self;

    fn make(limits: EngineLimits) -> io::Result<Self> {
        Self::new(limits)
    }
}

impl Kernel for UringEngine {
    type Engine = Self;

    fn make(limits: EngineLimits) -> io::Result<Self> {
        Self::new(limits)
    }
}

/// io_uring with a submitting thread, which sleeps now and then, and busy polling.
pub(crate) enum Polled {}

impl Kernel for Polled {
    type Engine = UringEngine;

    fn make(limits: EngineLimits) -> io::Result<UringEngine> {
        let submitter = Submitter { cpu: None, idle: Duration::from_millis(1) };
        let busy = Duration::from_micros(50);
        UringEngine::polling(limits, Polling { submitter: Some(submitter), busy })
    }
}

/// False, and said so, where the kernel has no io_uring for us; that is an error in CI.
pub(crate) fn uring_works() -> bool {
    match UringEngine::new(LIMITS) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("NOT TESTED: io_uring cannot be used here: {error}");
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs io_uring");
            false
        }
    }
}

pub(crate) const LIMITS: EngineLimits = EngineLimits { connections: 16, buffer_memory: 16 << 20 };

/// Keeps who counts descriptors apart from everybody else who opens some.
pub(crate) fn guard(
    case: &str,
) -> (Option<RwLockReadGuard<'_, ()>>, Option<RwLockWriteGuard<'_, ()>>) {
    static DESCRIPTORS: RwLock<()> = RwLock::new(());
    if case == "descriptors_come_back" {
        (None, Some(DESCRIPTORS.write().unwrap_or_else(PoisonError::into_inner)))
    } else {
        (Some(DESCRIPTORS.read().unwrap_or_else(PoisonError::into_inner)), None)
    }
}

/// Long enough for a slow machine, short enough to tell which test hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig<E: Kernel> {
    pub(crate) engine: E::Engine,
}

impl<E: Kernel> Rig<E> {
    pub(crate) fn new() -> Self {
        Self::with(LIMITS)
    }

    pub(crate) fn with(limits: EngineLimits) -> Self {
        Self { engine: E::make(limits).unwrap() }
    }

    /// The next event, for which the engine may have to wait.
    pub(crate) fn next(&mut self) -> Event<Stream> {
        self.next_within(PATIENCE).expect("nothing happens")
    }

    pub(crate) fn next_within(&mut self, time: Duration) -> Option<Event<Stream>> {
        let end = Instant::now() + time;
        loop {
            if let Some(event) = self.engine.next_event() {
                return Some(event);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let deadline = self.engine.now() + left;
            self.engine.wait(Some(deadline)).unwrap();
        }
    }

    /// Nothing happens for a while.
    pub(crate) fn quiet(&mut self) {
        if let Some(event) = self.next_within(Duration::from_millis(100)) {
            panic!("unexpected {event:?}");
        }
    }

    pub(crate) fn listen(&mut self, id: u32) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        self.engine
            .listen(ListenerId(id), Listener { socket: listener.into(), shared: false })
            .unwrap();
        address
    }

    /// The stream of an Accepted that comes next.
    pub(crate) fn accepted(&mut self) -> (ListenerId, Stream, Option<SocketAddr>) {
        match self.next() {
            Event::Accepted { listener, stream, peer } => (listener, stream, peer),
            event => panic!("{event:?} instead of Accepted"),
        }
    }

    /// A TCP connection whose one end is `socket`.
    pub(crate) fn tcp(&mut self, socket: SocketId) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        self.adopt(socket, listener.into());
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer
    }

    /// The same over a unix socket.
    pub(crate) fn unix(&mut self, socket: SocketId) -> UnixStream {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = UnixStream::connect(&path).unwrap();
        self.adopt(socket, listener.into());
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer
    }

    fn adopt(&mut self, socket: SocketId, listener: OwnedFd) {
        let id = ListenerId(7);
        self.engine.listen(id, Listener { socket: listener, shared: true }).unwrap();
        let (_, stream, _) = self.accepted();
        self.engine.adopt(socket, stream).unwrap();
        self.engine.close_listener(id);
        let event = self.next();
        assert!(matches!(event, Event::ListenerClosed { listener } if listener == id), "{event:?}");
    }

    /// Both kinds of connection, for cases that must hold for both.
    pub(crate) fn any(&mut self, socket: SocketId, unix: bool) -> Box<dyn Peer> {
        if unix { Box::new(self.unix(socket)) } else { Box::new(self.tcp(socket)) }
    }

    pub(crate) fn buf(&self, data: &[u8]) -> Buf {
        let mut buf = self.engine.pool().take(BufClass::holding(data.len()).unwrap());
        buf.append(data);
        buf
    }

    pub(crate) fn received(&mut self, socket: SocketId) -> Vec<u8> {
        self.received_buf(socket).to_vec()
    }

    pub(crate) fn received_buf(&mut self, socket: SocketId) -> Buf {
        match self.next() {
            Event::Received { socket: of, buf } if of == socket => buf,
            event => panic!("{event:?} instead of Received"),
        }
    }

    /// Receives until `len` bytes are there.
    pub(crate) fn receive_all(&mut self, socket: SocketId, class: BufClass, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < len {
            self.engine.receive(socket, class, Layout::Contiguous);
            all.extend(self.received(socket));
        }
        all
    }

    pub(crate) fn end(&mut self, socket: SocketId) {
        match self.next() {
            Event::ReceiveClosed { socket: of } if of == socket => {}
            event => panic!("{event:?} instead of ReceiveClosed"),
        }
    }

    pub(crate) fn sent(&mut self, socket: SocketId) {
        match self.next() {
            Event::Sent { socket: of } if of == socket => {}
            event => panic!("{event:?} instead of Sent"),
        }
    }

    pub(crate) fn closed(&mut self, socket: SocketId) {
        match self.next() {
            Event::Closed { socket: of } if of == socket => {}
            event => panic!("{event:?} instead of Closed"),
        }
    }

    pub(crate) fn connected(&mut self, socket: SocketId) {
        match self.next() {
            Event::Connected { socket: of } if of == socket => {}
            event => panic!("{event:?} instead of Connected"),
        }
    }
}

/// The other end of a connection.
pub(crate) trait Peer: Read + Write + Debug + Send {
    fn fin(&self);
}

impl Peer for TcpStream {
    fn fin(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Peer for UnixStream {
    fn fin(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

/// Leaves with RST.
pub(crate) fn reset(peer: TcpStream) {
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
}

pub(crate) const fn down(slot: u32) -> SocketId {
    SocketId { slot, side: Side::Downstream }
}

pub(crate) const fn up(slot: u32) -> SocketId {
    SocketId { slot, side: Side::Upstream }
}

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..u32::try_from(len).unwrap())
        .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}
