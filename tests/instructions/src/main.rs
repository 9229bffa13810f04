//! Counts instructions of single operations under callgrind and compares them with committed
//! figures: a regression shows however noisy the machine is.
//!
//! What is counted is user space only, and what the compiler made of it for this CPU: the figures say
//! which they are of, and others are given more room.

#![deny(unsafe_code)]

#[cfg(test)]
mod allocations;
mod figures;
mod operation;
#[path = "../../policy/rules.rs"]
mod rules;
mod turn;

use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table};

use figures::{Figures, Verdict};
use operation::Operation;

/// Counts what operations cost in instructions, under valgrind's callgrind.
#[derive(Parser)]
struct Arguments {
    /// Do this operation instead, so often; what callgrind runs.
    #[arg(long, value_enum, requires = "times")]
    only: Option<Operation>,
    #[arg(long)]
    times: Option<u32>,
    /// Write what was counted over the committed figures.
    #[arg(long)]
    update: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let (Some(operation), Some(times)) = (arguments.only, arguments.times) {
        operation.repeat(times);
        return ExitCode::SUCCESS;
    }
    match compare(arguments.update) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("tlsgate-instructions: {why}");
            ExitCode::from(2)
        }
    }
}

/// Whether every operation costs what it did.
fn compare(update: bool) -> Result<bool, String> {
    let mut figures = Figures::read()?;
    let slack = figures.slack();
    let mut table = Table::new();
    table.set_header(["operation", "instructions", "committed", "change", ""]);
    let mut as_ever = true;
    for operation in Operation::value_variants() {
        let name = operation.name();
        let counted = count(&name)?;
        let verdict = figures.judge(&name, counted, slack);
        as_ever &= verdict.is_as_ever();
        let (committed, change) = match verdict {
            Verdict::Unknown => ("–".to_owned(), "–".to_owned()),
            Verdict::AsEver { committed, change } | Verdict::Changed { committed, change } => {
                (committed.to_string(), format!("{:+.2} %", change * 100.0))
            }
        };
        let mark = if verdict.is_as_ever() { "" } else { "CHANGED" };
        let row = [name.clone(), counted.to_string(), committed, change, mark.to_owned()];
        table.add_row(row.map(|text| Cell::new(text).set_alignment(CellAlignment::Right)));
        figures.set(name, counted);
    }
    println!("{table}");
    if update {
        figures.write()?;
    } else if !as_ever {
        println!(
            "More than {:.0} % from {}. Cheaper or dearer with a reason: say it in the commit, and \
             run it again with --update.",
            slack * 100.0,
            figures::FILE,
        );
    }
    Ok(as_ever || update)
}

/// Instructions of one operation, whatever it takes to prepare it.
fn count(name: &str) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect=*{}", operation::COUNTED)).arg(program);
    command.args(["--only", name, "--times", &TIMES.to_string()]);
    let output = command.output().map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    match collected.and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(counted) if output.status.success() && counted > 0 => Ok(counted / u64::from(TIMES)),
        _ => Err(format!("{name} could not be counted:\n{said}")),
    }
}

/// Enough that what happens now and then, as a queue that grows, does not show.
const TIMES: u32 = 40;
