//! `tlsgate-bench load`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tlsgate_bench::client::{Plan, Progress, Report, Stage, run};

use super::plan::PlanArguments;
use super::table;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    plan: PlanArguments,
    /// Write plan and report as JSON to this file, or to standard output (-) instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Measured<'run> {
    plan: &'run Plan,
    report: &'run Report,
}

/// Runs the plan; status 1 when the report has errors.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode, String> {
    let plan = arguments.plan.plan()?;
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
    let json = Measured { plan: &plan, report: &report };
    let to_stdout = arguments.json.as_deref() == Some(Path::new("-"));
    let mut out = std::io::stdout().lock();
    let written = if to_stdout {
        write_json(&mut out, &json)
    } else {
        out.write_all(table::render(&report).as_bytes()).and_then(|()| out.flush())
    };
    written.map_err(|error| format!("cannot write to standard output: {error}"))?;
    if let Some(path) = arguments.json.as_deref().filter(|_| !to_stdout) {
        File::create(path)
            .and_then(|mut file| write_json(&mut file, &json))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(if report.error_count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_json(out: &mut impl Write, measured: &Measured<'_>) -> std::io::Result<()> {
    let mut text = serde_json::to_string(measured)?;
    text.push('\n');
    out.write_all(text.as_bytes())?;
    out.flush()
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
