//! `tlsgate-bench merge`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use tlsgate_bench::client::Report;

use super::outcome::{Found, OutcomeArguments};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Reports that `load --json` wrote. Seconds of the same time are put together, so the clocks of
    /// the machines must agree.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    outcome: OutcomeArguments,
}

/// What is read of such a file.
#[derive(Deserialize)]
pub(super) struct Measured {
    plan: Value,
    pub(super) report: Report,
}

/// Merges, and does with the whole what `load` does with one.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode, String> {
    let (mut plans, mut whole) = (Vec::new(), Report::default());
    for path in &arguments.files {
        let Measured { plan, report } = read(path)?;
        whole.merge(&report);
        plans.push(plan);
    }
    arguments.outcome.settle(&Found { plan: &plans, report: &whole, floor: None })
}

pub(super) fn read(path: &Path) -> Result<Measured, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{} is not what load --json writes: {error}", path.display()))
}
