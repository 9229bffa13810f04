//! Bytes in and out of a socket.

use io_uring::{cqueue, opcode, squeue};

use super::bufring::group_of;
use super::ring::{Completion, Work};
use super::{Event, Operation, SocketId, UringEngine, failed, socket};
use crate::buf::{Buf, BufClass, Layout, RECORD_PLAINTEXT};

/// A receive that is outstanding, or waits for a buffer.
#[derive(Clone, Copy)]
pub(super) struct Receiving {
    pub(super) class: BufClass,
    pub(super) layout: Layout,
}

/// What is in the kernel's hands of a socket's receiving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Armed {
    #[default]
    Nothing,
    /// One receive.
    Once(BufClass),
    /// A multishot one: messages come until it ends.
    Multishot,
    /// The same, and it was told to end; until then, messages may still come.
    Ending,
}

/// What a multishot receive has brought that nobody had asked for.
pub(super) enum Early {
    Data(Buf),
    /// FIN, or an error: as in a completion.
    End(i32),
}

/// A multishot receive saves the submission and the arming of the socket's poll for each message. It
/// cannot hold back, and takes small buffers one after the other, so it is for small messages on
/// settled sockets: it is told to end when bytes come that nobody has asked for, or bulk is asked for.
/// What it brings until it has ended is kept, and is no more than the provided buffers of its class.
impl UringEngine {
    pub(super) fn ask(&mut self, socket: SocketId, receiving: Receiving) {
        let entry = &mut self.sockets[socket.index()];
        debug_assert!(entry.receiving.is_none(), "one receive at a time");
        if let Some(early) = &mut entry.early {
            let first = early.pop_front();
            if early.is_empty() {
                entry.early = None;
            }
            let event = first.map(|first| match first {
                Early::Data(buf) => Event::Received { socket, buf },
                Early::End(0) => Event::ReceiveClosed { socket },
                Early::End(errno) => failed(socket, Operation::Receive, errno),
            });
            return self.events.extend(event);
        }
        entry.receiving = Some(receiving);
        match entry.armed {
            Armed::Nothing => self.arm_receive(socket, receiving),
            Armed::Multishot if receiving.class != BufClass::Message => self.end_multishot(socket),
            _ => {}
        }
    }

    fn end_multishot(&mut self, socket: SocketId) {
        self.sockets[socket.index()].armed = Armed::Ending;
        self.cancel_on(socket, Work::Receive);
    }

    fn arm_receive(&mut self, socket: SocketId, receiving: Receiving) {
        let entry = &mut self.sockets[socket.index()];
        let Receiving { class, layout } = receiving;
        entry.armed = Armed::Once(class);
        // Bytes are there: the buffer that was given back last is the one that caches know.
        if entry.readable
            && class == BufClass::Bulk
            && let Some(buf) = self.pool.try_take(class)
        {
            return self.arm_vectored_receive(socket, buf, layout);
        }
        let group = group_of(class);
        // Where more is known to wait, it may be the start of bulk.
        if self.has_multishot && entry.is_settled && !entry.readable && class == BufClass::Message {
            entry.armed = Armed::Multishot;
            return self
                .start(socket, Work::Receive, |fd| opcode::RecvMulti::new(fd, group).build());
        }
        // Polling first waits for bytes instead of failing when no buffer is free, and saves the
        // attempt that a quiet socket would fail (io_uring_prep_recv(3), 5.19).
        let flags = if entry.readable { 0 } else { POLL_FIRST };
        // Of a buffer that the kernel chooses, it fills one piece.
        let most = class.receive_max(layout);
        let most = if class.parts(layout) > 1 { most.min(RECORD_PLAINTEXT) } else { most };
        let len = u32::try_from(most).expect("a buffer is far below 4 GiB");
        self.start(socket, Work::Receive, |fd| {
            opcode::Recv::new(fd, std::ptr::null_mut(), len)
                .buf_group(group)
                .ioprio(flags)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
        });
    }

    /// Receives into a buffer that the kernel does not choose, and could not where it is in parts. It
    /// is taken until bytes are there, so this is for when they are known to be.
    fn arm_vectored_receive(&mut self, socket: SocketId, mut buf: Buf, layout: Layout) {
        let spaces = buf.spaces_mut(layout).map(|space| (space.as_mut_ptr(), space.len()));
        let header = self.vectors.header(spaces);
        self.sockets[socket.index()].filling = Some(buf);
        let flags = MSG_DONTWAIT;
        self.start(socket, Work::Receive, |fd| {
            opcode::RecvMsg::new(fd, header).flags(flags).build()
        });
    }

    pub(super) fn arm_send(&mut self, socket: SocketId) {
        let entry = &self.sockets[socket.index()];
        let Some(buf) = &entry.sending else { return };
        if buf.count() > 1 {
            let parts = buf.parts().map(|part| (part.as_ptr().cast_mut(), part.len()));
            let header = self.vectors.header(parts);
            self.start(socket, Work::Send, |fd| {
                opcode::SendMsg::new(fd, header).flags(SEND_FLAGS).build()
            });
            return;
        }
        let data = buf.first();
        let len = u32::try_from(data.len()).expect("a buffer is far below 4 GiB");
        let data = data.as_ptr();
        let flags = SEND_FLAGS.cast_signed();
        self.start(socket, Work::Send, |fd| opcode::Send::new(fd, data, len).flags(flags).build());
    }

    /// Refills the provided buffers and starts again what had waited for one.
    pub(super) fn feed_starved(&mut self) {
        for class in BufClass::ALL {
            let buf_ring = &mut self.buf_rings[class.index()];
            buf_ring.refill(&self.pool);
            let starved = &mut self.starved[class.index()];
            if starved.is_empty() {
                // A burst leaves no memory behind.
                *starved = Default::default();
                continue;
            }
            // No more than there are buffers for: starting again on an empty ring would spin.
            for _ in 0..buf_ring.available() {
                let Some(socket) = self.starved[class.index()].pop_front() else { break };
                if let Some(receiving) = self.sockets[socket.index()].receiving {
                    self.arm_receive(socket, receiving);
                }
            }
        }
    }

    pub(super) fn received(
        &mut self,
        socket: SocketId,
        completion: Completion,
    ) -> Option<Event<socket::Stream>> {
        let Completion { result, flags, .. } = completion;
        let entry = &mut self.sockets[socket.index()];
        let class = match entry.armed {
            Armed::Once(class) => class,
            _ => BufClass::Message,
        };
        if result == -libc::EINVAL && entry.armed == Armed::Multishot {
            self.has_multishot = false;
            entry.armed = Armed::Nothing;
            return self.again(socket);
        }
        if !cqueue::more(flags) {
            entry.armed = Armed::Nothing;
        }
        entry.readable = cqueue::sock_nonempty(flags);
        // A buffer may come with any result; it must go back to the table first.
        let chosen = cqueue::buffer_select(flags).map(|id| self.buf_rings[class.index()].take(id));
        let buf = entry.filling.take().or(chosen);
        match (result, buf) {
            (errno, _) if errno == -libc::ENOBUFS => {
                // Else there are more in the next turn.
                let is_short = self.buf_rings[class.index()].is_at_limit(&self.pool);
                self.stats.starvations += u64::from(is_short);
                if entry.receiving.is_none_or(|receiving| receiving.class != class) {
                    return self.again(socket);
                }
                if entry.closing.is_none() {
                    self.starved[class.index()].push_back(socket);
                }
                None
            }
            (errno, _) if TO_BE_TRIED_AGAIN.contains(&errno) => self.again(socket),
            (result @ ..=0, _) => self.ended(socket, result),
            (_, None) => self.ended(socket, -libc::EIO),
            (len, Some(buf)) => {
                let len = usize::try_from(len).expect("matched as positive");
                self.brought(socket, buf, len)
            }
        }
    }

    /// A receive has ended for nothing: what is asked for is still to come.
    fn again(&mut self, socket: SocketId) -> Option<Event<socket::Stream>> {
        let entry = &self.sockets[socket.index()];
        if let (None, Armed::Nothing, Some(receiving)) =
            (entry.closing, entry.armed, entry.receiving)
        {
            self.arm_receive(socket, receiving);
        }
        None
    }

    /// No more comes.
    fn ended(&mut self, socket: SocketId, result: i32) -> Option<Event<socket::Stream>> {
        let entry = &mut self.sockets[socket.index()];
        if entry.receiving.take().is_none() {
            entry.early.get_or_insert_default().push_back(Early::End(result));
            return None;
        }
        Some(match result {
            0 => Event::ReceiveClosed { socket },
            errno => failed(socket, Operation::Receive, errno),
        })
    }

    fn brought(
        &mut self,
        socket: SocketId,
        mut buf: Buf,
        len: usize,
    ) -> Option<Event<socket::Stream>> {
        let entry = &mut self.sockets[socket.index()];
        let Some(receiving) = entry.receiving.take() else {
            buf.set_received(Layout::Contiguous, len);
            entry.early.get_or_insert_default().push_back(Early::Data(buf));
            if entry.armed == Armed::Multishot && entry.closing.is_none() {
                self.end_multishot(socket);
            }
            return None;
        };
        buf.set_received(receiving.layout, len);
        Some(Event::Received { socket, buf })
    }

    pub(super) fn sent(
        &mut self,
        socket: SocketId,
        completion: Completion,
    ) -> Option<Event<socket::Stream>> {
        let entry = &mut self.sockets[socket.index()];
        let buf = entry.sending.as_mut().expect("owned until its completion");
        match completion.result {
            errno if errno < 0 && errno != -libc::EINTR && errno != -libc::EAGAIN => {
                entry.sending = None;
                return Some(failed(socket, Operation::Send, errno));
            }
            len => buf.advance(usize::try_from(len).unwrap_or(0)),
        }
        if buf.is_empty() {
            entry.sending = None;
            return Some(Event::Sent { socket });
        }
        if entry.closing.is_none() {
            self.arm_send(socket);
        }
        None
    }
}

/// IORING_RECVSEND_POLL_FIRST (linux/io_uring.h, 5.19).
const POLL_FIRST: u16 = 1;
/// After these, a receive has brought nothing and the socket is as it was.
const TO_BE_TRIED_AGAIN: [i32; 3] = [-libc::EINTR, -libc::EAGAIN, -libc::ECANCELED];
/// For operations on messages, whose flags are unsigned.
const MSG_DONTWAIT: u32 = libc::MSG_DONTWAIT.cast_unsigned();
/// MSG_WAITALL makes the kernel finish short sends by itself.
const SEND_FLAGS: u32 = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL).cast_unsigned();
