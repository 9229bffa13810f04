//! Lines of the access log.

use std::net::SocketAddr;

use serde_json::Value;

use super::gateway::Gateway;
use super::{SOON, wait_for};

/// One line: how one connection ended.
#[derive(Clone, Debug)]
pub(crate) struct Line(Value);

impl Line {
    /// `None` for lines of output that are not about a connection.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        matches!(value["event"].as_str()?, "connection" | "handshake_failed").then_some(Self(value))
    }

    pub(crate) fn value(&self, key: &str) -> &Value {
        &self.0[key]
    }

    /// A key that must hold text.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("no text at {key}: {}", self.0))
    }

    /// A key that must hold a number.
    pub(crate) fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_else(|| panic!("no number at {key}: {}", self.0))
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.0["resumed"].as_bool() == Some(true)
    }

    pub(crate) fn is_of(&self, peer: SocketAddr) -> bool {
        self.0["peer"].as_str() == Some(&peer.to_string())
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.0
            .as_object()
            .map(|object| object.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// # Panics
    /// When the connection ended otherwise.
    pub(crate) fn assert_ended(&self, reason: &str, cause: &str, stage: &str) {
        let ending = (self.text("reason"), self.text("cause"), self.text("stage"));
        assert_eq!(ending, (reason, cause, stage), "{}", self.0);
    }
}

impl Gateway {
    /// As many lines as there are by now, once there are `least` of them: they gather before they are
    /// written.
    pub(crate) fn at_least(&self, least: usize) -> Vec<Line> {
        wait_for(&format!("{least} lines in the access log"), SOON, || {
            Some(self.lines()).filter(|lines| lines.len() >= least)
        })
    }

    /// Lines of the access log about something else than a connection.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        let lines = self.process().stdout();
        let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        values.filter(|line| line["event"] == event).collect()
    }

    /// What the access log has behind the first `known` lines of the gateway's output, and how many
    /// lines there are now.
    pub(crate) fn lines_behind(&self, known: usize) -> (Vec<Line>, usize) {
        let output = self.process().stdout();
        let new = output.get(known..).unwrap_or_default();
        (new.iter().filter_map(|line| Line::parse(line)).collect(), output.len())
    }
}
