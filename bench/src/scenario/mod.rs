//! Scenarios: TOML files that say which flows run at the same time, where to, and what is to come of it.

mod certificates;
mod flow;
mod manner;
mod section;
mod shipped;
mod talk;
mod target;
mod tree;
mod values;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub use flow::Wanted;
pub use shipped::{SHIPPED, Shipped, shipped};
pub use target::Certificates;

use crate::client::Flow;
use flow::Common;
use section::{Mistakes, Section};
use target::Target;
use tree::Place;

/// The only version of these files.
const FORMAT: u32 = 1;
/// Most flows of a scenario: as many as a page can show.
pub const MAX_FLOWS: usize = crate::page::MAX_RUNS;

const KEYS: [&str; 10] = [
    "format", "about", "duration", "timeout", "scale", "seed", "cpus", "sources", "target", "flow",
];

/// What a file says.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is for.
    pub about: String,
    /// What runs at the same time.
    pub flows: Vec<Wanted>,
}

/// What is wrong with a file: a line for each mistake, with file, line, key, what was found and what is
/// allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Vec<String>);

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problem {}

impl Scenario {
    /// Reads and checks a file, with `settings` such as `duration=5s` or `flow.agents.rate=10` in place
    /// of what it says.
    ///
    /// # Errors
    /// Every mistake.
    pub fn load(path: &Path, settings: &[String]) -> Result<Self, Problem> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|error| Problem(vec![format!("cannot read {name}: {error}")]))?;
        Self::parse(&name, &text, settings)
    }

    /// Reads and checks a text; relative paths start where the file `name` is.
    ///
    /// # Errors
    /// Every mistake.
    pub fn parse(name: &str, text: &str, settings: &[String]) -> Result<Self, Problem> {
        let mut mistakes = Mistakes::default();
        let mut root = tree::read(text, &mut mistakes);
        if mistakes.is_empty() {
            let wrong: Vec<String> =
                settings.iter().filter_map(|setting| tree::set(&mut root, setting).err()).collect();
            if !wrong.is_empty() {
                return Err(Problem(wrong));
            }
        }
        let scenario = Some(root).filter(|_| mistakes.is_empty()).map(|root| {
            let base = Path::new(name).parent().unwrap_or(Path::new(""));
            file(&root, base, &mut mistakes)
        });
        match scenario {
            Some(scenario) if mistakes.is_empty() => Ok(scenario),
            _ => Err(Problem(mistakes.lines(name))),
        }
    }

    /// The flows, with their clients' certificates, which are made now.
    ///
    /// # Errors
    /// What keeps certificates from being made.
    pub fn flows(&self) -> Result<Vec<Flow>, String> {
        let made = |wanted: &Wanted| {
            let mut flow = wanted.flow.clone();
            if let Some(certificates) = &wanted.certificates {
                flow.identities = certificates::make(&flow.name, certificates)?.into();
            }
            Ok(flow)
        };
        self.flows.iter().map(made).collect()
    }
}

fn file(root: &tree::Table, base: &Path, mistakes: &mut Mistakes) -> Scenario {
    let section = Section::new("", Place::Line(1), root, &KEYS, mistakes);
    let format = values::Rule::new(FORMAT.to_string(), values::count(FORMAT, FORMAT).read);
    section.need("format", &format, mistakes);
    let about = section.get("about", &values::any_text(), mistakes).unwrap_or_default();
    let cpus = section.get("cpus", &values::list(values::count(0, 1023)), mistakes);
    let cpus: Vec<usize> =
        cpus.unwrap_or_default().iter().filter_map(|cpu| usize::try_from(*cpu).ok()).collect();
    let targets: Vec<Target> = section
        .tables("target", mistakes)
        .into_iter()
        .map(|target| Target::read(target, base, mistakes))
        .collect();
    if !section.has("target") {
        mistakes.add(section.place, "target is missing; allowed: a table such as [target.gateway]");
    }
    let scale =
        values::number(0.000_001, 1_000.0, ", what connections and rates are multiplied by");
    let seconds = |seconds| Duration::from_secs(seconds);
    let duration = section.get("duration", &values::duration(), mistakes);
    let timeout = section.get("timeout", &values::duration(), mistakes);
    let common = Common {
        targets: &targets,
        base,
        scale: section.get("scale", &scale, mistakes).unwrap_or(1.0),
        duration: duration.unwrap_or(seconds(10)),
        timeout: timeout.unwrap_or(seconds(10)),
        seed: section.get("seed", &values::count(0, u32::MAX), mistakes).map_or(1, u64::from),
        cpus: &cpus,
        sources: &manner::sources(&section, mistakes).unwrap_or_default(),
    };
    let tables = section.tables("flow", mistakes);
    if tables.is_empty() || tables.len() > MAX_FLOWS {
        let what = format!("{} flows; allowed: 1 to {MAX_FLOWS} times [[flow]]", tables.len());
        mistakes.add(section.place, &what);
    }
    let mut names = BTreeSet::new();
    let mut flows = Vec::new();
    for (number, table) in tables.into_iter().enumerate() {
        let (name, place, _) = table;
        if !name.is_empty() && !names.insert(name) {
            let what = format!("flow.{name} is there twice; give each flow a name of its own");
            mistakes.add(place, &what);
        }
        flows.extend(flow::read(table, number, &common, mistakes));
    }
    Scenario { about, flows }
}
