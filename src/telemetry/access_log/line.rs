//! One access-log line: what is in it, and its two formats as a line.
//!
//! Both formats are plain ASCII whatever a peer sent: everything else, and every control
//! character, is written as a JSON escape. A text is cut after [`MAX_TEXT`] bytes and then ends in
//! `...`, so a line has a limit too.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::super::counters::is_handshake_stage;
use super::{AccessRecord, rfc3339};
use crate::config::model::LogFormat;
use crate::conn::outcome::{Outcome, Reason, Security, UpstreamTls};
use crate::conn::stale::StaleCause;
use crate::tls::alert::alert_name;
use crate::tls::lane::{Choice, Lane};

/// Longest text of one key, in bytes before escaping: twice what a host name can have.
pub(super) const MAX_TEXT: usize = 512;

/// Appends the line, with its line feed.
pub(super) fn write(line: &mut Vec<u8>, fields: &Fields<'_>, format: LogFormat) {
    write_bare(line, fields, format);
    line.push(b'\n');
}

/// Appends the line without its line feed.
pub(super) fn write_bare(line: &mut Vec<u8>, fields: &Fields<'_>, format: LogFormat) {
    match format {
        LogFormat::Json => write_json(line, fields),
        LogFormat::Text => fields.write_text(line, |_| true),
    }
}

/// Appends the value as it stands inside of a JSON string.
pub(super) fn write_value(line: &mut Vec<u8>, value: &Value<'_>) {
    let start = line.len();
    write_json(line, value);
    if matches!(value, Value::Text(_)) {
        line.pop();
        line.remove(start);
    }
}

pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Flag(bool),
}

/// Keys and values in the order of the line; what is not known is left out.
pub(super) struct Fields<'a> {
    all: Vec<(&'static str, Value<'a>)>,
    pub(super) unix_time_ms: u64,
    pub(super) event: &'static str,
    pub(super) severity: Severity,
}

/// How bad it is, in syslog's numbers (RFC 5424 §6.2.1).
#[derive(Clone, Copy)]
pub(super) enum Severity {
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
}

impl<'a> Fields<'a> {
    /// What there is to say of a connection.
    pub(super) fn of(record: &'a AccessRecord) -> Self {
        let outcome = &record.outcome;
        let is_failed = is_handshake_stage(outcome.stage);
        let event = if is_failed { "handshake_failed" } else { "connection" };
        let severity = match outcome.reason {
            Reason::Finished => Severity::Info,
            Reason::Internal => Severity::Error,
            _ => Severity::Notice,
        };
        let mut fields = Self::new(record.unix_time_ms, event, severity);
        fields.text("listener", &record.listener);
        fields.text("route", &record.route);
        fields.number("shard", u64::try_from(record.shard).unwrap_or(u64::MAX));
        fields.number("connection", record.connection);
        fields.number("generation", record.generation);
        if let Some((address, port)) = outcome.peer {
            fields.owned("peer", SocketAddr::new(address, port).to_string());
        }
        if let Some(source) = outcome.source {
            fields.owned("source", source.to_string());
        }
        fields.optional("unique_id", outcome.unique_id.as_deref());
        fields.optional("upstream", record.upstream.as_deref());
        fields.text("stage", outcome.stage.as_str());
        fields.text("reason", outcome.reason.as_str());
        fields.text("cause", outcome.cause.as_str());
        fields.optional("stale", outcome.stale.map(StaleCause::as_str));
        fields.optional("detail", outcome.detail.as_deref());
        fields.alert("alert_sent", "alert_sent_number", outcome.alert_sent);
        fields.alert("alert_received", "alert_received_number", outcome.alert_received);
        fields.optional("sni", outcome.sni.as_deref());
        if let Some(Choice { lane, why }) = &outcome.lane {
            fields.text("lane", lane.as_str());
            fields.text("lane_reason", why.as_str());
        }
        if let Some(tls) = &outcome.tls {
            fields.text("tls_version", tls.version);
            fields.text("cipher_suite", tls.cipher_suite);
            fields.optional("group", tls.group);
            fields.optional("alpn", tls.alpn.as_deref());
            fields.all.push(("resumed", Value::Flag(tls.resumed)));
        }
        if let Some(client) = &outcome.client {
            fields.text("client_certificate", client.shown.as_str());
            fields.optional("client_subject", client.subject.as_deref());
            fields.optional("client_serial", client.serial.as_deref());
        }
        fields.optional("downstream_security", outcome.downstream_security.map(Security::as_str));
        fields.upstream(outcome);
        if !is_failed {
            fields.number("bytes_received", outcome.bytes.received);
            fields.number("bytes_sent", outcome.bytes.sent);
        }
        let phases = &outcome.phases;
        fields.duration("hello_us", phases.hello);
        fields.duration("handshake_us", phases.handshake);
        fields.duration("connect_us", phases.connect);
        fields.duration("upstream_handshake_us", phases.upstream_handshake);
        fields.duration("first_byte_us", phases.first_byte);
        fields.duration("lifetime_us", Some(phases.lifetime));
        if record.weight > 1 {
            fields.number("weight", u64::from(record.weight));
        }
        fields
    }

    /// Lines were left out, since then, because there were too many.
    pub(super) fn suppressed(unix_time_ms: u64, lines: u64, since_unix_ms: u64) -> Self {
        let mut fields = Self::new(unix_time_ms, "lines_suppressed", Severity::Warning);
        fields.number("lines", lines);
        fields.owned("since", rfc3339::format(since_unix_ms));
        fields
    }

    fn new(unix_time_ms: u64, event: &'static str, severity: Severity) -> Self {
        let mut fields = Self { all: Vec::with_capacity(40), unix_time_ms, event, severity };
        fields.owned("time", rfc3339::format(unix_time_ms));
        fields.text("event", event);
        fields
    }

    /// Keys and values, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value<'a>)> {
        self.all.iter().map(|(key, value)| (*key, value))
    }

    /// What the upstream's side was like.
    fn upstream(&mut self, outcome: &'a Outcome) {
        self.optional("upstream_security", outcome.upstream_security.map(Security::as_str));
        if let Some(UpstreamTls { facts, lane, subject, serial }) = &outcome.upstream_tls {
            // The modern one goes without saying.
            let weak = (*lane != Lane::Modern).then(|| lane.as_str());
            self.optional("upstream_lane", weak);
            self.text("upstream_tls_version", facts.version);
            self.text("upstream_cipher_suite", facts.cipher_suite);
            self.optional("upstream_group", facts.group);
            self.optional("upstream_alpn", facts.alpn.as_deref());
            self.all.push(("upstream_resumed", Value::Flag(facts.resumed)));
            self.optional("upstream_subject", subject.as_deref());
            self.optional("upstream_serial", serial.as_deref());
        }
        let [sent, received] = [outcome.upstream_alert_sent, outcome.upstream_alert_received];
        self.alert("upstream_alert_sent", "upstream_alert_sent_number", sent);
        self.alert("upstream_alert_received", "upstream_alert_received_number", received);
    }

    fn text(&mut self, key: &'static str, text: &'a str) {
        self.all.push((key, Value::Text(shortened(text))));
    }

    fn owned(&mut self, key: &'static str, text: String) {
        self.all.push((key, Value::Text(Cow::Owned(text))));
    }

    fn optional(&mut self, key: &'static str, text: Option<&'a str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn number(&mut self, key: &'static str, number: u64) {
        self.all.push((key, Value::Number(number)));
    }

    fn alert(&mut self, key: &'static str, number_key: &'static str, alert: Option<u8>) {
        if let Some(number) = alert {
            self.text(key, alert_name(number));
            self.number(number_key, u64::from(number));
        }
    }

    fn duration(&mut self, key: &'static str, duration: Option<Duration>) {
        if let Some(duration) = duration {
            self.number(key, u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// `key=value` pairs of these keys; a value is quoted, as a JSON string, unless it is made of few
    /// harmless characters.
    pub(super) fn write_text(&self, line: &mut Vec<u8>, is_wanted: impl Fn(&str) -> bool) {
        let wanted = self.iter().filter(|(key, _)| is_wanted(key));
        for (position, (key, value)) in wanted.enumerate() {
            if position > 0 {
                line.push(b' ');
            }
            line.extend_from_slice(key.as_bytes());
            line.push(b'=');
            match value {
                Value::Text(text) if is_bare(text) => line.extend_from_slice(text.as_bytes()),
                other => write_json(line, other),
            }
        }
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.all.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
        }
    }
}

fn write_json(line: &mut Vec<u8>, value: &impl Serialize) {
    let mut serializer = serde_json::Serializer::with_formatter(line, AsciiFormatter);
    value.serialize(&mut serializer).expect("keys are strings and writing to a Vec cannot fail");
}

/// Compact JSON that escapes everything but printable ASCII.
struct AsciiFormatter;

impl serde_json::ser::Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = fragment;
        while let Some(position) = plain.find(|c: char| !matches!(c, ' '..='~')) {
            let (before, after) = plain.split_at(position);
            writer.write_all(before.as_bytes())?;
            let mut characters = after.chars();
            if let Some(escaped) = characters.next() {
                for unit in escaped.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            plain = characters.as_str();
        }
        writer.write_all(plain.as_bytes())
    }
}

fn is_bare(text: &str) -> bool {
    let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/[]@+".contains(&byte);
    !text.is_empty() && text.bytes().all(is_harmless)
}

fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT {
        return Cow::Borrowed(text);
    }
    let boundary = (0..=MAX_TEXT).rev().find(|position| text.is_char_boundary(*position));
    let end = boundary.unwrap_or(0);
    Cow::Owned(format!("{}...", &text[..end]))
}
