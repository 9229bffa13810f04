//! What the gateway is to reach in a run, and whether it did.

use std::time::Duration;

use super::storm::OVERLOAD;
use super::summary::REFERENCE;
use super::target::Kind;
use super::test::Test;
use super::{Results, Storm, workers};
use crate::measure::output::{digits, quote, quote_times, short};
use crate::measure::rounds::{Measurement, Server};
use crate::measure::statistics::Quartiles;

/// Bytes per idle connection.
const MEMORY: f64 = 2048.0;
/// The longest that a flow may wait in a storm.
const WORST: Duration = Duration::from_millis(250);
/// Handshakes in a storm, of the most that the gateway can do.
const COMPLETED: f64 = 0.9;
/// Handshakes that the clients of a storm have begun, of those that they should: else it was none.
const BEGUN: f64 = 0.95;
/// Two workers over one.
const TWO_WORKERS: f64 = 1.15;
/// The same of instructions.
const INSTRUCTIONS: f64 = 1.02;

/// Cost over that of the best peer: at most, and what would be better still.
pub(crate) fn against_peers(test: Test) -> Option<(f64, Option<f64>)> {
    Some(match test {
        Test::Full13 => (0.58, Some(0.52)),
        Test::Resumed13 => (0.55, Some(0.50)),
        Test::Full12 | Test::Resumed12 => (0.55, None),
        Test::RoundTrips50 => (0.62, None),
        Test::RoundTrips1000 | Test::Up => (0.60, None),
        Test::Down => (0.75, Some(0.65)),
        Test::OriginateFull
        | Test::OriginateRoundTrips
        | Test::OriginateDown
        | Test::OriginateUp
        | Test::PairFull
        | Test::PairRoundTrips
        | Test::PairDown
        | Test::PairUp => (0.75, None),
        Test::Rsa13
        | Test::Rsa12
        | Test::Mutual13
        | Test::MutualResumed13
        | Test::Mlkem13
        | Test::RoundTrips1 => return None,
    })
}

/// Cost over the floor.
fn over_floor(test: Test) -> Option<f64> {
    match test {
        Test::Full13 => Some(1.15),
        Test::Down | Test::Up => Some(1.25),
        _ => None,
    }
}

/// A goal and what became of it.
pub(crate) struct Verdict {
    pub(crate) figure: String,
    /// What was measured.
    pub(crate) found: String,
    /// Whom or what it is compared with.
    pub(crate) against: String,
    pub(crate) at_most: String,
    pub(crate) holds: bool,
}

/// All goals that the run has figures for.
pub(crate) fn verdicts(results: &Results) -> Vec<Verdict> {
    let costs = results.tests().into_iter().filter_map(|test| cost(results, test));
    let floors = results.tests().into_iter().filter_map(|test| floor(results, test));
    let workers = workers::TESTS.into_iter().filter_map(|test| {
        let found = results.two_over_one(test)?;
        Some(Verdict {
            figure: format!("two workers: {}", test.name()),
            found: quote(Some(found)),
            against: "one worker".to_owned(),
            at_most: digits(TWO_WORKERS),
            holds: found.median <= TWO_WORKERS,
        })
    });
    let instructions = workers::TESTS.into_iter().filter_map(|test| {
        let found = results.instructions_two_over_one(test)?;
        Some(Verdict {
            figure: format!("two workers, instructions: {}", test.name()),
            found: format!("{found:.3}"),
            against: "one worker".to_owned(),
            at_most: digits(INSTRUCTIONS),
            holds: found <= INSTRUCTIONS,
        })
    });
    costs
        .chain(spread(results))
        .chain(floors)
        .chain(memory(results))
        .chain(storm(results))
        .chain(workers)
        .chain(instructions)
        .collect()
}

fn cost(results: &Results, test: Test) -> Option<Verdict> {
    let (at_most, stretch) = against_peers(test)?;
    let peer = results.best_peer(test)?;
    let found = results.ratio(test, peer)?;
    let further = stretch.map_or_else(String::new, |stretch| format!(" ({})", digits(stretch)));
    Some(Verdict {
        figure: test.name().to_owned(),
        found: quote(Some(found)),
        against: peer.name().to_owned(),
        at_most: format!("{}{further}", digits(at_most)),
        holds: found.median <= at_most,
    })
}

/// The best peer's own ratio is the limit.
fn spread(results: &Results) -> Option<Verdict> {
    let found = results.spread(REFERENCE)?;
    let peers = Kind::ALL.into_iter().filter(|kind| kind.is_peer());
    let ratios = peers.filter_map(|kind| Some((kind, results.spread(kind)?.median)));
    let (peer, at_most) = ratios.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    Some(Verdict {
        figure: "round trip, 1,000 connections over 50".to_owned(),
        found: quote(Some(found)),
        against: format!("the same of {}", peer.name()),
        at_most: digits(at_most),
        holds: found.median <= at_most,
    })
}

fn floor(results: &Results, test: Test) -> Option<Verdict> {
    let (at_most, found) = (over_floor(test)?, results.over_floor(test)?);
    Some(Verdict {
        figure: test.name().to_owned(),
        found: quote(Some(found)),
        against: "TLS in memory + plain relay".to_owned(),
        at_most: digits(at_most),
        holds: found.median <= at_most,
    })
}

fn memory(results: &Results) -> Option<Verdict> {
    let memory = results.memory.iter().find(|memory| memory.target == REFERENCE)?;
    Some(Verdict {
        figure: "bytes per idle connection".to_owned(),
        found: format!("{:.0}", memory.used.pss),
        against: String::new(),
        at_most: digits(MEMORY),
        holds: memory.used.pss <= MEMORY,
    })
}

/// Of several storms, the medians decide: one pause of the hypervisor's does not.
fn storm(results: &Results) -> Vec<Verdict> {
    let of = |figure: fn(&Storm) -> f64| results.storm(REFERENCE, figure);
    let calm = of(|storm| storm.calm.p99.as_secs_f64());
    let p99 = of(|storm| storm.storm.p99.as_secs_f64());
    let longest = of(|storm| storm.storm.longest.as_secs_f64());
    let begun = of(|storm| storm.begun / storm.peak);
    let completed = of(|storm| storm.completed / storm.peak);
    let at_most = calm.zip(results.longest_step);
    let at_most = at_most.map_or(f64::NAN, |(calm, step)| calm.median + 2.0 * step.as_secs_f64());
    let time = |figure: &str, against: &str, found: Option<Quartiles>, at_most: f64| {
        let found = found.filter(|_| at_most.is_finite())?;
        Some(Verdict {
            figure: figure.to_owned(),
            found: quote_times(Some(found)),
            against: against.to_owned(),
            at_most: short(Duration::from_secs_f64(at_most)),
            holds: found.median <= at_most,
        })
    };
    let share = |figure: &str, found: Option<Quartiles>, at_least: f64| {
        let found = found?;
        Some(Verdict {
            figure: figure.to_owned(),
            found: quote(Some(found)),
            against: "the most that can be done; at least".to_owned(),
            at_most: digits(at_least),
            holds: found.median >= at_least,
        })
    };
    let worst = WORST.as_secs_f64();
    let verdicts = [
        share("handshakes begun in a storm", begun, OVERLOAD * BEGUN),
        time("flows in a storm, p99", "calm p99 + 2 handshake steps", p99, at_most),
        time("flows in a storm, longest", "", longest, worst),
        share("handshakes in a storm", completed, COMPLETED),
    ];
    verdicts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::storm::Tail;
    use super::super::test_data::{results, row};
    use super::*;

    #[test]
    fn the_median_decides() {
        let test = Test::Full13;
        let of = |ours: f64| {
            let rows = [1.0, ours, 3.0].into_iter().zip(0..).flat_map(|(cost, round)| {
                [row(round, test, REFERENCE, cost), row(round, test, Kind::Nginx, 2.0)]
            });
            verdicts(&results(rows.collect()))
        };
        let [verdict] = &of(1.15)[..] else { panic!("one goal has figures") };
        assert!(verdict.holds && verdict.found.starts_with("0.57 [0.54"), "{}", verdict.found);
        assert_eq!((&*verdict.at_most, &*verdict.against), ("0.58 (0.52)", "nginx"));
        assert!(!of(1.2)[0].holds);
    }

    #[test]
    fn one_storm_of_several_does_not_decide() {
        let tail = |millis| {
            let at = Duration::from_millis(millis);
            Tail { p50: at, p99: at, p999: at, longest: at }
        };
        let storm = |p99, completed| Storm {
            target: REFERENCE,
            peak: 1000.0,
            offered: 3000.0,
            begun: 2990.0,
            completed,
            failed: BTreeMap::new(),
            calm: tail(1),
            storm: tail(p99),
            lost: BTreeMap::new(),
            stolen: Duration::ZERO,
        };
        let of = |storms: Vec<Storm>| {
            let longest_step = Some(Duration::from_millis(1));
            verdicts(&Results { storms, longest_step, ..results(Vec::new()) })
        };
        let good = of(vec![storm(2, 950.0), storm(400, 100.0), storm(2, 990.0)]);
        assert_eq!(good.len(), 4);
        assert!(good.iter().all(|verdict| verdict.holds));
        let bad = of(vec![storm(2, 950.0), storm(400, 100.0), storm(4, 890.0)]);
        assert_eq!(bad.iter().filter(|verdict| !verdict.holds).count(), 2);
        assert!(of(Vec::new()).is_empty());
    }

    #[test]
    fn a_spread_is_held_to_the_best_peer() {
        let rows = |ours: f64| {
            vec![
                row(0, Test::RoundTrips50, REFERENCE, 10.0),
                row(0, Test::RoundTrips1000, REFERENCE, ours),
                row(0, Test::RoundTrips50, Kind::Hitch, 20.0),
                row(0, Test::RoundTrips1000, Kind::Hitch, 28.0),
            ]
        };
        assert!(spread(&results(rows(14.0))).expect("figures").holds);
        assert!(!spread(&results(rows(14.1))).expect("figures").holds);
    }
}
