//! Clients that come and go while something else is done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::ca::NAME;
use super::client::{assert_echo, close, try_connect};
use super::{SOON, wait_until};

/// Clients that connect, exchange a message and close, again and again. One that fails panics.
pub(crate) struct Load {
    done: AtomicU64,
    since: Instant,
}

impl Default for Load {
    fn default() -> Self {
        Self { done: AtomicU64::new(0), since: Instant::now() }
    }
}

impl Load {
    /// One client for each configuration, until `stop`.
    pub(crate) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        address: SocketAddr,
        stop: &'scope AtomicBool,
        configs: impl IntoIterator<Item = Arc<ClientConfig>>,
    ) {
        for config in configs {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = try_connect(address, &config, NAME)
                        .unwrap_or_else(|error| panic!("a connect failed: {error}"));
                    assert_echo(&mut stream, &[7; 3000]);
                    close(stream);
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn took(&self) -> Duration {
        self.since.elapsed()
    }

    /// Waits until `more` connections have come and gone.
    pub(crate) fn wait_for(&self, more: u64) {
        let wanted = self.done() + more;
        wait_until("the load goes on", SOON, || self.done() >= wanted);
    }
}

/// Whatever ends the scope of this ends what runs until `stop`, too.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
