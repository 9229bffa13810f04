//! Files such as lca.cfg and gda.cfg: `[section]` lines, `option = value` lines, comments.
//!
//! These components read no configuration database, so their security options stand in such a file.
//! Names are case-sensitive there: `[Security]` is another section.

use super::finding::{Finding, Place};

/// The section that security options stand in, below the level of ports.
pub const SECURITY: &str = "security";

/// Most lines that are read of a file; the rest is told.
pub const MAX_LINES: usize = 10_000;

/// One `option = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Empty above the first section.
    pub section: String,
    pub name: String,
    /// Without the spaces around it.
    pub value: String,
    /// Where the name stands.
    pub place: Place,
    /// Where the value stands.
    pub value_place: Place,
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub entries: Vec<Entry>,
    /// Every section with its line, in the order of the file.
    pub sections: Vec<(String, usize)>,
    pub findings: Vec<Finding>,
}

/// Reads a file; `file` stands in places.
pub fn parse(file: &str, text: &str) -> Document {
    let mut document = Document::default();
    let mut section = String::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let place = Place { file: file.to_owned(), line: index + 1, column: 1 + blanks(line) };
        if index == MAX_LINES {
            let message = format!("is not read: {MAX_LINES} lines are the most");
            document.findings.push(Finding::error(&place, "", message, "Split the file."));
            break;
        }
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            document.sections.push((section.clone(), index + 1));
            check_section(name, &place, &mut document.findings);
        } else if let Some(entry) = entry(&section, line, &place) {
            check_entry(&entry, &mut document);
            document.entries.push(entry);
        } else {
            let message = "is neither [section] nor option = value: ignored";
            document.findings.push(Finding::warning(&place, "", message, ""));
        }
    }
    document
}

fn entry(section: &str, line: &str, place: &Place) -> Option<Entry> {
    let (name, value) = line.split_once('=')?;
    let before = name.chars().count() + 1;
    let value_place = Place { column: before + blanks(value) + 1, ..place.clone() };
    let [name, value] = [name.trim(), value.trim()];
    let [section, name, value] = [section, name, value].map(str::to_owned);
    (!name.is_empty()).then_some(Entry { section, name, value, place: place.clone(), value_place })
}

fn check_section(name: &str, place: &Place, findings: &mut Vec<Finding>) {
    if name != SECURITY && name.trim().eq_ignore_ascii_case(SECURITY) {
        let message = format!(
            "[{name}] is not [{SECURITY}] to the vendor's reader, which tells case and spaces \
             apart: its options are ignored"
        );
        findings.push(Finding::warning(place, "", message, "Write [security]."));
    }
}

fn check_entry(entry: &Entry, document: &mut Document) {
    let same = |other: &&Entry| (&other.section, &other.name) == (&entry.section, &entry.name);
    if let Some(first) = document.entries.iter().find(same) {
        let message = format!(
            "is set on line {} already; which of the two counts is not documented",
            first.place.line
        );
        document.findings.push(Finding::error(&entry.place, &entry.name, message, "Keep one."));
    }
    if entry.section == SECURITY && entry.value.contains([' ', '\t']) && has_comment(&entry.value) {
        let message = "has a comment mark in its value; it is taken as part of the value";
        let hint = "Put comments on lines of their own.";
        document.findings.push(Finding::warning(&entry.value_place, &entry.name, message, hint));
    }
}

fn has_comment(value: &str) -> bool {
    value.split_whitespace().skip(1).any(|word| word.starts_with(['#', ';']))
}

/// Blank characters that a text begins with.
fn blanks(text: &str) -> usize {
    text.chars().take_while(|character| character.is_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_options_and_places() {
        let text = "port = 1\r\n[lca]\n\n# no = option\n[security]\n  tls-mutual =  1\n;x=2\n";
        let document = parse("lca.cfg", text);
        assert_eq!(document.findings, []);
        assert_eq!(document.sections, [("lca".to_owned(), 2), ("security".to_owned(), 5)]);
        let [port, mutual] = &document.entries[..] else { panic!("{:?}", document.entries) };
        assert_eq!((port.section.as_str(), port.value.as_str()), ("", "1"));
        assert_eq!((mutual.section.as_str(), mutual.name.as_str()), (SECURITY, "tls-mutual"));
        assert_eq!(mutual.place.to_string(), "lca.cfg:6:3");
        assert_eq!(mutual.value_place.to_string(), "lca.cfg:6:17");
    }

    #[test]
    fn what_is_no_option_is_told() {
        let document = parse("a", "[Security]\nword\n= 1\n[security]\na=1\na = 2\nb = 1 # c\n");
        let told: Vec<_> =
            document.findings.iter().map(|one| (one.place.line, one.severity)).collect();
        use super::super::Severity::{Error, Warning};
        assert_eq!(told, [(1, Warning), (2, Warning), (3, Warning), (6, Error), (7, Warning)]);
    }

    #[test]
    fn a_long_file_is_cut_and_told() {
        let document = parse("a", &"a = 1\n".repeat(3));
        assert_eq!(document.entries.len(), 3);
        let document = parse("a", &"#\n".repeat(MAX_LINES + 5));
        assert_eq!(document.findings.len(), 1);
        assert_eq!(parse("a", &"#\n".repeat(MAX_LINES)).findings, []);
    }
}
