//! `tlsgate-bench merge`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use tlsgate_bench::client::Report;
use tlsgate_bench::objective::{self, Objective};

use super::outcome::{Found, OutcomeArguments, Part};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Reports that `load --json` wrote. Seconds of the same time are put together, so the clocks of
    /// the machines must agree; one that shares no second with the others is refused.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    outcome: OutcomeArguments,
}

/// What is read of such a file.
#[derive(Deserialize)]
pub(super) struct Measured {
    plan: Value,
    pub(super) report: Report,
    #[serde(default)]
    flows: Vec<Flow>,
}

/// One of several that a report is the sum of.
#[derive(Deserialize)]
struct Flow {
    name: String,
    report: Report,
    #[serde(default)]
    objectives: Vec<Judged>,
}

/// What was to be shown of one report.
#[derive(Deserialize)]
struct Judged {
    objective: String,
}

/// Flows of the same name: what they are to show, and what they did.
#[derive(Default)]
struct Sum {
    wanted: Vec<Objective>,
    report: Report,
}

/// What a report that has no flows is called beside some.
const PLAIN: &str = "load";

/// Merges, and does with the whole what `load` does with one.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode, String> {
    let (mut plans, mut whole, mut all) = (Vec::new(), Report::default(), Vec::new());
    let (mut seen, mut common) = (BTreeSet::new(), None);
    for path in &arguments.files {
        let Measured { plan, report, flows } = read(path)?;
        // Links are followed: the same file by another name is the same run.
        let file = path
            .canonicalize()
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if !seen.insert(file) {
            return Err(format!("{} is there twice: its run would count twice", path.display()));
        }
        common = shared(common, &report, path)?;
        whole.merge(&report);
        all.push((path, report, flows));
        plans.push(plan);
    }
    let has_flows = all.iter().any(|(_, _, flows)| !flows.is_empty());
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for (path, report, flows) in all.into_iter().filter(|_| has_flows) {
        if flows.is_empty() {
            sums.entry(PLAIN.to_owned()).or_default().report.merge(&report);
        }
        for flow in flows {
            let sum = sums.entry(flow.name.clone()).or_default();
            sum.add(flow).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    let flows = sums.iter().map(|(name, sum)| Part::judged(name, &sum.wanted, &sum.report, None));
    let flows = flows.collect();
    arguments.outcome.settle(&Found { plan: &plans, report: &whole, floor: None, flows })
}

impl Sum {
    /// Each objective counts once, and for the sum.
    fn add(&mut self, flow: Flow) -> Result<(), String> {
        self.report.merge(&flow.report);
        for Judged { objective } in &flow.objectives {
            for wanted in objective::parse(objective)? {
                if !self.wanted.contains(&wanted) {
                    self.wanted.push(wanted);
                }
            }
        }
        Ok(())
    }
}

/// The seconds that those before (`common`) and `report` have in common. Counts add up to a rate only
/// where all ran at the same time; a report without a timeline says nothing of its time.
fn shared(
    common: Option<[u64; 2]>,
    report: &Report,
    path: &Path,
) -> Result<Option<[u64; 2]>, String> {
    let (Some([first, last]), Some([begin, end])) = (common, report.span()) else {
        return Ok(common.or(report.span()));
    };
    let (first, last) = (first.max(begin), last.min(end));
    if first > last {
        return Err(format!(
            "{} did not run at the same time as those before it, by their clocks: there is no sum of \
             them. To put them beside each other: tlsgate-bench compare",
            path.display()
        ));
    }
    Ok(Some([first, last]))
}

pub(super) fn read(path: &Path) -> Result<Measured, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{} is not what load --json writes: {error}", path.display()))
}
