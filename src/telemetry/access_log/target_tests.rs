//! What receivers at a socket get, and what is lost when they are not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::super::tests::{failed, parsed, record, send, text, to};
use super::super::{AccessLog, AccessRecord};
use super::*;
use crate::telemetry::shared::SharedCounters;

struct Receiver {
    directory: tempfile::TempDir,
    shared: Arc<SharedCounters>,
    log: AccessLog,
}

impl Receiver {
    /// A log that sends to a path at which nobody is yet.
    fn new(to_path: fn(std::path::PathBuf) -> Destination) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let shared = Arc::new(SharedCounters::default());
        let log = to(to_path(directory.path().join("socket")));
        let log = AccessLog::start(&log, LogFormat::Json, Arc::clone(&shared)).expect("opens");
        Self { directory, shared, log }
    }

    fn bind(&self) -> UnixDatagram {
        let path = self.directory.path().join("socket");
        // There is none at first.
        let _absent = std::fs::remove_file(&path);
        UnixDatagram::bind(path).expect("a new path")
    }

    /// Waits until so many lines are lost.
    fn lost(&self, is: impl Fn(&SharedCounters) -> u64, many: u64) {
        for _ in 0..10_000_000 {
            if is(&self.shared) >= many {
                return;
            }
            std::thread::yield_now();
        }
        panic!("{:?}", self.shared.read());
    }
}

fn received(socket: &UnixDatagram) -> Vec<u8> {
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("some time");
    let mut message = vec![0; 1 << 20];
    let length = socket.recv(&mut message).expect("a datagram");
    message.truncate(length);
    message
}

fn message_of(record: &AccessRecord, framing: &Framing) -> Vec<u8> {
    let mut message = Vec::new();
    framing.write(&mut message, &Fields::of(record));
    message
}

fn journald() -> Framing {
    let log = to(Destination::Off);
    Framing::Journald { facility: log.facility, name: log.name }
}

/// As journald reads: `KEY=value` and a line feed, or a key, a line feed, the value's length in eight
/// bytes, the value, and a line feed.
fn entry(mut message: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut entry = BTreeMap::new();
    while !message.is_empty() {
        let end = message.iter().position(|byte| *byte == b'\n').expect("fields end");
        let line = &message[..end];
        message = &message[end + 1..];
        let (key, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(sign) => (&line[..sign], line[sign + 1..].to_vec()),
            None => {
                let (length, rest) = message.split_first_chunk().expect("a length");
                let length = usize::try_from(u64::from_le_bytes(*length)).expect("a short value");
                message = &rest[length + 1..];
                (line, rest[..length].to_vec())
            }
        };
        let key = String::from_utf8(key.to_vec()).expect("keys are ASCII");
        let is_key = |byte: u8| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit();
        assert!(key.bytes().all(is_key) && !key.starts_with('_') && key.len() <= 64, "{key}");
        assert!(entry.insert(key.clone(), value).is_none(), "{key} is there twice");
    }
    entry
}

#[test]
fn journald_gets_a_field_for_each_key() {
    for record in [record(), failed("sip.example.com")] {
        let mut entry = entry(&message_of(&record, &journald()));
        let mut take = |key: &str| {
            let value = entry.remove(key).unwrap_or_else(|| panic!("no {key}"));
            String::from_utf8(value).expect("values are ASCII")
        };
        assert_eq!([take("SYSLOG_FACILITY"), take("SYSLOG_IDENTIFIER")], ["18", "gate"]);
        let is_failed = record.outcome.tls.is_none();
        assert_eq!(take("PRIORITY"), if is_failed { "5" } else { "6" });
        let start = if is_failed {
            "event=handshake_failed listener=sip route=partners peer=[::1]:50123 reason="
        } else {
            "event=connection listener=sip route=partners peer=[::1]:50123 upstream=127.0.0.1:5060 \
             reason=finished cause=upstream"
        };
        let message = take("MESSAGE");
        assert!(message.starts_with(start), "{message}");
        let Value::Object(expected) = parsed(&record) else { panic!("lines are objects") };
        let expected = expected.into_iter().map(|(key, value)| {
            let text = value.as_str().map(|text| text.escape_debug().to_string());
            let value = text.unwrap_or_else(|| value.to_string()).into_bytes();
            (format!("TLSGATE_{}", key.to_uppercase()), value)
        });
        assert_eq!(entry, expected.collect());
    }
}

#[test]
fn what_a_peer_sends_cannot_become_a_field() {
    for sni in ["\nPRIORITY=0\n", "a\nMESSAGE\n\u{1}\0\0\0\0\0\0\0x\n", "\u{1b}[31m\u{85}", "=", ""]
    {
        let plain = entry(&message_of(&failed("sip"), &journald()));
        let mut hostile = entry(&message_of(&failed(sni), &journald()));
        let value = hostile.insert("TLSGATE_SNI".to_owned(), b"sip".to_vec()).expect("it is there");
        assert!(value.iter().all(|byte| (b' '..=b'~').contains(byte)), "{value:?}");
        assert_eq!(hostile, plain);
    }
}

#[test]
fn syslog_gets_the_line_behind_a_header() {
    let receiver = Receiver::new(Destination::Syslog);
    let socket = receiver.bind();
    for (record, priority, event) in
        [(record(), 18 * 8 + 6, "connection"), (failed("a\nb"), 18 * 8 + 5, "handshake_failed")]
    {
        receiver.log.sender().send(record.clone());
        let message = String::from_utf8(received(&socket)).expect("ASCII");
        let mut parts = message.splitn(8, ' ');
        let mut part = || parts.next().expect("all parts of the header");
        assert_eq!(part(), format!("<{priority}>1"));
        assert_eq!(part(), "2009-02-13T23:31:30.123Z");
        assert_eq!(part(), host_name(rustix::system::uname().nodename().to_bytes()));
        let own = std::process::id().to_string();
        assert_eq!([part(), part(), part(), part()], ["gate", &own, event, "-"]);
        assert_eq!(part(), text(&record, LogFormat::Json).trim_end());
    }
}

#[test]
fn host_names_are_printable() {
    assert_eq!(host_name(b"gate-1.example"), "gate-1.example");
    for odd in [&b""[..], b"a b", b"\xff", "gr\u{fc}n".as_bytes(), &[b'a'; 256]] {
        assert_eq!(host_name(odd), "-");
    }
}

#[test]
fn a_receiver_that_is_gone_costs_its_lines_alone() {
    let receiver = Receiver::new(Destination::Journald);
    let failed = |shared: &SharedCounters| shared.access_log_dropped_failed.get();
    send(&receiver.log, 1);
    receiver.lost(failed, 1);
    for (number, lost) in [(2, 2), (4, 3)] {
        let socket = receiver.bind();
        send(&receiver.log, number);
        let entry = entry(&received(&socket));
        assert_eq!(entry["TLSGATE_CONNECTION"], number.to_string().as_bytes());
        drop(socket);
        send(&receiver.log, number + 1);
        receiver.lost(failed, lost);
    }
    assert_eq!(receiver.shared.read().access_log_dropped_queue, 0);
}

#[test]
fn a_receiver_that_does_not_read_is_waited_for_once() {
    let receiver = Receiver::new(Destination::Syslog);
    let socket = receiver.bind();
    let blocked = |shared: &SharedCounters| shared.access_log_dropped_blocked.get();
    let many: u64 = 3_000;
    (0..many).for_each(|number| send(&receiver.log, number));
    // What the kernel keeps for a receiver has a limit (net.unix.max_dgram_qlen).
    receiver.lost(blocked, 100);
    let number = |message: Vec<u8>| {
        let message = String::from_utf8(message).expect("ASCII");
        let (_, line) = message.split_once(" - ").expect("a header");
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["connection"].as_u64().expect("a number")
    };
    let mut kept = Vec::new();
    socket.set_nonblocking(true).expect("a flag");
    let mut memory = vec![0; 1 << 16];
    while blocked(&receiver.shared) + u64::try_from(kept.len()).expect("few") < many {
        match socket.recv(&mut memory) {
            Ok(length) => kept.push(number(memory[..length].to_vec())),
            Err(_nothing_there) => std::thread::yield_now(),
        }
    }
    assert!(kept.is_sorted_by(|one, next| one < next), "{kept:?}");
    // It reads again, and is waited for again.
    socket.set_nonblocking(false).expect("a flag");
    send(&receiver.log, 9_999);
    assert_eq!(number(received(&socket)), 9_999);
    assert_eq!(receiver.shared.read().access_log_dropped_queue, 0);
}
