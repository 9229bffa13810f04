//! The intended times of an open loop, for one thread or one connection.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::rates::{Arrivals, Rates, Spacing};
use crate::mix::pair;

/// Which of all starts are the schedule's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lot {
    /// How many share them.
    pub(super) of: usize,
    /// Whose these are, below `of`.
    pub(super) number: usize,
}

/// When operations should start. They are counted from the beginning of the run, so a late start
/// makes none of those after it late.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    origin: Instant,
    rates: Rates,
    source: Source,
    due: Instant,
}

/// Which counts of [`Rates`] are those of starts.
#[derive(Clone, Debug)]
enum Source {
    Even {
        first: f64,
        stride: f64,
        /// Number of the next start.
        next: u64,
    },
    Poisson {
        random: Box<SmallRng>,
        mean: f64,
        next: f64,
    },
}

impl Schedule {
    /// `lot` of the starts of `arrivals`, from `origin` on.
    #[expect(clippy::cast_precision_loss, reason = "numbers of threads and connections are small")]
    pub(super) fn new(origin: Instant, arrivals: &Arrivals, lot: Lot) -> Self {
        let (stride, number) = (lot.of as f64, lot.number as f64);
        let source = match arrivals.spacing {
            Spacing::Even => Source::Even { first: number, stride, next: 0 },
            Spacing::Poisson { seed } => {
                // Independent processes of a share each are together one of the whole.
                let random = Box::new(SmallRng::seed_from_u64(pair(seed, lot.number as u64)));
                let mut source = Source::Poisson { random, mean: stride, next: 0.0 };
                source.advance();
                source
            }
        };
        let mut schedule = Self { origin, rates: Rates::new(arrivals), source, due: origin };
        schedule.due = schedule.at(schedule.source.count());
        schedule
    }

    /// The intended time of the next start.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The next start was made.
    pub(super) fn advance(&mut self) {
        self.source.advance();
        self.due = self.at(self.source.count());
    }

    /// Whether the next start is due before `end`.
    pub(super) fn is_before(&self, end: Instant) -> bool {
        let count = self.rates.count_by(end.saturating_duration_since(self.origin).as_secs_f64());
        let rest = count - self.source.count();
        match &self.source {
            Source::Even { stride, .. } => rest > stride * ROUNDING,
            Source::Poisson { .. } => rest > 0.0,
        }
    }

    /// How many starts were due before `end` and not made.
    pub(super) fn missed(&self, end: Instant) -> u64 {
        let count = self.rates.count_by(end.saturating_duration_since(self.origin).as_secs_f64());
        match &self.source {
            Source::Even { first, stride, next } => {
                // A start at `end` itself is not before it, whatever rounding made of the two.
                let due_before = ((count - first) / stride - ROUNDING).ceil().max(0.0);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a float to integer cast saturates, and it is not below zero"
                )]
                let due_before = due_before as u64;
                due_before.saturating_sub(*next)
            }
            Source::Poisson { .. } => {
                let mut rest = self.source.clone();
                let mut missed = 0;
                while rest.count() < count {
                    missed += 1;
                    rest.advance();
                }
                missed
            }
        }
    }

    fn at(&self, count: f64) -> Instant {
        // A rate that is almost zero has starts beyond what the clock can express: never.
        let never = Duration::from_secs(u64::from(u32::MAX));
        let seconds = self.rates.time_of(count);
        self.origin + Duration::try_from_secs_f64(seconds).unwrap_or(never).min(never)
    }
}

/// A share of a start that counts as none.
const ROUNDING: f64 = 1e-6;

impl Source {
    #[expect(clippy::cast_precision_loss, reason = "2^53 starts take longer than any run")]
    fn count(&self) -> f64 {
        match self {
            Self::Even { first, stride, next } => first + *next as f64 * stride,
            Self::Poisson { next, .. } => *next,
        }
    }

    fn advance(&mut self) {
        match self {
            Self::Even { next, .. } => *next += 1,
            Self::Poisson { random, mean, next } => {
                // An exponential distance, by inversion: the logarithm's argument is never zero.
                let uniform: f64 = random.random();
                *next -= *mean * (1.0 - uniform).ln();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::client::Shape;

    const ALONE: Lot = Lot { of: 1, number: 0 };

    #[test]
    fn starts_are_evenly_spaced_and_misses_are_counted() {
        let origin = Instant::now();
        let second = Lot { of: 2, number: 1 };
        let mut schedule = Schedule::new(origin, &Arrivals::even(200.0), second);
        let after = |millis| origin + Duration::from_millis(millis);
        assert_eq!(schedule.due(), after(5));
        assert_eq!(schedule.missed(after(5)), 0);
        assert_eq!(schedule.missed(after(6)), 1);
        assert!(!schedule.is_before(after(5)) && schedule.is_before(after(6)));
        assert_eq!(schedule.missed(after(1000)), 100);
        schedule.advance();
        assert_eq!(schedule.due(), after(15));
        assert_eq!(schedule.missed(after(1000)), 99);
        assert_eq!(schedule.missed(origin), 0);
    }

    #[test]
    fn a_tiny_rate_does_not_overflow_the_clock() {
        let origin = Instant::now();
        let arrivals = Arrivals::even(f64::MIN_POSITIVE);
        let schedule = Schedule::new(origin, &arrivals, Lot { of: 2, number: 1 });
        assert!(schedule.due() > origin);
        assert_eq!(schedule.missed(origin + Duration::from_secs(1)), 0);
    }

    fn starts(schedule: &mut Schedule, end: Instant) -> Vec<f64> {
        let mut starts = Vec::new();
        while schedule.due() < end {
            starts.push((schedule.due() - schedule.origin).as_secs_f64());
            schedule.advance();
        }
        starts
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_that_they_should() {
        let origin = Instant::now();
        let end = origin + Duration::from_secs(10);
        let spacing = Spacing::Poisson { seed: 7 };
        let arrivals = Arrivals { spacing, ..Arrivals::even(2_000.0) };
        let mut counts = Vec::new();
        for number in 0..2 {
            let mut schedule = Schedule::new(origin, &arrivals, Lot { of: 2, number });
            let missed = schedule.missed(end);
            let starts = starts(&mut schedule, end);
            assert_eq!(starts.len() as u64, missed);
            counts.extend(starts);
        }
        // Four standard deviations of a Poisson variable of 20,000.
        assert!((19_435..20_565).contains(&counts.len()), "{}", counts.len());
        let mut per_window = vec![0.0; 1_000];
        for start in &counts {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 999")]
            let window = (start * 100.0) as usize;
            per_window[window] += 1.0;
        }
        // The variance of counts is their mean; of even starts it would be almost nothing.
        let variance = per_window.iter().map(|count| (count - 20.0_f64).powi(2)).sum::<f64>();
        assert!((16.0..24.0).contains(&(variance / 1_000.0)), "{variance}");
        let again = Schedule::new(origin, &arrivals, Lot { of: 2, number: 0 });
        assert_eq!(again.due().duration_since(origin).as_secs_f64(), counts[0]);
    }

    #[test]
    fn neighbouring_seeds_have_no_thread_in_common() {
        let first = |seed, number| {
            let arrivals = Arrivals { spacing: Spacing::Poisson { seed }, ..Arrivals::even(1.0) };
            let schedule = Schedule::new(Instant::now(), &arrivals, Lot { of: 8, number });
            schedule.source.count().to_bits()
        };
        let all: BTreeSet<u64> =
            (0..16).flat_map(|seed| (0..8).map(move |number| first(seed, number))).collect();
        assert_eq!(all.len(), 16 * 8);
    }

    #[test]
    fn bursts_come_when_they_should() {
        let origin = Instant::now();
        let (length, every) = (Duration::from_millis(100), Duration::from_secs(1));
        let shape = Shape::Burst { to: 100.0, length, every };
        let arrivals = Arrivals { rate: 0.0, shape, spacing: Spacing::Even };
        let mut schedule = Schedule::new(origin, &arrivals, ALONE);
        let starts = starts(&mut schedule, origin + Duration::from_secs(2));
        assert_eq!(starts.len(), 20);
        assert!(starts[..10].iter().all(|start| *start < 0.1), "{starts:?}");
        assert!(starts[10..].iter().all(|start| (1.0..1.1).contains(start)), "{starts:?}");
    }
}
