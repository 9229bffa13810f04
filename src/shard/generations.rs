//! The policies that a shard serves: the current one, and those that older connections live under.
//!
//! A generation lives as long as something holds it: a connection, a listening socket, or its being
//! the current one. So there are never more of them than connections and sockets.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::policy::Policy;
use crate::upstream::Upstreams;

/// A policy, and what the shard has learnt about its upstreams.
pub(super) struct Generation {
    pub(super) policy: Arc<Policy>,
    pub(super) upstreams: RefCell<Upstreams>,
    /// Open connections that were admitted under it.
    pub(super) connections: Cell<u64>,
}

/// Every generation that lives.
pub(super) struct Generations {
    current: Rc<Generation>,
    /// The current one is the last. Those that have ended are swept out now and then.
    living: Vec<Weak<Generation>>,
}

impl Generations {
    /// The seed is that of [`Upstreams::new`].
    pub(super) fn new(policy: Arc<Policy>, seed: u64) -> Self {
        let upstreams = Upstreams::new(policy.groups(), seed);
        let current = Generation::new(policy, upstreams);
        Self { living: vec![Rc::downgrade(&current)], current }
    }

    /// What new connections are admitted under.
    pub(super) fn current(&self) -> &Rc<Generation> {
        &self.current
    }

    /// Makes `policy` the current one.
    pub(super) fn advance(&mut self, policy: Arc<Policy>) {
        let upstreams = self.current.upstreams.borrow().next(policy.groups());
        self.current = Generation::new(policy, upstreams);
        self.sweep();
        self.living.push(Rc::downgrade(&self.current));
    }

    /// The generations that have connections, and the current one: number and connections.
    pub(super) fn connections(&mut self) -> impl Iterator<Item = (u64, u64)> {
        self.sweep();
        let current = self.current.policy.generation;
        self.living.iter().filter_map(Weak::upgrade).filter_map(move |generation| {
            let (number, connections) =
                (generation.policy.generation, generation.connections.get());
            (connections > 0 || number == current).then_some((number, connections))
        })
    }

    fn sweep(&mut self) {
        self.living.retain(|generation| generation.strong_count() > 0);
    }
}

impl Generation {
    fn new(policy: Arc<Policy>, upstreams: Upstreams) -> Rc<Self> {
        let upstreams = RefCell::new(upstreams);
        Rc::new(Self { policy, upstreams, connections: Cell::new(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(generation: u64) -> Arc<Policy> {
        Arc::new(Policy { generation, listeners: Vec::new() })
    }

    #[test]
    fn a_generation_lives_as_long_as_it_is_held_and_shows_as_long_as_it_has_connections() {
        let mut generations = Generations::new(policy(1), 0);
        let first = Rc::clone(generations.current());
        first.connections.set(2);
        generations.advance(policy(2));
        let second = Rc::clone(generations.current());
        generations.advance(policy(3));
        let shown = |generations: &mut Generations| generations.connections().collect::<Vec<_>>();
        assert_eq!(shown(&mut generations), [(1, 2), (3, 0)], "2 has none, 3 is the newest");
        assert_eq!(generations.living.len(), 3);
        first.connections.set(0);
        drop((first, second));
        assert_eq!(shown(&mut generations), [(3, 0)]);
        assert_eq!(generations.living.len(), 1);
    }
}
