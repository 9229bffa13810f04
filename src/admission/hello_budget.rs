//! Memory for unfinished ClientHellos, bounded per shard and per source, so that peers who send
//! hellos drop by drop cannot use it all up.

use std::collections::HashMap;
use std::net::IpAddr;

/// The bytes that unfinished hellos hold on one shard.
#[derive(Debug)]
pub struct HelloBudget {
    total: usize,
    limit: usize,
    limit_per_source: usize,
    /// Bounded by the number of connections: a source leaves when it holds nothing.
    by_source: HashMap<IpAddr, usize>,
}

impl HelloBudget {
    /// A budget of `limit` bytes, of which one source address may hold `limit_per_source`.
    pub fn new(limit: usize, limit_per_source: usize) -> Self {
        Self { total: 0, limit, limit_per_source, by_source: HashMap::new() }
    }

    /// Changes what one connection holds from `before` to `after` bytes. False when it must not
    /// grow; nothing is changed then. Peers on unix sockets count for the shard only.
    #[must_use]
    pub fn change(&mut self, source: Option<IpAddr>, before: usize, after: usize) -> bool {
        if after > before && self.total - before + after > self.limit {
            return false;
        }
        if let Some(source) = source
            && !self.change_source(source, before, after)
        {
            return false;
        }
        self.total = self.total - before + after;
        true
    }

    /// Bytes held now.
    pub fn total(&self) -> usize {
        self.total
    }

    fn change_source(&mut self, source: IpAddr, before: usize, after: usize) -> bool {
        let held = self.by_source.get(&source).copied().unwrap_or(0);
        let held = held - before + after;
        if after > before && held > self.limit_per_source {
            return false;
        }
        if held == 0 {
            self.by_source.remove(&source);
        } else {
            self.by_source.insert(source, held);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const B: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    #[test]
    fn one_source_cannot_take_it_all() {
        let mut budget = HelloBudget::new(100, 40);
        assert!(budget.change(A, 0, 40));
        assert!(!budget.change(A, 0, 1));
        assert!(budget.change(B, 0, 40));
        assert_eq!(budget.total(), 80);
    }

    #[test]
    fn all_sources_together_cannot_exceed_the_shard() {
        let mut budget = HelloBudget::new(100, 80);
        assert!(budget.change(A, 0, 80));
        assert!(!budget.change(B, 0, 30));
        assert!(!budget.change(None, 0, 30));
        assert!(budget.change(B, 0, 20));
    }

    #[test]
    fn what_is_released_is_there_again_and_the_source_forgotten() {
        let mut budget = HelloBudget::new(100, 100);
        assert!(budget.change(A, 0, 100));
        assert!(budget.change(A, 100, 0));
        assert_eq!(budget.total(), 0);
        assert!(budget.by_source.is_empty());
    }
}
