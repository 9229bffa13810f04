//! What a check finds, and what all of them together come to.

use std::fmt;

use serde::Serialize;

/// How bad it is. The order is that of getting worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works; it could work better, or be safer.
    Advice,
    /// It works worse than it should, or will not go on working.
    Warning,
    /// It does not work, or a key is not a secret any more.
    Failure,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Ok, Self::Advice, Self::Warning, Self::Failure];
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Failure => "failure",
        })
    }
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check; that of a setting of the kernel is the setting's.
    pub check: &'static str,
    pub level: Level,
    pub found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advised: Option<String>,
    /// What it costs to leave it, measured or cited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The command that changes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What `--fix` can write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

/// A line of a file that outlives a restart of the machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fix {
    /// In a file of sysctl.d(5).
    Sysctl { key: String, value: String },
    /// In a drop-in of the service, section `[Service]`.
    Unit { key: String, value: String },
}

/// What one check has to say: its findings, or why it could not look.
pub(super) type Verdict = Result<Vec<Finding>, String>;

impl Finding {
    pub(super) fn new(level: Level, found: impl Into<String>) -> Self {
        Self {
            check: "",
            level,
            found: found.into(),
            advised: None,
            why: None,
            command: None,
            fix: None,
        }
    }

    pub(super) fn ok(found: impl Into<String>) -> Self {
        Self::new(Level::Ok, found)
    }

    pub(super) fn advise(mut self, advised: impl Into<String>) -> Self {
        self.advised = Some(advised.into());
        self
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    pub(super) fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// A value for a setting of the kernel: with the command that sets it now, and for `--fix`.
    pub(super) fn sysctl(mut self, key: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        self.command = Some(format!("sysctl -w {key}='{value}'"));
        self.fix = Some(Fix::Sysctl { key: key.to_owned(), value });
        self
    }

    /// A setting of the service, for `--fix`; where there is no service, the shell's `command`.
    pub(super) fn unit(mut self, key: &str, value: impl Into<String>, command: &str) -> Self {
        self.command = Some(command.to_owned());
        self.fix = Some(Fix::Unit { key: key.to_owned(), value: value.into() });
        self
    }

    /// By itself.
    pub(super) fn alone(self) -> Verdict {
        Ok(vec![self])
    }
}

/// What all checks have found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Checks that could look.
    pub checks: usize,
    /// The worst first.
    pub findings: Vec<Finding>,
    pub unchecked: Vec<Unchecked>,
}

/// A check that could not look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unchecked {
    pub check: &'static str,
    pub why: String,
}

impl Report {
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}
