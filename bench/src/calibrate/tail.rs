//! What long waits are beside those of the queue: a mix at a few loads, against what the model says.

use std::f64::consts::FRAC_PI_2;
use std::time::Duration;

use tlsgate_bench::capacity::mix::{Kind, Mix};
use tlsgate_bench::capacity::model::{Figure, NodeModel, Tail};

use super::trial::{Ring, Trial};

/// Of saturation: where waiting is compared.
const PARTS: [f64; 3] = [0.5, 0.7, 0.8];
/// Of saturation: where nothing waits to speak of.
pub(crate) const UNLOADED: f64 = 0.1;
/// A few trials cannot show that the next one will be nearer than this.
const LEAST_ERROR: f64 = 0.1;
/// Runs whose median a prediction is for, as `capacity verify` makes them.
const RUNS: f64 = 5.0;
/// A wait that is measured to be less than this part of the predicted one was not measured.
const LEAST: f64 = 0.05;

const MIX: &str = include_str!("../../capacity/calibration.toml");

/// Measures `rounds` times at each load.
///
/// # Errors
/// When a trial has failed.
pub(super) fn measure(
    ring: &Ring<'_>,
    model: &NodeModel,
    (rounds, length): (u32, Duration),
    note: &mut dyn FnMut(&str),
) -> Result<Tail, String> {
    let said = |problem: tlsgate_bench::capacity::Problem| problem.to_string();
    let mix = Mix::parse(MIX).map_err(said)?;
    let saturation = mix.saturation(model).map_err(said)?;
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        note(&format!("waiting, round {} of {rounds}", round + 1));
        let calm = ring.hold(&mix, UNLOADED * saturation, length)?;
        for part in PARTS {
            let trial = ring.hold(&mix, part * saturation, length)?;
            // The CPU may have been faster when it was asked than while it worked.
            let Some(predicted) = mix.waits(model, trial.scale).map_err(said)? else { continue };
            for (at, ratios) in ratios.iter_mut().enumerate() {
                ratios.push(waited(&calm, &trial)[at] / predicted[at]);
            }
        }
    }
    let [message, handshake] = ratios.map(|ratios| figure(&ratios));
    Ok(Tail { message: message?, handshake: handshake? })
}

/// By how much p99 of a trial exceeds what an operation takes when nothing is done, in seconds of the
/// model's CPU, by [`Kind`].
pub(crate) fn waited(calm: &Trial, trial: &Trial) -> [f64; 2] {
    Kind::ALL.map(|kind| {
        let at = kind as usize;
        trial.p99[at] * trial.speed - calm.p50[at] * calm.speed
    })
}

/// Geometric mean, and how far the median of [`RUNS`] more is from it.
fn figure(ratios: &[f64]) -> Result<Figure, String> {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = ratios.len() as f64;
    if count < 2.0 {
        return Err("the server was saturated wherever waiting was to be measured".to_owned());
    }
    let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.max(LEAST).ln()).collect();
    let mean = logs.iter().sum::<f64>() / count;
    let squares = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
    let scatter = (squares / (count - 1.0)).sqrt();
    // The variance of a median is pi / 2 times that of a mean.
    let share = (1.0 / count + FRAC_PI_2 / RUNS).sqrt();
    let value = mean.exp();
    Ok(Figure { value, error: value * (scatter * share).max(LEAST_ERROR), assumed: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_middle_of_factors_and_no_surer_than_it_can_be() {
        let found = figure(&[0.5, 2.0]).expect("two");
        assert!((found.value - 1.0).abs() < 1e-9, "{found:?}");
        let scatter = 2.0 * 2f64.ln() / 2f64.sqrt();
        let share = (0.5 + FRAC_PI_2 / 5.0).sqrt();
        assert!((found.error - scatter * share).abs() < 1e-9, "{found:?}");
        let same = figure(&[3.0; 5]).expect("five");
        assert!((same.value - 3.0).abs() < 1e-9 && (same.error - 0.3).abs() < 1e-9, "{same:?}");
        assert!(figure(&[-1.0, -1.0]).is_ok_and(|none| none.value > 0.0), "not measured");
        assert!(figure(&[1.0]).is_err());
    }
}
