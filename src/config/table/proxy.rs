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
    OptionDoc {
        table: "listener",
        key: "proxy_out",
        kind: Kind::Word(&["off", "v1", "v2"]),
        presence: Presence::Default("\"off\""),
        reload: true,
        doc: "Which version of the PROXY protocol a component is sent, before anything else and \
              before TLS with it. \"v1\" has the addresses of the client and of what it connected \
              to; \"v2\" also the name it asked for, ALPN, version and cipher of its TLS, whether \
              its certificate is good and the common name on it, and a unique id, which the log has, \
              too. A unique id that a trusted sender gave goes on, and so does all that it said of \
              TLS that does not end here. With \"v2\", a component is connected as soon as ever, and \
              hears from us once the peer's handshake is done. Health checks say that they are none \
              of a client's (LOCAL, UNKNOWN).",
    },
    OptionDoc {
        table: "listener",
        key: "proxy_out_client_cert",
        kind: Kind::Switch,
        presence: Presence::Default("false"),
        reload: true,
        doc: "Whether the header of version 2 has the client's certificate, too. One that makes it \
              longer than 16 KiB is left out and counted.",
    },
    OptionDoc {
        table: "listener",
        key: "proxy_out_checksum",
        kind: Kind::Switch,
        presence: Presence::Default("false"),
        reload: true,
        doc: "Whether the header of version 2 has a checksum (CRC32c).",
    },
    OptionDoc {
        table: "listener.rule",
        key: "proxy_out",
        kind: Kind::Word(&["off", "v1", "v2"]),
        presence: Presence::Optional { example: "\"v2\"" },
        reload: true,
        doc: "Which version of the PROXY protocol the rule's own upstreams are sent. Without it, that \
              of the listener.",
    },
];
