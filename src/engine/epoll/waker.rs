//! Wakes the shard through mio's eventfd.

use std::io;

use mio::{Registry, Token};

use crate::engine::Wake;

pub(super) struct Waker(mio::Waker);

impl Waker {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self(mio::Waker::new(registry, token)?))
    }
}

impl Wake for Waker {
    fn wake(&self) {
        // Fails only when the counter is full, and then the shard is awake already.
        let _awake = self.0.wake();
    }
}
