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
pub(super) const OBJECTIVE_MISSED: u8 = 3;

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
    /// What the report is the sum of, where it is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) flows: Vec<Part<'run>>,
}

/// A flow of several.
#[derive(Serialize)]
pub(super) struct Part<'run> {
    pub(super) name: &'run str,
    pub(super) report: &'run Report,
    /// The same against a server that does nothing else, if that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) floor: Option<&'run Report>,
    /// Why it was not, though it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) no_floor: Option<&'run str>,
    pub(super) objectives: Vec<Verdict>,
    pub(super) warnings: Vec<String>,
}

/// What is written as JSON.
#[derive(Serialize)]
struct Measured<'run, P> {
    #[serde(flatten)]
    found: &'run Found<'run, P>,
    objectives: &'run [Verdict],
    warnings: &'run [String],
}

impl<'run> Part<'run> {
    /// Judged by its own objectives.
    pub(super) fn judged(
        name: &'run str,
        wanted: &[Objective],
        report: &'run Report,
        floor: Option<&'run Result<Report, String>>,
    ) -> Self {
        let objectives = wanted.iter().map(|wanted| wanted.judge(report)).collect();
        let no_floor = floor.and_then(|floor| floor.as_ref().err()).map(String::as_str);
        let floor = floor.and_then(|floor| floor.as_ref().ok());
        Self { name, report, floor, no_floor, objectives, warnings: report.warnings(floor) }
    }
}

impl OutcomeArguments {
    /// Whether the report is wanted as JSON.
    pub(super) fn has_json(&self) -> bool {
        self.json.is_some()
    }

    /// Prints and writes what is wanted of it; the status says what it is worth.
    pub(super) fn settle<P: Serialize>(&self, found: &Found<'_, P>) -> Result<ExitCode, String> {
        let Found { report, floor, flows, .. } = found;
        let objectives = self.objective.iter().flat_map(|Objectives(list)| list);
        let objectives: Vec<Verdict> = objectives.map(|wanted| wanted.judge(report)).collect();
        // What is to be said of a sum, its parts say.
        let warnings = if flows.is_empty() { report.warnings(*floor) } else { Vec::new() };
        let measured = Measured { found, objectives: &objectives, warnings: &warnings };
        let to_stdout = self.json.as_deref() == Some(Path::new("-"));
        let mut out = io::stdout().lock();
        let written = if to_stdout {
            write_json(&mut out, &measured)
        } else {
            let text = match &flows[..] {
                [] => table::render(report),
                flows => table::flows(flows),
            };
            let text = text + &table::remarks(*floor, &objectives, &warnings);
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        written.map_err(|error| format!("cannot write to standard output: {error}"))?;
        if let Some(path) = self.json.as_deref().filter(|_| !to_stdout) {
            write_file(path, |file| write_json(file, &measured))?;
        }
        if let Some(path) = &self.hlog {
            let flows: Vec<_> = flows.iter().map(|part| (part.name, part.report)).collect();
            write_file(path, |file| hlog::write(report, &flows, file))?;
        }
        if let Some(path) = &self.html {
            let page = page(found)?;
            write_file(path, |file| file.write_all(page.as_bytes()).and_then(|()| file.flush()))?;
        }
        Ok(status(found, &objectives))
    }
}

fn page<P>(found: &Found<'_, P>) -> Result<String, String> {
    let whole = Run { name: "load", report: found.report };
    let floor = found.floor.map(|report| Run { name: "floor", report });
    let flows = found.flows.iter().map(|part| Run { name: part.name, report: part.report });
    let runs: Vec<Run<'_>> = match &found.flows[..] {
        [] => std::iter::once(whole).chain(floor).collect(),
        _ => flows.collect(),
    };
    page::render(&runs)
}

/// Errors count where no objective says what is wanted.
fn status<P>(found: &Found<'_, P>, objectives: &[Verdict]) -> ExitCode {
    let parts = found.flows.iter();
    let of_parts = parts.clone().flat_map(|part| &part.objectives);
    let failed = |part: &Part<'_>| part.objectives.is_empty() && part.report.error_count() > 0;
    let errors = match &found.flows[..] {
        [] => found.report.error_count() > 0,
        _ => parts.clone().any(failed),
    };
    if objectives.iter().chain(of_parts).any(|verdict| !verdict.met) {
        ExitCode::from(OBJECTIVE_MISSED)
    } else if objectives.is_empty() && errors {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
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
