//! Whether a model is right: mixes that it was not made of, carried out against the server that it is
//! of, beside what it says of them.

mod ladder;
mod output;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tlsgate_bench::capacity::mix::{Kind, Mix};
use tlsgate_bench::capacity::model::NodeModel;

use crate::calibrate::trial::{Ring, Trial};
use crate::calibrate::{UNLOADED, waited};
use crate::measure::machine::Machine;
use crate::measure::probe::Probe;
use crate::measure::spin::Spinner;
use crate::measure::statistics::Quartiles;
use crate::peers::ground::Ground;
use crate::peers::target::{self, Target};
use ladder::Ladder;

pub(crate) use output::render;

/// Of saturation: where p99 is compared.
pub(crate) const LOADED: f64 = 0.7;
/// What must be done in time.
const COMPLETED: f64 = 0.99;
/// Answers are slow when they take so many times as long as unloaded.
const SLOW: f64 = 10.0;
/// The gateway's headroom is about two seconds: a shorter trial says nothing about it.
const TELLING: Duration = Duration::from_millis(2_500);
/// A client that could have done no more than this share of its time longer was the limit itself.
pub(crate) const EXHAUSTED: f64 = 0.95;

/// What to verify, and with how much patience.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The gateway's program.
    pub(crate) gateway: PathBuf,
    pub(crate) kind: target::Kind,
    pub(crate) model: NodeModel,
    /// With their names.
    pub(crate) mixes: Vec<(String, Mix)>,
    pub(crate) runs: u32,
    /// Length of a trial that p99 is read from, and of one that only asks whether a load can be done.
    pub(crate) trial: [Duration; 2],
    /// To which factor ends are sought.
    pub(crate) precision: f64,
    pub(crate) server_cpu: usize,
    pub(crate) load_cpu: usize,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) server: String,
    pub(crate) mixes: Vec<Verified>,
    /// What did not work.
    pub(crate) failures: Vec<String>,
}

/// One mix: what the model says, and what runs have shown. Rates are operations per second of all kinds,
/// by a CPU as fast as the model's.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    pub(crate) name: String,
    pub(crate) seed: u64,
    /// Operations per second at which a worker has nothing left.
    pub(crate) predicted: f64,
    /// What waiting adds at [`LOADED`], in seconds, and its interval, by [`Kind`].
    pub(crate) waits: [(f64, [f64; 2]); 2],
    pub(crate) runs: Vec<Run>,
}

/// What one run has shown of a mix.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    /// Nearly unloaded.
    pub(crate) calm: Trial,
    /// At [`LOADED`] of the predicted saturation.
    pub(crate) loaded: Trial,
    /// The highest rate of which 99 % are done.
    pub(crate) saturation: f64,
    /// The same, where p99 is below ten times what it is unloaded.
    pub(crate) knee: f64,
    /// The rate at which the gateway says that it has nothing left; none of other servers.
    pub(crate) spent: Option<f64>,
    /// What the client's busiest thread has used of its time at saturation, at most.
    pub(crate) client: f64,
    /// All trials of the search.
    pub(crate) trials: Vec<Trial>,
}

/// Verifies; `note` gets told what is being done.
///
/// # Errors
/// When the server does not start, or the model cannot say anything of a mix. What goes wrong with single
/// runs is in the results.
pub(crate) fn run(settings: &Settings, note: &mut dyn FnMut(&str)) -> Result<Results, String> {
    let Settings { kind, ref model, server_cpu, load_cpu, .. } = *settings;
    let said = |problem: tlsgate_bench::capacity::Problem| problem.to_string();
    let mut mixes = Vec::new();
    for (name, mix) in &settings.mixes {
        let of = |problem| format!("mix {name}: {}", said(problem));
        mixes.push(Verified {
            name: name.clone(),
            seed: mix.seed(),
            predicted: mix.saturation(model).map_err(of)? * mix.rate(),
            waits: mix.waits_at(model, LOADED).map_err(of)?,
            runs: Vec::new(),
        });
    }
    let ground = Ground::new(load_cpu)?;
    let machine = Machine::look(&settings.gateway);
    let stage = ground.stage(&settings.gateway, server_cpu);
    let probe = Probe::new(server_cpu)?;
    let target = Target::start(kind, &stage)?;
    let _spinner = Spinner::start(load_cpu)?;
    // A model that nobody has measured has no speed: it is taken to be of this CPU as it is now.
    let speed = if model.origin.speed > 0.0 { model.origin.speed } else { probe.speed()? };
    let identities = stage.identities;
    let ring = Ring { identities, target: &target, probe: &probe, load_cpu, speed };
    let mut failures = Vec::new();
    for round in 0..settings.runs {
        for ((name, mix), verified) in settings.mixes.iter().zip(&mut mixes) {
            let mut note = |what: &str| {
                note(&format!("run {} of {}, {name}: {what}", round + 1, settings.runs));
            };
            match verify(settings, &ring, mix, &mut failures, &mut note) {
                Ok(found) => verified.runs.push(found),
                Err(error) => failures.push(format!("run {}, {name}: {error}", round + 1)),
            }
        }
    }
    Ok(Results { machine, server: model.origin.server.clone(), mixes, failures })
}

fn verify(
    settings: &Settings,
    ring: &Ring<'_>,
    mix: &Mix,
    failures: &mut Vec<String>,
    note: &mut dyn FnMut(&str),
) -> Result<Run, String> {
    let Settings { model, trial: [long, short], precision, .. } = settings;
    let predicted = mix.saturation(model).map_err(|problem| problem.to_string())?;
    note("unloaded");
    let calm = ring.hold(mix, UNLOADED * predicted, *long)?;
    note("at the planned load");
    let loaded = ring.hold(mix, LOADED * predicted, *long)?;
    let mut ladder = Ladder::new(*precision);
    let mut hold = |scale: f64| {
        note(&format!("at {:.0} % of what the model says", scale / predicted * 100.0));
        let trial = ring.hold(mix, scale, *short)?;
        Ok((trial.scale, trial))
    };
    let is_done = |trial: &Trial| trial.completed >= COMPLETED;
    let is_fast = |trial: &Trial| {
        is_done(trial)
            && Kind::ALL.iter().all(|kind| {
                trial.p99[*kind as usize] < SLOW * calm.p99[*kind as usize]
                    || calm.p99[*kind as usize] <= 0.0
            })
    };
    let saturation = ladder.end(predicted, is_done, &mut hold)?;
    let knee = ladder.end(saturation, is_fast, &mut hold)?;
    let has_some = |trial: &Trial| trial.headroom.is_none_or(|headroom| headroom > 0.0);
    let spent = calm.headroom.filter(|_| *short >= TELLING).and_then(|_| {
        let end = ladder.end(knee, has_some, &mut hold);
        end.map_err(|error| failures.push(format!("headroom's end: {error}"))).ok()
    });
    let trials: Vec<Trial> = ladder.rungs().iter().map(|(_, trial)| trial.clone()).collect();
    let below = trials.iter().filter(|trial| trial.scale <= saturation);
    let client = below.map(|trial| trial.client).fold(0.0, f64::max);
    let rate = |scale: f64| scale * mix.rate();
    let (saturation, knee, spent) = (rate(saturation), rate(knee), spent.map(rate));
    Ok(Run { calm, loaded, saturation, knee, spent, client, trials })
}

impl Verified {
    /// Median over runs; none when there were none.
    pub(crate) fn median(&self, of: impl Fn(&Run) -> f64) -> Option<f64> {
        Quartiles::of(self.runs.iter().map(of)).map(|quartiles| quartiles.median)
    }

    /// What p99 was to be at [`LOADED`] with its interval, and what it was, in seconds of the model's CPU:
    /// medians over runs; none when the mix has none of that kind.
    pub(crate) fn p99(&self, kind: Kind) -> Option<(f64, [f64; 2], f64)> {
        let at = kind as usize;
        let unloaded = self.median(|run| run.calm.p50[at] * run.calm.speed)?;
        let measured = self.median(|run| waited(&run.calm, &run.loaded)[at])? + unloaded;
        let (wait, [low, high]) = self.waits[at];
        (unloaded > 0.0).then_some((unloaded + wait, [low, high].map(|it| it + unloaded), measured))
    }
}
