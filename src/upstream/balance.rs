//! Who is next, of the endpoints that can be dialled.

use std::net::IpAddr;

use super::group::Endpoint;
use super::hash::{self, Random};
use super::settings::Balance;

/// Some endpoints of a group, by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    pub(super) fn add(&mut self, position: usize) {
        self.0 |= 1 << position;
    }

    pub(super) fn has(self, position: usize) -> bool {
        self.0 >> position & 1 == 1
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn without(self, position: usize) -> Self {
        Self(self.0 & !(1 << position))
    }

    /// Positions, rising.
    fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let position = (rest != 0).then(|| rest.trailing_zeros() as usize);
            rest &= rest.wrapping_sub(1);
            position
        })
    }

    /// Positions from `first` on, then those before it.
    fn from(self, first: usize) -> impl Iterator<Item = usize> {
        let later = move |position: &usize| *position >= first;
        self.iter().filter(later).chain(self.iter().filter(move |position| !later(position)))
    }
}

/// What a group remembers from one choice to the next.
#[derive(Clone, Debug)]
pub(super) struct Balancer {
    /// Of each endpoint: how far it is behind its share.
    behind: Vec<i64>,
    /// Where to begin looking, so that not all shards begin with the same endpoint.
    first: usize,
    random: Random,
}

impl Balancer {
    pub(super) fn new(endpoints: usize, seed: u64) -> Self {
        let first = usize::try_from(seed).unwrap_or_default() % endpoints.max(1);
        Self { behind: vec![0; endpoints], first, random: Random::new(hash::mix(seed)) }
    }

    /// One of `candidates`, of which there is at least one.
    pub(super) fn pick(
        &mut self,
        policy: Balance,
        endpoints: &[Endpoint],
        candidates: Set,
        source: Option<IpAddr>,
    ) -> usize {
        match (policy, source) {
            (Balance::SourceHash, Some(source)) => owner(endpoints, candidates, source),
            // Who comes by a unix socket has no address.
            (Balance::RoundRobin | Balance::SourceHash, _) => self.in_turn(endpoints, candidates),
            (Balance::LeastConnections, _) => self.least(endpoints, candidates),
            (Balance::PowerOfTwo, _) => self.lighter_of_two(endpoints, candidates),
        }
    }

    /// Everybody gains its weight, and who is furthest behind is served, for all that was gained.
    fn in_turn(&mut self, endpoints: &[Endpoint], candidates: Set) -> usize {
        let mut total = 0;
        for position in candidates.iter() {
            let weight = i64::from(endpoints[position].weight());
            self.behind[position] += weight;
            total += weight;
        }
        let better = |best: usize, next: usize| {
            if self.behind[next] > self.behind[best] { next } else { best }
        };
        let chosen = candidates.from(self.first).reduce(better).expect("there is a candidate");
        self.behind[chosen] -= total;
        chosen
    }

    fn least(&mut self, endpoints: &[Endpoint], candidates: Set) -> usize {
        let better = |best, next| lighter(endpoints, best, next);
        let chosen = candidates.from(self.first).reduce(better).expect("there is a candidate");
        self.first = (chosen + 1) % endpoints.len();
        chosen
    }

    fn lighter_of_two(&mut self, endpoints: &[Endpoint], candidates: Set) -> usize {
        let first = self.draw(endpoints, candidates);
        let others = candidates.without(first);
        if others.is_empty() {
            return first;
        }
        let second = self.draw(endpoints, others);
        lighter(endpoints, first, second)
    }

    /// One of `candidates`, as often as its weight says: else the light ones would get more than
    /// their share of the draws.
    fn draw(&mut self, endpoints: &[Endpoint], candidates: Set) -> usize {
        let weight = |position: usize| u32::from(endpoints[position].weight());
        let mut rest = self.random.below(candidates.iter().map(weight).sum());
        let is_drawn = |position: &usize| match rest.checked_sub(weight(*position)) {
            Some(less) => {
                rest = less;
                false
            }
            None => true,
        };
        // A weight may have become smaller since the draw.
        let drawn = candidates.iter().find(is_drawn).or_else(|| candidates.iter().next());
        drawn.expect("there is a candidate")
    }
}

/// The one with fewer connections for its weight; the first of equals.
fn lighter(endpoints: &[Endpoint], first: usize, second: usize) -> usize {
    let [(a, a_weight), (b, b_weight)] = [first, second].map(|position| {
        let endpoint = &endpoints[position];
        // With the one that is being placed, so that weights tell among idle ones, too.
        (u64::from(endpoint.presence.connections()) + 1, u64::from(endpoint.weight()))
    });
    if b * a_weight < a * b_weight { second } else { first }
}

fn owner(endpoints: &[Endpoint], candidates: Set, source: IpAddr) -> usize {
    let source = hash::source(source);
    let score = |position: &usize| {
        let endpoint = &endpoints[*position];
        hash::score(endpoint.key, endpoint.weight(), source)
    };
    candidates.iter().max_by_key(score).expect("there is a candidate")
}
