//! One connection in the child: its peer's socket, the pair that leads to its shard, and the TLS
//! between them.
//!
//! Pure, as a connection in a shard is: events and time go in, operations come out. The peer is the
//! downstream side of the link, whichever role is played, the shard the upstream side.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::end::{End, Fin, Socket};
use super::frame::{Established, Failed, Frame, FrameReader, Part, queue_data, queue_frame};
use crate::buf::{Buf, BufClass, Pool};
use crate::config::model::TlsVersion;
use crate::conn::outcome::Reason;
use crate::engine::{CloseMode, Operation, Side};
use crate::time::Time;
use crate::tls::alert::plaintext_alert;
use crate::tls::error::TlsError;
use crate::tls::tls_conn::{Output, TlsConn};

/// A profile that connections can be made by.
pub trait Sessions: Send + Sync {
    /// A session as the server for a peer that says `hello`, of which it has seen nothing yet.
    ///
    /// # Errors
    /// When the profile is not for this role, or unusable.
    fn accept(&self, hello: &[u8]) -> Result<Box<dyn TlsConn>, TlsError>;

    /// A session as the client, whose ClientHello goes into `records`.
    ///
    /// # Errors
    /// As [`Sessions::accept`].
    fn connect(
        &self,
        pool: &Pool,
        records: &mut VecDeque<Buf>,
    ) -> Result<Box<dyn TlsConn>, TlsError>;
}

/// What happened to a link.
#[derive(Debug)]
pub(super) enum Input {
    Received(Side, Buf),
    ReceiveClosed(Side),
    Sent(Side),
    Failed(Side, Operation, io::Error),
    Closed(Side),
    Deadline,
}

/// What is to be done for it.
#[derive(Debug)]
pub(super) enum Action {
    Receive(Side, BufClass),
    Send(Side, Buf),
    ShutdownWrite(Side),
    Close(Side, CloseMode),
    /// Both sockets are closed.
    Finish,
}

/// See the module.
pub(super) struct Link {
    profile: Arc<dyn Sessions>,
    tls: Option<Box<dyn TlsConn>>,
    reader: FrameReader,
    is_established: bool,
    /// The session is over: what is queued is sent, and nothing else happens.
    is_over: bool,
    /// The shard has closed its end.
    is_orphan: bool,
    /// Our end closes when it has got what is queued.
    is_dismissed: bool,
    peer: End,
    shard: End,
    /// When the peer's socket closes, whatever is still to be sent.
    deadline: Option<Time>,
    /// When it was last tried whether the shard is there, while it could not be heard.
    looked_at: Time,
}

impl Link {
    pub(super) fn new(profile: Arc<dyn Sessions>, now: Time) -> Self {
        Self {
            profile,
            tls: None,
            reader: FrameReader::default(),
            is_established: false,
            is_over: false,
            is_orphan: false,
            is_dismissed: false,
            peer: End::default(),
            shard: End::default(),
            deadline: None,
            looked_at: now,
        }
    }

    /// A link that is over before it has begun.
    pub(super) fn refused(
        profile: Arc<dyn Sessions>,
        (reason, alert): (Reason, u8),
        (now, pool): (Time, &Pool),
    ) -> Self {
        let mut link = Self::new(profile, now);
        link.is_over = true;
        queue_frame(&mut link.peer.queue, pool, &plaintext_alert(alert));
        let failed = Failed {
            reason: reason.as_str().to_owned(),
            alert_sent: Some(alert),
            ..Failed::default()
        };
        queue_frame(&mut link.shard.queue, pool, &Frame::Failed(failed).encode());
        link.peer.fin = Fin::Wanted;
        link.deadline = Some(now + LINGER);
        link
    }

    /// Closes both sockets at once.
    pub(super) fn abort(&mut self) {
        self.is_over = true;
        self.peer.leave(CloseMode::Reset);
        self.shard.leave(CloseMode::Fin);
    }

    /// True until its handshake is done, or its session over.
    pub(super) fn is_handshaking(&self) -> bool {
        !self.is_established && !self.is_over && !self.is_orphan
    }

    /// When [`Input::Deadline`] is due.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        if self.deadline.is_some() {
            return self.deadline;
        }
        self.is_deaf().then(|| self.looked_at + LOOK)
    }

    pub(super) fn handle(&mut self, input: Input, now: Time, pool: &Pool) {
        match input {
            Input::Received(side, mut buf) => {
                let end = self.end_mut(side);
                end.receiving = false;
                end.is_bulk = buf.len() >= BufClass::Message.plaintext_max();
                if self.is_over {
                    return;
                }
                match side {
                    Side::Downstream => self.on_records(buf, now, pool),
                    Side::Upstream => self.on_frames(buf.contiguous(), now, pool),
                }
            }
            Input::ReceiveClosed(side) => {
                let end = self.end_mut(side);
                end.receiving = false;
                end.ended = true;
                match side {
                    Side::Downstream => self.on_peer_fin(now, pool),
                    Side::Upstream => self.on_shard_gone(now),
                }
            }
            Input::Sent(side) => {
                self.end_mut(side).sending = 0;
                // Progress earns more time.
                if side == Side::Downstream && self.deadline.is_some() {
                    self.deadline = Some(now + LINGER);
                }
            }
            Input::Failed(Side::Downstream, _, error) => self.on_peer_failed(&error, now, pool),
            Input::Failed(Side::Upstream, operation, _) => self.on_shard_failed(operation, now),
            Input::Closed(side) => {
                let end = self.end_mut(side);
                *end = End { socket: Socket::Closed, ended: true, ..End::default() };
            }
            Input::Deadline => self.on_deadline(now, pool),
        }
    }

    /// The next operation to start, until `None`.
    pub(super) fn poll_action(&mut self, pool: &Pool) -> Option<Action> {
        // When buffers run short, every link may hold only what it is sending.
        let high = if pool.is_tight() { 1 } else { HIGH_WATER };
        let (for_peer, for_shard) = (self.may_hear_peer(high), self.may_hear_shard(high));
        if self.peer.backlog() == 0 {
            match self.peer.fin {
                Fin::Sent if self.peer.ended => self.peer.leave(CloseMode::Fin),
                // The shard has gone without having said that this is an end.
                Fin::No if self.shard.socket != Socket::Open => self.peer.leave(CloseMode::Reset),
                _ => {}
            }
        }
        if self.is_dismissed && self.shard.backlog() == 0 {
            self.shard.leave(CloseMode::Fin);
        }
        let action = self.peer.poll(Side::Downstream, for_peer);
        let action = action.or_else(|| self.shard.poll(Side::Upstream, for_shard));
        if action.is_some() {
            return action;
        }
        let gone = self.peer.socket == Socket::Closed && self.shard.socket == Socket::Closed;
        gone.then_some(Action::Finish)
    }

    fn may_hear_peer(&self, high: usize) -> bool {
        // Nobody has said yet what to speak.
        self.is_over || self.is_orphan || self.tls.is_some() && self.shard.backlog() < high
    }

    fn may_hear_shard(&self, high: usize) -> bool {
        self.is_over || self.peer.backlog() < high
    }

    /// True while the end of the shard would not be noticed: it is not read, as the peer does not
    /// read, and it is not told anything.
    fn is_deaf(&self) -> bool {
        let is_open = self.shard.socket == Socket::Open && self.peer.socket == Socket::Open;
        let is_told = self.shard.fin == Fin::No;
        is_open && is_told && !self.shard.receiving && self.shard.backlog() == 0
    }

    /// What the peer says.
    fn on_records(&mut self, buf: Buf, now: Time, pool: &Pool) {
        let Some(tls) = &mut self.tls else { return };
        let had_closed = tls.peer_has_closed();
        let mut plaintext = VecDeque::new();
        let mut output = Output { pool, plaintext: &mut plaintext, records: &mut self.peer.queue };
        let received = tls.receive(buf, &mut output);
        self.tell(plaintext, had_closed, pool);
        if let Err(error) = received {
            self.fail(&error, now, pool);
        }
    }

    /// Tells the shard what has come out of the session.
    fn tell(&mut self, plaintext: VecDeque<Buf>, had_closed: bool, pool: &Pool) {
        let Some(tls) = &self.tls else { return };
        let queue = &mut self.shard.queue;
        if !self.is_established && !tls.is_handshaking() {
            self.is_established = true;
            let established = Frame::Established(Box::new(established(tls.as_ref())));
            queue_frame(queue, pool, &established.encode());
        }
        for buf in plaintext {
            buf.parts().for_each(|part| queue_data(queue, pool, part));
        }
        if !had_closed && tls.peer_has_closed() {
            queue_frame(queue, pool, &Frame::CloseNotify.encode());
        }
    }

    /// What the shard says.
    fn on_frames(&mut self, mut bytes: &[u8], now: Time, pool: &Pool) {
        let mut reader = std::mem::take(&mut self.reader);
        while !self.is_over {
            let done = match reader.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Part::Data(data))) => self.seal(data, pool),
                Ok(Some(Part::Frame(frame))) => self.on_frame(frame, now, pool),
                Err(error) => Err(TlsError::local(error)),
            };
            if let Err(error) = done {
                self.fail(&error, now, pool);
            }
        }
        self.reader = reader;
    }

    fn on_frame(&mut self, frame: Frame, now: Time, pool: &Pool) -> Result<(), TlsError> {
        match (frame, &mut self.tls) {
            (Frame::Hello { hello, rest }, None) => self.start(hello, &rest, pool),
            (Frame::Start, None) => {
                self.tls = Some(self.profile.connect(pool, &mut self.peer.queue)?);
                Ok(())
            }
            (Frame::CloseNotify, Some(tls)) if self.is_established && !tls.has_closed() => {
                tls.close_notify(pool, &mut self.peer.queue)
            }
            (Frame::Fin, Some(_)) => {
                self.peer.end();
                Ok(())
            }
            (Frame::Alert(description), Some(_)) => {
                let tls = self.tls.take();
                let record = if self.is_established {
                    tls.and_then(|tls| tls.last_alert(description))
                } else {
                    tls.map(|tls| tls.first_alert(description))
                };
                queue_frame(&mut self.peer.queue, pool, &record.unwrap_or_default());
                self.over(now);
                Ok(())
            }
            (other, _) => Err(TlsError::local(format!("a frame out of turn: {other:?}"))),
        }
    }

    fn start(&mut self, mut hello: Vec<u8>, rest: &[u8], pool: &Pool) -> Result<(), TlsError> {
        let mut tls = self.profile.accept(&hello)?;
        let mut plaintext = VecDeque::new();
        let mut output = Output { pool, plaintext: &mut plaintext, records: &mut self.peer.queue };
        let mut started = tls.start(&mut hello, &mut output);
        let mut bufs = VecDeque::new();
        queue_frame(&mut bufs, pool, rest);
        for buf in bufs {
            started = started.and_then(|()| tls.receive(buf, &mut output));
        }
        self.tls = Some(tls);
        self.tell(plaintext, false, pool);
        started
    }

    fn seal(&mut self, data: &[u8], pool: &Pool) -> Result<(), TlsError> {
        match &mut self.tls {
            Some(tls) if self.is_established => {
                tls.seal(pool.copy_of(data), pool, &mut self.peer.queue)
            }
            _ => Err(TlsError::local("data before there are keys")),
        }
    }

    /// The session is over, with what is in the peer's queue. The shard is told why.
    fn fail(&mut self, error: &TlsError, now: Time, pool: &Pool) {
        let mut detail = error.detail.to_string();
        while detail.len() > MAX_DETAIL {
            detail.pop();
        }
        let failed = Failed {
            reason: error.reason.as_str().to_owned(),
            detail,
            alert_sent: error.alert_sent,
            alert_received: error.alert_received,
            certificate: error.certificate.map(|problem| problem.as_str().to_owned()),
        };
        if self.is_heard() {
            queue_frame(&mut self.shard.queue, pool, &Frame::Failed(failed).encode());
        } else {
            // The shard has to see that its sends fail.
            self.is_dismissed = true;
        }
        self.over(now);
    }

    /// False once the shard was told that the peer sends no more: it reads nothing behind that.
    fn is_heard(&self) -> bool {
        let has_closed = self.tls.as_ref().is_some_and(|tls| tls.peer_has_closed());
        self.shard.fin == Fin::No && !has_closed
    }

    /// The rest is told and read, for a while.
    fn over(&mut self, now: Time) {
        self.is_over = true;
        self.peer.end();
        self.deadline.get_or_insert(now + LINGER);
    }

    fn on_peer_fin(&mut self, now: Time, pool: &Pool) {
        let Some(tls) = self.tls.as_mut().filter(|_| !self.is_over) else { return };
        if tls.peer_has_closed() {
            return;
        }
        match tls.end_of_stream() {
            Ok(()) => {
                queue_frame(&mut self.shard.queue, pool, &Frame::Fin.encode());
                self.shard.end();
            }
            Err(error) => self.fail(&error, now, pool),
        }
    }

    fn on_peer_failed(&mut self, error: &io::Error, now: Time, pool: &Pool) {
        if !self.is_over {
            let reason = Reason::of_socket_error(error);
            let error = TlsError { reason, ..TlsError::local(error) };
            self.fail(&error, now, pool);
        }
        self.peer.leave(CloseMode::Reset);
    }

    /// A send fails as soon as the shard has closed its end, but what it has said before is to be
    /// read first.
    fn on_shard_failed(&mut self, operation: Operation, now: Time) {
        if operation == Operation::Send && !self.shard.ended {
            self.shard.sending = 0;
            self.shard.queue.clear();
            self.shard.fin = Fin::Sent;
            self.is_orphan = true;
            self.deadline.get_or_insert(now + LINGER);
            return;
        }
        self.shard.receiving = false;
        self.on_shard_gone(now);
    }

    fn on_shard_gone(&mut self, now: Time) {
        self.is_orphan = true;
        self.shard.leave(CloseMode::Fin);
        self.deadline.get_or_insert(now + LINGER);
    }

    fn on_deadline(&mut self, now: Time, pool: &Pool) {
        if let Some(deadline) = self.deadline {
            if deadline <= now {
                let in_order = self.peer.fin == Fin::Sent && self.peer.backlog() == 0;
                self.peer.leave(if in_order { CloseMode::Fin } else { CloseMode::Reset });
                self.deadline = None;
                if self.is_orphan {
                    self.shard.leave(CloseMode::Fin);
                }
            }
        } else if self.is_deaf() && self.looked_at + LOOK <= now {
            self.looked_at = now;
            queue_frame(&mut self.shard.queue, pool, &Frame::Nothing.encode());
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Downstream => &mut self.peer,
            Side::Upstream => &mut self.shard,
        }
    }
}

/// What the shard is told of a handshake that is done.
fn established(tls: &dyn TlsConn) -> Established {
    let facts = tls.facts();
    Established {
        version: tls.version().map_or(0, TlsVersion::code),
        suite: tls.suite().map_or(0, u16::from),
        group: facts.group.map(str::to_owned),
        alpn: facts.alpn.map(|name| name.as_bytes().to_vec()),
        resumed: facts.resumed,
        shown: tls.has_shown_certificate(),
        certificates: tls.peer_certificates().iter().map(|der| der.to_vec()).collect(),
    }
}

/// Bytes waiting for one side above which the other is not read; as in a shard.
const HIGH_WATER: usize = 128 * 1024;
/// How long a peer may take to read the last bytes; as in a shard.
const LINGER: Duration = Duration::from_secs(1);
/// How often a shard that cannot be heard is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Most of what is said about a failure, in bytes.
const MAX_DETAIL: usize = 1024;

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
