//! One connection of the client: connect, handshake, then exchanges one after the other.

use std::time::{Duration, Instant};

use super::exchange::Exchange;
use super::failure::{ErrorKind, Failure};
use super::session::Handshake;
use super::transport::{Received, Transport};

/// Reads and writes that one connection may do before the others get their turn.
const STEPS_PER_TURN: usize = 32;

/// What came of driving a connection.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It waits for the socket.
    Waiting,
    /// It could go on: drive it again once others had their turn.
    Turn,
    /// It has just been established.
    Established(Established),
    /// The exchange is complete.
    Done(Done),
}

/// How establishing went.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) connect: Duration,
    pub(super) handshake: Duration,
    /// None for plaintext.
    pub(super) kind: Option<Handshake>,
}

/// How an exchange went.
#[derive(Debug)]
pub(super) struct Done {
    /// None when nothing was to come.
    pub(super) first_byte: Option<Duration>,
    pub(super) sent: u64,
    pub(super) received: u64,
}

#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    step: Step,
    /// When the current step must be over.
    deadline: Instant,
    timeout: Duration,
    wants_alpn: bool,
}

#[derive(Debug)]
enum Step {
    Connecting { since: Instant },
    Handshaking { since: Instant, connect: Duration },
    Idle,
    Exchanging { exchange: Box<Exchange>, since: Instant, first_byte: Option<Duration> },
}

impl Connection {
    /// Takes over a transport that has just started to connect.
    pub(super) fn new(transport: Transport, timeout: Duration, wants_alpn: bool) -> Self {
        let since = Instant::now();
        let step = Step::Connecting { since };
        Self { transport, step, deadline: since + timeout, timeout, wants_alpn }
    }

    /// Starts an exchange. The connection must be established and have none.
    pub(super) fn begin(&mut self, exchange: Exchange) {
        debug_assert!(matches!(self.step, Step::Idle), "one exchange at a time");
        let since = Instant::now();
        self.deadline = since + self.timeout;
        self.step = Step::Exchanging { exchange: Box::new(exchange), since, first_byte: None };
    }

    /// Whether it goes on without news of its socket.
    pub(super) fn is_paced(&self) -> bool {
        self.transport.is_paced()
    }

    /// The socket has news: see [`Transport::event`].
    pub(super) fn event(&mut self, readable: bool, hung_up: bool) {
        self.transport.event(readable, hung_up);
    }

    /// The error of a step that is not over in time.
    pub(super) fn overdue(&self, now: Instant) -> Option<Failure> {
        let (kind, step) = match self.step {
            Step::Idle => return None,
            Step::Connecting { .. } => (ErrorKind::ConnectTimeout, "connecting"),
            Step::Handshaking { .. } => (ErrorKind::HandshakeTimeout, "the handshake"),
            Step::Exchanging { .. } => (ErrorKind::ExchangeTimeout, "the exchange"),
        };
        let detail = || format!("{step} was not over within {:?}", self.timeout);
        (now >= self.deadline).then(|| Failure::new(kind, detail()))
    }

    /// Goes on as far as the socket lets it.
    pub(super) fn drive(&mut self, scratch: &mut [u8]) -> Result<Outcome, Failure> {
        if let Step::Connecting { since } = self.step {
            if !self.transport.is_connected()? {
                return Ok(Outcome::Waiting);
            }
            let now = Instant::now();
            self.deadline = now + self.timeout;
            self.step = Step::Handshaking { since: now, connect: now - since };
        }
        if let Step::Handshaking { since, connect } = self.step {
            if !self.transport.handshake(scratch)? {
                return Ok(Outcome::Waiting);
            }
            if self.wants_alpn && self.transport.alpn().is_none() {
                return Err(Failure::new(ErrorKind::Tls, "the server chose no ALPN protocol"));
            }
            self.step = Step::Idle;
            let kind = self.transport.handshake_kind();
            return Ok(Outcome::Established(Established {
                connect,
                handshake: since.elapsed(),
                kind,
            }));
        }
        for _ in 0..STEPS_PER_TURN {
            let (sent, received) = (self.send()?, self.receive(scratch)?);
            if let Some(done) = self.take_done() {
                return Ok(Outcome::Done(done));
            }
            if !sent && !received {
                return Ok(Outcome::Waiting);
            }
        }
        Ok(Outcome::Turn)
    }

    /// Says goodbye and closes.
    pub(super) fn close(self) -> Result<(), Failure> {
        self.transport.close()
    }

    /// Sends once; returns whether anything went.
    fn send(&mut self) -> Result<bool, Failure> {
        let Step::Exchanging { exchange, .. } = &mut self.step else {
            self.transport.flush()?;
            return Ok(false);
        };
        if exchange.output().is_empty() {
            self.transport.flush()?;
            return Ok(false);
        }
        let count = self.transport.send(exchange.output())?;
        exchange.advance(count);
        if count > 0 {
            self.deadline = Instant::now() + self.timeout;
        }
        Ok(count > 0)
    }

    /// Receives once; returns whether anything came.
    fn receive(&mut self, scratch: &mut [u8]) -> Result<bool, Failure> {
        let mut sink = |data: &[u8]| match &mut self.step {
            Step::Exchanging { exchange, since, first_byte } => {
                first_byte.get_or_insert_with(|| since.elapsed());
                exchange.input(data)
            }
            _ => Err(Failure::new(ErrorKind::Content, "the server spoke without being asked")),
        };
        match self.transport.receive(scratch, &mut sink)? {
            Received::Nothing => Ok(false),
            Received::Something => {
                self.deadline = Instant::now() + self.timeout;
                Ok(true)
            }
            Received::End => {
                let complete =
                    matches!(&self.step, Step::Exchanging { exchange, .. } if exchange.is_done());
                if complete {
                    return Ok(true);
                }
                Err(Failure::new(ErrorKind::Closed, "the peer closed the connection"))
            }
        }
    }

    fn take_done(&mut self) -> Option<Done> {
        let Step::Exchanging { exchange, first_byte, .. } = &self.step else { return None };
        if !exchange.is_done() {
            return None;
        }
        let (sent, received) = exchange.bytes();
        let done = Done { first_byte: *first_byte, sent, received };
        self.step = Step::Idle;
        Some(done)
    }
}
