//! The order in which samples are taken, whatever is measured on whichever servers.

use serde::Serialize;
use tlsgate_bench::client::Workload;

use super::load::Unit;
use super::probe::Probe;
use super::sample::Sample;

/// When others use more of the servers' CPU than this during a sample, it is taken again.
pub(crate) const TOO_MUCH_FOREIGN: f64 = 0.15;
/// How much longer each attempt at a sample is than the first; the one with the least use by others
/// counts. On a very busy machine, nothing may be done in the time of the first.
const PATIENCE: [u32; 2] = [1, 4];

const NO_WORK: &str = "no work was done in the time of a sample";

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
    /// Signatures per second of the servers' CPU ([`Probe`]), just before and just after.
    pub(crate) speed: [f64; 2],
    #[serde(flatten)]
    pub(crate) sample: Sample,
}

/// Takes a sample of each test in each round, of the servers that `servers` has for it. They take
/// turns, in opposite order every other round; what fails is added to `failures`. `sample` is also
/// told how many times longer than usual it should be.
pub(crate) fn take<T: Measurement, K: Server>(
    rounds: u32,
    tests: &[T],
    servers: impl Fn(T) -> Vec<K>,
    probe: &Probe,
    sample: impl Fn(T, K, u32) -> Result<Option<Sample>, String>,
    failures: &mut Vec<String>,
    note: &mut dyn FnMut(&str),
) -> Vec<Row<T, K>> {
    let mut rows = Vec::new();
    for round in 0..rounds {
        for &test in tests {
            note(&format!("round {} of {rounds}: {}", round + 1, test.name()));
            let mut order = servers(test);
            if round % 2 == 1 {
                order.reverse();
            }
            for (position, target) in order.into_iter().enumerate() {
                let measured = probe.speed().and_then(|before| {
                    let sample = quietest(|patience| sample(test, target, patience))?;
                    Ok((sample, [before, probe.speed()?]))
                });
                match measured {
                    Ok((sample, speed)) => {
                        rows.push(Row { round, position, test, target, speed, sample });
                    }
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

/// The sample during which others used the least of the servers' CPU, of two at most. `take` is told
/// how many times longer than usual it should be.
///
/// # Errors
/// Those of `take`, and [`NO_WORK`].
pub(crate) fn quietest(
    take: impl Fn(u32) -> Result<Option<Sample>, String>,
) -> Result<Sample, String> {
    let mut best: Option<Sample> = None;
    for patience in PATIENCE {
        let quietest = best.as_ref().map_or(f64::INFINITY, |best| best.foreign_share);
        if quietest <= TOO_MUCH_FOREIGN {
            break;
        }
        // A longer one of a server that has been measured would only take time.
        let patience = if best.is_some() { 1 } else { patience };
        best = take(patience)?.filter(|sample| sample.foreign_share < quietest).or(best);
    }
    best.ok_or_else(|| NO_WORK.to_owned())
}
