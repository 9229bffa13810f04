//! From samples to the figures that are quoted.

use super::Results;
use super::rounds::Row;
use super::statistics::Quartiles;
use super::target::Kind;
use super::test::Test;

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
        figure: impl Fn(&Row<Test, Kind>) -> f64,
    ) -> Option<Quartiles> {
        self::figure(&self.samples, (test, target), figure)
    }

    /// Cost of `target` over the cost of [`REFERENCE`] in the same round.
    pub(crate) fn ratio(&self, test: Test, target: Kind) -> Option<Quartiles> {
        paired(&self.samples, (test, target), (test, REFERENCE))
    }

    /// Cost of a round trip at 1,000 connections over that at 50 in the same round.
    pub(crate) fn spread(&self, target: Kind) -> Option<Quartiles> {
        paired(&self.samples, (Test::RoundTrips1000, target), (Test::RoundTrips50, target))
    }

    /// Median part of the time in which others used the servers' CPU.
    pub(crate) fn foreign(&self) -> Option<Quartiles> {
        Quartiles::of(self.samples.iter().map(|row| row.sample.foreign_share))
    }
}

/// Any figure of the samples of one test and server.
pub(crate) fn figure<T: PartialEq, K: PartialEq>(
    rows: &[Row<T, K>],
    of: (T, K),
    figure: impl Fn(&Row<T, K>) -> f64,
) -> Option<Quartiles> {
    Quartiles::of(rows.iter().filter(|row| is_of(row, &of)).map(figure))
}

/// Cost of one test and server over that of another pair in the same round.
pub(crate) fn paired<T: PartialEq, K: PartialEq>(
    rows: &[Row<T, K>],
    above: (T, K),
    below: (T, K),
) -> Option<Quartiles> {
    Quartiles::of(rows.iter().filter(|row| is_of(row, &above)).filter_map(|row| {
        let is_partner = |other: &&Row<T, K>| other.round == row.round && is_of(other, &below);
        Some(row.sample.cost / rows.iter().find(is_partner)?.sample.cost)
    }))
}

fn is_of<T: PartialEq, K: PartialEq>(row: &Row<T, K>, (test, server): &(T, K)) -> bool {
    row.test == *test && row.target == *server
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::output::{Style, render};
    use super::super::record;
    use super::super::sample::Sample;
    use super::*;
    use crate::engines::Settings;
    use crate::engines::machine::Machine;

    fn row(round: u32, test: Test, target: Kind, cost: f64) -> Row<Test, Kind> {
        let (cpu, wall) = (Duration::from_millis(300), Duration::from_millis(600));
        let (user_share, foreign_share) = (0.25, 0.01);
        let sample = Sample { units: 10.0, cpu, wall, user_share, foreign_share, cost };
        Row { round, position: 0, test, target, sample }
    }

    fn results(samples: Vec<Row<Test, Kind>>) -> Results {
        let gateway = "/does/not/exist".into();
        let machine = Machine::look(std::path::Path::new("/does/not/exist"));
        let settings = Settings {
            gateway,
            targets: Kind::ALL.to_vec(),
            tests: Test::ALL.to_vec(),
            rounds: 2,
            sample: Duration::from_millis(600),
            idle_connections: 0,
            idle_versions: Vec::new(),
            counted_round_trips: 0,
            server_cpu: 0,
            load_cpu: 1,
        };
        Results {
            machine,
            settings,
            left_out: Vec::new(),
            failures: vec!["something".to_owned()],
            samples,
            direct: Vec::new(),
            system_calls: Vec::new(),
            memory: Vec::new(),
        }
    }

    #[test]
    fn only_samples_of_one_round_are_compared() {
        let test = Test::Full13;
        let results = results(vec![
            row(0, test, Kind::IoUring, 100.0),
            row(0, test, Kind::Nginx, 200.0),
            row(1, test, Kind::IoUring, 300.0),
            row(1, test, Kind::Nginx, 900.0),
            // Without a partner in its round.
            row(2, test, Kind::Nginx, 9000.0),
        ]);
        let ratio = results.ratio(test, Kind::Nginx).expect("two rounds");
        assert!((ratio.median - 2.5).abs() < 1e-9, "{ratio:?}");
        assert_eq!(results.ratio(Test::Down, Kind::Nginx), None);
        assert_eq!((results.kinds(), results.tests()), (vec![REFERENCE, Kind::Nginx], vec![test]));
    }

    #[test]
    fn a_record_has_every_sample_and_every_failure() {
        let samples = vec![
            row(0, Test::RoundTrips50, Kind::IoUring, 10.0),
            row(0, Test::RoundTrips1000, Kind::IoUring, 15.0),
        ];
        let results = results(samples);
        let text = render(&results, Style::Terminal);
        assert!(text.contains("1.50 [1.50–1.50]") && text.contains("FAILED: something"), "{text}");
        let parent = tempfile::tempdir().expect("a directory");
        let directory = record::write(&results, parent.path()).expect("written");
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("a file");
        assert_eq!(read("raw.csv").lines().count(), 3);
        assert!(read("README.md").contains(&results.machine.commit));
        assert!(read("summary.md").contains("| round trips, 50 connections"));
    }
}
