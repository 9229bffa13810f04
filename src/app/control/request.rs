//! What is said at the control socket: a line of JSON each way.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DismissalRow, Level};
use crate::app::{Explained, ReloadError, Reloaded};
use crate::audit::report::{ConnectionRow, List};
use crate::audit::{Query, Report};
use crate::config::model::LogLevel;
use crate::conn::Farewell;
use crate::shard::filter::Filter;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Read the configuration file again.
    Reload,
    /// Tell what was seen in live traffic.
    Audit { query: Box<Query> },
    /// Explain a connection that is open, by worker and number.
    Explain { connection: String },
    /// Tell how things stand.
    Show { what: What },
    /// Tell of open connections, so many at most.
    Connections { filter: Filter, limit: usize },
    /// Write what is so important to the process log, until the next configuration.
    SetLogLevel { level: LogLevel },
    /// Have open connections end: so many a second, or as many as can.
    Dismiss { filter: Filter, farewell: Farewell, rate: Option<NonZeroU32>, jitter: u8 },
    /// Tell how far that is, of one order or all.
    Dismissals { number: Option<u64> },
    /// Have nobody else end by the order of this number.
    CallOff { number: u64 },
    /// Begin to replace certificates, keys, CAs or CRLs.
    Begin,
    /// What a file that the configuration names is to be: so many bytes, which follow the line.
    Put { transaction: u64, path: PathBuf, length: usize },
    /// Let all that was put count, if it is good.
    Commit { transaction: u64 },
    /// Forget what was put.
    Abort { transaction: u64 },
    /// Change how an endpoint is chosen.
    Upstream { route: String, endpoint: String, change: UpstreamChange },
}

/// A part of how things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Process, configuration, connections per generation.
    Info,
    /// Where connections go, and how many are open there.
    Routes,
    Upstreams,
    /// Ours, and those of peers that expire first.
    Certificates,
    Crls,
    /// What can be resumed, and was or was not. Never a key.
    Sessions,
    Shards,
    /// What went wrong, by listener and reason.
    Errors,
}

/// How an endpoint is to be chosen from now on, as long as a configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamChange {
    Enable,
    /// No new connection goes there.
    Disable,
    /// In the place of the configured one; `None` is that again.
    Weight(Option<u8>),
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Response {
    Done {
        /// Of the configuration that runs now.
        generation: u64,
        warnings: Vec<String>,
    },
    Audited {
        report: Box<Report>,
    },
    Explained {
        explained: Box<Explained>,
    },
    Shown {
        shown: serde_json::Value,
    },
    Connections {
        connections: List<ConnectionRow>,
        /// Workers that did not answer in time.
        workers_missing: usize,
    },
    Dismissals {
        dismissals: Vec<DismissalRow>,
    },
    /// That is open, and files in it.
    Transaction {
        transaction: u64,
        files: usize,
    },
    /// It was done; in words.
    Changed {
        text: String,
    },
    /// Nothing has changed.
    Refused {
        error: String,
    },
}

impl Request {
    /// What somebody must be to ask it.
    pub fn needs(&self) -> Level {
        match self {
            Self::Audit { .. }
            | Self::Explain { .. }
            | Self::Show { .. }
            | Self::Connections { .. }
            | Self::Dismissals { .. } => Level::User,
            Self::Reload
            | Self::SetLogLevel { .. }
            | Self::Dismiss { .. }
            | Self::CallOff { .. }
            | Self::Upstream { .. } => Level::Operator,
            Self::Begin | Self::Put { .. } | Self::Commit { .. } | Self::Abort { .. } => {
                Level::Admin
            }
        }
    }

    /// Bytes that follow its line.
    pub(super) fn content_length(&self) -> usize {
        if let Self::Put { length, .. } = self { *length } else { 0 }
    }

    /// For the log.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Reload => "reload".to_owned(),
            Self::Audit { .. } => "audit".to_owned(),
            Self::Explain { .. } => "explain".to_owned(),
            Self::Show { .. } | Self::Connections { .. } | Self::Dismissals { .. } => {
                "show".to_owned()
            }
            Self::Dismiss { filter, farewell, rate, jitter } => {
                let verb = match farewell {
                    Farewell::InOrder => "drain",
                    Farewell::AtOnce => "close",
                };
                let rate =
                    rate.map_or_else(|| "all at once".to_owned(), |rate| format!("{rate}/s"));
                format!("{verb} {filter}; {rate}, jitter {jitter}%")
            }
            Self::CallOff { number } => format!("call off {number}"),
            Self::Begin => "certificates begin".to_owned(),
            Self::Put { transaction, path, length } => {
                format!("certificates add {}, {length} bytes, to {transaction}", path.display())
            }
            Self::Commit { transaction } => format!("certificates commit {transaction}"),
            Self::Abort { transaction } => format!("certificates abort {transaction}"),
            Self::SetLogLevel { level } => format!("set log-level {}", level.as_str()),
            Self::Upstream { route, endpoint, change } => match change {
                UpstreamChange::Enable => format!("upstream enable {route} {endpoint}"),
                UpstreamChange::Disable => format!("upstream disable {route} {endpoint}"),
                UpstreamChange::Weight(None) => {
                    format!("upstream weight {route} {endpoint} as configured")
                }
                UpstreamChange::Weight(Some(weight)) => {
                    format!("upstream weight {route} {endpoint} {weight}")
                }
            },
        }
    }
}

impl Response {
    pub(super) fn refused(error: impl Into<String>) -> Self {
        Self::Refused { error: error.into() }
    }

    /// Of how a reload went.
    pub fn of_reload(result: Result<Reloaded, ReloadError>) -> Self {
        match result {
            Ok(Reloaded { generation, warnings }) => Self::Done { generation, warnings },
            Err(error) => Self::refused(error.to_string()),
        }
    }

    pub(super) fn of_transaction(result: Result<(u64, usize), String>) -> Self {
        match result {
            Ok((transaction, files)) => Self::Transaction { transaction, files },
            Err(error) => Self::refused(error),
        }
    }

    pub(super) fn of_dismissal(result: Result<DismissalRow, String>) -> Self {
        match result {
            Ok(row) => Self::Dismissals { dismissals: vec![row] },
            Err(error) => Self::refused(error),
        }
    }

    pub(super) fn going_down() -> Self {
        Self::refused("the gateway is going down")
    }
}
