//! A pace that all shards keep together: so many a second, whoever has them.
//!
//! Turns are numbered, and each has its time after the beginning. A shard takes the number of the
//! next turn when it has something to do, so what one has not, another does, and nobody counts
//! before.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Pace {
    /// Nanoseconds from one turn to the next, on average.
    interval: u64,
    /// How far a turn may be from its time, either way, in thousandths of the interval.
    jitter: u64,
    next: AtomicU64,
}

impl Pace {
    /// `rate` turns a second, each up to `jitter` percent of the time between two of them early or
    /// late, 100 at most.
    pub fn new(rate: NonZeroU32, jitter: u8) -> Self {
        // A turn at every nanosecond is as fast as can be told.
        let interval = (SECOND / u64::from(rate.get())).max(1);
        let jitter = u64::from(jitter.min(100)) * 10;
        Self { interval, jitter, next: AtomicU64::new(0) }
    }

    /// Takes the next turn, so long after the beginning: returns when it is, as time after the
    /// beginning, too. Turns that nobody took in time are lost after a while, so that whoever was
    /// held up does not make up for all of it at once.
    pub fn take(&self, elapsed: Duration) -> Duration {
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let oldest = elapsed.saturating_sub(LATE) / self.interval;
        let update = |next: u64| Some(next.max(oldest) + 1);
        let turn = match self.next.fetch_update(Relaxed, Relaxed, update) {
            Ok(before) | Err(before) => before.max(oldest),
        };
        Duration::from_nanos(self.time_of(turn))
    }

    fn time_of(&self, turn: u64) -> u64 {
        let even = turn.saturating_mul(self.interval);
        let reach = self.interval / 1000 * self.jitter;
        if reach == 0 {
            return even;
        }
        // From the turn before the middle to behind it, so that the average is as it should be.
        (even + mix(turn) % (2 * reach + 1)).saturating_sub(reach)
    }
}

/// A number that looks drawn: the finalizer of SplitMix64.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

const SECOND: u64 = 1_000_000_000;
/// Nanoseconds that a turn may be late: longer than a shard's longest turn usually is, and few
/// connections at any rate.
const LATE: u64 = 200_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(rate: u32, jitter: u8) -> Pace {
        Pace::new(NonZeroU32::new(rate).expect("not zero"), jitter)
    }

    #[test]
    fn the_highest_rate_is_as_fast_as_can_be() {
        let pace = pace(u32::MAX, 100);
        assert_eq!(pace.take(Duration::ZERO), Duration::ZERO);
        assert!(pace.take(Duration::from_secs(1)) < Duration::from_secs(1));
    }

    /// Shards that wake at certain times, do what is due then, and have so much to do. Returns when
    /// each was done.
    fn run(pace: &Pace, wake_every: &[u64], mut work: Vec<u32>) -> Vec<u64> {
        let mut turns: Vec<Option<u64>> = vec![None; work.len()];
        let (mut now, mut done) = (0, Vec::new());
        while work.iter().any(|left| *left > 0) {
            for shard in 0..work.len() {
                if now % wake_every[shard] != 0 {
                    continue;
                }
                while work[shard] > 0 {
                    let turn = *turns[shard].get_or_insert_with(|| {
                        let turn = pace.take(Duration::from_nanos(now));
                        u64::try_from(turn.as_nanos()).expect("a short test")
                    });
                    if turn > now {
                        break;
                    }
                    turns[shard] = None;
                    work[shard] -= 1;
                    done.push(now);
                }
            }
            now += 100_000;
        }
        done
    }

    #[test]
    fn shards_keep_it_together_whoever_has_how_much() {
        for work in [vec![1500], vec![750, 750], vec![1400, 100], vec![300, 0, 900, 300]] {
            for jitter in [0, 10, 100] {
                let wake: Vec<u64> = (1..=4).map(|shard| shard * 100_000).collect();
                let done = run(&pace(500, jitter), &wake, work.clone());
                assert_eq!(done.len(), 1500);
                // 500 in each second, and 3 s for all.
                for second in 0..3 {
                    let (from, to) = (second * SECOND, (second + 1) * SECOND);
                    let count = done.iter().filter(|at| (from..to).contains(*at)).count();
                    assert!((490..=510).contains(&count), "{count} in second {second}: {work:?}");
                }
                let last = *done.last().expect("1500 of them");
                assert!(last.abs_diff(3 * SECOND) < 10_000_000, "{last}: {work:?} {jitter}");
            }
        }
    }

    #[test]
    fn a_shard_that_was_held_up_does_not_make_up_for_all() {
        let pace = pace(500, 0);
        assert_eq!(pace.take(Duration::ZERO), Duration::ZERO);
        // A second later: those of the last 200 ms are still done, the others are lost.
        let now = Duration::from_secs(1);
        let late = std::iter::repeat_with(|| pace.take(now)).take_while(|turn| *turn <= now);
        assert_eq!(late.count(), 101);
        assert!(pace.take(now) > now);
    }

    proptest! {
        #[test]
        fn a_turn_is_near_its_time(rate in 1..100_000_u32, jitter in 0..=100_u8, turn in 0..1_000_000_u64) {
            let pace = pace(rate, jitter);
            let even = turn * pace.interval;
            prop_assert!(pace.time_of(turn).abs_diff(even) <= pace.interval * u64::from(jitter) / 100);
        }
    }
}
