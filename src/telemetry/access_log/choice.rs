//! Which connections get a line: one in so many of those that ended well, and of all that would get
//! one no more than so many a second.
//!
//! It is asked by the shards, before anything is made for a line. Times are since any fixed moment,
//! the same for all of them; a clock that is set does no harm.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::config::model::LineLimit;

/// A shard's part of the sampling: exactly one of each `one_in` in a row is taken.
#[derive(Debug, Default)]
pub struct Sample {
    one_in: u32,
    /// Of the row that has begun.
    seen: u32,
    rows: u32,
}

impl Sample {
    /// Whether the next one is taken. A row that was begun with another number is given up.
    pub(super) fn takes(&mut self, one_in: u32) -> bool {
        if self.one_in != one_in {
            *self = Self { one_in, ..Self::default() };
        }
        // Not the same place in each row: of what comes by turns it would always be the same.
        let is_taken = self.seen == self.rows % one_in.max(1);
        self.seen += 1;
        if self.seen >= one_in {
            self.seen = 0;
            self.rows = self.rows.wrapping_add(1);
        }
        is_taken
    }
}

/// How many lines there may be, for all shards: by the time at which all that were taken would have
/// come evenly (the "virtual scheduling" of ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Limit {
    /// Nanoseconds from one line to the next; 0 is no limit.
    every: AtomicU64,
    /// How far ahead of evenly one may be.
    ahead: AtomicU64,
    even: AtomicU64,
    /// Not taken since this was told.
    suppressed: AtomicU64,
}

impl Limit {
    pub(super) fn set(&self, limit: Option<LineLimit>) {
        let every = limit.map_or(0, |limit| SECOND / u64::from(limit.per_second.max(1)));
        let behind_the_first = limit.map_or(0, |limit| u64::from(limit.burst.max(1)) - 1);
        self.ahead.store(every.saturating_mul(behind_the_first), Relaxed);
        self.every.store(every, Relaxed);
    }

    /// Whether there may be one more at this time.
    pub(super) fn takes(&self, now: Duration) -> bool {
        let every = self.every.load(Relaxed);
        if every == 0 {
            return true;
        }
        let (now, ahead) = (nanos(now), self.ahead.load(Relaxed));
        let update = |even: u64| {
            // Further ahead than can be: the clock, or the limit, is another one now.
            let even =
                if even > now.saturating_add(ahead).saturating_add(every) { now } else { even };
            let even = even.max(now);
            (even - now <= ahead).then(|| even.saturating_add(every))
        };
        self.even.fetch_update(Relaxed, Relaxed, update).is_ok()
    }

    /// One is not taken; true when it is the first since this was told.
    pub(super) fn suppress(&self) -> bool {
        self.suppressed.fetch_add(1, Relaxed) == 0
    }

    /// Whether there is something to tell.
    pub(super) fn is_missing_some(&self) -> bool {
        self.suppressed.load(Relaxed) > 0
    }
}

/// What the writer makes of what is suppressed.
#[derive(Debug, Default)]
pub(super) struct Watch(Option<Row>);

/// Lines that are missing, one soon after the other.
#[derive(Debug)]
struct Row {
    began: Duration,
    /// When there were that many.
    last: Duration,
    lines: u64,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Began,
    /// It is over, or has lasted for long: so many lines are missing since then.
    Missing {
        lines: u64,
        began: Duration,
    },
}

impl Watch {
    /// Whether a row is under way, so that its end is still to be told.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn look(&mut self, limit: &Limit, now: Duration) -> Option<News> {
        let lines = limit.suppressed.load(Relaxed);
        let Some(row) = &mut self.0 else {
            return (lines > 0).then(|| {
                self.0 = Some(Row { began: now, last: now, lines });
                News::Began
            });
        };
        if lines != row.lines {
            (row.last, row.lines) = (now, lines);
        }
        // A clock that was set may end it early.
        let is_over = now.abs_diff(row.last) >= CALM || now.abs_diff(row.began) >= MOST;
        if is_over { self.close(limit) } else { None }
    }

    /// What is missing up to now, if anything is.
    pub(super) fn close(&mut self, limit: &Limit) -> Option<News> {
        let row = self.0.take()?;
        Some(News::Missing { lines: limit.suppressed.swap(0, Relaxed), began: row.began })
    }
}

/// Since the last line that was suppressed, until it is over.
pub(super) const CALM: Duration = Duration::from_secs(1);
/// Longest time until what is missing is told.
const MOST: Duration = Duration::from_secs(60);

const SECOND: u64 = 1_000_000_000;

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(sample: &mut Sample, one_in: u32, of: usize) -> Vec<usize> {
        (0..of).filter(|_| sample.takes(one_in)).collect()
    }

    #[test]
    fn exactly_one_of_each_row() {
        for one_in in [1, 2, 3, 7, 100] {
            let taken = taken(&mut Sample::default(), one_in, one_in as usize * 250);
            let rows: Vec<usize> = taken.iter().map(|at| at / one_in as usize).collect();
            assert_eq!(rows, (0..250).collect::<Vec<_>>(), "{one_in}");
        }
        // The same each time, and whoever comes by turns has a share of them.
        let taken = taken(&mut Sample::default(), 10, 1000);
        assert_eq!(taken[..4], [0, 11, 22, 33]);
        assert_eq!(taken.iter().filter(|at| *at % 2 == 0).count(), 50);
    }

    #[test]
    fn another_number_begins_a_row() {
        let mut sample = Sample::default();
        assert_eq!(taken(&mut sample, 5, 7), [0, 6]);
        assert_eq!(taken(&mut sample, 2, 4), [0, 3]);
        assert_eq!(taken(&mut sample, 1, 3), [0, 1, 2]);
    }

    fn limit(per_second: u32, burst: u32) -> Limit {
        let limit = Limit::default();
        limit.set(Some(LineLimit { per_second, burst }));
        limit
    }

    fn at_once(limit: &Limit, millis: u64) -> usize {
        (0..1000).filter(|_| limit.takes(Duration::from_millis(millis))).count()
    }

    #[test]
    fn a_burst_and_then_evenly() {
        let limit = limit(100, 20);
        let at = |millis: u64| at_once(&limit, 5_000 + millis);
        assert_eq!([at(0), at(0), at(30), at(31)], [20, 0, 3, 0]);
        assert_eq!(at(60_000), 20, "quiet times are not saved up");
        let second: usize = (0..100).map(|step| at(60_000 + step * 10)).sum();
        assert_eq!(second, 99);
    }

    #[test]
    fn without_a_limit_there_is_none_and_it_can_be_changed() {
        let limit = Limit::default();
        assert_eq!(at_once(&limit, 0), 1000);
        limit.set(Some(LineLimit { per_second: 1, burst: 100 }));
        assert_eq!(at_once(&limit, 0), 100);
        limit.set(Some(LineLimit { per_second: 1, burst: 1 }));
        assert_eq!(at_once(&limit, 0), 1, "what was ahead is forgotten");
        limit.set(None);
        assert_eq!(at_once(&limit, 0), 1000);
        let fastest = self::limit(10_000_000, 10_000_000);
        assert_eq!(at_once(&fastest, 0), 1000);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let limit = limit(1, 1);
        assert_eq!(at_once(&limit, 3_600_000), 1);
        assert_eq!(at_once(&limit, 1_000), 1);
        assert_eq!(at_once(&limit, 1_999), 0);
        assert_eq!(at_once(&limit, 2_000), 1);
    }

    #[test]
    fn shards_keep_the_limit_together() {
        let limit = limit(1, 500);
        let one = || at_once(&limit, 1_000);
        let all = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            shards.into_iter().map(|shard| shard.join().expect("no panic")).sum::<usize>()
        });
        assert_eq!(all, 500);
    }

    #[test]
    fn what_is_missing_is_told_when_it_is_over() {
        let (limit, mut watch) = (limit(1, 1), Watch::default());
        let at = Duration::from_millis;
        assert_eq!(watch.look(&limit, at(0)), None);
        assert_eq!([limit.suppress(), limit.suppress()], [true, false]);
        assert_eq!(watch.look(&limit, at(10)), Some(News::Began));
        limit.suppress();
        assert_eq!(watch.look(&limit, at(900)), None);
        assert_eq!(watch.look(&limit, at(1_899)), None);
        let missing = |lines, began| Some(News::Missing { lines, began: at(began) });
        assert_eq!(watch.look(&limit, at(1_900)), missing(3, 10));
        assert!(!watch.is_on() && watch.look(&limit, at(1_901)).is_none());
        // One that does not end is told each minute.
        assert!(limit.suppress());
        assert_eq!(watch.look(&limit, at(5_000)), Some(News::Began));
        for second in 6..65 {
            limit.suppress();
            assert_eq!(watch.look(&limit, at(second * 1_000)), None);
        }
        assert_eq!(watch.look(&limit, at(65_000)), missing(60, 5_000));
        limit.suppress();
        assert_eq!(watch.look(&limit, at(65_001)), Some(News::Began));
        assert_eq!(watch.close(&limit), missing(1, 65_001));
        assert_eq!(watch.close(&limit), None);
    }
}
