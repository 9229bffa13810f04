//! The long run: `cargo run --profile fuzz -p tlsgate-fuzz -- --minutes 60`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tlsgate_fuzz::runner::{self, Plan, Until};
use tlsgate_fuzz::targets::{TARGETS, Target, find};

/// Fuzzes tlsgate. Findings are kept in tests/fuzz/regressions, where every test run repeats them.
#[derive(Debug, Parser)]
struct Options {
    /// Targets to run one after another (default: all)
    targets: Vec<String>,
    /// Minutes for all targets together
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Run as many inputs of each target instead of for a time
    #[arg(long)]
    count: Option<u64>,
    /// What decides the inputs (default: the time, so that every run has others)
    #[arg(long)]
    seed: Option<u64>,
    /// Number of the first input
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run these files instead; needs one target
    #[arg(long, value_name = "FILE", num_args = 1..)]
    replay: Vec<PathBuf>,
    /// Write what the targets start from into folders of this one, for other fuzzers
    #[arg(long, value_name = "FOLDER")]
    seeds: Option<PathBuf>,
    /// Say what the targets are
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        TARGETS.iter().for_each(|target| println!("{:12} {}", target.name, target.about));
        return ExitCode::SUCCESS;
    }
    let mut targets: Vec<&Target> = Vec::new();
    for name in &options.targets {
        let Some(target) = find(name) else {
            eprintln!("no target is called {name}: see --list");
            return ExitCode::from(2);
        };
        targets.push(target);
    }
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    if let Some(folder) = &options.seeds {
        return match targets.iter().try_for_each(|target| write_seeds(target, folder)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", folder.display());
                ExitCode::FAILURE
            }
        };
    }
    let good = if options.replay.is_empty() {
        let seed = options.seed.unwrap_or_else(seed_of_now);
        fuzz(&targets, &options, seed)
    } else {
        replay(&targets, &options.replay)
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "an edge: other inputs in every run")]
fn seed_of_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}

/// False when something was found.
#[expect(clippy::disallowed_methods, reason = "an edge: a run for a time")]
fn fuzz(targets: &[&Target], options: &Options, seed: u64) -> bool {
    let share = 60.0 * options.minutes / f64::from(u32::try_from(targets.len()).unwrap_or(1));
    let mut good = true;
    for target in targets {
        let begin = Instant::now();
        let until = match options.count {
            Some(count) => Until::Count(count),
            None => Until::Time(begin + Duration::from_secs_f64(share)),
        };
        match runner::run(target, Plan { seed, from: options.from, until }) {
            Ok(count) => {
                let seconds = begin.elapsed().as_secs();
                println!(
                    "{}: {count} inputs, nothing found, {seconds} s, seed {seed}",
                    target.name
                );
            }
            Err(finding) => {
                good = false;
                println!("{}: {}", target.name, finding.message);
                match runner::keep(target, &finding) {
                    Ok(path) => println!("kept as {}", path.display()),
                    Err(error) => println!("not kept, {error}: {:?}", finding.input),
                }
            }
        }
    }
    good
}

fn write_seeds(target: &Target, folder: &Path) -> io::Result<()> {
    let folder = folder.join(target.name);
    fs::create_dir_all(&folder)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}

fn replay(targets: &[&Target], files: &[PathBuf]) -> bool {
    let [target] = targets else {
        eprintln!("--replay needs one target");
        return false;
    };
    let mut good = true;
    for file in files {
        let result = match fs::read(file) {
            Ok(input) => runner::try_input(target, &input),
            Err(error) => Err(error.to_string()),
        };
        good &= result.is_ok();
        let said = result.err().unwrap_or_else(|| "nothing found".to_owned());
        println!("{}: {said}", file.display());
    }
    good
}
