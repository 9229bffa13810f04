//! Models as they may be: each figure drawn from its error, so that a plan has an interval.
//!
//! Errors are taken to be independent but for the CPU's speed, which all CPU times share. A figure
//! is drawn from the log-normal distribution with its value as the mean and its error as the
//! standard deviation: no cost is below nothing. A value of 0, which has no such distribution, is
//! what a fit makes of one below: it is drawn from the normal distribution, and 0 where that is below.

use super::model::{Figure, NodeModel};
use super::number::float;
use crate::mix::{STEP, mix};

/// Random numbers that a seed repeats: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed, the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Above 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(STEP);
        #[expect(clippy::cast_precision_loss, reason = "52 bits fit the mantissa")]
        let above = (mix(self.0) >> 12) as f64;
        (above + 0.5) / (1u64 << 52) as f64
    }

    /// Mean 0, variance 1 (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn about(&mut self, figure: &mut Figure) {
        let normal = self.normal();
        if figure.value > 0.0 {
            let variance = (figure.error / figure.value).powi(2).ln_1p();
            figure.value *= (variance.sqrt() * normal - variance / 2.0).exp();
        } else {
            figure.value = (figure.error * normal).max(0.0);
        }
    }

    /// The model as it may be.
    pub fn model(&mut self, model: &NodeModel) -> NodeModel {
        let mut drawn = model.clone();
        let mut speed = Figure { value: 1.0, error: model.origin.speed_spread, assumed: false };
        self.about(&mut speed);
        for figure in drawn.cpu_us.values_mut() {
            self.about(figure);
            figure.value *= speed.value;
        }
        self.about(&mut drawn.contention.serial);
        self.about(&mut drawn.contention.coherence);
        self.about(&mut drawn.memory.connection);
        self.about(&mut drawn.memory.node);
        self.about(&mut drawn.queue.variability);
        self.about(&mut drawn.queue.tail.message);
        self.about(&mut drawn.queue.tail.handshake);
        drawn
    }
}

/// The middle 90 % of `values`: the 5th and the 95th percentile, interpolated; none of nothing.
pub fn interval(values: &[f64]) -> Option<[f64; 2]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some([5, 95].map(|percent| {
        let (at, rest) = (last * percent / 100, last * percent % 100);
        let (low, high) = (sorted[at], sorted[(at + 1).min(last)]);
        // Infinity less itself is no number.
        if rest == 0 || low.total_cmp(&high).is_eq() {
            return low;
        }
        low + (high - low) * float(rest) / 100.0
    }))
}

#[cfg(test)]
mod tests {
    use super::super::model::Cost;
    use super::super::test_data::model;
    use super::*;

    #[test]
    fn draws_have_the_mean_and_the_error_of_their_figures() {
        let mut known = model();
        known.origin.speed_spread = 0.0;
        known.cpu_us.insert(Cost::Message, Figure { value: 10.0, error: 3.0, assumed: false });
        let mut random = Random::new(1);
        let drawn: Vec<f64> =
            (0..20_000).map(|_| random.model(&known).cpu_us[&Cost::Message].value).collect();
        let mean = drawn.iter().sum::<f64>() / float(drawn.len());
        let variance = drawn.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (variance / float(drawn.len())).sqrt();
        assert!((mean - 10.0).abs() < 0.1 && (deviation - 3.0).abs() < 0.15, "{mean} {deviation}");
        assert!(drawn.iter().all(|value| *value > 0.0));
        let again = Random::new(1).model(&known).cpu_us[&Cost::Message].value;
        assert!((again - drawn[0]).abs() < 1e-12, "a seed repeats");
    }

    #[test]
    fn what_is_nothing_but_for_its_error_is_drawn() {
        let mut known = model();
        known.origin.speed_spread = 0.0;
        known.cpu_us.insert(Cost::Record, Figure { value: 0.0, error: 3.0, assumed: false });
        known.contention.serial = Figure::default();
        let mut random = Random::new(1);
        let drawn: Vec<NodeModel> = (0..20_000).map(|_| random.model(&known)).collect();
        let values: Vec<f64> =
            drawn.iter().map(|model| model.cpu_us[&Cost::Record].value).collect();
        let part = |of: usize| float(of) / float(values.len());
        let nothing = part(values.iter().filter(|value| **value <= 0.0).count());
        assert!((0.48..0.52).contains(&nothing), "{nothing}");
        // Half of a normal distribution: 0.0668 of the whole are above 1.5 standard deviations.
        let far = part(values.iter().filter(|value| **value > 4.5).count());
        assert!((0.06..0.074).contains(&far), "{far}");
        assert!(drawn.iter().all(|model| model.contention.serial == Figure::default()));
    }

    #[test]
    fn the_middle_of_a_hundred_and_one() {
        let values: Vec<f64> = (0..=100).rev().map(float).collect();
        assert_eq!(interval(&values), Some([5.0, 95.0]));
        assert_eq!(
            interval(&[1.0, 2.0, f64::INFINITY, f64::INFINITY]).map(|[_, high]| high),
            Some(f64::INFINITY)
        );
        assert_eq!(interval(&[]), None);
    }
}
