//! One of a link's two sockets: what waits to be sent on it, and how it ends. Pure.

use std::collections::VecDeque;

use super::link::Action;
use crate::buf::{Buf, BufClass};
use crate::engine::{CloseMode, Side};

/// One of its sockets.
#[derive(Default)]
pub(super) struct End {
    pub(super) socket: Socket,
    pub(super) queue: VecDeque<Buf>,
    /// Bytes in the send that is outstanding.
    pub(super) sending: usize,
    pub(super) receiving: bool,
    /// The last receive filled its buffer.
    pub(super) is_bulk: bool,
    /// FIN was read.
    pub(super) ended: bool,
    pub(super) fin: Fin,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Socket {
    #[default]
    Open,
    /// To be closed at once.
    Leaving(CloseMode),
    Closing,
    Closed,
}

/// Whether FIN goes out.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fin {
    #[default]
    No,
    /// Behind what is queued.
    Wanted,
    Sent,
}

impl End {
    pub(super) fn poll(&mut self, side: Side, may_receive: bool) -> Option<Action> {
        match self.socket {
            Socket::Open => {}
            Socket::Leaving(mode) => {
                self.socket = Socket::Closing;
                self.queue.clear();
                return Some(Action::Close(side, mode));
            }
            Socket::Closing | Socket::Closed => return None,
        }
        if self.sending == 0 {
            if let Some(buf) = self.queue.pop_front() {
                self.sending = buf.len();
                return Some(Action::Send(side, buf));
            }
            if self.fin == Fin::Wanted {
                self.fin = Fin::Sent;
                return Some(Action::ShutdownWrite(side));
            }
        }
        if may_receive && !self.receiving && !self.ended {
            self.receiving = true;
            let class = if self.is_bulk { BufClass::Bulk } else { BufClass::Message };
            return Some(Action::Receive(side, class));
        }
        None
    }

    pub(super) fn backlog(&self) -> usize {
        self.sending + self.queue.iter().map(|buf| buf.len()).sum::<usize>()
    }

    pub(super) fn end(&mut self) {
        if self.fin == Fin::No {
            self.fin = Fin::Wanted;
        }
    }

    pub(super) fn leave(&mut self, mode: CloseMode) {
        if self.socket == Socket::Open {
            self.socket = Socket::Leaving(mode);
        }
    }
}
