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

impl UringEngine {
    pub(super) fn arm_receive(&mut self, socket: SocketId, receiving: Receiving) {
        let entry = &mut self.sockets[socket.index()];
        entry.receiving = Some(receiving);
        let Receiving { class, layout } = receiving;
        if entry.readable
            && class.parts(layout) > 1
            && let Some(buf) = self.pool.try_take(class)
        {
            return self.arm_vectored_receive(socket, buf, layout);
        }
        // Polling first waits for bytes instead of failing when no buffer is free, and saves the
        // attempt that a quiet socket would fail (io_uring_prep_recv(3), 5.19).
        let flags = if entry.readable { 0 } else { POLL_FIRST };
        let group = group_of(class);
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

    /// Receives into a buffer in parts, which the kernel cannot choose. It is ours until bytes are
    /// there, so this is for when they are known to be.
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
        let entry = &mut self.sockets[socket.index()];
        let receiving = entry.receiving.take().expect("set when the receive was armed");
        let Receiving { class, layout } = receiving;
        entry.readable = cqueue::sock_nonempty(completion.flags);
        // A buffer may come with any result; it must go back to the table first.
        let chosen = cqueue::buffer_select(completion.flags)
            .map(|id| self.buf_rings[class.index()].take(id));
        let buf = entry.filling.take().or(chosen);
        let is_closing = entry.closing.is_some();
        match (completion.result, buf) {
            (0, _) => Some(Event::ReceiveClosed { socket }),
            (errno, _) if errno == -libc::ENOBUFS => {
                self.stats.starvations += 1;
                if !is_closing {
                    entry.receiving = Some(receiving);
                    self.starved[class.index()].push_back(socket);
                }
                None
            }
            (errno, _) if errno == -libc::EINTR || errno == -libc::EAGAIN => {
                if !is_closing {
                    self.arm_receive(socket, receiving);
                }
                None
            }
            (errno, _) if errno < 0 => Some(failed(socket, Operation::Receive, errno)),
            (_, None) => Some(failed(socket, Operation::Receive, -libc::EIO)),
            (len, Some(mut buf)) => {
                buf.set_received(layout, usize::try_from(len).expect("matched as positive"));
                Some(Event::Received { socket, buf })
            }
        }
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
/// For operations on messages, whose flags are unsigned.
const MSG_DONTWAIT: u32 = libc::MSG_DONTWAIT.cast_unsigned();
/// MSG_WAITALL makes the kernel finish short sends by itself.
const SEND_FLAGS: u32 = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL).cast_unsigned();
