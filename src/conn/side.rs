//! One side of a connection: its socket's state and what waits to be sent on it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::buf::{Buf, BufClass, Pool};
use crate::lane::Profile;
use crate::lane::frame::{Frame, queue_frame};
use crate::tls::alert::plaintext_alert;
use crate::tls::error::TlsError;
use crate::tls::tls_conn::TlsConn;

pub(super) struct SideState {
    pub(super) socket: Socket,
    /// TLS of ours is spoken here, now or as soon as can be.
    secure: bool,
    pub(super) tls: Option<Box<dyn TlsConn>>,
    /// A receive is outstanding.
    pub(super) receiving: bool,
    /// Bytes in the send that is outstanding; zero when none is.
    pub(super) sending: usize,
    /// What goes on the wire as it is.
    pub(super) queue: VecDeque<Buf>,
    /// Plaintext that waits until TLS can take it.
    plain: VecDeque<Buf>,
    /// The peer sends no more: close_notify or FIN was read.
    pub(super) ended: bool,
    pub(super) output: Output,
    /// Too much waits on the other side; receiving goes on below low water.
    pub(super) paused: bool,
    /// Receives that filled a message's buffer, less those that did not, up to [`MOST_COUNTED`].
    full_receives: u8,
    passing: Passing,
}

/// Whether the child speaks the TLS of this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    No,
    /// It will, as soon as it has been passed the socket.
    Wanted,
    /// It does: what is queued are frames, and the socket is our end of a pair.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    Absent,
    Dialling,
    Open,
    Closing,
    Closed,
}

/// Whether more will be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Open,
    /// Once the queue is empty.
    Ending,
    Ended,
}

impl SideState {
    pub(super) fn absent() -> Self {
        Self {
            socket: Socket::Absent,
            secure: false,
            tls: None,
            receiving: false,
            sending: 0,
            queue: VecDeque::new(),
            plain: VecDeque::new(),
            ended: false,
            output: Output::Open,
            paused: false,
            full_receives: 0,
            passing: Passing::No,
        }
    }

    /// Connected; `secure` if TLS of ours is to be spoken.
    pub(super) fn open(secure: bool) -> Self {
        Self { socket: Socket::Open, secure, ..Self::absent() }
    }

    /// Decides anew whether TLS of ours is to be spoken, before anything was. What waits is plaintext
    /// until then, and goes to where it belongs.
    pub(super) fn set_secure(&mut self, secure: bool) {
        debug_assert!(self.tls.is_none() && self.sending == 0, "it is spoken already");
        if self.secure != secure {
            self.secure = secure;
            std::mem::swap(&mut self.queue, &mut self.plain);
        }
    }

    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket == Socket::Open
    }

    /// True when there is no socket that an event could still come from.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.socket, Socket::Absent | Socket::Closed)
    }

    /// Takes the next buffer to send and marks it as being sent.
    pub(super) fn next_to_send(&mut self) -> Option<Buf> {
        let buf = self.queue.pop_front()?;
        self.sending = buf.len();
        Some(buf)
    }

    /// True when what the other side says can be passed on: connected, and with keys.
    pub(super) fn is_ready(&self) -> bool {
        self.is_open() && (!self.secure || self.has_keys())
    }

    /// True once TLS of ours is past its handshake.
    pub(super) fn has_keys(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking())
    }

    /// Where plaintext for this side goes.
    pub(super) fn inlet(&mut self) -> &mut VecDeque<Buf> {
        if self.secure { &mut self.plain } else { &mut self.queue }
    }

    /// True while something waits to be sealed.
    pub(super) fn has_plaintext(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Seals what waits, and says close_notify behind it when `parting` and nothing more will come.
    pub(super) fn seal(&mut self, parting: bool, pool: &Pool) -> Result<(), TlsError> {
        let ends = parting && self.output.is_ending();
        if self.plain.is_empty() && !ends || !self.is_ready() {
            return Ok(());
        }
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while let Some(buf) = self.plain.pop_front() {
            tls.seal(buf, pool, &mut self.queue)?;
        }
        if ends && !tls.has_closed() {
            tls.close_notify(pool, &mut self.queue)?;
        }
        Ok(())
    }

    /// Queues a fatal alert as the last of its TLS; says whether it could.
    pub(super) fn tell(&mut self, description: u8, pool: &Pool) -> bool {
        let record = self.tls.take().and_then(|tls| tls.last_alert(description));
        let Some(record) = record else { return false };
        self.queue_short(&record, pool);
        true
    }

    /// Nothing has moved for a while: gives back memory that is quickly made again.
    pub(super) fn rest(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.rest();
        }
        self.queue.shrink_to_fit();
        self.plain.shrink_to_fit();
    }

    /// As [`TlsConn::is_sign_of_life`].
    pub(super) fn is_sign_of_life(&self, received: &Buf) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_sign_of_life(received.first()))
    }

    /// Queues a fatal alert for a peer without keys.
    pub(super) fn tell_early(&mut self, description: u8, pool: &Pool) {
        match &self.tls {
            Some(tls) => self.queue_short(&tls.first_alert(description), pool),
            None => self.queue_short(&plaintext_alert(description), pool),
        }
    }

    fn queue_short(&mut self, record: &[u8], pool: &Pool) {
        self.queue.push_back(pool.copy_of(record));
    }

    /// The session of this side, and who speaks it.
    pub(super) fn speak(&mut self, tls: Box<dyn TlsConn>) {
        self.passing = if tls.remote().is_some() { Passing::Wanted } else { Passing::No };
        self.tls = Some(tls);
    }

    /// The profile by which the child is asked for, as long as it is.
    pub(super) fn wants_child(&self) -> Option<&Arc<Profile>> {
        let tls = self.tls.as_ref().filter(|_| self.passing == Passing::Wanted)?;
        tls.remote()
    }

    /// True once the child has the socket.
    pub(super) fn is_passed(&self) -> bool {
        self.passing == Passing::Done
    }

    /// The child has been passed the socket.
    pub(super) fn passed(&mut self, pool: &Pool) {
        self.passing = Passing::Done;
        if let Some(tls) = &mut self.tls {
            tls.passed(pool, &mut self.queue);
        }
    }

    /// True when the child must be told of an end, as no FIN of ours reaches the peer.
    pub(super) fn owes_fin(&self) -> bool {
        self.is_passed() && !self.output.is_ended()
    }

    /// What tells it.
    pub(super) fn take_fin(&mut self, pool: &Pool) -> Option<Buf> {
        self.output.end();
        queue_frame(&mut self.queue, pool, &Frame::Fin.encode());
        self.next_to_send()
    }

    /// Forgets all that waits.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.plain.clear();
    }

    /// Forgets the plaintext that waits: it will not be sealed any more.
    pub(super) fn clear_plaintext(&mut self) {
        self.plain.clear();
    }

    /// Without its socket, to be dialled anew: what waits for it is kept.
    pub(super) fn redialled(&mut self) -> Self {
        // Of a TLS session, records are good for itself only.
        let queue = if self.secure { VecDeque::new() } else { std::mem::take(&mut self.queue) };
        let plain = std::mem::take(&mut self.plain);
        Self { secure: self.secure, output: self.output, queue, plain, ..Self::absent() }
    }

    /// Bytes queued or being sent.
    pub(super) fn backlog(&self) -> usize {
        self.sending + self.queued()
    }

    /// Bytes queued.
    pub(super) fn queued(&self) -> usize {
        let sum = |queue: &VecDeque<Buf>| match queue.front() {
            // As it is nearly always.
            None => 0,
            Some(_) => queue.iter().map(Buf::len).sum(),
        };
        sum(&self.queue) + sum(&self.plain)
    }

    /// Learns from a receive whether this is bulk.
    pub(super) fn note_received(&mut self, buf: &Buf) {
        let full = buf.len() >= BufClass::Message.plaintext_max();
        self.full_receives = match full {
            true => (self.full_receives + 1).min(MOST_COUNTED),
            false => self.full_receives.saturating_sub(1),
        };
    }

    /// Small buffers for messages; large ones after two full receives in a row, so that a single
    /// large message does not turn an interactive connection over, nor a pause bulk.
    pub(super) fn receive_class(&self) -> BufClass {
        if self.full_receives >= 2 { BufClass::Bulk } else { BufClass::Message }
    }
}

impl Output {
    pub(super) fn is_open(self) -> bool {
        self == Self::Open
    }

    pub(super) fn is_ending(self) -> bool {
        self == Self::Ending
    }

    pub(super) fn is_ended(self) -> bool {
        self == Self::Ended
    }

    pub(super) fn end(&mut self) {
        *self = Self::Ended;
    }

    pub(super) fn end_when_empty(&mut self) {
        if *self == Self::Open {
            *self = Self::Ending;
        }
    }
}

/// So bulk ends with three small receives in a row.
const MOST_COUNTED: u8 = 4;
