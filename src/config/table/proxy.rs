//! The PROXY protocol in front of a listener's connections.

use super::super::options::{Condition, Kind, OptionDoc, Presence};

pub(super) static OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        table: "listener",
        key: "proxy_in",
        kind: Kind::Word(&["off", "v1", "v2", "any"]),
        presence: Presence::Default("\"off\""),
        reload: true,
        doc: "Which version of the PROXY protocol every connection begins with, before anything \
              else. Its header says where a connection is from: rules, source_hash, limits of a \
              source and what components are told go by that; the log has both addresses. A header \
              without an address (LOCAL, UNKNOWN) leaves the peer's. Without a header, the \
              connection is refused as proxy_missing. Needs proxy_trusted.",
    },
    OptionDoc {
        table: "listener",
        key: "proxy_trusted",
        kind: Kind::List {
            item: &Kind::Or("unix", &Kind::Condition(Condition::Source)),
            min: 1,
            max: 1024,
            single: true,
        },
        presence: Presence::Optional { example: "[\"10.1.0.0/16\", \"fd00::/8\"]" },
        reload: true,
        doc: "Addresses of those who send that header, such as load balancers; \"unix\" is whoever \
              may open the unix socket that is listened on. Everybody else is refused as \
              proxy_untrusted, before anything is read: who could choose between saying and not \
              saying where it is from could come from anywhere. Peers that come directly need a \
              listener of their own.",
    },
];
