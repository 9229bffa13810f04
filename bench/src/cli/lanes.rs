//! `tlsgate-bench lanes`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::peers::{Bar, found_gateway, write_json};
use crate::lanes::target::Kind;
use crate::lanes::test::Test;
use crate::lanes::{self, Settings};
use crate::measure::output::Style;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The gateway's program; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
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
    /// CPU of the servers.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// CPU of client and backend.
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// Write everything as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a record, named after day and machine, into this directory, such as bench/runs.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Measures and prints; status 1 when anything that was to be measured failed.
pub(crate) fn execute(arguments: Arguments) -> Result<ExitCode, String> {
    let Arguments { quick, server_cpu, load_cpu, json, out, .. } = arguments;
    let settings = Settings {
        gateway: found_gateway(arguments.gateway, [server_cpu, load_cpu])?,
        targets: arguments.targets,
        tests: arguments.tests,
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 12 }),
        sample: Duration::from_millis(if quick { 300 } else { 700 }),
        server_cpu,
        load_cpu,
    };
    let mut bar = Bar::new();
    let results = lanes::run(settings, &mut |what| bar.note(what));
    bar.clear();
    let results = results?;
    print!("{}", lanes::render(&results, Style::Terminal));
    if let Some(path) = json {
        write_json(&results, &path)?;
    }
    if let Some(parent) = out {
        println!("Written to {}", lanes::write_record(&results, &parent)?.display());
    }
    let complete = results.failures.is_empty() && !results.samples.is_empty();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
