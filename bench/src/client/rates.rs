//! How many operations are to start by when: rates over time, as arithmetic.

use std::time::Duration;

use serde::Serialize;

/// Starts of an open loop: a rate that may change over time, and how starts lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Arrivals {
    /// Operations per second at the beginning, over all threads.
    pub rate: f64,
    /// What becomes of the rate.
    pub shape: Shape,
    /// How starts lie in it.
    pub spacing: Spacing,
}

/// A rate over time. Rates are operations per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Shape {
    /// It stays.
    Constant,
    /// It becomes `to` in a straight line, and stays so.
    Ramp {
        /// The rate at the end.
        to: f64,
        /// How long it takes, above zero.
        over: Duration,
    },
    /// It becomes `to` in equal steps, and stays so.
    Step {
        /// The rate of the last step.
        to: f64,
        /// Number of steps, the first one and the last one included: at least 2.
        steps: u32,
        /// How long all of them take, above zero.
        over: Duration,
    },
    /// Again and again it is `to` for a while, then what it was.
    Burst {
        /// The rate in a burst.
        to: f64,
        /// Length of a burst, above zero.
        length: Duration,
        /// Time from the start of a burst to the next one, longer than a burst.
        every: Duration,
    },
}

/// How starts lie in a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Spacing {
    /// At equal distances, as far as the rate allows.
    Even,
    /// At random, independent of each other (a Poisson process), the same ones for the same seed.
    Poisson {
        /// Anything.
        seed: u64,
    },
}

/// Highest rate in operations per second that may be asked for.
pub(crate) const MAX_RATE: f64 = 1e7;
/// Most steps of a rate.
const MAX_STEPS: u32 = 10_000;

impl Arrivals {
    /// `rate` starts per second at equal distances.
    pub const fn even(rate: f64) -> Self {
        Self { rate, shape: Shape::Constant, spacing: Spacing::Even }
    }

    /// The highest rate that there is at any time.
    pub(crate) fn peak(&self) -> f64 {
        match self.shape {
            Shape::Constant => self.rate,
            Shape::Ramp { to, .. } | Shape::Step { to, .. } | Shape::Burst { to, .. } => {
                self.rate.max(to)
            }
        }
    }

    /// # Errors
    /// What is wrong with it, and what would be right.
    pub(super) fn check(&self) -> Result<(), String> {
        let range = |rate: f64| (0.0..=MAX_RATE).contains(&rate);
        let to = match self.shape {
            Shape::Constant => self.rate,
            Shape::Ramp { to, .. } | Shape::Step { to, .. } | Shape::Burst { to, .. } => to,
        };
        if !range(self.rate) || !range(to) || self.rate.max(to) <= 0.0 {
            return Err(format!("the rate must be above 0 and at most {MAX_RATE}"));
        }
        match self.shape {
            Shape::Ramp { over, .. } | Shape::Step { over, .. } if over.is_zero() => {
                Err("a rate needs time to change".to_owned())
            }
            Shape::Step { steps, .. } if !(2..=MAX_STEPS).contains(&steps) => {
                Err(format!("a rate changes in 2 to {MAX_STEPS} steps"))
            }
            Shape::Burst { length, every, .. } if length.is_zero() || length >= every => {
                Err("a burst must be longer than nothing and shorter than the time to the next one"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// A rate over time as a row of pieces. Times are seconds from the beginning.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    pieces: Vec<Piece>,
    after: After,
}

/// What comes behind the last piece.
#[derive(Clone, Copy, Debug)]
enum After {
    /// This rate, for ever.
    Hold(f64),
    /// The first piece again.
    Repeat,
}

/// A rate that changes in a straight line.
#[derive(Clone, Copy, Debug)]
struct Piece {
    length: f64,
    from: f64,
    to: f64,
}

impl Rates {
    pub(super) fn new(arrivals: &Arrivals) -> Self {
        let rate = arrivals.rate;
        match arrivals.shape {
            Shape::Constant => Self { pieces: Vec::new(), after: After::Hold(rate) },
            Shape::Ramp { to, over } => {
                let pieces = vec![Piece { length: over.as_secs_f64(), from: rate, to }];
                Self { pieces, after: After::Hold(to) }
            }
            Shape::Step { to, steps, over } => {
                let length = over.as_secs_f64() / f64::from(steps);
                let rise = (to - rate) / f64::from(steps - 1);
                let flat = |step| Piece::flat(length, rate + rise * f64::from(step));
                Self { pieces: (0..steps).map(flat).collect(), after: After::Hold(to) }
            }
            Shape::Burst { to, length, every } => {
                let burst = Piece::flat(length.as_secs_f64(), to);
                let rest = Piece::flat((every - length).as_secs_f64(), rate);
                Self { pieces: vec![burst, rest], after: After::Repeat }
            }
        }
    }

    /// When `count` operations should have started; infinite when never.
    pub(super) fn time_of(&self, count: f64) -> f64 {
        let (mut time, mut count) = (0.0, count);
        if let After::Repeat = self.after {
            let amount: f64 = self.pieces.iter().map(Piece::amount).sum();
            let rounds = (count / amount).floor();
            time = rounds * self.pieces.iter().map(|piece| piece.length).sum::<f64>();
            count -= rounds * amount;
        }
        for piece in &self.pieces {
            if count < piece.amount() {
                return time + piece.time_of(count);
            }
            count -= piece.amount();
            time += piece.length;
        }
        match self.after {
            After::Hold(rate) => time + count / rate,
            // Rounding left a rest of nothing.
            After::Repeat => time,
        }
    }

    /// How many operations should have started by `time`.
    pub(super) fn count_by(&self, time: f64) -> f64 {
        let (mut time, mut count) = (time, 0.0);
        if let After::Repeat = self.after {
            let length: f64 = self.pieces.iter().map(|piece| piece.length).sum();
            let rounds = (time / length).floor();
            count = rounds * self.pieces.iter().map(Piece::amount).sum::<f64>();
            time -= rounds * length;
        }
        for piece in &self.pieces {
            if time < piece.length {
                return count + piece.count_by(time);
            }
            count += piece.amount();
            time -= piece.length;
        }
        match self.after {
            After::Hold(rate) => count + time * rate,
            After::Repeat => count,
        }
    }
}

impl Piece {
    fn flat(length: f64, rate: f64) -> Self {
        Self { length, from: rate, to: rate }
    }

    fn amount(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length
    }

    fn slope(&self) -> f64 {
        (self.to - self.from) / self.length
    }

    /// The root of `from * t + slope / 2 * t^2 = count`, in the form that a slope of zero does not
    /// break.
    fn time_of(&self, count: f64) -> f64 {
        if count <= 0.0 {
            return 0.0;
        }
        let root = (self.from * self.from + 2.0 * self.slope() * count).max(0.0).sqrt();
        2.0 * count / (self.from + root)
    }

    fn count_by(&self, time: f64) -> f64 {
        (self.from + self.slope() * time / 2.0) * time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rates(rate: f64, shape: Shape) -> Rates {
        let arrivals = Arrivals { rate, shape, spacing: Spacing::Even };
        arrivals.check().expect("sensible");
        Rates::new(&arrivals)
    }

    fn same(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-6 || left == right
    }

    #[test]
    fn every_shape_starts_as_many_as_its_rate_says() {
        let burst = Shape::Burst { to: 1_000.0, length: SECOND, every: 10 * SECOND };
        for (rate, shape, time, count) in [
            (100.0, Shape::Constant, 7.5, 750.0),
            (0.0, Shape::Ramp { to: 100.0, over: 10 * SECOND }, 10.0, 500.0),
            (100.0, Shape::Ramp { to: 0.0, over: 10 * SECOND }, 10.0, 500.0),
            (0.0, Shape::Ramp { to: 100.0, over: 10 * SECOND }, 12.0, 700.0),
            (100.0, Shape::Step { to: 300.0, steps: 3, over: 3 * SECOND }, 2.0, 300.0),
            (100.0, Shape::Step { to: 300.0, steps: 3, over: 3 * SECOND }, 4.0, 900.0),
            (0.0, burst, 10.5, 1_500.0),
            (10.0, burst, 21.0, 3_180.0),
        ] {
            let rates = rates(rate, shape);
            assert!(same(rates.count_by(time), count), "{shape:?}: {}", rates.count_by(time));
        }
    }

    #[test]
    fn times_and_counts_are_each_others_inverse() {
        for (rate, shape) in [
            (3.0, Shape::Constant),
            (5.0, Shape::Ramp { to: 500.0, over: 4 * SECOND }),
            (500.0, Shape::Ramp { to: 5.0, over: 4 * SECOND }),
            (5.0, Shape::Step { to: 50.0, steps: 4, over: 2 * SECOND }),
            (2.0, Shape::Burst { to: 90.0, length: SECOND / 2, every: 2 * SECOND }),
        ] {
            let rates = rates(rate, shape);
            for count in 0..400_u32 {
                let count = f64::from(count) + 0.25;
                let time = rates.time_of(count);
                assert!(same(rates.count_by(time), count), "{shape:?}: {count} at {time}");
            }
        }
    }

    #[test]
    fn a_rate_that_ends_starts_no_more() {
        let rates = rates(10.0, Shape::Ramp { to: 0.0, over: 2 * SECOND });
        assert!(same(rates.time_of(9.999_999), 2.0) || rates.time_of(9.999_999) < 2.0);
        assert_eq!(rates.time_of(10.5), f64::INFINITY);
    }

    #[test]
    fn senseless_rates_are_refused() {
        for (rate, shape) in [
            (0.0, Shape::Constant),
            (f64::NAN, Shape::Constant),
            (1e8, Shape::Constant),
            (1.0, Shape::Ramp { to: -1.0, over: SECOND }),
            (1.0, Shape::Ramp { to: 2.0, over: Duration::ZERO }),
            (1.0, Shape::Step { to: 2.0, steps: 1, over: SECOND }),
            (1.0, Shape::Burst { to: 2.0, length: SECOND, every: SECOND }),
            (0.0, Shape::Burst { to: 0.0, length: SECOND, every: 2 * SECOND }),
        ] {
            let arrivals = Arrivals { rate, shape, spacing: Spacing::Even };
            assert!(arrivals.check().is_err(), "{arrivals:?}");
        }
    }
}
