//! Accepting: one armed operation per listener, multishot unless there may be little room.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::{cqueue, opcode, types};

use super::ring::{Completion, Token, Work};
use super::{Event, ListenerId, UringEngine, socket};

pub(super) struct ListenerEntry {
    listener: socket::Listener,
    armed: bool,
    state: Accepting,
    /// Accepts to arm one by one before the kernel may again take all that waits.
    singly: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepting {
    On,
    Paused,
    /// Closing once the armed accept has ended.
    Closing,
}

impl UringEngine {
    pub(super) fn add_listener(
        &mut self,
        id: ListenerId,
        listener: socket::Listener,
    ) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&listener.socket, true)?;
        let index = id.0 as usize;
        if self.listeners.len() <= index {
            self.listeners.resize_with(index + 1, || None);
        }
        self.listeners[index] =
            Some(ListenerEntry { listener, armed: false, state: Accepting::On, singly: 0 });
        self.arm_accept(id);
        Ok(())
    }

    pub(super) fn pause_listener(&mut self, listener: ListenerId) {
        let Some(Some(entry)) = self.listeners.get_mut(listener.0 as usize) else { return };
        if entry.state != Accepting::On {
            return;
        }
        entry.state = Accepting::Paused;
        if entry.armed {
            self.cancel_accept(listener);
        }
    }

    pub(super) fn resume_listener(&mut self, listener: ListenerId) {
        let Some(Some(entry)) = self.listeners.get_mut(listener.0 as usize) else { return };
        if entry.state == Accepting::Paused {
            entry.state = Accepting::On;
            entry.singly = SINGLY_AFTER_PAUSE;
        }
    }

    pub(super) fn share_listener(&mut self, listener: ListenerId) {
        if let Some(Some(entry)) = self.listeners.get_mut(listener.0 as usize) {
            entry.listener.shared = true;
        }
    }

    pub(super) fn end_listener(&mut self, listener: ListenerId) {
        let Some(Some(entry)) = self.listeners.get_mut(listener.0 as usize) else { return };
        entry.state = Accepting::Closing;
        if entry.armed {
            self.cancel_accept(listener);
        } else {
            self.finish_listener(listener);
        }
    }

    fn cancel_accept(&mut self, listener: ListenerId) {
        let index = listener.0 as usize;
        self.ring.cancel(Token::new(Work::Accept, index), Token::new(Work::CancelAccept, index));
    }

    fn arm_accept(&mut self, listener: ListenerId) {
        let Some(Some(entry)) = self.listeners.get_mut(listener.0 as usize) else { return };
        if entry.armed || entry.state != Accepting::On {
            return;
        }
        entry.armed = true;
        let fd = types::Fd(entry.listener.socket.as_raw_fd());
        let accept = if entry.singly > 0 {
            entry.singly -= 1;
            let null = std::ptr::null_mut();
            opcode::Accept::new(fd, null, null.cast()).flags(libc::SOCK_CLOEXEC).build()
        } else {
            opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build()
        };
        self.ring.push(accept, Token::new(Work::Accept, listener.0 as usize));
    }

    /// Arms what has ended. Once a turn, after the shard has said whether there is room.
    pub(super) fn rearm_accepts(&mut self) {
        for index in 0..self.listeners.len() {
            self.arm_accept(ListenerId(u32::try_from(index).expect("added by a u32")));
        }
    }

    pub(super) fn accepted(
        &mut self,
        index: usize,
        completion: Completion,
    ) -> Option<Event<socket::Stream>> {
        let listener = ListenerId(u32::try_from(index).expect("made from a u32"));
        let more = cqueue::more(completion.flags);
        let entry = self.listeners.get_mut(index)?.as_mut()?;
        entry.armed = more;
        let closing = entry.state == Accepting::Closing;
        if closing && !more {
            self.finish_listener(listener);
        }
        if completion.result >= 0 {
            // SAFETY: a non-negative result of accept is a new descriptor that nobody else owns.
            let fd = unsafe { OwnedFd::from_raw_fd(completion.result) };
            let peer = socket::peer_of(&fd);
            return Some(Event::Accepted { listener, stream: socket::Stream::new(fd), peer });
        }
        if closing || completion.result == -libc::ECANCELED {
            return None;
        }
        if completion.result == -libc::EAGAIN {
            // A kernel that does not wait on a non-blocking socket; 6.0 and newer do. The accept
            // is armed again in the next turn.
            let entry = self.listeners.get(index)?.as_ref()?;
            let _stays = rustix::io::ioctl_fionbio(&entry.listener.socket, false);
            return None;
        }
        let error = io::Error::from_raw_os_error(-completion.result);
        if let Some(Some(entry)) = self.listeners.get_mut(index) {
            entry.state = Accepting::Paused;
        }
        Some(Event::AcceptFailed { listener, error })
    }

    fn finish_listener(&mut self, listener: ListenerId) {
        let Some(entry) = self.listeners.get_mut(listener.0 as usize).and_then(Option::take) else {
            return;
        };
        // The queue is read by plain calls, which must not block on it when it is empty.
        if rustix::io::ioctl_fionbio(&entry.listener.socket, true).is_ok() {
            let flags = rustix::net::SocketFlags::CLOEXEC;
            for stream in socket::drain_accept_queue(&entry.listener, flags) {
                let peer = stream.peer();
                self.events.push_back(Event::Accepted { listener, stream, peer });
            }
        }
        self.events.push_back(Event::ListenerClosed { listener });
    }
}

/// Closes the descriptor of a connection that nobody will serve.
pub(super) fn close_accepted(completion: Completion) {
    if completion.token.work() == Work::Accept && completion.result >= 0 {
        // SAFETY: as in `accepted`: the descriptor is new and nobody else owns it.
        drop(socket::Stream::new(unsafe { OwnedFd::from_raw_fd(completion.result) }));
    }
}

/// After a pause there may be little room: a connection is taken only when the shard has dealt with
/// the one before, so that the rest waits in the queue and is not turned away.
const SINGLY_AFTER_PAUSE: u8 = 64;
