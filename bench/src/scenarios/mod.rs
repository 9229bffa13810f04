//! What befalls a gateway (restarts, switchovers, storms, hostile clients, rotations), over the gateway
//! and over HAProxy and nginx, each set up for it and told in its own way.

mod authority;
mod cases;
mod course;
mod found;
mod meter;
mod output;
mod record;
mod rotation;
mod server;
mod setups;

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{getpid, set_child_subreaper};
use serde::Serialize;

use crate::measure::machine::Machine;
use crate::measure::rounds::Server as _;
use crate::measure::spin::Spinner;
use crate::peers::ground::Ground;
use crate::peers::target::Kind;
use found::Ran;

pub(crate) use cases::{Case, ROTATION};
pub(crate) use output::render;
pub(crate) use record::{page, write as write_record};

/// How long an old process may take to end, where a scenario has it so.
pub(crate) const ENDS_AFTER: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// The gateway's program.
    #[serde(skip)]
    pub(crate) gateway: PathBuf,
    pub(crate) targets: Vec<Kind>,
    pub(crate) cases: Vec<Case>,
    pub(crate) rounds: u32,
    /// A second of each, with few connections.
    pub(crate) quick: bool,
    /// What is said otherwise than in the files, for all of them.
    pub(crate) set: Vec<String>,
    pub(crate) rotation: Duration,
    pub(crate) ends_after: Duration,
    pub(crate) server_cpu: usize,
    pub(crate) load_cpu: usize,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    /// Servers that did not take part, and why.
    pub(crate) left_out: Vec<String>,
    /// What did not run.
    pub(crate) failures: Vec<String>,
    pub(crate) runs: Vec<Ran>,
}

/// Runs everything; `note` gets told what is being done.
///
/// # Errors
/// When nothing can be run. What goes wrong with single runs is in the results.
pub(crate) fn run(settings: Settings, note: &mut dyn FnMut(&str)) -> Result<Results, String> {
    // Who is handed over to loses its parent, and becomes a child of this process.
    set_child_subreaper(Some(getpid())).map_err(|error| error.to_string())?;
    let ground = Ground::new(settings.load_cpu)?;
    let machine = Machine::look(&settings.gateway);
    let (mut left_out, mut failures, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    let mut targets = settings.targets.clone();
    targets.retain(|kind| {
        let reason = match kind {
            _ if kind.is_missing() => "it is not installed",
            Kind::IoUring | Kind::Epoll | Kind::Haproxy | Kind::Nginx => return true,
            _ => "scenarios are only set up for tlsgate, haproxy and nginx",
        };
        left_out.push(format!("{}: {reason}", kind.name()));
        false
    });
    if targets.is_empty() {
        return Err(format!("there is no server to run: {}", left_out.join("; ")));
    }
    let _spinner = Spinner::start(settings.load_cpu)?;
    for round in 0..settings.rounds {
        for &case in &settings.cases {
            for &kind in &targets {
                let (of, name) = (settings.rounds, case.name());
                note(&format!("round {} of {of}: {name} over {}", round + 1, kind.name()));
                let stage = ground.stage(&settings.gateway, settings.server_cpu);
                match course::run(case, kind, &stage, &settings) {
                    Ok(ran) => runs.push(Ran { round, ..ran }),
                    Err(error) => {
                        let round = round + 1;
                        failures.push(format!("round {round}, {name}, {}: {error}", kind.name()));
                    }
                }
            }
            targets.reverse();
        }
    }
    Ok(Results { machine, settings, left_out, failures, runs })
}
