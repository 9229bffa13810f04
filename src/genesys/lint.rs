//! Where our result would differ from what the vendor's reader makes of the same levels.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::finding::{Finding, Place};
use super::levels::{self, Level, OUR_BUNDLE, Set};
use super::options::{self, Semantics, Side};
use super::sources::{self, Sources};
use super::transport;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub differences: Vec<Difference>,
}

/// One option that ends up with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `port`, or `listener[sip].tls`.
    pub subject: String,
    /// The option, or `identity` for one that is split.
    pub option: String,
    /// What the vendor's reader has, and from where.
    pub vendor: String,
    /// What we have, or why we refuse.
    pub ours: String,
}

/// Compares for vendor files and strings.
pub fn files(sources: &Sources, semantics: Option<Semantics>) -> Report {
    let mut read = sources::read(sources);
    let mut report = Report { findings: std::mem::take(&mut read.findings), ..Report::default() };
    for (lowest, side) in [(Level::Port, Side::Downstream), (Level::Connection, Side::Upstream)] {
        // Without strings the levels above are looked at for both.
        if !read.strings.is_empty() && !read.strings.contains(&lowest) {
            continue;
        }
        let sets = read.chain(lowest);
        report.compare(lowest.name(), &sets, side);
        for set in levels::vendor(&sets) {
            report.translate(lowest.name(), set, side, semantics);
        }
    }
    report
}

/// Compares for a configuration of ours, `text`, as if its levels were the vendor's.
pub fn config(file: &str, text: &str) -> Report {
    let mut report = Report::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        let place = place(file, text, error.span().map_or(0, |span| span.start));
        let message = format!("is not TOML: {}", error.message());
        report.findings.push(Finding::error(&place, "", message, "Run tlsgate check."));
        return report;
    }
    let source = Config { file, text, root: document.get_ref() };
    for listener in tables(source.root, "listener") {
        let name = word(listener, "name").unwrap_or_default();
        for (side, key) in [(Side::Downstream, "tls"), (Side::Upstream, "upstream_tls")] {
            let sets = source.chain(listener, side, key, &mut report.findings);
            report.compare(&format!("listener[{name}].{key}"), &sets, side);
        }
    }
    report
}

impl Report {
    fn compare(&mut self, subject: &str, sets: &[Set], side: Side) {
        let vendor = levels::vendor(sets);
        let is_identity = |set: &&&Set| OUR_BUNDLE.contains(&set.name.as_str());
        let add = |option: &str, vendor: Vec<&Set>, ours: String| Difference {
            subject: subject.to_owned(),
            option: option.to_owned(),
            vendor: shown(&vendor),
            ours,
        };
        match levels::ours(sets, side) {
            Err(split) => {
                let identity = vendor.iter().filter(is_identity).copied().collect();
                let ours = format!(
                    "refused: the identity is split: {}; and {}",
                    shown(&split.partial),
                    shown(&split.other)
                );
                self.differences.push(add("identity", identity, ours));
            }
            Ok(ours) => {
                let names = vendor.iter().chain(&ours).map(|set| set.name.as_str());
                let names: BTreeSet<&str> = names.collect();
                for name in names {
                    let [theirs, ours] = [&vendor, &ours]
                        .map(|all| all.iter().find(|set| set.name == name).copied());
                    if theirs != ours {
                        let ours = shown(&Vec::from_iter(ours));
                        self.differences.push(add(name, Vec::from_iter(theirs), ours));
                    }
                }
            }
        }
    }

    /// What becomes of a value that the vendor's reader has.
    fn translate(&mut self, subject: &str, set: &Set, side: Side, semantics: Option<Semantics>) {
        match options::map(&set.name, &set.value, side, semantics) {
            Ok(mapped) => {
                let notes = mapped.notes.into_iter();
                let notes = notes.map(|note| Finding::warning(&set.place, &set.name, note, ""));
                let new: Vec<_> = notes.filter(|note| !self.findings.contains(note)).collect();
                self.findings.extend(new);
            }
            Err(refusal) => self.differences.push(Difference {
                subject: subject.to_owned(),
                option: set.name.clone(),
                vendor: shown(&[set]),
                ours: format!("refused: {}. {}", refusal.message, refusal.hint),
            }),
        }
    }
}

/// `a.pem (host, lca.cfg:3:1)`
fn shown(sets: &[&Set]) -> String {
    let one =
        |set: &&Set| format!("{} = {} ({}, {})", set.name, set.value, set.level.name(), set.place);
    match sets {
        [] => "not set".to_owned(),
        sets => sets.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

// --- a configuration of ours ----------------------------------------------------------------------

struct Config<'a> {
    file: &'a str,
    text: &'a str,
    root: &'a DeTable<'a>,
}

impl Config<'_> {
    /// The options of one side of a listener with the levels above.
    fn chain(
        &self,
        listener: &DeTable<'_>,
        side: Side,
        key: &str,
        findings: &mut Vec<Finding>,
    ) -> Vec<Set> {
        let named = |table: &str, name: Option<&str>| {
            let name = name?;
            tables(self.root, table).find(|one| word(one, "name") == Some(name))
        };
        let application = named("application", word(listener, "application"));
        let host = application.or(Some(listener)).and_then(|above| word(above, "host"));
        let defaults = self.root.get("defaults").and_then(|value| value.get_ref().as_table());
        let lowest = if side == Side::Downstream { Level::Port } else { Level::Connection };
        let mut sets = Vec::new();
        for (level, table) in [
            (lowest, Some(listener)),
            (Level::Application, application),
            (Level::Host, named("host", host)),
            (Level::Defaults, defaults),
        ] {
            let inner = table.and_then(|table| table.get(key)?.get_ref().as_table());
            sets.extend(inner.into_iter().flat_map(|inner| self.sets(inner, level)));
        }
        let is_client = word(listener, "mode") == Some("originate");
        if is_client == (side == Side::Upstream) {
            self.add_transport(listener, lowest, &mut sets, findings);
        }
        sets
    }

    /// One table's options, in the vendor's words.
    fn sets(&self, table: &DeTable<'_>, level: Level) -> Vec<Set> {
        let mut sets: Vec<Set> = Vec::new();
        for (key, value) in table {
            let written = key.get_ref().as_ref();
            let Some(name) = vendors_name(written) else { continue };
            let raw = self.text.get(value.span()).unwrap_or_default();
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Array(_) | DeValue::Table(_) => {
                    raw.split_whitespace().collect::<Vec<_>>().join(" ")
                }
                _ => raw.to_owned(),
            };
            let text = match (written, text.as_str()) {
                ("verify", "pin" | "none") => "0".to_owned(),
                (written, _) if written == name => text,
                (written, text) => format!("{text:?}, as {written}"),
            };
            // Two keys of ours make one of the vendor's.
            if let Some(set) = sets.iter_mut().find(|set| set.name == name) {
                set.value = format!("{}; {text}", set.value);
                continue;
            }
            let place = place(self.file, self.text, key.span().start);
            sets.push(Set { level, name: name.to_owned(), value: text, place });
        }
        sets
    }

    /// `transport = "tls=1;…"` of a listener.
    fn add_transport(
        &self,
        listener: &DeTable<'_>,
        level: Level,
        sets: &mut Vec<Set>,
        findings: &mut Vec<Finding>,
    ) {
        let Some(value) = listener.get("transport") else { return };
        let DeValue::String(text) = value.get_ref() else { return };
        // Behind the quotation mark.
        let place = place(self.file, self.text, value.span().start + 1);
        let parsed = transport::parse(text);
        findings.extend(
            parsed
                .findings
                .into_iter()
                .map(|finding| Finding { place: place.inside(finding.place.column), ..finding }),
        );
        for one in parsed.parameters {
            let place = place.inside(one.column);
            sets.push(Set { level, name: one.name, value: one.value, place });
        }
    }
}

/// The vendor's option that a key is, or that says the same.
fn vendors_name(key: &str) -> Option<&'static str> {
    // Theirs is one.
    let key = if key == "certificates" { "certificate" } else { key };
    let says = |name: &str, side| options::keys(name, side).contains(&key);
    options::NAMES
        .iter()
        .copied()
        .find(|name| *name == key || says(name, Side::Downstream) || says(name, Side::Upstream))
}

/// The tables of an array.
fn tables<'a>(root: &'a DeTable<'a>, key: &str) -> impl Iterator<Item = &'a DeTable<'a>> {
    let array = root.get(key).and_then(|value| value.get_ref().as_array());
    array.into_iter().flatten().filter_map(|value| value.get_ref().as_table())
}

fn word<'a>(table: &'a DeTable<'_>, key: &str) -> Option<&'a str> {
    table.get(key).and_then(|value| value.get_ref().as_str())
}

fn place(file: &str, text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    Place {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[start..].chars().count() + 1,
    }
}
