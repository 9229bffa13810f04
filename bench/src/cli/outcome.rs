//! What becomes of a report: table, JSON, histogram log, verdict on objectives, exit status.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use tlsgate_bench::client::Report;
use tlsgate_bench::hlog;
use tlsgate_bench::objective::{self, Objective, Verdict};
use tlsgate_bench::page::{self, Run};

use super::table;

/// Status when an objective is not met.
const OBJECTIVE_MISSED: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct OutcomeArguments {
    /// Write plan and report as JSON to this file, or to standard output (-) instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the histograms of every second to this file, as HdrHistogram's tools read them (.hlog).
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Write a page with tables, percentile curves and timelines to this file, for a browser.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// What the report must show, such as "p99(hs_full) < 50ms, errors == 0".
    #[arg(long, value_name = "LIST", value_parser = parse_objectives)]
    objective: Vec<Objectives>,
}

/// Those of one flag.
#[derive(Clone, Debug)]
struct Objectives(Vec<Objective>);

fn parse_objectives(text: &str) -> Result<Objectives, String> {
    objective::parse(text).map(Objectives)
}

/// What there is to settle.
#[derive(Serialize)]
pub(super) struct Found<'run, P> {
    pub(super) plan: &'run P,
    pub(super) report: &'run Report,
    /// The same against a server that does nothing else, if that was measured.
    pub(super) floor: Option<&'run Report>,
}

/// What is written as JSON.
#[derive(Serialize)]
struct Measured<'run, P> {
    #[serde(flatten)]
    found: &'run Found<'run, P>,
    objectives: &'run [Verdict],
    warnings: &'run [String],
}

impl OutcomeArguments {
    /// Prints and writes what is wanted of it; the status says what it is worth.
    pub(super) fn settle<P: Serialize>(&self, found: &Found<'_, P>) -> Result<ExitCode, String> {
        let Found { report, floor, .. } = *found;
        let objectives = self.objective.iter().flat_map(|Objectives(list)| list);
        let objectives: Vec<Verdict> = objectives.map(|wanted| wanted.judge(report)).collect();
        let warnings = report.warnings(floor);
        let measured = Measured { found, objectives: &objectives, warnings: &warnings };
        let to_stdout = self.json.as_deref() == Some(Path::new("-"));
        let mut out = io::stdout().lock();
        let written = if to_stdout {
            write_json(&mut out, &measured)
        } else {
            let text = table::render(report) + &table::remarks(floor, &objectives, &warnings);
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        written.map_err(|error| format!("cannot write to standard output: {error}"))?;
        if let Some(path) = self.json.as_deref().filter(|_| !to_stdout) {
            write_file(path, |file| write_json(file, &measured))?;
        }
        if let Some(path) = &self.hlog {
            write_file(path, |file| hlog::write(report, file))?;
        }
        if let Some(path) = &self.html {
            let floor = floor.map(|report| Run { name: "floor", report });
            let runs: Vec<Run<'_>> =
                std::iter::once(Run { name: "load", report }).chain(floor).collect();
            let page = page::render(&runs)?;
            write_file(path, |file| file.write_all(page.as_bytes()).and_then(|()| file.flush()))?;
        }
        Ok(if objectives.iter().any(|verdict| !verdict.met) {
            ExitCode::from(OBJECTIVE_MISSED)
        } else if objectives.is_empty() && report.error_count() > 0 {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

pub(super) fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), String> {
    File::create(path)
        .and_then(|file| write(&mut BufWriter::new(file)))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn write_json(out: &mut impl Write, measured: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string(measured)?;
    text.push('\n');
    out.write_all(text.as_bytes())?;
    out.flush()
}
