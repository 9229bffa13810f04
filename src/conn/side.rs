//! One side of a connection: its socket's state and what waits to be sent on it.

use std::collections::VecDeque;

use crate::buf::{Buf, BufClass};

#[derive(Debug)]
pub(super) struct SideState {
    pub(super) socket: Socket,
    /// A receive is outstanding.
    pub(super) receiving: bool,
    /// Bytes in the send that is outstanding; zero when none is.
    pub(super) sending: usize,
    pub(super) queue: VecDeque<Buf>,
    /// The peer sends no more: close_notify or FIN was read.
    pub(super) ended: bool,
    pub(super) output: Output,
    /// Too much waits on the other side; receiving goes on below low water.
    pub(super) paused: bool,
    /// Receives in a row that filled their buffer.
    full_receives: u8,
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
            receiving: false,
            sending: 0,
            queue: VecDeque::new(),
            ended: false,
            output: Output::Open,
            paused: false,
            full_receives: 0,
        }
    }

    pub(super) fn open() -> Self {
        Self { socket: Socket::Open, ..Self::absent() }
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
        if self.queue.is_empty() && self.queue.capacity() > QUEUE_KEPT {
            // A burst must not leave its memory with an idle connection.
            self.queue = VecDeque::new();
        }
        self.sending = buf.len();
        Some(buf)
    }

    /// Bytes queued or being sent.
    pub(super) fn backlog(&self) -> usize {
        self.sending + self.queued()
    }

    /// Bytes queued.
    pub(super) fn queued(&self) -> usize {
        self.queue.iter().map(|buf| buf.len()).sum()
    }

    /// Learns from a receive whether this is bulk.
    pub(super) fn note_received(&mut self, buf: &Buf) {
        let full = buf.len() >= BufClass::Message.plaintext_max();
        self.full_receives = if full { self.full_receives.saturating_add(1) } else { 0 };
    }

    /// Small buffers for messages; large ones after two full receives in a row, so that a single
    /// large message does not turn an interactive connection over.
    pub(super) fn receive_class(&self) -> BufClass {
        if self.full_receives >= 2 { BufClass::Bulk } else { BufClass::Message }
    }
}

impl Output {
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

/// Queue slots an idle connection may keep.
const QUEUE_KEPT: usize = 4;
