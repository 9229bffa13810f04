//! The fixed times of an open loop.

use std::time::{Duration, Instant};

/// Starts at equal distances; which of them are over is arithmetic, so nothing queues up.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    origin: Instant,
    /// Seconds between two starts.
    interval: f64,
    /// Start of number 0, in seconds after the origin.
    first: f64,
    /// Number of the next start.
    next: u64,
}

impl Schedule {
    /// `rate` starts per second, the first one `phase` (0 to 1) of an interval after `origin`.
    pub(super) fn new(origin: Instant, rate: f64, phase: f64) -> Self {
        let interval = rate.recip();
        Self { origin, interval, first: phase * interval, next: 0 }
    }

    /// The intended time of the next start.
    pub(super) fn due(&self) -> Instant {
        self.at(self.next)
    }

    /// The next start was made.
    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    /// How many starts were due before `end` and not made.
    pub(super) fn missed(&self, end: Instant) -> u64 {
        let seconds = end.saturating_duration_since(self.origin).as_secs_f64() - self.first;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float to integer cast saturates, and below zero means none"
        )]
        let due_before = (seconds / self.interval).ceil().max(0.0) as u64;
        due_before.saturating_sub(self.next)
    }

    fn at(&self, number: u64) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "2^53 starts take longer than any run")]
        let number = number as f64;
        let seconds = self.first + number * self.interval;
        // A rate that is almost zero has starts beyond what the clock can express: never.
        let never = Duration::from_secs(u64::from(u32::MAX));
        self.origin + Duration::try_from_secs_f64(seconds).unwrap_or(never).min(never)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_evenly_spaced_and_misses_are_counted() {
        let origin = Instant::now();
        let mut schedule = Schedule::new(origin, 100.0, 0.5);
        let after = |millis| origin + Duration::from_millis(millis);
        assert_eq!(schedule.due(), after(5));
        assert_eq!(schedule.missed(after(5)), 0);
        assert_eq!(schedule.missed(after(6)), 1);
        assert_eq!(schedule.missed(after(1000)), 100);
        schedule.advance();
        assert_eq!(schedule.due(), after(15));
        assert_eq!(schedule.missed(after(1000)), 99);
        assert_eq!(schedule.missed(origin), 0);
    }

    #[test]
    fn a_tiny_rate_does_not_overflow_the_clock() {
        let origin = Instant::now();
        let schedule = Schedule::new(origin, f64::MIN_POSITIVE, 1.0);
        assert!(schedule.due() > origin);
        assert_eq!(schedule.missed(origin + Duration::from_secs(1)), 0);
    }
}
