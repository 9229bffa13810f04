//! Wakes the shard: an eventfd that the ring always has a read armed on.

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::engine::Wake;

pub(super) struct Waker {
    fd: OwnedFd,
    /// Where the kernel puts the count that nobody reads.
    counter: UnsafeCell<u64>,
}

// SAFETY: no Rust code reads or writes `counter` after construction; only the kernel does.
unsafe impl Sync for Waker {}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC)?, counter: UnsafeCell::new(0) })
    }

    /// What the armed read needs: the descriptor and eight bytes.
    pub(super) fn read_into(&self) -> (RawFd, *mut u8) {
        (self.fd.as_raw_fd(), self.counter.get().cast())
    }
}

impl Wake for Waker {
    fn wake(&self) {
        // Fails only when the counter is full, and then the shard is awake already.
        let _awake = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }
}
