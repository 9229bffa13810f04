//! This program's load generator beside independent ones, wrk and `openssl s_time`, all of which load the
//! same nginx: what each counted, beside the server's own count, its rate, and the CPU time that it took
//! itself. Samples take turns as in [`crate::measure`], but they are of the generators, on their CPU.

mod output;
mod server;
mod tally;
pub(crate) mod test;
mod tool;

use std::time::Duration;

use serde::Serialize;

use crate::measure::affinity;
use crate::measure::identity::Identity;
use crate::measure::machine::Machine;
use crate::measure::probe::Probe;
use crate::measure::rounds::{self, Row};
use crate::measure::scratch::Scratch;
use crate::measure::spin::Spinner;
use server::Server;
use test::Test;
use tool::{Stage, Tool};

pub(crate) use output::{missed, render, write_record};

/// What to measure, and with how much patience.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) tests: Vec<Test>,
    pub(crate) rounds: u32,
    /// Length of one sample's load; wrk and s_time know whole seconds only.
    pub(crate) sample: Duration,
    /// CPU of the server.
    pub(crate) server_cpu: usize,
    /// CPU of the generators.
    pub(crate) load_cpu: usize,
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    /// What did not work, or was counted wrong; there is no sample for it.
    pub(crate) failures: Vec<String>,
    pub(crate) samples: Vec<Row<Test, Tool>>,
}

/// Measures everything; `note` gets told what is being done.
///
/// # Errors
/// When nothing can be measured: nginx does not start, or a tool is not installed. What goes wrong with
/// single samples is in the results.
pub(crate) fn run(settings: Settings, note: &mut dyn FnMut(&str)) -> Result<Results, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let scratch = Scratch::new().map_err(|error| error.to_string())?;
    let identity = Identity::rsa(&scratch, "")?;
    let Settings { rounds, sample: length, server_cpu, load_cpu, .. } = settings;
    let versions = tool::versions(&settings.tests)?;
    let mut machine = Machine::look(&own);
    machine.versions.extend(versions);
    // This thread sleeps while generators run, but not on their CPU.
    affinity::pin(server_cpu)
        .map_err(|error| format!("cannot run on CPU {server_cpu}: {error}"))?;
    let server = Server::start(&identity, &scratch, server_cpu)?;
    let probe = Probe::new(load_cpu)?;
    let mut failures = Vec::new();
    let samples = {
        // A server that waits must not make the generators' CPU a faster one.
        let _spinner = Spinner::start(server_cpu)?;
        let stage = Stage { own: &own, server: &server, scratch: &scratch, cpu: load_cpu };
        let sample =
            |test: Test, tool: Tool, patience: u32| tool.sample(test, &stage, length * patience);
        let both = |_| Tool::BOTH.to_vec();
        rounds::take(rounds, &settings.tests, both, &probe, sample, &mut failures, note)
    };
    Ok(Results { machine, settings, failures, samples })
}
