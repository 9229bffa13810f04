//! `tlsgate-bench lanes`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::run::{self, RunArguments};
use crate::lanes::target::Kind;
use crate::lanes::test::Test;
use crate::lanes::{self, Settings};
use crate::measure::output::Style;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A look of less than a minute: shows that everything runs; its figures are rough.
    #[arg(long)]
    quick: bool,
    /// Rounds over all measurements and servers.
    #[arg(long)]
    rounds: Option<u32>,
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Test::ALL)]
    tests: Vec<Test>,
    /// Which servers to measure; peers that are not installed are left out.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    targets: Vec<Kind>,
    #[command(flatten)]
    run: RunArguments,
}

/// Measures and prints; status 1 when anything that was to be measured failed.
pub(crate) fn execute(arguments: Arguments) -> Result<ExitCode, String> {
    let Arguments { quick, run, .. } = arguments;
    let settings = Settings {
        gateway: run.place.found_gateway()?,
        targets: arguments.targets,
        tests: arguments.tests,
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 12 }),
        sample: Duration::from_millis(if quick { 300 } else { 700 }),
        server_cpu: run.place.server_cpu,
        load_cpu: run.place.load_cpu,
    };
    let results = run::watched(|note| lanes::run(settings, note))?;
    print!("{}", lanes::render(&results, Style::Terminal));
    run.keep(&results, lanes::write_record)?;
    let complete = results.failures.is_empty() && !results.samples.is_empty();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
