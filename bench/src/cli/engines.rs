//! `tlsgate-bench engines`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use tlsgate_bench::client::TlsVersion;

use crate::engines::target::Kind;
use crate::engines::test::Test;
use crate::engines::{self, Settings, Style};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The gateway's program; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// A look of about a minute: shows that everything runs; its figures are rough.
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
    /// Idle connections for the measurement of memory; 0 leaves it out.
    #[arg(long)]
    idle: Option<usize>,
    /// Round trips over which system calls are counted; 0 leaves it out.
    #[arg(long)]
    counted: Option<u64>,
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
    let (json, out) = (arguments.json.clone(), arguments.out.clone());
    let settings = settings(arguments)?;
    let mut bar = Bar::new();
    let results = engines::run(settings, &mut |what| bar.note(what));
    bar.clear();
    let results = results?;
    print!("{}", engines::render(&results, Style::Terminal));
    if let Some(path) = json {
        write_json(&results, &path)?;
    }
    if let Some(parent) = out {
        let directory = engines::write_record(&results, &parent)?;
        println!("Written to {}", directory.display());
    }
    let complete = results.failures.is_empty() && !results.samples.is_empty();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(arguments: Arguments) -> Result<Settings, String> {
    let Arguments { quick, server_cpu, load_cpu, .. } = arguments;
    Ok(Settings {
        gateway: found_gateway(arguments.gateway, [server_cpu, load_cpu])?,
        targets: arguments.targets,
        tests: arguments.tests,
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 12 }),
        sample: Duration::from_millis(if quick { 500 } else { 700 }),
        idle_connections: arguments.idle.unwrap_or(if quick { 500 } else { 2000 }),
        idle_versions: if quick {
            vec![TlsVersion::V13]
        } else {
            vec![TlsVersion::V13, TlsVersion::V12]
        },
        counted_round_trips: match arguments.counted.unwrap_or(if quick { 3_000 } else { 21_000 }) {
            few @ 1..2_000 => return Err(format!("{few} round trips are too few to count over")),
            count => count,
        },
        server_cpu,
        load_cpu,
    })
}

/// What a run is doing: a moving line on a terminal, else lines on standard error.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Self {
        Self(ProgressBar::new_spinner())
    }

    pub(crate) fn note(&mut self, what: &str) {
        if self.0.is_hidden() {
            // Not a terminal: a log shows where a run is by lines.
            eprintln!("{what}");
        }
        self.0.set_message(what.to_owned());
        self.0.tick();
    }

    pub(crate) fn clear(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The gateway's program, when there is one and the two CPUs are two.
pub(crate) fn found_gateway(
    gateway: Option<PathBuf>,
    [server, load]: [usize; 2],
) -> Result<PathBuf, String> {
    if server == load {
        return Err("servers and load need a CPU each: --server-cpu, --load-cpu".to_owned());
    }
    let gateway = match gateway {
        Some(path) => path,
        None => engines::beside_this().map_err(|error| error.to_string())?,
    };
    if !gateway.is_file() {
        return Err(format!("there is no gateway at {}: --gateway FILE", gateway.display()));
    }
    Ok(gateway)
}

/// Writes what was found as JSON.
pub(crate) fn write_json(results: &impl Serialize, path: &Path) -> Result<(), String> {
    let text = serde_json::to_string(results).map_err(|error| error.to_string())?;
    fs::write(path, text + "\n")
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
