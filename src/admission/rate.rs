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
    /// `per_second` of them, at least 1; of [`BURST`]'s at once.
    pub(super) fn new(per_second: u32) -> Self {
        let every = Duration::from_secs(1) / per_second.max(1);
        Self { every, burst: BURST.max(every), even: Time::ZERO }
    }

    /// When one may be taken that comes behind `ahead` others.
    pub(super) fn due(&self, ahead: usize, now: Time) -> Time {
        let places = u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1);
        let even = (self.even.max(now) - now).saturating_add(self.every.saturating_mul(places));
        now + even.saturating_sub(self.burst)
    }

    pub(super) fn take(&mut self, now: Time) {
        self.even = self.even.max(now) + self.every;
    }
}

/// Who is late for what was due catches up on so much of it.
const BURST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: &mut Rate, now: Time) -> usize {
        let may = |rate: &Rate| rate.due(0, now) <= now;
        (0..1000)
            .take_while(|_| {
                may(rate) && {
                    rate.take(now);
                    true
                }
            })
            .count()
    }

    #[test]
    fn a_burst_and_then_evenly() {
        let mut rate = Rate::new(100);
        let start = Time::ZERO + Duration::from_secs(5);
        let mut at = |millis| taken(&mut rate, start + Duration::from_millis(millis));
        assert_eq!(at(0), 5);
        assert_eq!(at(30), 3);
        assert_eq!(at(31), 0);
        assert_eq!(at(60_000), 5, "quiet times are not saved up");
    }

    #[test]
    fn those_ahead_are_waited_for() {
        let mut rate = Rate::new(100);
        let now = Time::ZERO + Duration::from_secs(5);
        assert_eq!(rate.due(4, now), now);
        assert_eq!(rate.due(24, now), now + Duration::from_millis(200));
        (0..5).for_each(|_| rate.take(now));
        assert_eq!(rate.due(0, now), now + Duration::from_millis(10));
        assert!(rate.due(usize::MAX, now) > now + Duration::from_secs(1_000_000));
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let mut rate = Rate::new(1);
        let mut at = |millis| taken(&mut rate, Time::ZERO + Duration::from_millis(millis));
        assert_eq!([at(0), at(900), at(1000)], [1, 0, 1]);
    }
}
