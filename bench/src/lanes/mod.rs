//! The gateway's lanes for old TLS beside stunnel and HAProxy with the same versions and suites: CPU
//! time per full and resumed handshake and per gigabyte. It measures as [`crate::measure`] does.

mod output;
mod peers;
pub(crate) mod target;
pub(crate) mod test;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use crate::measure::affinity;
use crate::measure::identity::Identity;
use crate::measure::machine::Machine;
use crate::measure::probe::Probe;
use crate::measure::process::{Process, free_address};
use crate::measure::rounds::{self, Row};
use crate::measure::sample::{self, Subject};
use crate::measure::scratch::Scratch;
use crate::measure::spin::Spinner;
use target::{Kind, Stage, Target};
use test::{Role, Test};

pub(crate) use output::{render, write_record};

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
    pub(crate) samples: Vec<Row<Test, Kind>>,
}

/// Measures everything; `note` gets told what is being done.
///
/// # Errors
/// When nothing can be measured: the gateway or the backend does not start. What goes wrong with
/// single samples is in the results.
pub(crate) fn run(settings: Settings, note: &mut dyn FnMut(&str)) -> Result<Results, String> {
    let io = |error: std::io::Error| error.to_string();
    let scratch = Scratch::new().map_err(io)?;
    let modern = Identity::ecdsa(&scratch, "")?;
    let compat12 = Identity::rsa(&scratch, "compat12-")?;
    let legacy = Identity::rsa(&scratch, "legacy-")?;
    let trusted = [&*compat12.ca_pem, &legacy.ca_pem].concat();
    let Settings { rounds, sample: length, server_cpu, load_cpu, .. } = settings;
    // This thread reads what processes have used: not on the CPU where they are measured.
    affinity::pin(load_cpu).map_err(|error| format!("cannot run on CPU {load_cpu}: {error}"))?;
    let machine = Machine::look(&settings.gateway);
    let backend = free_address()?;
    let mut command = Command::new(std::env::current_exe().map_err(io)?);
    command.args(["backend", "--listen", &backend.to_string(), "--mode", "sniff"]);
    let _behind = Process::serve("backend", command, &[load_cpu], &[backend], &scratch)?;
    let (mut targets, mut left_out, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    let (front10, front12) = (free_address()?, free_address()?);
    let command = peers::front(&scratch, &legacy, backend, [front10, front12]);
    let front = command.and_then(|command| {
        Process::serve("front", command, &[load_cpu], &[front10, front12], &scratch)
    });
    if let Err(reason) = &front {
        left_out.push(format!("the lanes as clients: {reason}"));
    }
    let stage = Stage {
        gateway: &settings.gateway,
        cpu: server_cpu,
        backend,
        front10,
        front12,
        modern: &modern,
        compat12: &compat12,
        legacy: &legacy,
        scratch: &scratch,
    };
    for kind in &settings.targets {
        match Target::start(*kind, &stage) {
            Ok(target) => targets.push(target),
            Err(reason) if !kind.is_gateway() => left_out.push(reason),
            Err(reason) => return Err(reason),
        }
    }
    let mut tests = settings.tests.clone();
    tests.retain(|test| front.is_ok() || test.role() == Role::Server);
    let kinds: Vec<Kind> = targets.iter().map(|target| target.kind).collect();
    let probe = Probe::new(server_cpu)?;
    let samples = {
        let _spinner = Spinner::start(load_cpu)?;
        let sample = |test: Test, kind: Kind, patience: u32| {
            let target = targets.iter().find(|target| target.kind == kind);
            let Target { ports, pids, .. } = target.expect("only these take part");
            let (address, clock) = (ports.of(test.role()), kind.clock());
            let (cpu, client_cpus) = (Some(server_cpu), &[load_cpu]);
            let subject = Subject { address, pids, cpu, client_cpus, clock };
            sample::take(test, subject, test.tls(&trusted), length * patience)
        };
        rounds::take(rounds, &tests, |_| kinds.clone(), &probe, sample, &mut failures, note)
    };
    Ok(Results { machine, settings, left_out, failures, samples })
}
