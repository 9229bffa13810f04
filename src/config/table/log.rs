//! Options of what is written down.

use super::super::model::Facility;
use super::super::options::{Kind, OptionDoc, Presence};

const LINES: Kind = Kind::Integer { min: 1, max: 10_000_000, unit: "lines" };

pub(super) static OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        table: "log",
        key: "level",
        kind: Kind::Word(&["error", "warn", "info", "debug"]),
        presence: Presence::Default("\"info\""),
        reload: true,
        doc: "The least important messages that are written.",
    },
    OptionDoc {
        table: "log",
        key: "format",
        kind: Kind::Word(&["text", "json"]),
        presence: Presence::Default("\"text\""),
        reload: false,
        doc: "How messages and connection lines are written: for people or for programs.",
    },
    OptionDoc {
        table: "log",
        key: "access",
        kind: Kind::AccessLog,
        presence: Presence::Default("\"stdout\""),
        reload: true,
        doc: "Where the line for each connection goes. A file is opened anew at USR1, after it was \
              renamed. \"journald\" takes an entry with a field for each key, as TLSGATE_SNI for \
              sni; \"syslog\" a message of RFC 5424 at /dev/log. Either may have the path of \
              another socket behind a colon, as \"syslog:/run/log.sock\". A receiver that is gone or \
              does not read costs lines, which are counted, and nothing else.",
    },
    OptionDoc {
        table: "log",
        key: "access_facility",
        kind: Kind::Word(&Facility::WORDS),
        presence: Presence::Default("\"daemon\""),
        reload: true,
        doc: "Facility of lines for journald and syslog.",
    },
    OptionDoc {
        table: "log",
        key: "access_name",
        kind: Kind::Name,
        presence: Presence::Default("\"tlsgate\""),
        reload: true,
        doc: "Whose lines they are for journald (SYSLOG_IDENTIFIER) and syslog (APP-NAME).",
    },
    OptionDoc {
        table: "log",
        key: "access_sample",
        kind: Kind::Integer { min: 1, max: 1_000_000, unit: "connections" },
        presence: Presence::Default("1"),
        reload: true,
        doc: "Of connections that ended in order (reason \"finished\"), one in so many has a line, \
              with the key weight: how many it stands for. All others have theirs.",
    },
    OptionDoc {
        table: "log",
        key: "access_rate",
        kind: Kind::Or("off", &LINES),
        presence: Presence::Default("\"off\""),
        reload: true,
        doc: "Lines in a second at most, over all workers. What is left out is counted, and a line \
              with the event \"lines_suppressed\" says how many when it is over, and each minute.",
    },
    OptionDoc {
        table: "log",
        key: "access_burst",
        kind: LINES,
        presence: Presence::Optional { example: "1000" },
        reload: true,
        doc: "Lines that may come at once, after quiet times. Without it, as many as access_rate.",
    },
];
