//! From observations to a node model.
//!
//! Each observation is a mix of operations and the CPU time that a server spent on it. CPU time is
//! the sum of counts times costs, so costs are the solution of linear least squares. Errors of
//! measurement grow with what is measured, so every equation is divided by its CPU time. The
//! columns are orthogonalised (modified Gram–Schmidt): no more than a dozen unknowns, and counts
//! that differ by ten orders of magnitude (bytes beside handshakes), for which normal equations
//! would lose half of the digits. A library for that would be larger than this file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Problem;
use super::model::{Contention, Cost, Figure, Memory};
use super::number::float;

/// A column whose part that no other explains is smaller than this cannot be told from them.
const DEPENDENT: f64 = 1e-6;

/// What a server did and what it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// How often each cost arose; bytes for those that count bytes.
    pub counts: BTreeMap<Cost, f64>,
    /// CPU time in µs, user and kernel, scaled by the speed probe where there is one.
    pub cpu_us: f64,
    /// Workers that shared the work evenly.
    pub workers: usize,
}

/// How much memory a server has taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryObservation {
    /// Idle connections.
    pub connections: f64,
    /// Bytes of the process, and of the kernel's sockets where that is known.
    pub bytes: f64,
}

/// What a fit found, and how good it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// CPU time in µs.
    pub cpu_us: BTreeMap<Cost, Figure>,
    /// What workers lose to each other; nothing when all observations are of one.
    pub contention: Contention,
    /// Root mean square of the residuals, as part of the CPU time.
    pub scatter: f64,
    /// Part of the variance of CPU times that the model explains, 1 at best.
    pub explained: f64,
    /// Observations less unknowns: few say little about errors.
    pub freedom: usize,
}

/// Fits CPU times and contention.
///
/// Observations of one worker give the costs; those of several say by how much their CPU time
/// exceeds what the costs predict.
///
/// # Errors
/// Observations that make no sense, too few of them, or costs that cannot be told apart: what to
/// observe.
pub fn fit(observations: &[Observation]) -> Result<Fit, Problem> {
    check(observations)?;
    let (alone, shared): (Vec<_>, Vec<_>) =
        observations.iter().partition(|observation| observation.workers == 1);
    let costs: BTreeSet<Cost> = alone.iter().flat_map(|observation| arising(observation)).collect();
    let costs: Vec<Cost> = costs.into_iter().collect();
    let rows = alone.iter().map(|observation| row(observation, &costs)).collect();
    let names: Vec<&str> = costs.iter().map(|cost| cost.key()).collect();
    let solved = Solved::of(rows, vec![1.0; alone.len()], &names)?;
    let cpu_us: BTreeMap<Cost, Figure> =
        costs.iter().copied().zip(solved.figures.iter().copied()).collect();
    let contention = contention(&shared, &cpu_us)?;
    let predicted = |observation: &&Observation| sum(observation, &cpu_us);
    let mean = alone.iter().map(|observation| observation.cpu_us).sum::<f64>() / float(alone.len());
    let squares =
        |of: &dyn Fn(&&Observation) -> f64| alone.iter().map(|o| of(o).powi(2)).sum::<f64>();
    let total = squares(&|observation| observation.cpu_us - mean);
    let left = squares(&|observation| observation.cpu_us - predicted(observation));
    Ok(Fit {
        cpu_us,
        contention,
        scatter: solved.scatter,
        explained: if total > 0.0 { 1.0 - left / total } else { 1.0 },
        freedom: solved.freedom,
    })
}

/// Fits memory: a straight line.
///
/// # Errors
/// When there are fewer than three observations, or all of one number of connections.
pub fn memory(observations: &[MemoryObservation]) -> Result<Memory, Problem> {
    let rows = observations.iter().map(|one| vec![one.connections, 1.0]).collect();
    let bytes = observations.iter().map(|one| one.bytes).collect();
    let solved = Solved::of(rows, bytes, &["memory.connection", "memory.node"])?;
    Ok(Memory { connection: solved.figures[0], node: solved.figures[1] })
}

fn check(observations: &[Observation]) -> Result<(), Problem> {
    let broken = observations.iter().enumerate().filter(|(_, observation)| {
        let counts = observation.counts.values();
        let bad = |value: f64| !value.is_finite() || value < 0.0;
        bad(observation.cpu_us)
            || observation.cpu_us <= 0.0
            || observation.workers == 0
            || counts.clone().any(|count| bad(*count))
            || arising(observation).next().is_none()
    });
    let mistakes = broken.map(|(at, _)| {
        format!("observation {}: it needs CPU time, workers and counts, all above 0", at + 1)
    });
    Problem::unless_empty(mistakes.collect())
}

fn arising(observation: &Observation) -> impl Iterator<Item = Cost> {
    observation.counts.iter().filter(|(_, count)| **count > 0.0).map(|(cost, _)| *cost)
}

/// An equation, divided by its CPU time.
fn row(observation: &Observation, costs: &[Cost]) -> Vec<f64> {
    let count = |cost| observation.counts.get(cost).copied().unwrap_or(0.0);
    costs.iter().map(|cost| count(cost) / observation.cpu_us).collect()
}

fn sum(observation: &Observation, cpu_us: &BTreeMap<Cost, Figure>) -> f64 {
    let value = |cost| cpu_us.get(cost).map_or(0.0, |figure| figure.value);
    observation.counts.iter().map(|(cost, count)| count * value(cost)).sum()
}

/// The excess over one worker is linear in its two unknowns, too.
fn contention(
    shared: &[&Observation],
    cpu_us: &BTreeMap<Cost, Figure>,
) -> Result<Contention, Problem> {
    let numbers: BTreeSet<usize> = shared.iter().map(|observation| observation.workers).collect();
    if numbers.is_empty() {
        return Ok(Contention::default());
    }
    // With one number of workers only their sum is known: it counts as serial.
    let both = numbers.len() > 1;
    let unknowns = |workers: usize| {
        let (workers, others) = (float(workers), float(workers - 1));
        if both { vec![others, workers * others] } else { vec![others] }
    };
    let excess = |one: &&Observation| one.cpu_us / sum(one, cpu_us) - 1.0;
    let rows: Vec<Vec<f64>> = shared.iter().map(|one| unknowns(one.workers)).collect();
    let excesses: Vec<f64> = shared.iter().map(excess).collect();
    if excesses.iter().any(|excess| !excess.is_finite()) {
        return Err(Problem::new("several workers did what one never did: observe that with one"));
    }
    let names = ["contention.serial", "contention.coherence"];
    let solved = Solved::of(rows, excesses, &names[..if both { 2 } else { 1 }])?;
    let coherence = solved.figures.get(1).copied().unwrap_or_default();
    Ok(Contention { serial: solved.figures[0], coherence })
}

/// The solution of an overdetermined system.
struct Solved {
    figures: Vec<Figure>,
    /// Root mean square of the residuals, with as many degrees of freedom as there are.
    scatter: f64,
    freedom: usize,
}

impl Solved {
    /// `names` are those of the columns, for what is said when they cannot be told apart. No figure
    /// is below nothing: what comes out so is 0, with its error.
    fn of(rows: Vec<Vec<f64>>, right: Vec<f64>, names: &[&str]) -> Result<Self, Problem> {
        let unknowns = names.len();
        let Some(freedom) = rows.len().checked_sub(unknowns).filter(|freedom| *freedom > 0) else {
            return Err(Problem::new(format!(
                "{} observations do not suffice for {} and their errors: {} at least",
                rows.len(),
                names.join(", "),
                unknowns + 1
            )));
        };
        let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<f64>>();
        let mut columns: Vec<Vec<f64>> = (0..unknowns).map(column).collect();
        let mut upper = vec![vec![0.0; unknowns]; unknowns];
        for at in 0..unknowns {
            let before = dot(&columns[at], &columns[at]).sqrt();
            for done in 0..at {
                let (head, tail) = columns.split_at_mut(at);
                upper[done][at] = dot(&head[done], &tail[0]);
                subtract(&mut tail[0], &head[done], upper[done][at]);
            }
            let length = dot(&columns[at], &columns[at]).sqrt();
            if length.is_nan() || length <= before * DEPENDENT {
                return Err(Problem::new(format!(
                    "{} cannot be told from {}: observe it in another mix",
                    names[at],
                    names[..at].join(", ")
                )));
            }
            upper[at][at] = length;
            columns[at].iter_mut().for_each(|value| *value /= length);
        }
        let mut residual = right;
        let mut projected = Vec::with_capacity(unknowns);
        for column in &columns {
            let part = dot(column, &residual);
            subtract(&mut residual, column, part);
            projected.push(part);
        }
        let scatter = (dot(&residual, &residual) / float(freedom)).sqrt();
        let values = back(&upper, &projected);
        let inverse: Vec<Vec<f64>> = (0..unknowns)
            .map(|at| {
                let unit: Vec<f64> =
                    (0..unknowns).map(|row| float(usize::from(row == at))).collect();
                back(&upper, &unit)
            })
            .collect();
        let figure = |at: usize| {
            let row = inverse.iter().map(|column| column[at].powi(2)).sum::<f64>();
            Figure { value: values[at].max(0.0), error: scatter * row.sqrt(), assumed: false }
        };
        Ok(Self { figures: (0..unknowns).map(figure).collect(), scatter, freedom })
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn subtract(from: &mut [f64], what: &[f64], times: f64) {
    from.iter_mut().zip(what).for_each(|(from, what)| *from -= what * times);
}

/// Solves `upper · x = right`, where `upper` is triangular with nothing but 0 below its diagonal.
fn back(upper: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let mut solution = right.to_vec();
    for at in (0..solution.len()).rev() {
        let known = dot(&upper[at][at + 1..], &solution[at + 1..]);
        solution[at] = (solution[at] - known) / upper[at][at];
    }
    solution
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::draw::Random;
    use super::super::test_data::model;
    use super::*;

    /// A designed experiment: each cost on its own with what belongs to it, `times` times.
    fn experiment(truth: &Fit, noise: f64, times: usize, random: &mut Random) -> Vec<Observation> {
        use Cost::*;
        let mixes: [&[(Cost, f64)]; 13] = [
            &[(FullTls12, 1e4), (Message, 2e4)],
            &[(FullTls13, 1e4), (Message, 2e4)],
            &[(ResumedTls12, 1e4), (Message, 2e4)],
            &[(ResumedTls13, 1e4), (Message, 2e4)],
            &[(FullTls12, 1e4), (Rsa2048, 1e4), (Message, 2e4)],
            &[(FullTls13, 1e4), (Rsa2048, 1e4), (Message, 2e4)],
            &[(FullTls13, 1e4), (MutualFull, 1e4), (Message, 2e4)],
            &[(ResumedTls13, 1e4), (MutualResumed, 1e4), (Message, 2e4)],
            &[(FullTls13, 1e4), (Mlkem768, 1e4), (Message, 2e4)],
            &[(Message, 1e6), (ByteDown, 5e7), (ByteUp, 5e7)],
            &[(Record, 6.1e5), (ByteDown, 1e10)],
            &[(Record, 6.1e5), (ByteUp, 1e10)],
            &[(Record, 5e6), (ByteDown, 1e10)],
        ];
        let observed = |workers: usize, mix: &[(Cost, f64)], random: &mut Random| {
            let mut one =
                Observation { workers, counts: mix.iter().copied().collect(), cpu_us: 0.0 };
            let factor = truth.contention.slowdown(workers) * (1.0 + noise * random.normal());
            one.cpu_us = sum(&one, &truth.cpu_us) * factor;
            one
        };
        let mut all = Vec::new();
        for _ in 0..times {
            all.extend(mixes.iter().map(|mix| observed(1, mix, random)));
            for workers in [2, 4, 8] {
                all.extend(mixes[..4].iter().map(|mix| observed(workers, mix, random)));
            }
        }
        all
    }

    /// The example's figures, each changed by a factor that the seed chooses.
    fn truth(random: &mut Random) -> Fit {
        let mut cpu_us = model().cpu_us;
        for figure in cpu_us.values_mut() {
            figure.value *= 0.5 + random.uniform();
        }
        let part = |value| Figure { value, ..Figure::default() };
        let contention = Contention { serial: part(0.04), coherence: part(0.003) };
        Fit { cpu_us, contention, scatter: 0.0, explained: 1.0, freedom: 0 }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn without_noise_the_costs_come_out(seed: u64) {
            let mut random = Random::new(seed);
            let truth = truth(&mut random);
            let found = fit(&experiment(&truth, 0.0, 2, &mut random)).expect("enough");
            prop_assert_eq!(found.cpu_us.len(), Cost::ALL.len());
            for (cost, figure) in &found.cpu_us {
                let known = truth.cpu_us[cost].value;
                prop_assert!((figure.value - known).abs() < 1e-6 * known, "{:?}: {:?}", cost, figure);
                prop_assert!(figure.error < 1e-6 * known, "{:?}: {:?}", cost, figure);
            }
            let found_serial = found.contention.serial.value;
            prop_assert!((found_serial - 0.04).abs() < 1e-6, "{}", found_serial);
            prop_assert!((found.contention.coherence.value - 0.003).abs() < 1e-6);
            prop_assert!(found.explained > 1.0 - 1e-9 && found.scatter < 1e-6, "{:?}", found);
        }

        #[test]
        fn noise_is_seen_for_what_it_is(seed: u64) {
            let mut random = Random::new(seed);
            let truth = truth(&mut random);
            let found = fit(&experiment(&truth, 0.03, 20, &mut random)).expect("enough");
            prop_assert!((0.024..0.036).contains(&found.scatter), "{}", found.scatter);
            prop_assert!(found.explained > 0.98, "{}", found.explained);
            let full = found.cpu_us[&Cost::FullTls13];
            let known = truth.cpu_us[&Cost::FullTls13].value;
            prop_assert!((full.value / known - 1.0).abs() < 0.05, "{:?}, {}", full, known);
        }
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut random = Random::new(11);
        let (mut inside, mut all) = (0usize, 0usize);
        for _ in 0..200 {
            let truth = truth(&mut random);
            let found = fit(&experiment(&truth, 0.03, 4, &mut random)).expect("enough");
            for (cost, figure) in found.cpu_us.iter().filter(|(_, figure)| figure.value > 0.0) {
                all += 1;
                // 90 % of a normal distribution are within 1.645 standard errors.
                let off = (figure.value - truth.cpu_us[cost].value).abs();
                inside += usize::from(off <= 1.645 * figure.error);
            }
        }
        let part = float(inside) / float(all);
        assert!((0.86..0.93).contains(&part), "{part} of {all}");
    }

    #[test]
    fn what_cannot_be_fitted_says_what_to_observe() {
        let one = |counts: &[(Cost, f64)]| Observation {
            counts: counts.iter().copied().collect(),
            cpu_us: 100.0,
            workers: 1,
        };
        let together = one(&[(Cost::FullTls13, 1.0), (Cost::Message, 2.0)]);
        let text = fit(&[together.clone(), together.clone(), together.clone()]);
        let text = text.expect_err("two unknowns, one mix").to_string();
        assert_eq!(text, "message cannot be told from full_tls13: observe it in another mix");
        let text = fit(std::slice::from_ref(&together)).expect_err("too few").to_string();
        assert!(text.contains("1 observations do not suffice for full_tls13, message"), "{text}");
        let text = fit(&[together, Observation::default()]).expect_err("nothing").to_string();
        assert_eq!(text, "observation 2: it needs CPU time, workers and counts, all above 0");
        let only = |workers| Observation { workers, ..one(&[(Cost::Message, 10.0)]) };
        let strange = Observation { workers: 2, ..one(&[(Cost::Record, 10.0)]) };
        let text = fit(&[only(1), only(1), strange.clone(), strange]).expect_err("unknown");
        assert!(text.to_string().contains("observe that with one"), "{text}");
        let found = fit(&[only(1), only(1), only(4), only(4)]).expect("one number of workers");
        assert!(found.contention.serial.value < 1e-12);
        assert!(found.contention.coherence == Figure::default());
    }

    #[test]
    fn memory_is_a_line() {
        let one =
            |connections: f64| MemoryObservation { connections, bytes: 3e7 + 4451.0 * connections };
        let memory = super::memory(&[one(1e3), one(5e3), one(1e4)]).expect("a line");
        assert!((memory.connection.value - 4451.0).abs() < 1e-6, "{memory:?}");
        assert!((memory.node.value - 3e7).abs() < 1.0, "{memory:?}");
        assert!(super::memory(&[one(1e3), one(5e3)]).is_err());
        assert!(super::memory(&[one(1e3); 4]).is_err());
    }
}
