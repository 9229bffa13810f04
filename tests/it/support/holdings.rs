//! What a gateway holds while it is idle: nothing of it may grow.

use std::time::{Duration, Instant};

use super::client::{Version, assert_echo, close, config, connect};
use super::gateway::Gateway;
use super::process::{open_descriptors, resident_bytes};
use super::{SOON, settled};

/// Heap that may differ between two idle moments: the admin's answer, and what a burst makes grow
/// once (2,736 bytes were seen now and then). Less than six bytes for each of 1,500 connections,
/// which is what the smallest of these checks opens.
const HEAP_NOISE: u64 = 8 * 1024;

/// Longer than an idle thread of the admin port is kept.
const UNASKED: Duration = Duration::from_millis(1_500);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    pub(crate) heap: u64,
    pub(crate) resident: u64,
}

impl Holdings {
    /// Waits until no connection is open. The gateway must have been set up to count its heap.
    pub(crate) fn of(gateway: &Gateway) -> Self {
        gateway.wait_until_idle();
        let id = gateway.id();
        let calm = Duration::from_millis(300);
        let descriptors = settled("descriptors", calm, SOON, || open_descriptors(id));
        Self { descriptors, heap: heap(gateway), resident: resident_bytes(id) }
    }

    /// After one connection with a message, for what the first one makes stays.
    pub(crate) fn warmed_up(gateway: &Gateway) -> Self {
        let mut stream = connect(gateway.address(), &config(Version::V13));
        assert_echo(&mut stream, b"first");
        close(stream);
        Self::of(gateway)
    }

    /// Waits until there is no more than at `start`. What is held for a moment goes by itself: a
    /// second thread of the admin port, for example, when nobody has asked it for a second.
    ///
    /// # Panics
    /// When there still is more after [`SOON`].
    pub(crate) fn back_at(start: &Self, gateway: &Gateway, place: &str) -> Self {
        let mut now = Self::of(gateway);
        let deadline = Instant::now() + SOON;
        while now.heap > start.heap + HEAP_NOISE && Instant::now() < deadline {
            println!("{place}: waiting for {} bytes of heap to go", now.heap - start.heap);
            std::thread::sleep(UNASKED);
            now = Self::of(gateway);
        }
        assert_eq!(now.descriptors, start.descriptors, "descriptors, {place}");
        let more = now.heap.saturating_sub(start.heap);
        assert!(more <= HEAP_NOISE, "{more} bytes of heap more than at the start, {place}");
        now
    }
}

fn heap(gateway: &Gateway) -> u64 {
    let metrics = gateway.metrics();
    assert!(metrics.has("tlsgate_heap_live_bytes"), "the heap is counted");
    metrics.count("tlsgate_heap_live_bytes", &[])
}
