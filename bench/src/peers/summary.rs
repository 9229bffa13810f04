//! From samples to the figures that are quoted.

use super::target::Kind;
use super::test::Test;
use super::workers::Workers;
use super::{Results, Row, Storm};
use crate::measure::statistics::Quartiles;
use crate::measure::summary::{self, paired, paired_by};

/// Whom costs are compared with.
pub(crate) const REFERENCE: Kind = Kind::IoUring;

impl Results {
    /// The targets that were measured, in order.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let was_measured = |kind: &Kind| self.samples.iter().any(|row| row.target == *kind);
        Kind::ALL.into_iter().filter(was_measured).collect()
    }

    /// The tests that were measured, in order.
    pub(crate) fn tests(&self) -> Vec<Test> {
        let was_measured = |test: &Test| self.samples.iter().any(|row| row.test == *test);
        Test::ALL.into_iter().filter(was_measured).collect()
    }

    /// Any figure of the samples of one test and target.
    pub(crate) fn figure(
        &self,
        test: Test,
        target: Kind,
        figure: impl Fn(&Row) -> f64,
    ) -> Option<Quartiles> {
        summary::figure(&self.samples, (test, target), figure)
    }

    pub(crate) fn cost(&self, test: Test, target: Kind) -> Option<Quartiles> {
        self.figure(test, target, |row| row.sample.cost)
    }

    /// The peer that spends least on `test`.
    pub(crate) fn best_peer(&self, test: Test) -> Option<Kind> {
        let peers = Kind::ALL.into_iter().filter(|kind| kind.is_peer());
        let costs = peers.filter_map(|kind| Some((kind, self.cost(test, kind)?.median)));
        costs.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(kind, _)| kind)
    }

    /// Cost of [`REFERENCE`] over that of `other` in the same round.
    pub(crate) fn ratio(&self, test: Test, other: Kind) -> Option<Quartiles> {
        paired(&self.samples, (test, REFERENCE), (test, other))
    }

    /// The same, of costs in signatures that the CPU could have made meanwhile: what the machine's
    /// speed changes between two samples is not in it. It corrects too much where the kernel works.
    pub(crate) fn ratio_by_speed(&self, test: Test, other: Kind) -> Option<Quartiles> {
        let cost = |row: &Row| row.sample.cost * (row.speed[0] + row.speed[1]);
        paired_by(&self.samples, &(test, REFERENCE), &[(test, other)], cost)
    }

    /// Cost of [`REFERENCE`] over that of a relay without TLS and of TLS in memory.
    pub(crate) fn over_floor(&self, test: Test) -> Option<Quartiles> {
        let floors = [(test, Kind::Memory), (test.plaintext(), Kind::Relay)];
        paired_by(&self.samples, &(test, REFERENCE), &floors, |row| row.sample.cost)
    }

    /// Cost of a round trip at 1,000 connections over that at 50 in the same round.
    pub(crate) fn spread(&self, target: Kind) -> Option<Quartiles> {
        paired(&self.samples, (Test::RoundTrips1000, target), (Test::RoundTrips50, target))
    }

    /// Cost with two workers over that with one in the same round.
    pub(crate) fn two_over_one(&self, test: Test) -> Option<Quartiles> {
        paired(&self.workers, (test, Workers::Two), (test, Workers::One))
    }

    /// Instructions with two workers over those with one.
    pub(crate) fn instructions_two_over_one(&self, test: Test) -> Option<f64> {
        let of = |workers| {
            let mut found = self.instructions.iter();
            let one = found.find(|one| (one.test, one.workers) == (test, workers))?;
            Some(one.each)
        };
        Some(of(Workers::Two)? / of(Workers::One)?)
    }

    /// The servers that storms came over, in order.
    pub(crate) fn stormed(&self) -> Vec<Kind> {
        let was_stormed = |kind: &Kind| self.storms.iter().any(|storm| storm.target == *kind);
        Kind::ALL.into_iter().filter(was_stormed).collect()
    }

    /// Any figure of the storms over one server.
    pub(crate) fn storm(&self, target: Kind, figure: impl Fn(&Storm) -> f64) -> Option<Quartiles> {
        let storms = self.storms.iter().filter(|storm| storm.target == target);
        Quartiles::of(storms.map(figure))
    }

    /// Part of the time in which others used the servers' CPU.
    pub(crate) fn foreign(&self) -> Option<Quartiles> {
        Quartiles::of(self.samples.iter().map(|row| row.sample.foreign_share))
    }

    /// Signatures per second of the servers' CPU.
    pub(crate) fn speed(&self) -> Option<Quartiles> {
        Quartiles::of(self.samples.iter().flat_map(|row| row.speed))
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{results, row};
    use super::*;

    #[test]
    fn only_samples_of_one_round_are_compared() {
        let test = Test::Full13;
        let results = results(vec![
            row(0, test, Kind::IoUring, 100.0),
            row(0, test, Kind::Nginx, 200.0),
            row(1, test, Kind::IoUring, 300.0),
            row(1, test, Kind::Nginx, 1200.0),
            row(0, test, Kind::Envoy, 500.0),
            row(1, test, Kind::Envoy, 1500.0),
            // Without a partner in its round.
            row(2, test, Kind::IoUring, 9000.0),
        ]);
        let ratio = results.ratio(test, Kind::Nginx).expect("two rounds");
        assert!((ratio.median - 0.375).abs() < 1e-9, "{ratio:?}");
        assert_eq!(results.ratio_by_speed(test, Kind::Nginx), Some(ratio), "one speed");
        assert_eq!(results.ratio(Test::Down, Kind::Nginx), None);
        assert_eq!(results.best_peer(test), Some(Kind::Nginx));
        let kinds = vec![REFERENCE, Kind::Nginx, Kind::Envoy];
        assert_eq!((results.kinds(), results.tests()), (kinds, vec![test]));
    }

    #[test]
    fn a_floor_is_a_relay_and_tls_in_memory_together() {
        let results = results(vec![
            row(0, Test::Resumed12, Kind::IoUring, 120.0),
            row(0, Test::Resumed12, Kind::Memory, 20.0),
            row(0, Test::Full13, Kind::Relay, 80.0),
            // Without a relay in its round.
            row(1, Test::Resumed12, Kind::IoUring, 120.0),
            row(1, Test::Resumed12, Kind::Memory, 20.0),
        ]);
        let share = results.over_floor(Test::Resumed12).expect("a round with all three");
        assert!((share.median - 1.2).abs() < 1e-9 && (share.high - 1.2).abs() < 1e-9, "{share:?}");
    }
}
