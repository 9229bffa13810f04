//! The gateway beside its peers, each set up like for like: CPU time per handshake, round trip and
//! gigabyte; latency where all are offered the same; memory per idle connection; a storm of
//! handshakes; two workers against one; and the floors of it all, measured in the same run.

mod floors;
pub(crate) mod gateway;
mod goals;
pub(crate) mod ground;
mod instructions;
mod latency;
pub(crate) mod memory;
mod output;
mod plots;
pub(crate) mod relay;
mod report;
pub(crate) mod servers;
mod storm;
mod summary;
mod syscalls;
pub(crate) mod target;
pub(crate) mod test;
#[cfg(test)]
mod test_data;
pub(crate) mod workers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::measure::machine::Machine;
use crate::measure::probe::Probe;
use crate::measure::process::Process;
use crate::measure::rounds::{self, Measurement, Server};
use crate::measure::sample::{self, Clock, Subject};
use crate::measure::spin::Spinner;
use ground::Ground;
use instructions::Instructions;
use latency::Latencies;
use memory::Memory;
use storm::Storm;
use syscalls::SystemCalls;
use target::{Kind, Stage, Target};
use test::{Role, Test};
use workers::Workers;

pub(crate) use memory::Scale;
pub(crate) use output::render;
pub(crate) use report::write as write_record;
pub(crate) use storm::Tail;

/// A kind of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// CPU time per unit of work, with the floors.
    Costs,
    /// System calls per round trip.
    Calls,
    /// Latency at equal offered load.
    Latency,
    /// Memory per idle connection.
    Memory,
    /// Flows in a storm of handshakes.
    Storm,
    /// Two workers against one: CPU time per unit.
    Workers,
    /// Two workers against one: instructions per unit, if there is valgrind.
    Instructions,
}

impl Part {
    pub(crate) const ALL: [Self; 7] = [
        Self::Costs,
        Self::Calls,
        Self::Latency,
        Self::Memory,
        Self::Storm,
        Self::Workers,
        Self::Instructions,
    ];
}

/// What to measure, and with how much patience.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// The gateway's program.
    #[serde(skip)]
    pub(crate) gateway: PathBuf,
    pub(crate) targets: Vec<Kind>,
    pub(crate) parts: Vec<Part>,
    pub(crate) tests: Vec<Test>,
    pub(crate) rounds: u32,
    /// Length of one sample's load.
    pub(crate) sample: Duration,
    pub(crate) memory: Scale,
    /// Round trips over which system calls are counted.
    pub(crate) counted_round_trips: u64,
    /// Length of a storm, and of the calm before it.
    pub(crate) storm: Duration,
    /// Storms over each server, which take turns.
    pub(crate) storms: u32,
    pub(crate) server_cpu: usize,
    pub(crate) load_cpu: usize,
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    /// Peers that were not measured, and why.
    pub(crate) left_out: Vec<String>,
    /// What did not work; there is no sample for it.
    pub(crate) failures: Vec<String>,
    pub(crate) samples: Vec<Row>,
    /// What the client gets done without a gateway and without TLS.
    pub(crate) direct: Vec<Direct>,
    pub(crate) system_calls: Vec<SystemCalls>,
    pub(crate) latencies: Vec<Latencies>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) storms: Vec<Storm>,
    /// Longest step of an RSA handshake in memory: what a flow may have to wait for.
    pub(crate) longest_step: Option<Duration>,
    pub(crate) workers: Vec<rounds::Row<Test, Workers>>,
    pub(crate) instructions: Vec<Instructions>,
}

/// A sample and its place in the run.
pub(crate) type Row = rounds::Row<Test, Kind>;

/// The client against the backend in plaintext.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Direct {
    pub(crate) test: Test,
    /// Units per second.
    pub(crate) rate: f64,
}

/// Measures everything; `note` gets told what is being done.
///
/// # Errors
/// When nothing can be measured: the gateway or the backend does not start. What goes wrong with
/// single samples is in the results.
pub(crate) fn run(settings: Settings, note: &mut dyn FnMut(&str)) -> Result<Results, String> {
    let ground = Ground::new(settings.load_cpu)?;
    let machine = Machine::look(&settings.gateway);
    let cpu = settings.server_cpu;
    let stage = ground.stage(&settings.gateway, cpu);
    let mut results = Results::nothing(machine, settings.clone());
    for kind in settings.targets.iter().filter(|kind| kind.is_missing()) {
        results.left_out.push(format!("{} is not installed", kind.name()));
    }
    let before = match servers::front(&stage) {
        Ok(command) => {
            let load = [settings.load_cpu];
            Some(Process::serve("front", command, &load, &[stage.front], stage.scratch)?)
        }
        Err(reason) => {
            results.left_out.push(format!("TLS towards a component: {reason}"));
            None
        }
    };
    let (settings, probe) = (&settings, Probe::new(cpu)?);
    let bench = Bench { settings, stage, probe, has_front: before.is_some() };
    bench.all_at_once(&ground.behind, &mut results, note)?;
    bench.one_by_one(&ground.behind, &mut results, note)?;
    Ok(results)
}

impl Results {
    fn nothing(machine: Machine, settings: Settings) -> Self {
        Self {
            machine,
            settings,
            left_out: Vec::new(),
            failures: Vec::new(),
            samples: Vec::new(),
            direct: Vec::new(),
            system_calls: Vec::new(),
            latencies: Vec::new(),
            memory: Vec::new(),
            storms: Vec::new(),
            longest_step: None,
            workers: Vec::new(),
            instructions: Vec::new(),
        }
    }
}

struct Bench<'run> {
    settings: &'run Settings,
    stage: Stage<'run>,
    probe: Probe,
    /// There is a component with TLS.
    has_front: bool,
}

impl Bench<'_> {
    fn wants(&self, part: Part) -> bool {
        self.settings.parts.contains(&part)
    }

    /// What is measured in turns, while all servers run.
    fn all_at_once(
        &self,
        behind: &Process,
        results: &mut Results,
        note: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let (settings, mut targets) = (self.settings, Vec::new());
        let at_once = [Part::Costs, Part::Latency, Part::Calls];
        let wants_any = at_once.into_iter().any(|part| self.wants(part));
        let is_server = |kind: &&Kind| wants_any && **kind != Kind::Memory && !kind.is_missing();
        for kind in settings.targets.iter().filter(is_server) {
            match Target::start(*kind, &self.stage) {
                Ok(target) => targets.push(target),
                Err(reason) if !kind.is_gateway() => results.left_out.push(reason),
                Err(reason) => return Err(reason),
            }
        }
        let failures = &mut results.failures;
        if self.wants(Part::Costs) {
            let _spinner = Spinner::start(settings.load_cpu)?;
            results.samples = self.rounds(&targets, failures, note);
            note("the client alone");
            results.direct = self.direct(&behind.family(1)?, failures);
        }
        if self.wants(Part::Latency) {
            let _spinner = Spinner::start(settings.load_cpu)?;
            results.latencies = latency::take(self, &targets, settings.sample * 2, failures, note);
        }
        if self.wants(Part::Calls) {
            results.system_calls = self.system_calls(&targets, failures, note);
        }
        Ok(())
    }

    /// What is measured with one server at a time, in processes of its own.
    fn one_by_one(
        &self,
        behind: &Process,
        results: &mut Results,
        note: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let settings = self.settings;
        let there = |kind: &Kind| !kind.is_floor() && !kind.is_missing();
        let kinds: Vec<Kind> = settings.targets.iter().copied().filter(there).collect();
        if self.wants(Part::Storm) {
            self.storms(&kinds, behind, results, note)?;
        }
        let failures = &mut results.failures;
        if self.wants(Part::Workers) {
            let Settings { rounds, sample, server_cpu, load_cpu, .. } = *settings;
            let conduct = workers::Conduct { rounds, sample, both: [server_cpu, load_cpu] };
            results.workers = workers::take(&self.stage, &self.probe, conduct, failures, note)?;
        }
        if self.wants(Part::Instructions) {
            results.instructions = instructions::count(self, failures, note);
        }
        if self.wants(Part::Memory) {
            results.memory = self.memory(&kinds, failures, note);
        }
        Ok(())
    }

    fn storms(
        &self,
        kinds: &[Kind],
        behind: &Process,
        results: &mut Results,
        note: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        let Settings { storm: length, storms, server_cpu: cpu, sample, .. } = *self.settings;
        let failures = &mut results.failures;
        let longest = floors::longest_step(Test::Rsa13, self.stage.identities, cpu, sample)?;
        results.longest_step = Some(longest);
        if let Err(error) = behind.raise(true) {
            failures.push(format!("storms: the backend waits for their clients: {error}"));
        }
        for round in 1..=storms {
            for kind in kinds {
                note(&format!("storm {round} of {storms} over {}", kind.name()));
                let target = Target::start(*kind, &self.stage);
                match target.and_then(|target| storm::measure(self, &target, length)) {
                    Ok(storm) => results.storms.push(storm),
                    Err(error) => failures.push(format!("storm over {}: {error}", kind.name())),
                }
            }
        }
        if let Err(error) = behind.raise(false) {
            failures.push(format!("storms: the backend stays first on its CPU: {error}"));
        }
        Ok(())
    }

    fn rounds(
        &self,
        targets: &[Target],
        failures: &mut Vec<String>,
        note: &mut dyn FnMut(&str),
    ) -> Vec<Row> {
        let Settings { rounds, sample: length, server_cpu, load_cpu, .. } = *self.settings;
        let identities = self.stage.identities;
        let mut kinds: Vec<Kind> = targets.iter().map(|target| target.kind).collect();
        kinds.extend(self.settings.targets.iter().filter(|kind| **kind == Kind::Memory));
        let servers = |test: Test| {
            let mut kinds = kinds.clone();
            kinds.retain(|kind| kind.does(test));
            kinds
        };
        let mut tests = self.settings.tests.clone();
        tests.retain(|test| self.has_front || test.role() != Role::Originate);
        let sample = |test: Test, kind: Kind, patience: u32| {
            let Some(target) = targets.iter().find(|target| target.kind == kind) else {
                return floors::take(test, identities, server_cpu, length / 2);
            };
            let role = if kind == Kind::Relay { Role::Server } else { test.role() };
            let subject = Subject {
                address: target.ports.of(role),
                pids: &target.pids,
                cpu: Some(server_cpu),
                client_cpus: &[load_cpu],
                clock: kind.clock(),
            };
            let tls = test.tls(identities).filter(|_| kind != Kind::Relay);
            sample::take(test, subject, tls, length * patience)
        };
        rounds::take(rounds, &tests, servers, &self.probe, sample, failures, note)
    }

    /// The client without anything between it and the backend.
    fn direct(&self, pids: &[u32], failures: &mut Vec<String>) -> Vec<Direct> {
        let client_cpus = &[self.settings.load_cpu];
        let (address, clock) = (self.stage.backend, Clock::Threads);
        let subject = Subject { address, pids, cpu: None, client_cpus, clock };
        let mut rates = Vec::new();
        for &test in self.settings.tests.iter().filter(|test| Kind::Relay.does(**test)) {
            let length = self.settings.sample;
            match rounds::quietest(|patience| sample::take(test, subject, None, length * patience))
            {
                Ok(sample) => rates.push(Direct { test, rate: sample.rate() }),
                Err(error) => failures.push(format!("client alone, {}: {error}", test.name())),
            }
        }
        rates
    }

    fn system_calls(
        &self,
        targets: &[Target],
        failures: &mut Vec<String>,
        note: &mut dyn FnMut(&str),
    ) -> Vec<SystemCalls> {
        let Settings { counted_round_trips: count, load_cpu, .. } = *self.settings;
        let Stage { identities, scratch, .. } = self.stage;
        let mut counts = Vec::new();
        for target in targets.iter().filter(|target| !target.kind.is_floor()) {
            note(&format!("system calls of {}", target.kind.name()));
            match syscalls::measure(target, count, &identities.ecdsa.ca_pem, load_cpu, scratch) {
                Ok(found) => counts.push(found),
                Err(error) => {
                    failures.push(format!("system calls of {}: {error}", target.kind.name()));
                }
            }
        }
        counts
    }

    fn memory(
        &self,
        kinds: &[Kind],
        failures: &mut Vec<String>,
        note: &mut dyn FnMut(&str),
    ) -> Vec<Memory> {
        let Settings { memory: scale, load_cpu, .. } = *self.settings;
        let ca_pem = &self.stage.identities.ecdsa.ca_pem;
        let mut found = Vec::new();
        for kind in kinds {
            note(&format!("memory of {}", kind.name()));
            let start = || Target::start(*kind, &self.stage);
            match memory::measure(&start, scale, ca_pem, load_cpu) {
                Ok(memory) => found.push(memory),
                Err(error) => failures.push(format!("memory of {}: {error}", kind.name())),
            }
        }
        found
    }
}

/// The gateway's program beside this one.
///
/// # Errors
/// Those of finding out where this one is.
pub(crate) fn beside_this() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().unwrap_or(Path::new(".")).join("tlsgate"))
}
