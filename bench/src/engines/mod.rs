//! The gateway with both engines beside its peers: CPU time per handshake, gigabyte and round
//! trip, system calls, memory per idle connection.
//!
//! How it measures, because machines are noisy and numbers travel further than their conditions:
//! all servers run at once, pinned to one CPU with one worker each; backend and client share
//! another CPU, where a process of lowest priority keeps a hyper-thread sibling from ever being
//! idle. Short samples take turns over the servers, in opposite order every other round. Only what
//! was measured in the same round is compared: ratios are medians of per-round ratios.

pub(crate) mod affinity;
pub(crate) mod identity;
pub(crate) mod machine;
mod memory;
pub(crate) mod output;
pub(crate) mod peers;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod rounds;
pub(crate) mod sample;
pub(crate) mod scratch;
pub(crate) mod spin;
pub(crate) mod statistics;
pub(crate) mod summary;
mod syscalls;
pub(crate) mod target;
pub(crate) mod test;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Serialize;
use tlsgate_bench::client::TlsVersion;

use identity::Identity;
use machine::Machine;
use memory::Memory;
use process::{Process, free_address};
use rounds::{Measurement, NO_WORK, Server};
use sample::{Clock, Subject};
use scratch::Scratch;
use spin::Spinner;
use syscalls::SystemCalls;
use target::{Kind, Stage, Target};
use test::{Test, tls};

pub(crate) use output::{Style, render};
pub(crate) use record::write as write_record;

/// What to measure, and with how much patience.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// The gateway's program.
    #[serde(skip)]
    pub(crate) gateway: PathBuf,
    pub(crate) targets: Vec<Kind>,
    pub(crate) tests: Vec<Test>,
    pub(crate) rounds: u32,
    /// Length of one sample's load.
    pub(crate) sample: Duration,
    /// Idle connections whose memory is measured; none is measured when zero.
    pub(crate) idle_connections: usize,
    pub(crate) idle_versions: Vec<TlsVersion>,
    /// Round trips over which system calls are counted; none are counted when zero.
    pub(crate) counted_round_trips: u64,
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
    pub(crate) memory: Vec<Memory>,
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
    let io = |error: std::io::Error| error.to_string();
    let scratch = Scratch::new().map_err(io)?;
    let identity = Identity::ecdsa(&scratch)?;
    // This thread reads what processes have used: not on the CPU where they are measured.
    affinity::pin(settings.load_cpu)
        .map_err(|error| format!("cannot run on CPU {}: {error}", settings.load_cpu))?;
    let machine = Machine::look(&settings.gateway);
    let backend = free_address()?;
    let mut command = Command::new(std::env::current_exe().map_err(io)?);
    command.args(["backend", "--listen", &backend.to_string(), "--mode", "sniff"]);
    let behind = Process::serve("backend", command, settings.load_cpu, backend, &scratch)?;
    let bench = Bench {
        settings: &settings,
        stage: Stage {
            gateway: &settings.gateway,
            cpu: settings.server_cpu,
            backend,
            identity: &identity,
            scratch: &scratch,
        },
    };
    let (targets, left_out) = bench.start_targets()?;
    let mut failures = Vec::new();
    let (samples, direct) = {
        let _spinner = Spinner::start(settings.load_cpu)?;
        let samples = bench.rounds(&targets, &mut failures, note);
        note("the client alone");
        (samples, bench.direct(backend, &behind.family(1)?, &mut failures))
    };
    let system_calls = bench.system_calls(&targets, &mut failures, note);
    let kinds: Vec<Kind> = targets.iter().map(|target| target.kind).collect();
    // Memory is measured in processes of its own, one at a time.
    drop(targets);
    let memory = bench.memory(&kinds, &mut failures, note);
    Ok(Results { machine, left_out, failures, samples, direct, system_calls, memory, settings })
}

struct Bench<'run> {
    settings: &'run Settings,
    stage: Stage<'run>,
}

impl Bench<'_> {
    fn start_targets(&self) -> Result<(Vec<Target>, Vec<String>), String> {
        let (mut targets, mut left_out) = (Vec::new(), Vec::new());
        for kind in &self.settings.targets {
            match Target::start(*kind, &self.stage) {
                Ok(target) => targets.push(target),
                Err(reason) if !kind.is_gateway() => left_out.push(reason),
                Err(reason) => return Err(reason),
            }
        }
        Ok((targets, left_out))
    }

    fn rounds(
        &self,
        targets: &[Target],
        failures: &mut Vec<String>,
        note: &mut dyn FnMut(&str),
    ) -> Vec<Row> {
        let Settings { rounds, sample: length, server_cpu, load_cpu, .. } = *self.settings;
        let kinds: Vec<Kind> = targets.iter().map(|target| target.kind).collect();
        let sample = |test: Test, index: usize| {
            let subject = Subject {
                address: targets[index].address,
                pids: &targets[index].pids,
                cpu: server_cpu,
                client_cpu: load_cpu,
                clock: Clock::Threads,
            };
            let tls = tls(test.version(), &self.stage.identity.ca_pem);
            sample::take(test, subject, Some(tls), length)
        };
        rounds::take(rounds, &self.settings.tests, &kinds, sample, failures, note)
    }

    /// The client without anything between it and the backend.
    fn direct(&self, backend: SocketAddr, pids: &[u32], failures: &mut Vec<String>) -> Vec<Direct> {
        let cpu = self.settings.load_cpu;
        let subject =
            Subject { address: backend, pids, cpu, client_cpu: cpu, clock: Clock::Threads };
        let mut rates = Vec::new();
        for test in self.settings.tests.iter().filter(|test| test.has_plaintext_form()) {
            let sample = sample::take(*test, subject, None, self.settings.sample);
            match sample.and_then(|sample| sample.ok_or_else(|| NO_WORK.to_owned())) {
                Ok(sample) => rates.push(Direct { test: *test, rate: sample.rate() }),
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
        let Stage { identity, scratch, .. } = self.stage;
        let mut counts = Vec::new();
        for target in targets.iter().filter(|_| count > 0) {
            note(&format!("system calls of {}", target.kind.name()));
            match syscalls::measure(target, count, &identity.ca_pem, load_cpu, scratch) {
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
        let Settings { idle_connections: connections, load_cpu, .. } = *self.settings;
        let mut found = Vec::new();
        for version in self.settings.idle_versions.iter().filter(|_| connections > 0) {
            for kind in kinds {
                note(&format!("memory of {}, TLS {version:?}", kind.name()));
                let start = || Target::start(*kind, &self.stage);
                let ca_pem = &self.stage.identity.ca_pem;
                match memory::measure(&start, *version, connections, ca_pem, load_cpu) {
                    Ok(memory) => found.push(memory),
                    Err(error) => failures.push(format!("memory of {}: {error}", kind.name())),
                }
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
