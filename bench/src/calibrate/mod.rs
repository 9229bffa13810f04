//! A node model of a server, by an experiment of a few minutes: slices of load of one kind each, in
//! turns and back, with the CPU's speed looked at around each; memory at a few numbers of idle
//! connections; two workers against one; and waiting at a few loads.

mod slice;
mod tail;
pub(crate) mod trial;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use tlsgate_bench::capacity::FORMAT;
use tlsgate_bench::capacity::fit::{Fit, MemoryObservation, Observation};
use tlsgate_bench::capacity::model::{Discipline, NodeModel, Origin};
use tlsgate_bench::capacity::observations::Observations;

use crate::measure::machine::Machine;
use crate::measure::probe::Probe;
use crate::measure::rounds::{self, Server};
use crate::measure::sample::{self, Subject};
use crate::measure::spin::Spinner;
use crate::measure::statistics::Quartiles;
use crate::peers::ground::Ground;
use crate::peers::memory::{self, Scale};
use crate::peers::target::{Kind, Stage, Target};
use crate::peers::test::Test;
use crate::peers::workers::{self, Conduct, Workers};
use slice::Slice;
use trial::Ring;

pub(crate) use tail::{UNLOADED, waited};

/// What to calibrate, and with how much patience.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The gateway's program.
    pub(crate) gateway: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) rounds: u32,
    /// How long rounds may take, but for the first two: on a busy machine there are fewer of them.
    pub(crate) budget: Duration,
    /// Whether slices with many connections are measured, too.
    pub(crate) patient: bool,
    /// Length of one slice.
    pub(crate) sample: Duration,
    /// Numbers of idle connections at which memory is looked at, rising.
    pub(crate) idle: [usize; 3],
    /// How long they idle before.
    pub(crate) settle: Duration,
    /// Rounds and length of trials about waiting; guessed when none.
    pub(crate) waiting: Option<(u32, Duration)>,
    /// Whether two workers are measured, where the server is the gateway; guessed when not.
    pub(crate) workers: bool,
    pub(crate) server_cpu: usize,
    pub(crate) load_cpu: usize,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Calibration {
    pub(crate) machine: Machine,
    pub(crate) observations: Observations,
    pub(crate) model: NodeModel,
    pub(crate) fit: Fit,
    /// Share of the server's CPU that others used.
    pub(crate) foreign: Option<Quartiles>,
    /// What did not work; there is no observation of it.
    pub(crate) failures: Vec<String>,
}

/// Fewer say nothing about errors.
const LEAST_ROUNDS: u32 = 2;
/// Rounds with two workers, which are about one ratio.
const PAIRS: u32 = 4;

type Row = rounds::Row<Slice, Kind>;

/// Calibrates; `note` gets told what is being done.
///
/// # Errors
/// When the server does not start, or too little could be measured for a model.
pub(crate) fn run(settings: &Settings, note: &mut dyn FnMut(&str)) -> Result<Calibration, String> {
    let Settings { kind, server_cpu, load_cpu, .. } = *settings;
    let said = |problem: tlsgate_bench::capacity::Problem| problem.to_string();
    let ground = Ground::new(load_cpu)?;
    let machine = Machine::look(&settings.gateway);
    let stage = ground.stage(&settings.gateway, server_cpu);
    let probe = Probe::new(server_cpu)?;
    let mut failures = Vec::new();
    note(&format!("memory of {}", kind.name()));
    let memory = idle_memory(settings, &stage)?;
    let target = Target::start(kind, &stage)?;
    let spinner = Spinner::start(load_cpu)?;
    let rows = slices(settings, &stage, (&target, &probe), &mut failures, note);
    let speeds = || rows.iter().flat_map(|row| row.speed);
    let speed = Quartiles::of(speeds()).ok_or_else(|| failures.join("\n"))?;
    let origin = origin(&machine, kind, speed);
    let mut observations = Observations {
        format: FORMAT,
        origin,
        discipline: if kind.is_gateway() { Discipline::MessagesFirst } else { Discipline::Fifo },
        variability: None,
        tail: None,
        observation: rows.iter().map(|row| observation(row, speed.median)).collect(),
        memory,
    };
    let (model, _) = observations.model().map_err(said)?;
    if let Some(patience) = settings.waiting {
        let (target, probe, speed) = (&target, &probe, speed.median);
        let ring = Ring { identities: stage.identities, target, probe, load_cpu, speed };
        match tail::measure(&ring, &model, patience, note) {
            Ok(tail) => observations.tail = Some(tail),
            Err(error) => failures.push(format!("waiting: {error}")),
        }
    }
    drop((spinner, target));
    if settings.workers && kind.is_gateway() {
        let pairs = two_workers(settings, &stage, &probe, &mut failures, note)?;
        observations.observation.extend(pairs.iter().filter_map(|pair| shared(pair, &model)));
    }
    let (model, fit) = observations.model().map_err(said)?;
    let foreign = Quartiles::of(rows.iter().map(|row| row.sample.foreign_share));
    Ok(Calibration { machine, observations, model, fit, foreign, failures })
}

fn origin(machine: &Machine, kind: Kind, speed: Quartiles) -> Origin {
    let program = if kind.is_gateway() { "tlsgate" } else { kind.name() };
    let version = machine.versions.iter().find(|(name, _)| name == program);
    let version = version.map_or("unknown version", |(_, version)| version);
    Origin {
        date: machine.date.clone(),
        machine: format!("{}, {} CPUs", machine.cpu, machine.cpus),
        kernel: machine.kernel.clone(),
        server: format!("{}: {version}", kind.name()),
        speed: speed.median,
        // Half of a normal distribution is within 0.6745 standard deviations.
        speed_spread: ((speed.high - speed.low) / 2.0 / 0.6745 / speed.median).min(1.0),
    }
}

/// All slices in each round, in opposite order every other one.
fn slices(
    settings: &Settings,
    stage: &Stage<'_>,
    (target, probe): (&Target, &Probe),
    failures: &mut Vec<String>,
    note: &mut dyn FnMut(&str),
) -> Vec<Row> {
    let Settings { kind, rounds, sample: length, server_cpu, load_cpu, patient, .. } = *settings;
    let take = |slice: Slice, _: Kind, patience: u32| {
        let subject = Subject {
            address: target.ports.of(slice.role()),
            pids: &target.pids,
            cpu: Some(server_cpu),
            client_cpus: &[load_cpu],
            clock: kind.clock(),
        };
        sample::take(slice, subject, slice.tls(stage.identities), length * patience)
    };
    let mut rows = Vec::new();
    let mut slices = Slice::all(kind, patient);
    let began = Instant::now();
    for round in 0..rounds {
        if round >= LEAST_ROUNDS && began.elapsed() >= settings.budget {
            break;
        }
        let mut note = |what: &str| {
            let (_, slice) = what.split_once(": ").unwrap_or(("", what));
            note(&format!("round {} of {rounds}: {slice}", round + 1));
        };
        rows.extend(rounds::take(1, &slices, |_| vec![kind], probe, take, failures, &mut note));
        slices.reverse();
    }
    rows
}

/// What a slice has shown, by a CPU of the speed `reference`.
fn observation(row: &Row, reference: f64) -> Observation {
    let speed = f64::midpoint(row.speed[0], row.speed[1]) / reference;
    Observation {
        counts: row.test.counts(row.sample.units),
        cpu_us: row.sample.cpu.as_secs_f64() * 1e6 * speed,
        workers: 1,
    }
}

fn idle_memory(settings: &Settings, stage: &Stage<'_>) -> Result<Vec<MemoryObservation>, String> {
    let Settings { kind, idle, settle, load_cpu, .. } = *settings;
    let target = Target::start(kind, stage)?;
    let scale = Scale { connections: [idle[0], idle[2]], settle, one_each: settle };
    let workload = tlsgate_bench::client::Workload::Idle { hold: settle * 2 };
    let ca_pem = &stage.identities.ecdsa.ca_pem;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let observe = |connections: usize| {
        let usage = memory::level(&target, workload, connections, scale, ca_pem, load_cpu)?;
        Ok(MemoryObservation { connections: connections as f64, bytes: usage.pss as f64 })
    };
    idle.into_iter().map(observe).collect()
}

/// What two workers spend on something over what one does, with client and component on the same CPUs.
struct Pair {
    test: Test,
    ratio: f64,
}

fn two_workers(
    settings: &Settings,
    stage: &Stage<'_>,
    probe: &Probe,
    failures: &mut Vec<String>,
    note: &mut dyn FnMut(&str),
) -> Result<Vec<Pair>, String> {
    let Settings { sample, server_cpu, load_cpu, .. } = *settings;
    let rounds = settings.rounds.min(PAIRS);
    let conduct = Conduct { rounds, sample, both: [server_cpu, load_cpu] };
    let mut note = |what: &str| note(&format!("two workers, {what}"));
    let rows = workers::take(stage, probe, conduct, failures, &mut note)?;
    let cost = |test: Test, workers: Workers, round: u32| {
        let of = |row: &&rounds::Row<Test, Workers>| {
            row.test == test && row.target == workers && row.round == round
        };
        rows.iter().find(of).map(|row| row.sample.cost)
    };
    let ratios = (0..rounds).flat_map(|round| workers::TESTS.map(|test| (test, round)));
    let ratios = ratios.filter_map(|(test, round)| {
        let (one, two) = (cost(test, Workers::One, round)?, cost(test, Workers::Two, round)?);
        Some(Pair { test, ratio: two / one })
    });
    Ok(ratios.collect())
}

/// As if two workers had been where one was measured: what it would cost by the model, times the ratio.
fn shared(pair: &Pair, model: &NodeModel) -> Option<Observation> {
    let counts = Slice::Of(pair.test).counts(1_000.0);
    let costs = counts.iter().map(|(cost, count)| Some(model.cost(*cost).ok()? * count));
    let alone: Option<f64> = costs.sum();
    Some(Observation { counts, cpu_us: alone? * pair.ratio, workers: 2 })
}

/// For programs.
#[derive(Serialize)]
pub(crate) struct Answer<'run> {
    machine: &'run Machine,
    model: &'run NodeModel,
    observations: &'run Observations,
    /// Root mean square of the residuals, as part of the CPU time.
    scatter: f64,
    /// Part of the variance that the model explains.
    explained: f64,
    /// Observations less unknowns.
    freedom: usize,
    foreign: Option<Quartiles>,
    failures: &'run [String],
}

impl Calibration {
    pub(crate) fn answer(&self) -> Answer<'_> {
        let Self { machine, observations, model, fit, foreign, failures } = self;
        let Fit { scatter, explained, freedom, .. } = *fit;
        Answer {
            machine,
            model,
            observations,
            scatter,
            explained,
            freedom,
            foreign: *foreign,
            failures,
        }
    }
}
