//! `tlsgate-bench peers`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::run::{self, RunArguments};
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
    #[command(flatten)]
    run: RunArguments,
}

/// Measures and prints; status 1 when anything that was to be measured failed.
pub(crate) fn execute(arguments: Arguments) -> Result<ExitCode, String> {
    let settings = settings(&arguments)?;
    let results = run::watched(|note| peers::run(settings, note))?;
    print!("{}", peers::render(&results, Style::Terminal));
    arguments.run.keep(&results, peers::write_record)?;
    Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(arguments: &Arguments) -> Result<Settings, String> {
    let Arguments { quick, ref run, .. } = *arguments;
    let connections = match *arguments.idle {
        [few, many] if (1..many).contains(&few) => [few, many],
        [_, _] => return Err("--idle needs fewer connections, then more".to_owned()),
        _ if quick => [50, 250],
        _ => [1_000, 9_000],
    };
    let (settle, one_each) = if quick { (200, 400) } else { (3_000, 10_000) };
    Ok(Settings {
        gateway: run.place.found_gateway()?,
        targets: arguments.targets.clone(),
        parts: match &*arguments.parts {
            [] => {
                // Tracers make servers too slow for a look.
                let slow = [Part::Calls, Part::Instructions];
                Part::ALL.into_iter().filter(|part| !quick || !slow.contains(part)).collect()
            }
            some => some.to_vec(),
        },
        tests: match &*arguments.tests {
            [] if quick => QUICK.to_vec(),
            [] => Test::ALL.to_vec(),
            some => some.to_vec(),
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
        storms: if quick { 1 } else { 5 },
        server_cpu: run.place.server_cpu,
        load_cpu: run.place.load_cpu,
    })
}
