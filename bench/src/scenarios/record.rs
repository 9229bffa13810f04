//! What came of it as a page, and as a directory of files to be kept.

use std::path::{Path, PathBuf};

use tlsgate_bench::page::plan::Table;
use tlsgate_bench::page::servers::{self, Course, Page, Scenario};

use super::cases::{Case, Script};
use super::found::{Rounds, count};
use super::output::{cases, flows, overview, render, targets};
use super::{Results, Settings};
use crate::measure::output::Style;
use crate::measure::record::{Conduct, Record};
use crate::measure::rounds::Server as _;

const TITLE: &str = "Scenarios over tlsgate, HAProxy and nginx";

/// The page, for a browser.
pub(crate) fn page(results: &Results) -> String {
    let targets = targets(results);
    let names: Vec<String> = targets.iter().map(|kind| kind.name().to_owned()).collect();
    let (head, rows) = overview(results);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let (flow_head, _) = flows(results, None);
    // Each scenario has a table of its own, where its name is the heading.
    let flow_head: Vec<&str> = flow_head.iter().skip(1).map(String::as_str).collect();
    let scenario = |case: Case| {
        let (_, mut rows) = flows(results, Some(case));
        rows.iter_mut().for_each(|row| drop(row.remove(0)));
        Scenario {
            about: vec![
                case.script().about.to_owned(),
                format!("Settings: {}", settings(case, results)),
            ],
            table: Table { heading: case.name(), head: &flow_head, rows },
            flows: courses(case, results),
        }
    };
    let machine = &results.machine;
    let rounds = results.settings.rounds;
    let about = [
        format!("{}, {}, {} CPUs, {}.", machine.date, machine.cpu, machine.cpus, machine.kernel),
        format!(
            "Rounds: {rounds}. Curves by percentile are of all of them, curves over time of the first. \
             Latency counts from intended starts. Servers have one worker on a CPU of their own; client \
             and components share another, so flows beside a storm of handshakes also wait for the client."
        ),
    ];
    servers::render(&Page {
        title: TITLE,
        about: &about,
        overview: Table { heading: "All scenarios", head: &head, rows },
        servers: &names,
        scenarios: cases(results).into_iter().map(scenario).collect(),
    })
}

/// What is said otherwise than in the scenario's file.
fn settings(case: Case, results: &Results) -> String {
    let Settings { quick, set, .. } = &results.settings;
    let Script { settings, quick: short, .. } = case.script();
    let short = if *quick { short } else { &[] };
    let own = settings.iter().chain(short).map(|text| (*text).to_owned());
    own.chain(set.iter().cloned()).collect::<Vec<_>>().join(" ")
}

/// The flows of a scenario over all servers.
fn courses(case: Case, results: &Results) -> Vec<(String, Vec<Course>)> {
    let targets = targets(results);
    let rounds: Vec<Rounds<'_>> =
        targets.iter().map(|target| Rounds::of(&results.runs, case, *target)).collect();
    let most = rounds.iter().map(Rounds::flows).max().unwrap_or(0);
    let flow = |number: usize| {
        let mut name = String::new();
        let mut courses = Vec::new();
        for (server, rounds) in rounds.iter().enumerate() {
            let flows = rounds.flow(number);
            if let Some(first) = flows.0.first() {
                name.clone_from(&first.name);
                let one = (first.report.clone(), first.origin);
                courses.push(Course { server, report: flows.report(), one });
            }
        }
        (name, courses)
    };
    (0..most).map(flow).collect()
}

/// Writes the record below `parent` and returns its directory, named after day and machine.
///
/// # Errors
/// Which file could not be written, for the user to read.
pub(crate) fn write(results: &Results, parent: &Path) -> Result<PathBuf, String> {
    let Settings { rounds, server_cpu, load_cpu, .. } = results.settings;
    let json = serde_json::to_string(results).map_err(|error| error.to_string())?;
    let files = [("results.json".to_owned(), json + "\n"), ("page.html".to_owned(), page(results))];
    let record = Record {
        name: &format!("{}-scenarios-{}", results.machine.date, results.machine.slug()),
        title: TITLE,
        how_to_read: &format!("{HOW_TO_READ}\n{}", scenarios(results)),
        summary: &render(results, Style::Markdown),
        raw: &raw(results),
        more: &files,
    };
    let conduct = Conduct { rounds, sample: None, server_cpu, load_cpu };
    record.write(&results.machine, &conduct, parent)
}

/// What was done in each scenario.
fn scenarios(results: &Results) -> String {
    let mut text = String::from("## What was done\n\n");
    for case in cases(results) {
        let about = case.script().about;
        text += &format!("- **{}**: {about} `{}`\n", case.name(), settings(case, results));
    }
    text
}

/// Each flow of each run, as CSV.
fn raw(results: &Results) -> String {
    let mut text = String::from(
        "round,scenario,target,flow,connections,done,failed,tried_again,lost,resumed,p50_ns,p99_ns,\
         p999_ns,max_ns,objectives_met,objectives,server_cpu_ns,server_resident,foreign_share\n",
    );
    for ran in &results.runs {
        for found in &ran.flows {
            let took = [found.took.p50, found.took.p99, found.took.p999, found.took.longest];
            let [p50, p99, p999, max] = took.map(|time| time.as_nanos());
            text += &format!(
                "{},{},{},{},{},{},{},{},{},{},{p50},{p99},{p999},{max},{},{},{},{},{:.3}\n",
                ran.round,
                ran.case.name(),
                ran.target.name(),
                found.name,
                found.connections,
                found.done,
                count(&found.errors),
                count(&found.retried),
                found.lost,
                found.resumed,
                found.objectives.iter().filter(|verdict| verdict.met).count(),
                found.objectives.len(),
                ran.used.cpu.as_nanos(),
                ran.used.resident,
                ran.used.foreign_share,
            );
        }
    }
    text
}

const HOW_TO_READ: &str = "## How to read it

`summary.md` has the tables, `page.html` the same with curves, for a browser, `raw.csv` every flow of every
run, `results.json` all of it but the distributions.

- The scenarios are those of `bench/scenarios`, scaled to one CPU for the server: a tenth of the
  connections of B2 and B3, say. What is said otherwise than in the files stands below.
- One server runs at a time, with one worker pinned to its CPU; client and components share the other
  one. Rounds go through all scenarios, and servers take turns within each, the other way round every
  second time. Figures are medians of rounds, failures are those of all rounds together.
- **failed** are operations that came to nothing, by kind; **tried again** are attempts behind which there
  was another one; **lost** are connections that ended without the client's doing.
- **all back after** is from what happened until the last connection that was lost had been replaced,
  to a tenth of a second; *not all* where some were not back at the end.
- **Latency** (p50 and so on) is of whole operations from their intended starts, retries and waiting
  included: it is what users see. Those who come back count from when they wanted to.
- **CPU** is time of all processes of the server, old ones that drain included, from when all
  connections are up, as a share of the time of the run, which
  includes its end. **CPU µs each** is per operation of all flows together. **memory** is the most that was resident.
- **objectives held** are those of the scenarios' files that held in every round; *new certificate in 1 s*
  counts rotations after which handshakes of a second and more later saw the new certificate only, and
  none failed.
- **tlsgate** has its shipped defaults, with the engine that is named and an access log; HAProxy and nginx
  have the settings of `bench/peers`. Certificates, suites, groups, lifetimes of sessions, keys of tickets
  (where sessions are to outlive a process) and the time that old processes have to end are the same
  for all. HAProxy checks its component every second, and by each client that it cannot connect.
";
