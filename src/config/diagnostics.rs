//! What is wrong with a configuration, said so that its author can put it right.
//!
//! Invariant: [`Diagnostics`] is sorted by line and column and holds at most
//! [`MAX_DIAGNOSTICS`]; what comes later in the file is counted instead.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

/// Most diagnostics kept for one file.
pub const MAX_DIAGNOSTICS: usize = 1000;

/// One mistake and the place where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Name of the file as the caller gave it.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// Dotted path such as `listener[sip].tls.min_version`; empty for broken TOML.
    pub key: String,
    /// What is wrong, in a few words.
    pub message: String,
    /// What the file says; empty where that says nothing more than the message.
    pub found: String,
    /// What it may say; empty where that depends on other keys.
    pub allowed: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        writeln!(formatter, "{}", self.message)?;
        let details =
            [("found:  ", &self.found), ("allowed:", &self.allowed), ("hint:   ", &self.hint)];
        for (label, text) in details {
            if !text.is_empty() {
                writeln!(formatter, "    {label} {text}")?;
            }
        }
        Ok(())
    }
}

/// Every mistake of one file, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    omitted: usize,
}

impl Diagnostics {
    /// Adds one, once, whatever the number of listeners that have it from a higher level; the last
    /// of the file gives way when there are too many.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let place = |other: &Diagnostic| (other.line, other.column);
        let index = self.list.partition_point(|other| place(other) <= place(&diagnostic));
        let same_place = self.list[..index].iter().rev();
        let mut same_place = same_place.take_while(|other| place(other) == place(&diagnostic));
        if same_place.any(|other| *other == diagnostic) {
            return;
        }
        self.list.insert(index, diagnostic);
        if self.list.len() > MAX_DIAGNOSTICS {
            self.list.pop();
            self.omitted += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The kept ones, sorted by line and column.
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.list
    }

    /// How many were found beyond [`MAX_DIAGNOSTICS`].
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// `{"errors": [{"file", "line", "column", "key", "message", "found", "allowed", "hint"}],
    /// "omitted": 0}`.
    pub fn to_json(&self) -> Value {
        json!({ "errors": self.list, "omitted": self.omitted })
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(only: Diagnostic) -> Self {
        Self { list: vec![only], omitted: 0 }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.list {
            write!(formatter, "{diagnostic}")?;
        }
        if self.omitted > 0 {
            writeln!(formatter, "and {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize) -> Diagnostic {
        Diagnostic {
            file: "a.toml".to_owned(),
            line,
            column: 3,
            key: "gateway.workers".to_owned(),
            message: "out of range".to_owned(),
            found: "0".to_owned(),
            allowed: String::new(),
            hint: "Use 1.".to_owned(),
        }
    }

    #[test]
    fn empty_details_are_left_out() {
        let text =
            "a.toml:7:3: gateway.workers: out of range\n    found:   0\n    hint:    Use 1.\n";
        assert_eq!(at(7).to_string(), text);
    }

    #[test]
    fn sorted_by_line_whatever_the_order_of_finding() {
        let mut diagnostics = Diagnostics::default();
        for line in [5, 1, 9, 3] {
            diagnostics.push(at(line));
        }
        let lines: Vec<usize> = diagnostics.as_slice().iter().map(|one| one.line).collect();
        assert_eq!(lines, [1, 3, 5, 9]);
    }

    #[test]
    fn beyond_the_limit_the_last_lines_are_counted() {
        let mut diagnostics = Diagnostics::default();
        for line in (1..=MAX_DIAGNOSTICS + 2).rev() {
            diagnostics.push(at(line));
        }
        assert_eq!(diagnostics.as_slice().len(), MAX_DIAGNOSTICS);
        assert_eq!(diagnostics.as_slice()[MAX_DIAGNOSTICS - 1].line, MAX_DIAGNOSTICS);
        assert_eq!(diagnostics.omitted(), 2);
        assert!(diagnostics.to_string().ends_with("and 2 more\n"));
        assert_eq!(diagnostics.to_json()["omitted"], 2);
    }

    #[test]
    fn json_has_every_field() {
        let mut diagnostics = Diagnostics::default();
        diagnostics.push(at(7));
        let expected = json!({
            "file": "a.toml", "line": 7, "column": 3, "key": "gateway.workers",
            "message": "out of range", "found": "0", "allowed": "", "hint": "Use 1.",
        });
        assert_eq!(diagnostics.to_json()["errors"], json!([expected]));
    }
}
