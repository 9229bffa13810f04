//! `tlsgate-bench generator`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::outcome::OBJECTIVE_MISSED;
use super::run::{self, KeepArguments};
use crate::generator::test::Test;
use crate::generator::{self, Settings};
use crate::measure::output::Style;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A look of some seconds: shows that everything runs and that all count the same; its figures are
    /// rough, and are not judged.
    #[arg(long)]
    quick: bool,
    /// Rounds over all measurements and generators.
    #[arg(long)]
    rounds: Option<u32>,
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Test::ALL)]
    tests: Vec<Test>,
    /// CPU of the server.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// CPU of the generators.
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    #[command(flatten)]
    kept: KeepArguments,
}

/// Measures and prints; status 1 when anything that was to be measured failed or was counted wrong, 3
/// when figures are not as they should be.
pub(crate) fn execute(arguments: Arguments) -> Result<ExitCode, String> {
    let Arguments { quick, server_cpu, load_cpu, kept, .. } = arguments;
    run::check_apart(server_cpu, load_cpu)?;
    let settings = Settings {
        tests: arguments.tests,
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 9 }),
        sample: Duration::from_millis(if quick { 300 } else { 2_000 }),
        server_cpu,
        load_cpu,
    };
    let results = run::watched(|note| generator::run(settings, note))?;
    print!("{}", generator::render(&results, Style::Terminal));
    kept.keep(&results, generator::write_record)?;
    let missed = if quick { Vec::new() } else { generator::missed(&results) };
    Ok(if !results.failures.is_empty() || results.samples.is_empty() {
        ExitCode::FAILURE
    } else if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        eprintln!("NOT MET: {}", missed.join("; "));
        ExitCode::from(OBJECTIVE_MISSED)
    })
}
