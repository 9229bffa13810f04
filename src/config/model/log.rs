//! What is written down, and where.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
    pub access: AccessLog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogLevel {
    /// As the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The line per connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    pub to: Destination,
    /// 1-based line that says so; 0 for the default.
    pub line: usize,
    /// For journald and syslog: as what, and as whose.
    pub facility: Facility,
    pub name: String,
    /// Of connections that ended well, one in so many has a line; 1 is all.
    pub sample: u32,
    /// `None` is as many lines as there are.
    pub limit: Option<LineLimit>,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
    /// Path of the socket, as for the next one.
    Journald(PathBuf),
    Syslog(PathBuf),
}

/// How many lines there may be, over all workers. None is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineLimit {
    pub per_second: u32,
    /// Of lines that come at once.
    pub burst: u32,
}

/// A facility of syslog, by its number (RFC 5424 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// Those that a program like this one may take.
    pub const WORDS: [&'static str; 12] = [
        "user", "daemon", "auth", "authpriv", "local0", "local1", "local2", "local3", "local4",
        "local5", "local6", "local7",
    ];
    const NUMBERS: [u8; 12] = [1, 3, 4, 10, 16, 17, 18, 19, 20, 21, 22, 23];

    pub fn named(word: &str) -> Option<Self> {
        let mut all = Self::WORDS.iter().zip(Self::NUMBERS);
        all.find_map(|(name, number)| (*name == word).then_some(Self(number)))
    }

    pub const fn number(self) -> u8 {
        self.0
    }
}
