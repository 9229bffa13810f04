//! From samples to the figures that are quoted.

use super::statistics::Quartiles;
use super::target::Kind;
use super::test::Test;
use super::{Results, Row};

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
        Quartiles::of(self.of(test, target).map(figure))
    }

    /// Cost of `target` over the cost of [`REFERENCE`] in the same round.
    pub(crate) fn ratio(&self, test: Test, target: Kind) -> Option<Quartiles> {
        self.paired((test, target), (test, REFERENCE))
    }

    /// Cost of a round trip at 1,000 connections over that at 50 in the same round.
    pub(crate) fn spread(&self, target: Kind) -> Option<Quartiles> {
        self.paired((Test::RoundTrips1000, target), (Test::RoundTrips50, target))
    }

    /// Median part of the time in which others used the servers' CPU.
    pub(crate) fn foreign(&self) -> Option<Quartiles> {
        Quartiles::of(self.samples.iter().map(|row| row.sample.foreign_share))
    }

    fn of(&self, test: Test, target: Kind) -> impl Iterator<Item = &Row> {
        self.samples.iter().filter(move |row| row.test == test && row.target == target)
    }

    fn paired(&self, above: (Test, Kind), below: (Test, Kind)) -> Option<Quartiles> {
        Quartiles::of(self.of(above.0, above.1).filter_map(|row| {
            let partner = self.of(below.0, below.1).find(|other| other.round == row.round)?;
            Some(row.sample.cost / partner.sample.cost)
        }))
    }
}
