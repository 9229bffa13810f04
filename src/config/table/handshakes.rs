//! Options of handshakes: how many there may be, and what gives way when there are too many.

use std::time::Duration;

use super::super::options::{Kind, OptionDoc, Presence};

const COUNT: Kind = Kind::Integer { min: 1, max: 1_000_000, unit: "handshakes" };

pub(super) static OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        table: "handshakes",
        key: "in_progress",
        kind: COUNT,
        presence: Presence::Default("4096"),
        reload: false,
        doc: "Handshakes in progress, for each worker, from the complete ClientHello on. Above it, \
              new connections are reset. Those that wait for a component are counted apart, up to \
              four times as many.",
    },
    OptionDoc {
        table: "handshakes",
        key: "queue_timeout",
        kind: Kind::Duration {
            min: Duration::from_millis(10),
            max: Duration::from_secs(60),
            step: Duration::from_millis(1),
        },
        presence: Presence::Default("\"2s\""),
        reload: false,
        doc: "How long a ClientHello may wait for its turn. Less than clients wait for, since who \
              has waited for so long is reset, before the private key is used. Who would have to \
              wait for more than half of it, as steps take at present, is reset at once.",
    },
    OptionDoc {
        table: "handshakes",
        key: "source_failures",
        kind: Kind::Or("off", &COUNT),
        presence: Presence::Default("1000"),
        reload: false,
        doc: "Handshakes in a row that come to nothing by their peers' doing, after which \
              connections from their source are reset for a second; after each further one for \
              twice as long, up to 64 s. One that is done ends the row, as do 5 minutes without \
              one. A source is an IPv4 address or an IPv6 network of 64 bits.",
    },
    OptionDoc {
        table: "handshakes",
        key: "legacy_in_progress",
        kind: COUNT,
        presence: Presence::Default("256"),
        reload: false,
        doc: "Those of in_progress that may be in the legacy lane, or wait for it.",
    },
    OptionDoc {
        table: "handshakes",
        key: "legacy_rate",
        kind: Kind::Or("off", &COUNT),
        presence: Presence::Default("200"),
        reload: false,
        doc: "Handshakes of the legacy lane that begin in a second at most, for each worker, so that \
              a flood of them does not cost more than that. Others wait for their turn; who would \
              wait for more than half of queue_timeout is reset at once.",
    },
];
