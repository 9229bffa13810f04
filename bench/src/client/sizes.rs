//! Sizes of messages, by distribution.

use std::f64::consts::TAU;

use serde::Serialize;

use crate::mix::pair;

/// Sizes in bytes. The same ones are drawn for the same seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Sizes {
    /// All are the same.
    Fixed(u64),
    /// Each from the first to the second, both included, is as likely.
    Uniform(u64, u64),
    /// Their logarithms are distributed normally, as sizes of real messages mostly are.
    Lognormal {
        /// Half are smaller.
        median: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
        /// Larger ones are as large as this.
        most: u64,
    },
    /// One of these, with its weight.
    List(Vec<(u64, f64)>),
}

impl Sizes {
    /// The largest that can be.
    pub fn most(&self) -> u64 {
        match self {
            Self::Fixed(size) => *size,
            Self::Uniform(_, most) | Self::Lognormal { most, .. } => *most,
            Self::List(sizes) => sizes.iter().map(|(size, _)| *size).max().unwrap_or_default(),
        }
    }

    /// The size with this number of those that `seed` has; at least 1.
    pub(super) fn draw(&self, seed: u64, number: u64) -> u64 {
        let size = match self {
            Self::Fixed(size) => *size,
            Self::Uniform(least, most) => {
                let width = most.saturating_sub(*least).saturating_add(1);
                least + share_of(width, uniform(seed, 2 * number))
            }
            Self::Lognormal { median, sigma, most } => {
                // Box and Muller's way from two uniform variables to a normal one.
                let [one, two] = [2 * number, 2 * number + 1].map(|place| uniform(seed, place));
                let normal = (-2.0 * (1.0 - one).ln()).sqrt() * (TAU * two).cos();
                rounded(median * (sigma * normal).exp()).min(*most)
            }
            Self::List(sizes) => {
                let whole: f64 = sizes.iter().map(|(_, weight)| weight).sum();
                let mut rest = uniform(seed, 2 * number) * whole;
                let found = sizes.iter().find(|(_, weight)| {
                    rest -= weight;
                    rest < 0.0
                });
                found.or(sizes.last()).map_or(1, |(size, _)| *size)
            }
        };
        size.max(1)
    }
}

/// From 0 to below 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
fn uniform(seed: u64, number: u64) -> f64 {
    (pair(seed, number) >> 11) as f64 / (1_u64 << 53) as f64
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
fn share_of(width: u64, uniform: f64) -> u64 {
    rounded((width as f64 * uniform).floor())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float to integer cast saturates, and sizes are not below zero"
)]
fn rounded(size: f64) -> u64 {
    size.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sizes: &Sizes) -> Vec<u64> {
        let mut all: Vec<u64> = (0..20_000).map(|number| sizes.draw(7, number)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn sizes_are_distributed_as_they_should_be() {
        assert_eq!(Sizes::Fixed(9).draw(1, 2), 9);
        let uniform = drawn(&Sizes::Uniform(100, 300));
        assert_eq!((uniform[0], uniform[19_999]), (100, 300));
        assert!((195..=205).contains(&uniform[10_000]), "{}", uniform[10_000]);
        let lognormal = drawn(&Sizes::Lognormal { median: 600.0, sigma: 0.7, most: 8_192 });
        assert!((585..=615).contains(&lognormal[10_000]), "{}", lognormal[10_000]);
        // One standard deviation up: 600 e^0.7.
        let up = lognormal[16_827];
        assert!((1_160..=1_260).contains(&up), "{up}");
        assert_eq!(lognormal[19_999], 8_192, "the tail is cut");
        let list = drawn(&Sizes::List(vec![(200, 3.0), (1_500, 1.0)]));
        let small = list.iter().filter(|size| **size == 200).count();
        assert!((14_750..=15_250).contains(&small), "{small}");
        assert_eq!(list.iter().filter(|size| **size == 1_500).count(), 20_000 - small);
    }
}
