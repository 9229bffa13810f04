//! Which endpoint to dial, and how long to wait for it.
//!
//! Each shard keeps its own picture, learnt from its own connections: an endpoint that refused or
//! did not answer is passed over while another one lives, and is given less time to answer.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::ListenerPolicy;
use crate::time::Time;

/// The endpoints of every listener of one policy, as this shard sees them.
#[derive(Debug)]
pub struct Upstreams {
    listeners: Vec<Endpoints>,
}

#[derive(Debug, Default)]
struct Endpoints {
    /// When each endpoint last failed to connect; `None` once it connected again.
    failed_at: Vec<Option<Time>>,
    next: usize,
}

/// An endpoint to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Position in the listener's list.
    pub endpoint: usize,
    /// How long to wait until it is connected.
    pub timeout: Duration,
}

impl Upstreams {
    /// Nothing known yet about any endpoint of `listeners`.
    pub fn new(listeners: &[Arc<ListenerPolicy>]) -> Self {
        let endpoints = |listener: &Arc<ListenerPolicy>| Endpoints {
            failed_at: vec![None; listener.upstreams.len()],
            next: 0,
        };
        Self { listeners: listeners.iter().map(endpoints).collect() }
    }

    /// The next endpoint in turn that is not known to be down, else the next in turn.
    pub fn choose(&mut self, listener: &ListenerPolicy, now: Time) -> Choice {
        let endpoints = &mut self.listeners[listener.position];
        let count = endpoints.failed_at.len();
        let first = endpoints.next;
        let alive = (0..count)
            .map(|step| (first + step) % count)
            .find(|&endpoint| !endpoints.is_down(endpoint, now));
        let endpoint = alive.unwrap_or(first % count);
        endpoints.next = (endpoint + 1) % count;
        let patience = listener.timeouts.connect;
        let timeout = if alive.is_some() { patience } else { patience.min(TIMEOUT_WHEN_DOWN) };
        Choice { endpoint, timeout }
    }

    /// Learns from an attempt.
    pub fn report(&mut self, listener: &ListenerPolicy, endpoint: usize, up: bool, now: Time) {
        self.listeners[listener.position].failed_at[endpoint] = (!up).then_some(now);
    }
}

impl Endpoints {
    fn is_down(&self, endpoint: usize, now: Time) -> bool {
        self.failed_at[endpoint].is_some_and(|at| now.since(at) < DOWN_FOR)
    }
}

/// How long a failed attempt speaks against an endpoint.
const DOWN_FOR: Duration = Duration::from_secs(10);
/// Known to be down, an upstream must look down within a second.
const TIMEOUT_WHEN_DOWN: Duration = Duration::from_millis(900);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::tests::rig::{CONNECT, policy};
    use crate::engine::Address;

    fn listener(upstreams: usize) -> Arc<ListenerPolicy> {
        let upstreams = vec![Address::Tcp(([192, 0, 2, 1], 5060).into()); upstreams];
        Arc::new(ListenerPolicy { upstreams, ..policy() })
    }

    fn endpoints(upstreams: &mut Upstreams, listener: &ListenerPolicy, now: Time) -> [usize; 6] {
        [(); 6].map(|()| upstreams.choose(listener, now).endpoint)
    }

    #[test]
    fn endpoints_take_turns() {
        let listener = listener(3);
        let mut upstreams = Upstreams::new(&[Arc::clone(&listener)]);
        assert_eq!(endpoints(&mut upstreams, &listener, Time::ZERO), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_that_failed_is_passed_over_for_a_while() {
        let listener = listener(3);
        let mut upstreams = Upstreams::new(&[Arc::clone(&listener)]);
        let now = Time::from_nanos(77);
        upstreams.report(&listener, 1, false, now);
        assert_eq!(endpoints(&mut upstreams, &listener, now), [0, 2, 0, 2, 0, 2]);
        let later = now + (DOWN_FOR - Duration::from_nanos(1));
        assert_eq!(endpoints(&mut upstreams, &listener, later), [0, 2, 0, 2, 0, 2]);
        assert_eq!(endpoints(&mut upstreams, &listener, now + DOWN_FOR), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_that_connects_is_up_again() {
        let listener = listener(2);
        let mut upstreams = Upstreams::new(&[Arc::clone(&listener)]);
        upstreams.report(&listener, 0, false, Time::ZERO);
        upstreams.report(&listener, 0, true, Time::ZERO);
        assert_eq!(endpoints(&mut upstreams, &listener, Time::ZERO), [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn with_all_down_each_is_tried_and_given_less_time() {
        let listener = listener(2);
        let mut upstreams = Upstreams::new(&[Arc::clone(&listener)]);
        assert_eq!(upstreams.choose(&listener, Time::ZERO).timeout, CONNECT);
        for endpoint in [0, 1] {
            upstreams.report(&listener, endpoint, false, Time::ZERO);
        }
        let choice = upstreams.choose(&listener, Time::ZERO);
        assert_eq!(choice, Choice { endpoint: 1, timeout: TIMEOUT_WHEN_DOWN });
        assert_eq!(endpoints(&mut upstreams, &listener, Time::ZERO), [0, 1, 0, 1, 0, 1]);
        let choice = upstreams.choose(&listener, Time::ZERO + DOWN_FOR);
        assert_eq!(choice.timeout, CONNECT);
    }

    #[test]
    fn listeners_do_not_share_what_they_learn() {
        let first = listener(2);
        let second = Arc::new(ListenerPolicy { position: 1, ..policy() });
        let mut upstreams = Upstreams::new(&[Arc::clone(&first), Arc::clone(&second)]);
        upstreams.report(&first, 0, false, Time::ZERO);
        assert_eq!(upstreams.choose(&second, Time::ZERO).timeout, CONNECT);
        assert_eq!(upstreams.choose(&first, Time::ZERO).endpoint, 1);
    }
}
