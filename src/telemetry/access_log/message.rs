//! What journald and syslog are sent: one datagram for each entry.
//!
//! As lines are, it is plain ASCII whatever a peer sent, and as long as their limits let it be.

use std::io::Write;

use super::line::{Fields, write_bare, write_value};
use super::rfc3339;
use crate::config::model::{Facility, LogFormat};

/// How an entry is written.
pub(super) enum Framing {
    /// journald's own protocol: a field a line (systemd's JOURNAL_NATIVE_PROTOCOL).
    Journald { facility: Facility, name: String },
    /// RFC 5424, with the line as the message.
    Syslog { facility: Facility, name: String, host: String, format: LogFormat },
}

impl Framing {
    /// Appends the datagram's bytes.
    pub(super) fn write(&self, message: &mut Vec<u8>, fields: &Fields<'_>) {
        let result = match self {
            Self::Journald { facility, name } => journald(message, fields, *facility, name),
            Self::Syslog { facility, name, host, format } => {
                let head = Head { facility: *facility, name, host };
                head.write(message, fields).map(|()| write_bare(message, fields, *format))
            }
        };
        result.expect("writing to a Vec cannot fail");
    }
}

/// What is read first in a journal; the fields have it all.
const SUMMARY: [&str; 10] = [
    "event", "listener", "route", "peer", "upstream", "reason", "cause", "detail", "lines", "since",
];

fn journald(
    message: &mut Vec<u8>,
    fields: &Fields<'_>,
    facility: Facility,
    name: &str,
) -> std::io::Result<()> {
    message.extend_from_slice(b"MESSAGE=");
    fields.write_text(message, |key| SUMMARY.contains(&key));
    let (priority, facility) = (fields.severity as u8, facility.number());
    write!(
        message,
        "\nPRIORITY={priority}\nSYSLOG_FACILITY={facility}\nSYSLOG_IDENTIFIER={name}\n"
    )?;
    for (key, value) in fields.iter() {
        message.extend_from_slice(b"TLSGATE_");
        message.extend(key.bytes().map(|byte| byte.to_ascii_uppercase()));
        message.push(b'=');
        write_value(message, value);
        message.push(b'\n');
    }
    Ok(())
}

/// Everything in front of the message (RFC 5424 §6.2).
struct Head<'a> {
    facility: Facility,
    name: &'a str,
    host: &'a str,
}

impl Head<'_> {
    fn write(&self, message: &mut Vec<u8>, fields: &Fields<'_>) -> std::io::Result<()> {
        let Self { facility, name, host } = self;
        let priority = u16::from(facility.number()) * 8 + fields.severity as u16;
        let (time, event) = (rfc3339::format(fields.unix_time_ms), fields.event);
        let process = std::process::id();
        write!(message, "<{priority}>1 {time} {host} {name} {process} {event} - ")
    }
}

/// The name of this machine as RFC 5424 has it: printable ASCII, or "-".
pub(super) fn host_name(name: &[u8]) -> String {
    let is_printable = |byte: &u8| (b'!'..=b'~').contains(byte);
    match std::str::from_utf8(name) {
        Ok(text) if !name.is_empty() && name.len() <= 255 && name.iter().all(is_printable) => {
            text.to_owned()
        }
        _ => "-".to_owned(),
    }
}
