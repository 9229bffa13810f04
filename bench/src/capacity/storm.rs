//! Everybody comes back: how long until all are in.
//!
//! A fluid in small steps. The peers of each flow, a wave, come evenly within its spread. A node admits
//! as many as its workers can do beside the traffic of those who are connected; those who would wait
//! longer than the admission's limit are refused at once, each wave's part of those who come, and come
//! back after its retry.

use super::number::float;

/// Steps of a simulation: no storm is longer.
const STEPS: usize = 4_000;
/// When so many of all are in, the storm is over.
const ALMOST_ALL: f64 = 0.999;

/// Shortest spread in seconds.
const SHORTEST: f64 = 1e-3;

/// Peers who come back alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wave {
    /// How many.
    pub peers: f64,
    /// Seconds over which their first attempts spread, at least a millisecond.
    pub spread: f64,
    /// Seconds after which one that was refused tries again.
    pub retry: f64,
}

/// Who comes back, and to how much.
#[derive(Clone, Debug, PartialEq)]
pub struct Storm {
    /// All of them.
    pub waves: Vec<Wave>,
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

impl Wave {
    /// Attempts per second while the first ones come.
    pub fn rate(&self) -> f64 {
        self.peers / self.spread.max(SHORTEST)
    }

    /// First attempts from `begin` on, for `step` seconds.
    fn first(&self, begin: f64, step: f64) -> f64 {
        let over = self.spread.max(SHORTEST);
        self.peers * ((begin + step).min(over) - begin).max(0.0) / over
    }
}

impl Storm {
    /// Seconds until the last of them makes a first attempt.
    pub fn spread(&self) -> f64 {
        self.waves.iter().map(|wave| wave.spread).fold(0.0, f64::max)
    }

    /// Goes through it, for `limit` seconds at most.
    pub fn run(&self, limit: f64) -> Outcome {
        let mut outcome = Outcome { seconds: f64::INFINITY, refused: 0.0, longest_wait: 0.0 };
        if self.capacity <= 0.0 {
            return Outcome { longest_wait: f64::INFINITY, ..outcome };
        }
        let step = limit / float(STEPS);
        let room = self.capacity * self.patience;
        let almost_all = self.waves.iter().map(|wave| wave.peers).sum::<f64>() * ALMOST_ALL;
        // Those of each wave who come again in each step.
        let mut again = vec![vec![0.0; STEPS]; self.waves.len()];
        let (mut waiting, mut admitted) = (0.0, 0.0);
        for at in 0..STEPS {
            let first = |wave: &Wave| wave.first(float(at) * step, step);
            let coming = |(wave, again): (&Wave, &Vec<f64>)| first(wave) + again[at];
            let all: f64 = self.waves.iter().zip(&again).map(coming).sum();
            let done = (self.capacity * step).min(waiting + all);
            let left = waiting + all - done;
            let refused = (left - room).max(0.0);
            waiting = left - refused;
            admitted += done;
            outcome.refused += refused;
            outcome.longest_wait = outcome.longest_wait.max(waiting / self.capacity);
            if refused > 0.0 {
                for (wave, again) in self.waves.iter().zip(&mut again) {
                    let part = (first(wave) + again[at]) / all;
                    // Those who are refused at one time have come at one time, and come again so.
                    if let Some(later) = again.get_mut(at + steps(wave.retry, step).max(1)) {
                        *later += refused * part;
                    }
                }
            }
            if admitted >= almost_all {
                outcome.seconds = float(at + 1) * step;
                return outcome;
            }
        }
        outcome
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

    const WAVE: Wave = Wave { peers: 10_000.0, spread: 2.0, retry: 10.0 };

    fn storm(waves: &[Wave], capacity: f64) -> Outcome {
        Storm { waves: waves.to_vec(), capacity, patience: 1.0 }.run(60.0)
    }

    #[test]
    fn who_comes_slower_than_capacity_never_waits() {
        let outcome = storm(&[WAVE], 10_000.0);
        assert!((1.9..2.1).contains(&outcome.seconds), "{outcome:?}");
        assert!(outcome.refused < 1e-9 && outcome.longest_wait < 0.05, "{outcome:?}");
    }

    #[test]
    fn a_queue_is_worked_off() {
        // 5,000 a second for 2 s, 4,000 done: 2,000 wait at the end, half a second.
        let outcome = storm(&[WAVE], 4_000.0);
        assert!((2.45..2.55).contains(&outcome.seconds), "{outcome:?}");
        assert!((0.45..0.55).contains(&outcome.longest_wait) && outcome.refused < 1e-9);
    }

    #[test]
    fn beyond_patience_peers_are_refused_and_come_back() {
        // 2,000 a second: in the first two seconds 4,000 done, 2,000 wait, 4,000 refused, who come
        // again from second 10 on.
        let outcome = storm(&[WAVE], 2_000.0);
        assert!((3_900.0..4_100.0).contains(&outcome.refused), "{outcome:?}");
        assert!(outcome.seconds > 11.0 && outcome.seconds < 13.5, "{outcome:?}");
        assert!((0.95..1.01).contains(&outcome.longest_wait), "{outcome:?}");
    }

    #[test]
    fn waves_add_up_and_keep_their_own_times() {
        let half = Wave { peers: 5_000.0, ..WAVE };
        let (one, two) = (storm(&[WAVE], 2_000.0), storm(&[half, half], 2_000.0));
        assert!((one.seconds - two.seconds).abs() < 0.02, "{one:?} {two:?}");
        assert!((one.refused - two.refused).abs() < 1.0, "{one:?} {two:?}");
        // Half of them at once, whom a mean spread of 10.5 s would all have let in; the others for 20 s.
        let sudden = Wave { spread: 1.0, ..half };
        let slow = Wave { spread: 20.0, ..half };
        let outcome = storm(&[sudden, slow], 2_000.0);
        assert!(outcome.refused > 1_000.0, "{outcome:?}");
        assert!((19.9..20.1).contains(&outcome.seconds), "{outcome:?}");
        let mean = storm(&[Wave { spread: 10.5, ..WAVE }], 2_000.0);
        assert!(mean.refused < 1e-9, "{mean:?}");
        // Those who were refused come again 30 s later, and all of them are let in.
        let patient = storm(&[Wave { retry: 30.0, ..sudden }, slow], 2_000.0);
        assert!((30.0..32.0).contains(&patient.seconds), "{patient:?}");
    }

    #[test]
    fn what_cannot_end_does_not() {
        assert!(storm(&[WAVE], 0.0).seconds.is_infinite());
        assert!(storm(&[WAVE], 100.0).seconds.is_infinite());
        for none in [&[][..], &[Wave { peers: 0.0, ..WAVE }]] {
            let soon = storm(none, 10_000.0);
            assert!(soon.seconds < 0.1, "{soon:?}");
        }
    }
}
