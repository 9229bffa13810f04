//! `tlsgate-bench peers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::measure::output::Style;
use crate::peers::target::Kind;
use crate::peers::test::Test;
use crate::peers::{self, Part, Scale, Settings};

/// What a quick look is at: every listener of every server, and every kind of load.
const QUICK: [Test; 9] = [
    Test::Full13,
    Test::Resumed12,
    Test::Rsa12,
    Test::MutualResumed13,
    Test::Mlkem13,
    Test::RoundTrips50,
    Test::Down,
    Test::OriginateUp,
    Test::PairFull,
];

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
    /// Kinds of figures; by default all, or with --quick those that need no tracer.
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Costs to measure; by default all, or some of each kind with --quick.
    #[arg(long, value_enum, value_delimiter = ',')]
    tests: Vec<Test>,
    /// Which servers and floors to measure; peers that are not installed are left out.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    targets: Vec<Kind>,
    /// Numbers of idle connections between which memory is measured.
    #[arg(long, value_names = ["FEW", "MANY"], num_args = 2)]
    idle: Vec<usize>,
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
    let results = peers::run(settings, &mut |what| bar.note(what));
    bar.clear();
    let results = results?;
    print!("{}", peers::render(&results, Style::Terminal));
    if let Some(path) = json {
        write_json(&results, &path)?;
    }
    if let Some(parent) = out {
        let directory = peers::write_record(&results, &parent)?;
        println!("Written to {}", directory.display());
    }
    Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(arguments: Arguments) -> Result<Settings, String> {
    let Arguments { quick, server_cpu, load_cpu, .. } = arguments;
    let connections = match *arguments.idle {
        [few, many] if (1..many).contains(&few) => [few, many],
        [_, _] => return Err("--idle needs fewer connections, then more".to_owned()),
        _ if quick => [50, 250],
        _ => [1_000, 9_000],
    };
    let (settle, one_each) = if quick { (200, 400) } else { (3_000, 10_000) };
    Ok(Settings {
        gateway: found_gateway(arguments.gateway, [server_cpu, load_cpu])?,
        targets: arguments.targets,
        parts: match arguments.parts {
            none if none.is_empty() => {
                // Tracers make servers too slow for a look.
                let slow = [Part::Calls, Part::Instructions];
                Part::ALL.into_iter().filter(|part| !quick || !slow.contains(part)).collect()
            }
            some => some,
        },
        tests: match arguments.tests {
            none if none.is_empty() && quick => QUICK.to_vec(),
            none if none.is_empty() => Test::ALL.to_vec(),
            some => some,
        },
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 20 }),
        sample: Duration::from_millis(if quick { 250 } else { 500 }),
        memory: Scale {
            connections,
            settle: Duration::from_millis(settle),
            one_each: Duration::from_millis(one_each),
        },
        counted_round_trips: if quick { 3_000 } else { 21_000 },
        storm: Duration::from_millis(if quick { 300 } else { 5_000 }),
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
        None => peers::beside_this().map_err(|error| error.to_string())?,
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
