//! How many connections the descriptor limit allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::model::{Config, Gateway};
use crate::engine::probe::EngineKind;
use crate::lane;
use crate::lane::wire::Begin;

/// The result of raising the limit as far as this process may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Descriptors this process may have open.
    pub descriptors: u64,
    /// Connections over all workers.
    pub max_connections: u32,
    /// What was configured, when that is more than the descriptors allow.
    pub reduced_from: Option<u32>,
}

/// Raises the soft descriptor limit to the hard one and derives the connection limit: two
/// descriptors each, after what workers and listeners need themselves.
pub(super) fn raise(config: &Config, workers: usize) -> Limits {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Refused only by a sandbox; then the soft limit is what there is.
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let _kept = setrlimit(Resource::Nofile, raised);
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    derive(descriptors, config.gateway.max_connections, workers, config.listeners.len())
}

/// What the legacy lane's child works with, where there are so many connections at most.
pub(super) fn of_lane(engine: EngineKind, gateway: &Gateway, max_connections: u32) -> Begin {
    Begin {
        uring: engine == EngineKind::Uring,
        limits: lane::wire::Limits {
            links: max_connections.min(LINKS),
            handshakes: HANDSHAKES,
            buffer_memory: gateway.buffer_memory as u64,
        },
    }
}

/// Descriptors that a gateway has besides two for each connection.
pub fn own_descriptors(workers: usize, listeners: usize) -> u64 {
    // The gateway keeps a second descriptor of each listening socket.
    OWN + (workers * (PER_WORKER + 2 * listeners)) as u64
}

fn derive(descriptors: u64, configured: Option<u32>, workers: usize, listeners: usize) -> Limits {
    let own = own_descriptors(workers, listeners);
    let possible = u32::try_from(descriptors.saturating_sub(own) / 2).unwrap_or(u32::MAX).max(1);
    let wanted = configured.unwrap_or(possible.min(DEFAULT_MOST));
    Limits {
        descriptors,
        max_connections: wanted.min(possible),
        reduced_from: (wanted > possible).then_some(wanted),
    }
}

/// Connections of the legacy lane: some hundred old phones and servers, with reserve.
const LINKS: u32 = 4_096;
/// Of them, in their handshakes: half a second of work, so that those who wait are served in time.
const HANDSHAKES: u32 = 256;
/// Standard streams, logs, admin connections, files being read.
const OWN: u64 = 96;
/// Ring or epoll, eventfd, and a little reserve.
const PER_WORKER: usize = 4;
/// Without a configured limit: what a process with unlimited descriptors gets.
const DEFAULT_MOST: u32 = 262_144;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_descriptors_per_connection() {
        let limits = derive(20_000, None, 1, 1);
        assert_eq!(limits.max_connections, (20_000 - 96 - 6) / 2);
        assert_eq!(limits.reduced_from, None);
    }

    #[test]
    fn a_configured_limit_holds_as_far_as_descriptors_go() {
        assert_eq!(derive(20_000, Some(500), 2, 1).max_connections, 500);
        let reduced = derive(1_024, Some(5_000), 2, 1);
        assert_eq!((reduced.max_connections, reduced.reduced_from), (458, Some(5_000)));
    }

    #[test]
    fn without_a_descriptor_limit_tables_stay_finite() {
        assert_eq!(derive(u64::MAX, None, 4, 10).max_connections, DEFAULT_MOST);
    }
}
