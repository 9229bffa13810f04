//! What is to be said about a piece of vendor configuration, and where it stands.

use std::fmt;

/// Where something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// As the caller named it; empty for a text that is no file.
    pub file: String,
    /// 1-based; 0 where there are no lines.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// What is written is what the vendor's reader sees; it may not be what was meant.
    Warning,
    /// It has no translation: nothing is written.
    Error,
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub place: Place,
    /// The option or section; may be empty.
    pub key: String,
    /// What is so, in a sentence without a full stop.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Finding {
    /// A warning about `key`.
    pub fn warning(place: &Place, key: &str, message: impl Into<String>, hint: &str) -> Self {
        Self::new(Severity::Warning, place, key, message.into(), hint)
    }

    /// An error about `key`.
    pub fn error(place: &Place, key: &str, message: impl Into<String>, hint: &str) -> Self {
        Self::new(Severity::Error, place, key, message.into(), hint)
    }

    fn new(severity: Severity, place: &Place, key: &str, message: String, hint: &str) -> Self {
        Self { severity, place: place.clone(), key: key.to_owned(), message, hint: hint.to_owned() }
    }
}

impl Place {
    /// A place in this one's text: `column` counts from its first character, which is 1.
    pub fn inside(&self, column: usize) -> Self {
        Self { column: self.column.max(1) + column - 1, ..self.clone() }
    }
}

impl fmt::Display for Place {
    /// As in diagnostics of our own configuration.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}:{}", self.file, self.column),
            line => write!(formatter, "{}:{line}:{}", self.file, self.column),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Warning {
            formatter.write_str("warning: ")?;
        }
        if self.place != Place::default() {
            write!(formatter, "{}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        writeln!(formatter, "{}", self.message)?;
        if !self.hint.is_empty() {
            writeln!(formatter, "    hint:    {}", self.hint)?;
        }
        Ok(())
    }
}
