//! `tlsgate-bench scenarios`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tlsgate_bench::units::parse_duration;

use super::outcome::write_file;
use super::run::{self, RunArguments};
use crate::measure::output::Style;
use crate::peers::target::Kind;
use crate::scenarios::{self, Case, ENDS_AFTER, ROTATION, Settings};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which scenarios.
    #[arg(long, value_enum, value_delimiter = ',', ignore_case = true, default_values_t = Case::ALL)]
    scenarios: Vec<Case>,
    /// Over which servers; those that are not installed are left out.
    #[arg(long, value_enum, value_delimiter = ',',
          default_values_t = [Kind::IoUring, Kind::Haproxy, Kind::Nginx])]
    targets: Vec<Kind>,
    /// Rounds over all of them.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// A second of each with few connections: shows that everything runs.
    #[arg(long)]
    quick: bool,
    /// Put a value in place of what scenarios say, such as scale=0.2 or duration=60s; may be there more than
    /// once. All scenarios get it.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Time from one rotation of certificates to the next.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    rotation: Option<Duration>,
    /// Write a page with tables and curves to this file, for a browser.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    run: RunArguments,
}

/// Runs and prints; status 1 when anything did not run.
pub(crate) fn execute(arguments: Arguments) -> Result<ExitCode, String> {
    let Arguments { quick, run, html, .. } = arguments;
    let short = Duration::from_millis(300);
    let settings = Settings {
        gateway: run.place.found_gateway()?,
        targets: arguments.targets,
        cases: arguments.scenarios,
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 3 }),
        quick,
        set: arguments.set,
        rotation: arguments.rotation.unwrap_or(if quick { short } else { ROTATION }),
        ends_after: if quick { short } else { ENDS_AFTER },
        server_cpu: run.place.server_cpu,
        load_cpu: run.place.load_cpu,
    };
    let results = run::watched(|note| scenarios::run(settings, note))?;
    print!("{}", scenarios::render(&results, Style::Terminal));
    if let Some(path) = &html {
        let page = scenarios::page(&results);
        write_file(path, |file| file.write_all(page.as_bytes()).and_then(|()| file.flush()))?;
    }
    run.keep(&results, scenarios::write_record)?;
    Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
