//! The event loop of a backend: one thread, one epoll instance, edge-triggered.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use rustls::ServerConfig;

use super::connection::{Connection, Next};
use super::socket::Listener;
use super::{Address, Mode, Shared};

const LISTENER: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);

/// Bytes read at once.
const SCRATCH: usize = 128 * 1024;

/// Connections accepted before the others get their turn.
const ACCEPTS_PER_TURN: usize = 64;

/// When accept fails for want of descriptors or memory, it is tried again after this time.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

pub(super) struct Server {
    poll: Poll,
    listener: Listener,
    address: Address,
    mode: Mode,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    seats: Vec<Seat>,
    vacant: Vec<usize>,
    /// Most seats.
    limit: usize,
    /// Connections that can go on without a new event, each at most once.
    ready: VecDeque<usize>,
    accept: Accept,
    scratch: Box<[u8]>,
}

/// The place of one connection; its number is the token.
#[derive(Default)]
struct Seat {
    connection: Option<Connection>,
    /// It is in the queue of those that can go on.
    queued: bool,
}

/// Whether connections may be waiting in the listener's queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accept {
    Idle,
    Pending,
    Stalled,
}

impl Server {
    /// Listens on `address`, to serve at most `limit` connections at a time.
    pub(super) fn bind(
        address: &Address,
        mode: Mode,
        tls: Option<Arc<ServerConfig>>,
        limit: usize,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (mut listener, address) = Listener::bind(address)?;
        listener.register(poll.registry(), LISTENER)?;
        Ok(Self {
            poll,
            listener,
            address,
            mode,
            tls,
            shared,
            seats: Vec::new(),
            vacant: Vec::new(),
            limit,
            ready: VecDeque::new(),
            accept: Accept::Idle,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKER)
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.shared.stop.load(Ordering::Acquire) {
            let timeout = match self.accept {
                _ if !self.ready.is_empty() => Some(Duration::ZERO),
                Accept::Pending => Some(Duration::ZERO),
                Accept::Stalled => Some(ACCEPT_RETRY),
                Accept::Idle => None,
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            // Only those that were waiting before this turn, or a busy few would never end it.
            let waiting = self.ready.len();
            for event in &events {
                match event.token() {
                    LISTENER => self.accept = Accept::Pending,
                    WAKER => {}
                    Token(seat) => self.drive(seat),
                }
            }
            for _ in 0..waiting {
                if let Some(seat) = self.ready.pop_front() {
                    self.seats[seat].queued = false;
                    self.drive(seat);
                }
            }
            if self.accept != Accept::Idle {
                self.accept_some();
            }
        }
        Ok(())
    }

    fn accept_some(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept(self.tls.as_ref()) {
                Ok(socket) => self.open(Connection::new(socket, &self.mode)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.accept = Accept::Idle;
                        return;
                    }
                    // The peer gave up while it waited in the queue.
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                    _ => {
                        self.accept = Accept::Stalled;
                        return;
                    }
                },
            }
        }
        self.accept = Accept::Pending;
    }

    fn open(&mut self, mut connection: Connection) {
        let seat = match self.vacant.pop() {
            Some(seat) => seat,
            None if self.seats.len() < self.limit => {
                self.seats.push(Seat::default());
                self.seats.len() - 1
            }
            None => {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        if connection.socket().register(self.poll.registry(), Token(seat)).is_err() {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
            self.vacant.push(seat);
            return;
        }
        self.seats[seat].connection = Some(connection);
        self.shared.accepted.fetch_add(1, Ordering::Relaxed);
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        self.drive(seat);
    }

    /// Goes on with one connection; an event of one that has just been closed finds none.
    fn drive(&mut self, number: usize) {
        let Some(seat) = self.seats.get_mut(number) else { return };
        let Some(connection) = &mut seat.connection else { return };
        let failed = match connection.drive(&self.mode, &mut self.scratch) {
            Ok(Next::Event) => return,
            Ok(Next::Turn) => {
                if !seat.queued {
                    seat.queued = true;
                    self.ready.push_back(number);
                }
                return;
            }
            Ok(Next::Close) => false,
            Err(_) => true,
        };
        seat.connection = None;
        self.vacant.push(number);
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        self.shared.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address
            && let Err(error) = std::fs::remove_file(path)
        {
            eprintln!("cannot remove {}: {error}", path.display());
        }
    }
}
