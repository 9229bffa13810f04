//! A table of what was seen, with counts, that does not grow for ever.
//!
//! A new row that finds the table full takes the place of the one that was entered last the longest
//! ago, unless that still has open connections. Where many in a row have, the connection is counted
//! among the others, without a row. Both are counted.

use std::cell::Cell;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;

use lru::LruCache;

use crate::time::Time;

/// Connections of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    /// Of them, those that are open.
    pub open: u64,
    /// Of them, those whose handshake was an abbreviated one, on each side.
    pub resumed: u64,
    pub upstream_resumed: u64,
    pub first: Time,
    /// When one of them came or went last.
    pub last: Time,
}

/// The counts that a connection belongs to, for as long as it lasts.
#[derive(Clone, Debug)]
pub struct Tally(Rc<Cell<Counts>>);

/// What has no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Connections that found no place.
    pub lumped: Counts,
    /// Rows that made room, and their connections.
    pub evicted_rows: u64,
    pub evicted_connections: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Table<K: Hash + Eq> {
    rows: LruCache<Arc<K>, Tally>,
    limit: usize,
    lumped: Tally,
    evicted_rows: u64,
    evicted_connections: u64,
}

impl<K: Hash + Eq> Table<K> {
    /// Takes `limit` rows.
    pub fn new(limit: usize) -> Self {
        Self {
            rows: LruCache::unbounded(),
            limit,
            lumped: Tally::new(Time::ZERO),
            evicted_rows: 0,
            evicted_connections: 0,
        }
    }

    /// The counts of the row of `key`, made if there is none and room for one.
    pub fn row(&mut self, key: K, now: Time) -> Tally {
        if let Some(tally) = self.rows.get(&key) {
            return tally.clone();
        }
        if !self.make_room() {
            return self.lumped.clone();
        }
        let tally = Tally::new(now);
        self.rows.put(Arc::new(key), tally.clone());
        tally
    }

    /// Every row, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (&Arc<K>, Counts)> {
        self.rows.iter().map(|(key, tally)| (key, tally.counts()))
    }

    pub fn others(&self) -> Others {
        Others {
            lumped: self.lumped.counts(),
            evicted_rows: self.evicted_rows,
            evicted_connections: self.evicted_connections,
        }
    }

    fn make_room(&mut self) -> bool {
        for _ in 0..TRIES {
            if self.rows.len() < self.limit {
                return true;
            }
            let Some((key, tally)) = self.rows.pop_lru() else { return false };
            let counts = tally.counts();
            if counts.open > 0 {
                self.rows.put(key, tally);
                continue;
            }
            self.evicted_rows += 1;
            self.evicted_connections += counts.connections;
        }
        self.rows.len() < self.limit
    }
}

impl Tally {
    pub(super) fn new(now: Time) -> Self {
        Self(Rc::new(Cell::new(Counts { first: now, last: now, ..Counts::default() })))
    }

    pub fn counts(&self) -> Counts {
        self.0.get()
    }

    /// A connection has come; whether its handshakes were abbreviated, downstream and upstream.
    pub fn enter(&self, resumed: [bool; 2], now: Time) {
        self.0.update(|counts| Counts {
            connections: counts.connections + 1,
            open: counts.open + 1,
            resumed: counts.resumed + u64::from(resumed[0]),
            upstream_resumed: counts.upstream_resumed + u64::from(resumed[1]),
            last: now,
            ..counts
        });
    }

    /// A connection that was entered has gone.
    pub fn leave(&self, now: Time) {
        self.0.update(|counts| Counts { open: counts.open - 1, last: now, ..counts });
    }
}

/// Rows with open connections that are passed over before a connection is counted without a row:
/// what the entering of one connection may cost.
const TRIES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    fn seen(table: &Table<u32>) -> Vec<u32> {
        let mut keys: Vec<u32> = table.rows().map(|(key, _)| **key).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_row_counts_those_that_come_and_go() {
        let mut table = Table::new(4);
        for (second, resumed) in [(1, [false, true]), (2, [true, true])] {
            table.row(7, at(second)).enter(resumed, at(second));
        }
        table.row(7, at(3)).leave(at(3));
        let counts = table.rows().next().expect("one row").1;
        let expected = Counts {
            connections: 2,
            open: 1,
            resumed: 1,
            upstream_resumed: 2,
            first: at(1),
            last: at(3),
        };
        assert_eq!(counts, expected);
        assert_eq!(table.others(), Others::default());
    }

    #[test]
    fn a_full_table_forgets_the_oldest_that_is_closed() {
        let mut table = Table::new(3);
        for key in [1, 2, 3] {
            let tally = table.row(key, at(0));
            tally.enter([false; 2], at(0));
            if key != 1 {
                tally.leave(at(1));
            }
        }
        let tally = table.row(4, at(2));
        tally.enter([false; 2], at(2));
        assert_eq!(seen(&table), [1, 3, 4], "1 is open");
        let others = table.others();
        assert_eq!((others.evicted_rows, others.evicted_connections), (1, 1));
        assert_eq!(others.lumped.connections, 0);
    }

    #[test]
    fn where_all_are_open_the_rest_are_the_others() {
        let mut table = Table::new(20);
        for key in 0..20 {
            table.row(key, at(0)).enter([false; 2], at(0));
        }
        let tally = table.row(99, at(1));
        tally.enter([false; 2], at(1));
        assert_eq!(seen(&table), (0..20).collect::<Vec<_>>());
        assert_eq!((table.others().lumped.connections, table.others().lumped.open), (1, 1));
        tally.leave(at(2));
        assert_eq!(table.others().lumped.open, 0);
        assert_eq!(table.others().evicted_rows, 0);
    }
}
