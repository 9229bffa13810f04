//! How long what waits will take, as it was lately.

use std::time::Duration;

use super::Class;

/// Moving means of what a step takes, and of how much of the time steps have.
#[derive(Debug)]
pub(super) struct Estimates {
    /// By class.
    step: [Duration; Class::ALL.len()],
    /// Of the turns in which something was left waiting: what steps had, and all of it.
    stepped: Duration,
    whole: Duration,
    longest: Duration,
}

impl Estimates {
    pub(super) fn new() -> Self {
        Self {
            step: [GUESS; Class::ALL.len()],
            stepped: GUESS,
            whole: GUESS,
            longest: Duration::ZERO,
        }
    }

    /// A step of this class took so long.
    pub(super) fn step(&mut self, class: Class, took: Duration) {
        mix(&mut self.step[class as usize], took);
        self.longest = self.longest.max(took);
    }

    /// A turn that has left something waiting took so long, and its steps a part of that.
    pub(super) fn turn(&mut self, whole: Duration, stepped: Duration) {
        mix(&mut self.whole, whole.max(stepped));
        mix(&mut self.stepped, stepped);
    }

    /// How long so many steps of a class take, with what is done in between.
    pub(super) fn of(&self, class: Class, steps: usize) -> Duration {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let alone = self.step[class as usize].saturating_mul(steps);
        let share = self.whole.as_nanos().max(1) as f64 / self.stepped.as_nanos().max(1) as f64;
        Duration::try_from_secs_f64(alone.as_secs_f64() * share).unwrap_or(Duration::MAX)
    }

    /// The longest step there was.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }
}

/// An eighth of the new to seven of the old.
fn mix(mean: &mut Duration, new: Duration) {
    *mean = (*mean * 7 + new.min(MOST)) / 8;
}

/// Before anything was measured: a handshake with ECDSA.
const GUESS: Duration = Duration::from_micros(200);
/// A machine that slept says nothing about what steps take.
const MOST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_is_measured() {
        let mut estimates = Estimates::new();
        assert_eq!(estimates.of(Class::Full, 10), 10 * GUESS);
        for _ in 0..100 {
            estimates.step(Class::Full, Duration::from_millis(1));
        }
        let near = |is: Duration, should: f64| (is.as_secs_f64() / should - 1.0).abs() < 0.02;
        assert!(near(estimates.of(Class::Full, 100), 0.1));
        assert!(near(estimates.of(Class::Mutual, 100), 0.02), "another class was not measured");
        // Steps have a third of the time.
        for _ in 0..100 {
            estimates.turn(Duration::from_millis(3), Duration::from_millis(1));
        }
        assert!(near(estimates.of(Class::Full, 100), 0.3));
        assert_eq!(estimates.longest(), Duration::from_millis(1));
    }

    #[test]
    fn what_is_out_of_all_proportion_does_no_harm() {
        let mut estimates = Estimates::new();
        estimates.step(Class::Full, Duration::from_secs(1 << 40));
        estimates.turn(Duration::MAX, Duration::ZERO);
        assert!(estimates.of(Class::Full, usize::MAX) > Duration::from_secs(3600));
        assert!(estimates.of(Class::Full, 1) < Duration::from_secs(10));
    }
}
