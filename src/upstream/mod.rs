//! Which endpoint to dial, and how long to wait for it.
//!
//! Each shard keeps its own picture, learnt from its own connections: an endpoint that refused or
//! did not answer is passed over while another one lives, and is given less time to answer.

pub mod local_ports;
pub mod sources;

use std::time::Duration;

use crate::policy::{Policy, Route};
use crate::time::Time;

/// The endpoints of every route of one policy, as this shard sees them.
#[derive(Debug)]
pub struct Upstreams {
    groups: Vec<Endpoints>,
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
    /// Position in the route's list.
    pub endpoint: usize,
    /// How long to wait until it is connected.
    pub timeout: Duration,
}

impl Upstreams {
    /// Nothing known yet about any endpoint of `policy`.
    pub fn new(policy: &Policy) -> Self {
        let routes = || policy.listeners.iter().flat_map(|listener| &listener.routes);
        let count = routes().map(|route| route.group + 1).max().unwrap_or_default();
        let mut groups: Vec<Endpoints> = Vec::new();
        groups.resize_with(count, Endpoints::default);
        for route in routes() {
            groups[route.group].failed_at = vec![None; route.upstreams.len()];
        }
        Self { groups }
    }

    /// The next endpoint in turn that is not known to be down, else the next in turn.
    pub fn choose(&mut self, route: &Route, patience: Duration, now: Time) -> Choice {
        let endpoints = &mut self.groups[route.group];
        let count = endpoints.failed_at.len();
        let first = endpoints.next;
        let alive = (0..count)
            .map(|step| (first + step) % count)
            .find(|&endpoint| !endpoints.is_down(endpoint, now));
        let endpoint = alive.unwrap_or(first % count);
        endpoints.next = (endpoint + 1) % count;
        let timeout = if alive.is_some() { patience } else { patience.min(TIMEOUT_WHEN_DOWN) };
        Choice { endpoint, timeout }
    }

    /// Learns from an attempt.
    pub fn report(&mut self, route: &Route, endpoint: usize, up: bool, now: Time) {
        self.groups[route.group].failed_at[endpoint] = (!up).then_some(now);
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
    use std::sync::Arc;

    use crate::conn::tests::rig::{CONNECT, policy, route};
    use crate::engine::Address;
    use crate::policy::ListenerPolicy;

    fn routes(counts: &[usize]) -> (Upstreams, Vec<Arc<Route>>) {
        let routes = counts.iter().enumerate().map(|(group, count)| {
            let upstreams = vec![Address::Tcp(([192, 0, 2, 1], 5060).into()); *count];
            Arc::new(Route { group, upstreams, ..route() })
        });
        let routes: Vec<_> = routes.collect();
        let listener = ListenerPolicy { routes: routes.clone(), ..policy() };
        let policy = Policy { generation: 1, listeners: vec![Arc::new(listener)] };
        (Upstreams::new(&policy), routes)
    }

    fn endpoints(upstreams: &mut Upstreams, route: &Route, now: Time) -> [usize; 6] {
        [(); 6].map(|()| upstreams.choose(route, CONNECT, now).endpoint)
    }

    #[test]
    fn endpoints_take_turns() {
        let (mut upstreams, routes) = routes(&[3]);
        let route = &routes[0];
        assert_eq!(endpoints(&mut upstreams, route, Time::ZERO), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_that_failed_is_passed_over_for_a_while() {
        let (mut upstreams, routes) = routes(&[3]);
        let route = &routes[0];
        let now = Time::from_nanos(77);
        upstreams.report(route, 1, false, now);
        assert_eq!(endpoints(&mut upstreams, route, now), [0, 2, 0, 2, 0, 2]);
        let later = now + (DOWN_FOR - Duration::from_nanos(1));
        assert_eq!(endpoints(&mut upstreams, route, later), [0, 2, 0, 2, 0, 2]);
        assert_eq!(endpoints(&mut upstreams, route, now + DOWN_FOR), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_that_connects_is_up_again() {
        let (mut upstreams, routes) = routes(&[2]);
        let route = &routes[0];
        upstreams.report(route, 0, false, Time::ZERO);
        upstreams.report(route, 0, true, Time::ZERO);
        assert_eq!(endpoints(&mut upstreams, route, Time::ZERO), [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn with_all_down_each_is_tried_and_given_less_time() {
        let (mut upstreams, routes) = routes(&[2]);
        let route = &routes[0];
        assert_eq!(upstreams.choose(route, CONNECT, Time::ZERO).timeout, CONNECT);
        for endpoint in [0, 1] {
            upstreams.report(route, endpoint, false, Time::ZERO);
        }
        let choice = upstreams.choose(route, CONNECT, Time::ZERO);
        assert_eq!(choice, Choice { endpoint: 1, timeout: TIMEOUT_WHEN_DOWN });
        assert_eq!(endpoints(&mut upstreams, route, Time::ZERO), [0, 1, 0, 1, 0, 1]);
        let choice = upstreams.choose(route, CONNECT, Time::ZERO + DOWN_FOR);
        assert_eq!(choice.timeout, CONNECT);
    }

    #[test]
    fn routes_do_not_share_what_they_learn() {
        let (mut upstreams, routes) = routes(&[2, 1]);
        upstreams.report(&routes[0], 0, false, Time::ZERO);
        assert_eq!(upstreams.choose(&routes[1], CONNECT, Time::ZERO).timeout, CONNECT);
        assert_eq!(upstreams.choose(&routes[0], CONNECT, Time::ZERO).endpoint, 1);
    }
}
