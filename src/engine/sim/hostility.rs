//! How hard a run is made for the gateway: what a kernel may do, how often it does it.

use std::time::Duration;

use super::rng::Rng;

/// Chances are in per cent, each of one occasion.
#[derive(Clone, Debug)]
pub struct Hostility {
    /// A receive or one part of a send moves less than it could.
    pub short: u32,
    /// A receive finds no buffer though there are some.
    pub starvation: u32,
    /// All that waits is accepted at once, as by a multishot accept.
    pub burst: u32,
    /// An accept fails: EMFILE, ENFILE, ENOMEM, or ECONNABORTED.
    pub accept_failure: u32,
    /// The address of a peer is not known: it has gone already, or is local.
    pub nameless: u32,
    /// An accepted socket cannot be watched, or there is no descriptor or port to dial with.
    pub exhaustion: u32,
    /// A turn hands out only some of the completions that are there.
    pub pressure: u32,
    /// A turn hands out a completion that is not the oldest.
    pub reorder: u32,
    /// An operation is tried in the call that starts it, as `epoll` does, and not later.
    pub prompt: u32,
    /// An event takes the shard milliseconds.
    pub slow_event: u32,
    /// In a turn, whatever the shard does takes it milliseconds, events or not.
    pub slow_turn: u32,
    /// A wait returns for nothing (EINTR).
    pub spurious: u32,
    /// The longest that the kernel takes over anything it does by itself.
    pub latency: Duration,
    /// Bytes that a connection holds in each direction: the two sockets' buffers together.
    pub capacity: usize,
    /// Share of the buffer memory that is taken in advance for each class, as `uring` provides
    /// buffers to its kernel; zero is on demand, as `epoll` has it.
    pub provided: Option<usize>,
    /// Connections that wait in an accept queue before more are refused.
    pub backlog: usize,
}

impl Hostility {
    /// Nothing happens but what must.
    pub fn none() -> Self {
        Self {
            short: 0,
            starvation: 0,
            burst: 0,
            accept_failure: 0,
            nameless: 0,
            exhaustion: 0,
            pressure: 0,
            reorder: 0,
            prompt: 0,
            slow_event: 0,
            slow_turn: 0,
            spurious: 0,
            latency: Duration::from_micros(50),
            capacity: 256 * 1024,
            provided: None,
            backlog: 128,
        }
    }

    /// Each means of its own is off in some runs, so that what it hides is seen in others.
    pub fn drawn(rng: &mut Rng) -> Self {
        let mut level = |most: usize| {
            let level = if rng.chance(40) { 0 } else { rng.between(1, most) };
            u32::try_from(level).expect("at most a hundred")
        };
        Self {
            short: level(90),
            starvation: level(40),
            burst: level(100),
            accept_failure: level(30),
            nameless: level(20),
            exhaustion: level(20),
            pressure: level(90),
            reorder: level(90),
            prompt: level(100),
            slow_event: level(5),
            spurious: if rng.chance(75) { 0 } else { 20 },
            latency: *rng.pick(&[
                Duration::from_micros(20),
                Duration::from_micros(500),
                Duration::from_millis(20),
                Duration::from_millis(300),
            ]),
            capacity: *rng.pick(&[512, 4096, 40_000, 256 * 1024]),
            provided: *rng.pick(&[None, Some(4), Some(16)]),
            backlog: *rng.pick(&[1, 3, 128]),
            slow_turn: if rng.chance(50) { 0 } else { 50 },
        }
    }
}
