//! What a rule says: where, what, why, and what to do instead.

use std::fmt;

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) why: &'static str,
    pub(crate) instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what, why, instead } = self;
        writeln!(formatter, "{path}:{line}: {what}")?;
        writeln!(formatter, "    why:     {why}")?;
        write!(formatter, "    instead: {instead}")
    }
}

/// # Panics
/// With every finding, if there is one.
pub(crate) fn demand_none(mut findings: Vec<Finding>) {
    findings.sort();
    let texts: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(texts.is_empty(), "\n\n{}\n\n{} finding(s)\n", texts.join("\n\n"), texts.len());
}
