//! What was run on which row, and with which programs: each check writes its part, and the table
//! puts them together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::case::{Case, Combination};
use crate::support::process::gateway_program;

/// What one check has run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Part {
    name: String,
    /// When the gateway's program was built: parts of several builds are not put together.
    build: u64,
    /// Items, by the number of the row that they were run on.
    rows: BTreeMap<usize, BTreeSet<String>>,
    /// Items, by the combination that they were run on.
    combinations: BTreeMap<String, BTreeSet<String>>,
    peers: BTreeSet<Peer>,
}

/// A program from a package that was at one end of a row's route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Peer {
    /// Number of the row.
    pub(super) row: usize,
    pub(super) is_server: bool,
    /// As the program itself says: `nginx 1.22.1`.
    pub(super) program: String,
}

impl Part {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), build: build(), ..Self::default() }
    }

    pub(super) fn ran_on_row(&mut self, case: &Case, items: &[&str]) {
        let ran = self.rows.entry(case.number).or_default();
        ran.extend(items.iter().map(|&item| item.to_owned()));
    }

    pub(super) fn ran_on_combination(&mut self, combination: &Combination, items: &[&str]) {
        let ran = self.combinations.entry(combination.to_string()).or_default();
        ran.extend(items.iter().map(|&item| item.to_owned()));
    }

    pub(super) fn met(&mut self, peer: Peer) {
        self.peers.insert(peer);
    }

    pub(super) fn write(&self) {
        let file = folder().join(format!("{}.json", self.name));
        let text = serde_json::to_string_pretty(self).expect("plain data");
        fs::write(file, text).expect("a writable directory");
    }
}

/// Everything that the checks have run with the program as it is.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) parts: BTreeSet<String>,
    pub(super) rows: BTreeMap<usize, BTreeSet<String>>,
    pub(super) combinations: BTreeMap<String, BTreeSet<String>>,
    pub(super) peers: BTreeSet<Peer>,
}

impl Report {
    pub(super) fn read() -> Self {
        let mut report = Self::default();
        let files = fs::read_dir(folder()).expect("made by us").map_while(Result::ok);
        let jsons = files.filter(|file| file.path().extension().is_some_and(|end| end == "json"));
        for file in jsons {
            let text = fs::read_to_string(file.path()).expect("written by a check");
            let part: Part = serde_json::from_str(&text).expect("written by a check");
            if part.build != build() {
                continue;
            }
            report.parts.insert(part.name);
            for (row, items) in part.rows {
                report.rows.entry(row).or_default().extend(items);
            }
            for (combination, items) in part.combinations {
                report.combinations.entry(combination).or_default().extend(items);
            }
            report.peers.extend(part.peers);
        }
        report
    }

    /// The items of a row, and those of its combination.
    pub(super) fn items(&self, case: &Case) -> [BTreeSet<String>; 2] {
        let of_row = self.rows.get(&case.number).cloned().unwrap_or_default();
        let combination = case.combination.to_string();
        [of_row, self.combinations.get(&combination).cloned().unwrap_or_default()]
    }

    /// Programs at one end of any route.
    pub(super) fn programs(&self, is_server: bool) -> BTreeSet<&str> {
        let peers = self.peers.iter().filter(|peer| peer.is_server == is_server);
        peers.map(|peer| peer.program.as_str()).collect()
    }

    /// As Markdown: the distinct combinations, and the rows.
    pub(super) fn table(&self) -> String {
        let cases = Case::all();
        let mut text = String::from("| combination | rows | run on it |\n|---|---:|---|\n");
        let distinct: BTreeSet<String> =
            cases.iter().map(|case| case.combination.to_string()).collect();
        for combination in &distinct {
            let rows = cases.iter().filter(|case| case.combination.to_string() == *combination);
            let items = self.combinations.get(combination).cloned().unwrap_or_default();
            let _written =
                writeln!(text, "| {combination} | {} | {} |", rows.count(), list(&items));
        }
        text.push_str(
            "\n| row | group | from | to | kind | combination | peers | run on the row \
             | through its combination | has to work | has to fail |\n\
             |---:|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for case in &cases {
            let [on_row, through] = self.items(case);
            let peers = self.peers.iter().filter(|peer| peer.row == case.number);
            let peers: BTreeSet<String> = peers.map(|peer| peer.program.clone()).collect();
            let peers = if peers.is_empty() { "synthetic".to_owned() } else { list(&peers) };
            let _written = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {peers} | {} | {} | {} | {} |",
                case.number,
                case.group,
                case.from,
                case.to,
                case.kind.replace('|', "\\|"),
                case.combination,
                list(&on_row),
                list(&through),
                case.must_succeed.join(", "),
                case.must_fail.join(", "),
            );
        }
        text
    }

    /// Writes the table as Markdown and what it was made of as JSON; returns where.
    pub(super) fn write(&self) -> PathBuf {
        let file = folder().join("table.md");
        fs::write(&file, self.table()).expect("a writable directory");
        file
    }
}

fn list(items: &BTreeSet<String>) -> String {
    items.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Seconds since 1970 in which the program was written.
fn build() -> u64 {
    let modified = fs::metadata(gateway_program()).and_then(|file| file.modified());
    let since = modified.unwrap_or_else(|_| SystemTime::now()).duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// Where the parts and the table are.
fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("battery");
    fs::create_dir_all(&folder).expect("a writable directory");
    folder
}
