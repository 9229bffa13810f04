//! `tlsgate-bench load`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tlsgate_bench::client::{self, Progress, Report, Stage};
use tlsgate_bench::floor;
use tlsgate_bench::units::parse_duration;

use super::outcome::{Found, OutcomeArguments, Part};
use super::plan::PlanArguments;
use super::scenario::Mix;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    plan: PlanArguments,
    /// Measure the same for a second before, or for the time given as --floor=TIME, against a server in
    /// this process: what client and machine take by themselves.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, num_args = 0..=1,
          require_equals = true, default_missing_value = "1s", conflicts_with = "scenario")]
    floor: Option<Duration>,
    #[command(flatten)]
    outcome: OutcomeArguments,
}

/// Runs the plan, or the flows of a scenario; the status says what came of it.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode, String> {
    if let Some(text) = arguments.plan.scenario.listed()? {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        return written.map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string());
    }
    if let Some(mix) = arguments.plan.scenario.mix()? {
        return run_mix(&mix, &arguments.outcome);
    }
    let plan = arguments.plan.plan()?;
    let floor = arguments.floor.map(|length| floor::measure(&plan, length)).transpose();
    let floor = floor.map_err(|error| format!("the floor cannot be measured: {error}"))?;
    let report = watched(|show| client::run(&plan, show))?;
    let found = Found { plan: &plan, report: &report, floor: floor.as_ref(), flows: Vec::new() };
    arguments.outcome.settle(&found)
}

fn run_mix(mix: &Mix, outcome: &OutcomeArguments) -> Result<ExitCode, String> {
    let reports = watched(|show| client::run_mix(&mix.flows, show))?;
    let mut whole = Report::default();
    reports.iter().for_each(|report| whole.merge(report));
    let parts = mix.parts(reports);
    let flows = parts.iter().map(|(name, wanted, report)| Part::judged(name, wanted, report));
    let flows = flows.collect();
    outcome.settle(&Found { plan: &mix.flows, report: &whole, floor: None, flows })
}

/// Runs something and shows how far it is.
fn watched<T>(
    run: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, client::Error>,
) -> Result<T, String> {
    // Draws on standard error, and only when that is a terminal.
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}")
        .map_err(|error| error.to_string())?;
    bar.set_style(style);
    let result = run(&mut |progress| {
        bar.set_message(message(&progress));
        bar.tick();
    });
    bar.finish_and_clear();
    result.map_err(|error| error.to_string())
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
