//! Files and strings of the vendor's, read into one list of options with their levels.

use super::finding::{Finding, Place};
use super::ini::{self, Entry, SECURITY};
use super::levels::{Level, Set};
use super::options;
use super::sip::{self, Transport};
use super::transport;

/// The section of the vendor's keep-alive.
const ADDP: &str = "addp";

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What its `[security]` section is about.
    pub level: Level,
    /// Its name, for places.
    pub file: String,
    pub text: String,
}

/// Everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub files: Vec<Source>,
    /// Transport parameters of a port, from elsewhere than a file.
    pub port: Option<String>,
    /// Transport parameters of a connection, from elsewhere than a file.
    pub connection: Option<String>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Known options, of all levels.
    pub(super) sets: Vec<Set>,
    /// Levels that have a transport string, whatever is in it.
    pub(super) strings: Vec<Level>,
    pub(super) transports: Vec<(Transport, Place)>,
    /// Whether there is any `sip.transport.N`, a wrong one included.
    pub(super) has_transports: bool,
    /// `addp-timeout` and the like.
    pub(super) addp: Vec<Entry>,
    /// `lca.cfg: [lca] (line 1)`
    pub(super) left_out: Vec<String>,
    pub(super) findings: Vec<Finding>,
}

impl Read {
    /// The options of one chain: a port's or a connection's with the levels above it.
    pub(super) fn chain(&self, lowest: Level) -> Vec<Set> {
        let is_of = |set: &&Set| {
            set.level == lowest || !matches!(set.level, Level::Port | Level::Connection)
        };
        self.sets.iter().filter(is_of).cloned().collect()
    }

    /// One level's options.
    pub(super) fn of(&self, level: Level) -> impl Iterator<Item = &Set> {
        self.sets.iter().filter(move |set| set.level == level)
    }

    fn add(&mut self, set: Set) {
        let is_same = |other: &&Set| other.level == set.level && other.name == set.name;
        let Some(first) = self.sets.iter().find(is_same) else {
            self.sets.push(set);
            return;
        };
        // Within a file it is told by the reader of the file.
        if first.place.file != set.place.file {
            let message = format!("is set for the {} by {} already", set.level.name(), first.place);
            self.findings.push(Finding::error(&set.place, &set.name, message, "Keep one."));
        }
    }

    fn add_string(&mut self, level: Level, text: &str, place: &Place) {
        if self.strings.contains(&level) {
            let message = format!("is a second string for the {}", level.name());
            let hint = "Import one port or connection at a time.";
            self.findings.push(Finding::error(place, "transport", message, hint));
            return;
        }
        self.strings.push(level);
        let parsed = transport::parse(text);
        self.findings.extend(parsed.findings.into_iter().map(|finding| {
            let place = place.inside(finding.place.column);
            Finding { place, ..finding }
        }));
        for one in parsed.parameters {
            let place = place.inside(one.column);
            self.add(Set { level, name: one.name, value: one.value, place });
        }
    }

    fn add_file(&mut self, source: &Source) {
        let document = ini::parse(&source.file, &source.text);
        self.findings.extend(document.findings);
        let is_read = |name: &String| name == SECURITY || name == ADDP;
        let left_out = document.sections.iter().filter(|(name, _)| !is_read(name));
        self.left_out.extend(
            left_out.map(|(name, line)| format!("{}: [{name}] (line {line})", source.file)),
        );
        for entry in document.entries {
            self.add_entry(entry, source.level);
        }
    }

    fn add_entry(&mut self, entry: Entry, level: Level) {
        let string_level = if level == Level::Connection { Level::Connection } else { Level::Port };
        if sip::is_transport(&entry.name) {
            let (one, findings) = sip::parse(&entry.name, &entry.value, &entry.value_place);
            self.findings.extend(findings);
            self.has_transports = true;
            self.transports.extend(one.map(|one| (one, entry.place)));
        } else if entry.name == "transport" {
            self.add_string(string_level, &entry.value, &entry.value_place);
        } else if entry.section == ADDP {
            self.addp.push(entry);
        } else if entry.section != SECURITY {
            // Options of other sections are not about security; the sections are listed.
        } else if options::NAMES.contains(&entry.name.as_str()) {
            self.add(Set { level, name: entry.name, value: entry.value, place: entry.place });
        } else {
            let (message, hint) = match options::likely(&entry.name) {
                Some(likely) => (
                    format!("is not \"{likely}\" to the vendor's reader: ignored"),
                    "Write the name as it is documented: names are case-sensitive.",
                ),
                None => ("is not a security option that is documented: ignored".to_owned(), ""),
            };
            self.findings.push(Finding::warning(&entry.place, &entry.name, message, hint));
        }
    }
}

/// Reads everything.
pub(super) fn read(sources: &Sources) -> Read {
    let mut read = Read::default();
    for file in &sources.files {
        read.add_file(file);
    }
    let strings = [
        ("transport of the port", Level::Port, &sources.port),
        ("transport of the connection", Level::Connection, &sources.connection),
    ];
    for (name, level, text) in strings {
        let place = Place { file: name.to_owned(), line: 0, column: 1 };
        if let Some(text) = text {
            read.add_string(level, text, &place);
        }
    }
    read
}
