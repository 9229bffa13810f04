//! What runs have found.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tlsgate_bench::client::{ErrorKind, Errors, Flow, Phase, Report};
use tlsgate_bench::objective::{Objective, Verdict};

use super::cases::Case;
use super::meter::Used;
use super::rotation::Rotation;
use crate::measure::statistics::Quartiles;
use crate::peers::Tail;
use crate::peers::target::Kind;

/// A run of a scenario over a server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ran {
    pub(crate) case: Case,
    pub(crate) target: Kind,
    pub(crate) round: u32,
    pub(crate) flows: Vec<Found>,
    pub(crate) used: Used,
    /// From what happened until everybody was back, to a tenth of a second; none when somebody is not,
    /// or nobody had to come back.
    pub(crate) back: Option<Duration>,
    pub(crate) rotations: Vec<Rotation>,
}

/// What one flow did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) connections: usize,
    pub(crate) done: u64,
    /// Operations that failed.
    pub(crate) errors: BTreeMap<ErrorKind, Errors>,
    /// Attempts that failed, behind which there was another one.
    pub(crate) retried: BTreeMap<ErrorKind, Errors>,
    /// Connections that were lost, where that was to be expected.
    pub(crate) lost: u64,
    /// Of what was done, by sessions.
    pub(crate) resumed: u64,
    /// Of whole operations.
    pub(crate) took: Tail,
    pub(crate) objectives: Vec<Verdict>,
    pub(crate) warnings: Vec<String>,
    /// By seconds from the beginning, in which anything ended.
    pub(crate) seconds: Vec<Second>,
    /// The clock's second in which it began.
    #[serde(skip)]
    pub(crate) origin: u64,
    #[serde(skip)]
    pub(crate) report: Report,
}

/// What ended in a second.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Second {
    pub(crate) second: u64,
    pub(crate) done: u64,
    pub(crate) errors: u64,
    /// Of whole operations; none where none ended.
    pub(crate) p99: Option<Duration>,
}

impl Found {
    /// Of a run that began in this second of the clock.
    pub(super) fn new(flow: &Flow, wanted: &[Objective], report: Report, origin: u64) -> Self {
        let second = |(second, interval): (&u64, &tlsgate_bench::client::Interval)| {
            let total = interval.phases.get(&Phase::Total).and_then(|total| total.unpack().ok());
            let p99 = total.map(|total| total.quantile(0.99));
            Second { second: second - origin, done: interval.done, errors: interval.errors, p99 }
        };
        Self {
            name: flow.name.clone(),
            connections: flow.plan.pace.concurrency(),
            done: report.done,
            errors: report.errors.clone(),
            retried: report.retried.clone(),
            lost: report.lost,
            resumed: report.resumed,
            took: Tail::from(&report.total),
            objectives: wanted.iter().map(|wanted| wanted.judge(&report)).collect(),
            warnings: report.warnings(None),
            seconds: report.timeline.range(origin..).map(second).collect(),
            origin,
            report,
        }
    }
}

/// How many errors of all kinds.
pub(super) fn count(errors: &BTreeMap<ErrorKind, Errors>) -> u64 {
    errors.values().map(|errors| errors.count).sum()
}

/// All runs of a scenario over a server, one of each round.
pub(super) struct Rounds<'a>(pub(super) Vec<&'a Ran>);

impl<'a> Rounds<'a> {
    pub(super) fn of(runs: &'a [Ran], case: Case, target: Kind) -> Self {
        Self(runs.iter().filter(|ran| ran.case == case && ran.target == target).collect())
    }

    pub(super) fn median(&self, figure: impl Fn(&Ran) -> f64) -> Option<f64> {
        Quartiles::of(self.0.iter().map(|ran| figure(ran))).map(|quartiles| quartiles.median)
    }

    /// The flow with this number of each round.
    pub(super) fn flow(&self, number: usize) -> Flows<'a> {
        Flows(self.0.iter().filter_map(|ran| ran.flows.get(number)).collect())
    }

    /// How many flows a round has.
    pub(super) fn flows(&self) -> usize {
        self.0.first().map_or(0, |ran| ran.flows.len())
    }

    /// When everybody was back; none when somebody was not in one of the rounds.
    pub(super) fn back(&self) -> Option<Duration> {
        let all: Option<Vec<Duration>> = self.0.iter().map(|ran| ran.back).collect();
        let middle = Quartiles::of(all?.iter().map(Duration::as_secs_f64))?;
        Some(Duration::from_secs_f64(middle.median))
    }

    /// How many objectives were met in all rounds, and how many there are, those of rotations included.
    pub(super) fn objectives(&self) -> [usize; 2] {
        let mut of_flows = Vec::new();
        for number in 0..self.flows() {
            of_flows.extend(self.flow(number).objectives());
        }
        let met = of_flows.iter().filter(|(_, met, of)| met == of).count();
        let rotations = self.rotations();
        let extra = usize::from(rotations[1] > 0);
        let good = usize::from(rotations[1] > 0 && rotations[0] == rotations[1]);
        [met + good, of_flows.len() + extra]
    }

    /// How many rotations were seen in time, and how many there were.
    pub(super) fn rotations(&self) -> [usize; 2] {
        let all = || self.0.iter().flat_map(|ran| &ran.rotations);
        [all().filter(|rotation| rotation.is_good()).count(), all().count()]
    }
}

/// One flow in all rounds.
pub(super) struct Flows<'a>(pub(super) Vec<&'a Found>);

impl Flows<'_> {
    /// In the middle of all rounds.
    pub(super) fn middle(&self, figure: impl Fn(&Found) -> f64) -> f64 {
        Quartiles::of(self.0.iter().map(|found| figure(found))).map_or(0.0, |it| it.median)
    }

    /// Of all rounds together.
    pub(super) fn sum(&self, count: impl Fn(&Found) -> u64) -> u64 {
        self.0.iter().map(|found| count(found)).sum()
    }

    /// What failed, or was tried again, by kind, of all rounds together.
    pub(super) fn kinds(
        &self,
        of: impl Fn(&Found) -> &BTreeMap<ErrorKind, Errors>,
    ) -> BTreeMap<ErrorKind, Errors> {
        let mut sum: BTreeMap<ErrorKind, Errors> = BTreeMap::new();
        for (kind, errors) in self.0.iter().flat_map(|found| of(found)) {
            let example = errors.example.clone();
            sum.entry(*kind).or_insert(Errors { count: 0, example }).count += errors.count;
        }
        sum
    }

    /// Each objective, in how many rounds it was met, and how many there were.
    pub(super) fn objectives(&self) -> Vec<(String, usize, usize)> {
        let first = self.0.first().map_or(&[][..], |found| &found.objectives[..]);
        let judged = |(number, verdict): (usize, &Verdict)| {
            let met = |found: &&&Found| found.objectives.get(number).is_some_and(|it| it.met);
            let met = self.0.iter().filter(met).count();
            (verdict.objective.clone(), met, self.0.len())
        };
        first.iter().enumerate().map(judged).collect()
    }

    /// The report of all rounds together.
    pub(super) fn report(&self) -> Report {
        let mut whole = Report::default();
        self.0.iter().for_each(|found| whole.merge(&found.report));
        whole
    }
}
