//! Chance that can be had again: the same seed, the same numbers, on every machine.

use std::time::Duration;

/// A splitmix64 generator (Steele, Lea, Flood 2014): eight bytes of state, passes BigCrush, and
/// seeds that differ in one bit give unrelated numbers. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own: what it gives does not depend on what is taken from this one.
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; zero when there is none. The bias is below 2^-40 for any bound that
    /// a simulation has.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.number()) * bound as u128;
        usize::try_from(wide >> 64).expect("below a usize")
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent as usize
    }

    /// One of `choices`, which are not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// One of `choices`, each as often as its weight says.
    pub fn weighted<T: Clone>(&mut self, choices: &[(u32, T)]) -> T {
        let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(total as usize);
        for (weight, choice) in choices {
            match left.checked_sub(*weight as usize) {
                Some(rest) => left = rest,
                None => return choice.clone(),
            }
        }
        unreachable!("below the sum of the weights")
    }

    /// A time from nothing to `most`; every magnitude is as likely as any other.
    pub fn time(&mut self, most: Duration) -> Duration {
        let magnitude = self.below(12);
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX) >> magnitude;
        Duration::from_nanos(self.below(usize::try_from(nanos).unwrap_or(usize::MAX)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let mut rng = Rng::new(1_234_567);
        let numbers = [(); 3].map(|()| rng.number());
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(numbers, published);
    }

    #[test]
    fn ranges_are_kept_and_used() {
        let mut rng = Rng::new(7);
        let drawn: Vec<usize> = (0..1000).map(|_| rng.between(3, 5)).collect();
        assert!((3..=5).all(|number| drawn.contains(&number)));
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        assert_eq!(rng.below(0), 0);
        assert!((0..1000).all(|_| rng.time(Duration::from_secs(1)) < Duration::from_secs(1)));
        let weighted: Vec<char> = (0..100).map(|_| rng.weighted(&[(0, 'a'), (1, 'b')])).collect();
        assert_eq!(weighted, ['b'; 100]);
    }
}
