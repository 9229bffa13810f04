//! Everybody comes back: how long until all are in.
//!
//! A flow of fluid in small steps. Peers come evenly within a spread. A node admits as many as its
//! workers can do beside the traffic of those who are connected; those who would wait longer than
//! the admission's limit are refused at once, and come back after their retry.

use super::number::float;

/// Steps of a simulation: no storm is longer.
const STEPS: usize = 4_000;
/// When so many of all are in, the storm is over.
const ALMOST_ALL: f64 = 0.999;

/// Who comes back, and to how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storm {
    /// Peers.
    pub peers: f64,
    /// Seconds over which their first attempts spread, at least a millisecond.
    pub spread: f64,
    /// Seconds after which one that was refused tries again.
    pub retry: f64,
    /// Handshakes per second that can be done.
    pub capacity: f64,
    /// Longest wait in seconds that admission grants.
    pub patience: f64,
}

/// What became of a storm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Seconds until 99.9 % were in; infinite when that took longer than `limit`.
    pub seconds: f64,
    /// Attempts that were refused.
    pub refused: f64,
    /// Longest wait of one that was admitted, in seconds.
    pub longest_wait: f64,
}

impl Storm {
    /// Goes through it, for `limit` seconds at most.
    pub fn run(&self, limit: f64) -> Outcome {
        let mut outcome = Outcome { seconds: f64::INFINITY, refused: 0.0, longest_wait: 0.0 };
        if self.capacity <= 0.0 {
            return outcome;
        }
        let step = limit / float(STEPS);
        let room = self.capacity * self.patience;
        // Those who come in each step: the first attempts, and later those who come again.
        let mut coming = vec![0.0; STEPS];
        self.arrive(step, &mut coming);
        let again = steps(self.retry, step).max(1);
        let (mut waiting, mut admitted) = (0.0, 0.0);
        for at in 0..STEPS {
            let done = (self.capacity * step).min(waiting + coming[at]);
            let left = waiting + coming[at] - done;
            let refused = (left - room).max(0.0);
            waiting = left - refused;
            admitted += done;
            outcome.refused += refused;
            outcome.longest_wait = outcome.longest_wait.max(waiting / self.capacity);
            if refused > 0.0 {
                // Those who are refused at one time have come at one time, and come again so.
                if let Some(later) = coming.get_mut(at + again) {
                    *later += refused;
                }
            }
            if admitted >= self.peers * ALMOST_ALL {
                outcome.seconds = float(at + 1) * step;
                return outcome;
            }
        }
        outcome
    }

    /// First attempts.
    fn arrive(&self, step: f64, coming: &mut [f64]) {
        let over = self.spread.max(1e-3);
        for (at, count) in coming.iter_mut().enumerate() {
            let begin = float(at) * step;
            *count = self.peers * ((begin + step).min(over) - begin).max(0.0) / over;
        }
    }
}

/// How many steps `seconds` are, rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a bound")]
fn steps(seconds: f64, step: f64) -> usize {
    (seconds / step).ceil().clamp(0.0, float(STEPS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORM: Storm =
        Storm { peers: 10_000.0, spread: 2.0, retry: 10.0, capacity: 10_000.0, patience: 1.0 };

    #[test]
    fn who_comes_slower_than_capacity_never_waits() {
        let outcome = STORM.run(60.0);
        assert!((1.9..2.1).contains(&outcome.seconds), "{outcome:?}");
        assert!(outcome.refused < 1e-9 && outcome.longest_wait < 0.05, "{outcome:?}");
    }

    #[test]
    fn a_queue_is_worked_off() {
        // 5,000 a second for 2 s, 4,000 done: 2,000 wait at the end, half a second.
        let outcome = Storm { capacity: 4_000.0, ..STORM }.run(60.0);
        assert!((2.45..2.55).contains(&outcome.seconds), "{outcome:?}");
        assert!((0.45..0.55).contains(&outcome.longest_wait) && outcome.refused < 1e-9);
    }

    #[test]
    fn beyond_patience_peers_are_refused_and_come_back() {
        // 2,000 a second: in the first two seconds 4,000 done, 2,000 wait, 4,000 refused, who come
        // again from second 10 on.
        let outcome = Storm { capacity: 2_000.0, ..STORM }.run(60.0);
        assert!((3_900.0..4_100.0).contains(&outcome.refused), "{outcome:?}");
        assert!(outcome.seconds > 11.0 && outcome.seconds < 13.5, "{outcome:?}");
        assert!((0.95..1.01).contains(&outcome.longest_wait), "{outcome:?}");
    }

    #[test]
    fn what_cannot_end_does_not() {
        assert!(Storm { capacity: 0.0, ..STORM }.run(60.0).seconds.is_infinite());
        assert!(Storm { capacity: 100.0, ..STORM }.run(60.0).seconds.is_infinite());
        let soon = Storm { peers: 0.0, ..STORM }.run(60.0);
        assert!(soon.seconds < 0.1, "{soon:?}");
    }
}
