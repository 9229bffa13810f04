//! Files and functions stay small; those that were not are held to what they were.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::source::Tree;

/// Most lines of a file, and of a function from `fn` to its closing brace.
const FILE: usize = 500;
const FUNCTION: usize = 70;

/// A ratchet: `lines path` or `lines path::function`, the size that something over the limit has. It
/// may only shrink, and its line with it.
pub(crate) const EXCEPTIONS: &str = include_str!("sizes.list");
const LIST: &str = "tests/tidy/sizes.list";

const WHY: &str = "what fits a screen or two is read before it is changed";

pub(crate) fn sizes(tree: &Tree, exceptions: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut allowed: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let lines = exceptions.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    for (index, line) in lines {
        let parts = line.split_once(' ');
        let parts = parts.and_then(|(lines, name)| Some((lines.parse().ok()?, name)));
        let (lines, name) = parts.unwrap_or_else(|| panic!("{LIST}:{}: {line}", index + 1));
        allowed.insert(name, (lines, index + 1));
    }
    for (name, path, line, lines) in measured(tree) {
        let (kind, limit) = if name == path { ("file", FILE) } else { ("function", FUNCTION) };
        let (most, exception) = match allowed.remove(name.as_str()) {
            Some((most, line)) => (most, Some(line)),
            None => (limit, None),
        };
        if lines > most {
            findings.push(Finding {
                path,
                line,
                what: format!("a {kind} of {lines} lines: {name}; {most} is the most"),
                why: WHY,
                instead: "split it where it has two reasons to exist".to_owned(),
            });
        } else if let Some(at) = exception.filter(|_| lines < most) {
            let instead = match lines <= limit {
                true => "remove the line: it keeps to the limit now".to_owned(),
                false => format!("lower it to {lines}"),
            };
            findings.push(stale(at, format!("{name} has shrunk to {lines} lines"), instead));
        }
    }
    let gone = allowed.into_iter().map(|(name, (_, at))| {
        stale(at, format!("there is no {name}"), "remove the line".to_owned())
    });
    findings.extend(gone);
    findings
}

fn stale(line: usize, what: String, instead: String) -> Finding {
    let why = "an exception that is larger than its cause lets the next one grow";
    Finding { path: LIST.to_owned(), line, what, why, instead }
}

/// Name, path, first line and number of lines of every file and function.
fn measured(tree: &Tree) -> Vec<(String, String, usize, usize)> {
    let mut all = Vec::new();
    for file in tree.rust() {
        let path = &file.path;
        all.push((path.clone(), path.clone(), 1, file.text.lines().count()));
        // The largest of those with one name stands for all.
        let mut functions: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for function in file.functions() {
            let largest = functions.entry(function.name).or_default();
            *largest = (*largest).max((function.lines, function.line));
        }
        all.extend(
            functions.into_iter().map(|(name, (lines, line))| {
                (format!("{path}::{name}"), path.clone(), line, lines)
            }),
        );
    }
    all
}
