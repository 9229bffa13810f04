//! So many in a second, with a little more at once.

use std::time::Duration;

use crate::time::Time;

/// Counts by the time at which all that was taken would have come evenly (the "virtual scheduling"
/// of ITU-T I.371).
#[derive(Debug)]
pub(super) struct Rate {
    every: Duration,
    /// How far ahead of evenly one may be.
    burst: Duration,
    even: Time,
}

impl Rate {
    /// `per_second` of them, at least 1; of half a second's at once.
    pub(super) fn new(per_second: u32) -> Self {
        let every = Duration::from_secs(1) / per_second.max(1);
        Self { every, burst: Duration::from_millis(500).max(every), even: Time::ZERO }
    }

    /// Takes one; false when that would be too many.
    #[must_use]
    pub(super) fn take(&mut self, now: Time) -> bool {
        let even = self.even.max(now);
        let may = even + self.every <= now + self.burst;
        if may {
            self.even = even + self.every;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_evenly() {
        let mut rate = Rate::new(100);
        let start = Time::ZERO + Duration::from_secs(5);
        let taken =
            |rate: &mut Rate, at: Duration| (0..1000).filter(|_| rate.take(start + at)).count();
        assert_eq!(taken(&mut rate, Duration::ZERO), 50);
        assert_eq!(taken(&mut rate, Duration::from_millis(100)), 10);
        assert_eq!(taken(&mut rate, Duration::from_millis(101)), 0);
        assert_eq!(taken(&mut rate, Duration::from_secs(60)), 50, "quiet times are not saved up");
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let mut rate = Rate::new(1);
        let at = |millis| Time::ZERO + Duration::from_millis(millis);
        assert!(rate.take(at(0)) && !rate.take(at(0)));
        assert!(!rate.take(at(900)) && rate.take(at(1000)));
    }
}
