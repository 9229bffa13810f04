//! `tlsgate-bench load`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tlsgate_bench::client::{Progress, Stage, run};
use tlsgate_bench::floor;

use super::outcome::{Found, OutcomeArguments};
use super::plan::{PlanArguments, parse_duration};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    plan: PlanArguments,
    /// Measure the same for a second before, or for the time given as --floor=TIME, against a server in
    /// this process: what client and machine take by themselves.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, num_args = 0..=1,
          require_equals = true, default_missing_value = "1s")]
    floor: Option<Duration>,
    #[command(flatten)]
    outcome: OutcomeArguments,
}

/// Runs the plan; the status says what came of it.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode, String> {
    let plan = arguments.plan.plan()?;
    let floor = arguments.floor.map(|length| floor::measure(&plan, length)).transpose();
    let floor = floor.map_err(|error| format!("the floor cannot be measured: {error}"))?;
    // Draws on standard error, and only when that is a terminal.
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}")
        .map_err(|error| error.to_string())?;
    bar.set_style(style);
    let result = run(&plan, |progress| {
        bar.set_message(message(&progress));
        bar.tick();
    });
    bar.finish_and_clear();
    let report = result.map_err(|error| error.to_string())?;
    arguments.outcome.settle(&Found { plan: &plan, report: &report, floor: floor.as_ref() })
}

fn message(progress: &Progress) -> String {
    let stage = match progress.stage {
        Stage::Prepare => "preparing",
        Stage::Hold => "holding",
        Stage::Measure => "measuring",
        Stage::Drain => "ending",
    };
    format!(
        "{stage}: {} done, {:.0} per second, {} open, {} errors",
        progress.done, progress.rate, progress.open, progress.errors
    )
}
