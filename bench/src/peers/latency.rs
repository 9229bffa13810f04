//! How long operations take where all servers are offered the same: an open loop, far below what
//! the slowest of them can do.

use std::time::Duration;

use serde::Serialize;
use tlsgate_bench::client::{Arrivals, Latency, Pace, Plan, Stop, run};

use super::target::{Kind, Target};
use super::test::{Role, Test};
use crate::measure::load::plan;
use crate::measure::rounds::{Measurement, Server};
use crate::measure::sample::float;

use super::Bench;

/// What is offered, in operations per second.
const LOADS: [(Test, f64); 2] = [(Test::RoundTrips50, 4_000.0), (Test::Full13, 200.0)];

/// Of all rounds together.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latencies {
    pub(crate) test: Test,
    pub(crate) target: Kind,
    /// Operations per second that were to start.
    pub(crate) offered: f64,
    /// Operations per second that were done.
    pub(crate) done: f64,
    /// Operations that failed, or could not start for want of a connection.
    pub(crate) errors: u64,
    /// From the intended start to the end.
    pub(crate) total: Latency,
}

/// Loads the targets in turn, in opposite order every other round, for `length` each.
pub(crate) fn take(
    bench: &Bench<'_>,
    targets: &[Target],
    length: Duration,
    failures: &mut Vec<String>,
    note: &mut dyn FnMut(&str),
) -> Vec<Latencies> {
    let rounds = bench.settings.rounds;
    let mut found: Vec<Latencies> = Vec::new();
    for round in 0..rounds {
        for (test, offered) in LOADS {
            note(&format!("latency, round {} of {rounds}: {}", round + 1, test.name()));
            let mut order: Vec<&Target> =
                targets.iter().filter(|one| !one.kind.is_floor()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for target in order {
                let plan = offer(bench, target, test, offered, length);
                match run(&plan, |_| {}) {
                    Ok(report) => {
                        let one = Latencies {
                            test,
                            target: target.kind,
                            offered,
                            done: report.rate() / float(rounds.into()),
                            errors: report.error_count(),
                            total: report.total,
                        };
                        add(&mut found, one);
                    }
                    Err(error) => {
                        failures.push(format!("latency of {}: {error}", target.kind.name()));
                    }
                }
            }
        }
    }
    found
}

fn add(found: &mut Vec<Latencies>, one: Latencies) {
    let same = |other: &&mut Latencies| other.test == one.test && other.target == one.target;
    match found.iter_mut().find(same) {
        None => found.push(one),
        Some(sum) => {
            sum.done += one.done;
            sum.errors += one.errors;
            sum.total.merge(&one.total);
        }
    }
}

fn offer(bench: &Bench<'_>, target: &Target, test: Test, rate: f64, length: Duration) -> Plan {
    let load = test.load();
    let stop = Stop { after: length, count: None };
    let tls = test.tls(bench.stage.identities);
    let cpus = [bench.settings.load_cpu];
    let plan = plan(target.ports.of(Role::Server), tls, load, stop, &cpus);
    Plan { pace: Pace::Open { arrivals: Arrivals::even(rate), concurrency: load.1 }, ..plan }
}
