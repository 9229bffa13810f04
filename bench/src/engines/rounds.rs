//! The order in which samples are taken, whatever is measured on whichever servers.

use serde::Serialize;
use tlsgate_bench::client::Workload;

use super::sample::Sample;
use super::test::Unit;

/// When others use more of the servers' CPU than this during a sample, it is taken again.
pub(crate) const TOO_MUCH_FOREIGN: f64 = 0.15;
/// Times that a sample is taken at most; the one with the least use by others counts.
const ATTEMPTS: u32 = 2;

pub(crate) const NO_WORK: &str = "no work was done in the time of a sample";

/// What a sample is of.
pub(crate) trait Measurement: Copy + PartialEq {
    fn name(self) -> &'static str;

    fn unit(self) -> Unit;

    /// What the client does, and over how many connections.
    fn load(self) -> (Workload, usize);
}

/// Whom it was taken of.
pub(crate) trait Server: Copy + PartialEq {
    fn name(self) -> &'static str;
}

/// A sample and its place in the run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row<T, K> {
    pub(crate) round: u32,
    /// Place among the targets of its round, from 0.
    pub(crate) position: usize,
    pub(crate) test: T,
    pub(crate) target: K,
    #[serde(flatten)]
    pub(crate) sample: Sample,
}

/// Takes a sample of each test and server in each round. Servers take turns, in opposite order every
/// other round. `sample` gets the index of the server; what fails is added to `failures`.
pub(crate) fn take<T: Measurement, K: Server>(
    rounds: u32,
    tests: &[T],
    servers: &[K],
    sample: impl Fn(T, usize) -> Result<Option<Sample>, String>,
    failures: &mut Vec<String>,
    note: &mut dyn FnMut(&str),
) -> Vec<Row<T, K>> {
    let mut rows = Vec::new();
    for round in 0..rounds {
        for &test in tests {
            note(&format!("round {} of {rounds}: {}", round + 1, test.name()));
            for position in 0..servers.len() {
                let forward = round % 2 == 0;
                let index = if forward { position } else { servers.len() - 1 - position };
                let target = servers[index];
                match quietest(|| sample(test, index)) {
                    Ok(sample) => rows.push(Row { round, position, test, target, sample }),
                    Err(error) => {
                        let (server, test) = (target.name(), test.name());
                        failures.push(format!("round {round}, {server}, {test}: {error}"));
                    }
                }
            }
        }
    }
    rows
}

fn quietest(take: impl Fn() -> Result<Option<Sample>, String>) -> Result<Sample, String> {
    let mut best: Option<Sample> = None;
    for _ in 0..ATTEMPTS {
        let quietest = best.as_ref().map_or(f64::INFINITY, |best| best.foreign_share);
        if quietest <= TOO_MUCH_FOREIGN {
            break;
        }
        best = take()?.filter(|sample| sample.foreign_share < quietest).or(best);
    }
    best.ok_or_else(|| NO_WORK.to_owned())
}
