//! Options of a listener, and of what may stand above and below it.

use std::time::Duration;

use super::super::options::{Kind, OptionDoc, Presence};

const MILLISECOND: Duration = Duration::from_millis(1);
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A deadline: never zero, at most an hour.
const DEADLINE: Kind = Kind::Duration { min: MILLISECOND, max: HOUR, step: MILLISECOND };

pub(super) static OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        table: "host",
        key: "name",
        kind: Kind::Name,
        presence: Presence::Required { example: "\"cfg-a.corp\"" },
        reload: true,
        doc: "What applications and listeners call the host. Each name is used once.",
    },
    OptionDoc {
        table: "application",
        key: "name",
        kind: Kind::Name,
        presence: Presence::Required { example: "\"confserv\"" },
        reload: true,
        doc: "What listeners call the application. Each name is used once.",
    },
    OptionDoc {
        table: "application",
        key: "host",
        kind: Kind::Name,
        presence: Presence::Optional { example: "\"cfg-a.corp\"" },
        reload: true,
        doc: "The host that it runs on: what [[host]] of that name says holds for it, too.",
    },
    OptionDoc {
        table: "listener",
        key: "name",
        kind: Kind::Name,
        presence: Presence::Required { example: "\"sip\"" },
        reload: true,
        doc: "Names the listener in logs and metrics. Each name is used once. Sessions that peers \
              may resume belong to the name.",
    },
    OptionDoc {
        table: "listener",
        key: "listen",
        kind: Kind::ListenAddress,
        presence: Presence::Required { example: "\"0.0.0.0:5061\"" },
        reload: true,
        doc: "Where peers connect: an IP address and port, the path of a socket, a listening \
              socket that was passed at start (\"fd:3\" is the first), or all those that systemd \
              passed under one name (\"systemd:sip\", FileDescriptorName= of the socket unit). Port \
              0 lets the kernel choose one. Each address is used once. When the file is loaded anew, an address that \
              stays is not closed.",
    },
    OptionDoc {
        table: "listener",
        key: "application",
        kind: Kind::Name,
        presence: Presence::Optional { example: "\"confserv\"" },
        reload: true,
        doc: "The application that it belongs to: what [[application]] of that name says holds for \
              it, and what its host says.",
    },
    OptionDoc {
        table: "listener",
        key: "host",
        kind: Kind::Name,
        presence: Presence::Optional { example: "\"cfg-a.corp\"" },
        reload: true,
        doc: "The host that it belongs to, where there is no application.",
    },
    OptionDoc {
        table: "listener",
        key: "mode",
        kind: Kind::Word(&[
            "terminate",
            "originate",
            "bridge",
            "passthrough",
            "autodetect",
            "pair_entry",
            "pair_exit",
        ]),
        presence: Presence::Default("\"terminate\""),
        reload: true,
        doc: "What is spoken on the two sides. \"terminate\": TLS with peers, plaintext with the \
              component. \"originate\": the other way round. \"bridge\": TLS with both. \
              \"passthrough\": TLS that is relayed unread. \"autodetect\": TLS or plaintext with \
              peers, until a day. \"pair_entry\" and \"pair_exit\": plaintext through mutual TLS 1.3 \
              between two gateways, for components that have no TLS of their own.",
    },
    OptionDoc {
        table: "listener",
        key: "autodetect_until",
        kind: Kind::Date,
        presence: Presence::Optional { example: "\"2027-12-31\"" },
        reload: true,
        doc: "Last day, in UTC, of mode = \"autodetect\", which needs it: after it the file is \
              refused, from 30 days before it warned about.",
    },
    OptionDoc {
        table: "listener",
        key: "first_speaker",
        kind: Kind::Word(&["client", "server"]),
        presence: Presence::Optional { example: "\"client\"" },
        reload: true,
        doc: "Who speaks first in the protocol. mode = \"autodetect\" needs \"client\": the first \
              byte of the peer tells TLS from plaintext, and nobody waits for a byte that does not \
              come.",
    },
    OptionDoc {
        table: "listener",
        key: "protocol",
        kind: Kind::Word(&[
            "genesys", "http", "imap", "jdbc", "ldap", "mrcp", "mysql", "opaque", "pop3",
            "postgres", "sip", "smtp", "tds7", "tds8",
        ]),
        presence: Presence::Default("\"opaque\""),
        reload: true,
        doc: "What is spoken inside. The gateway relays it unread; the word lets it refuse what \
              cannot work: TLS that ends here with \"tds7\", which has TLS inside its own packets, \
              autodetect with protocols in which the server speaks first.",
    },
    OptionDoc {
        table: "listener",
        key: "plaintext_reason",
        kind: Kind::Text { max: 200 },
        presence: Presence::Optional { example: "\"a VLAN of its own\"" },
        reload: true,
        doc: "Why plaintext may leave this machine. Without it, the side without TLS must be a \
              loopback address or a unix socket.",
    },
    OptionDoc {
        table: "listener",
        key: "backlog",
        kind: Kind::Integer { min: 1, max: 1_048_576, unit: "connections" },
        presence: Presence::Default("4096"),
        reload: false,
        doc: "Connections that wait to be accepted, for each worker. The kernel caps it at \
              net.core.somaxconn.",
    },
    OptionDoc {
        table: "listener",
        key: "upstream",
        kind: Kind::List { item: &Kind::Endpoint, min: 1, max: 64, single: true },
        presence: Presence::Required { example: "\"127.0.0.1:5060\"" },
        reload: true,
        doc: "The component that gets the plaintext. Several are tried in turn. A host name is \
              resolved when the file is loaded. \"10.0.0.1:5060 weight=3\" gets three times the share \
              of one without a weight; 100 is the most.",
    },
    OptionDoc {
        table: "listener",
        key: "backup",
        kind: Kind::List { item: &Kind::Endpoint, min: 1, max: 32, single: true },
        presence: Presence::Optional { example: "\"127.0.0.2:5060\"" },
        reload: true,
        doc: "Upstreams that get connections while all others are down.",
    },
    OptionDoc {
        table: "listener",
        key: "upstream_source",
        kind: Kind::List { item: &Kind::UpstreamSource, min: 1, max: 64, single: true },
        presence: Presence::Default("\"any\""),
        reload: true,
        doc: "Where connections to the upstreams come from. \"any\": the kernel chooses. Addresses \
              of this machine: each in turn, and the next when one has no port left towards an \
              upstream, of which an address has some 28,000 (net.ipv4.ip_local_port_range). \
              \"client\": the client's address, \"client_port\": its port, too. These two need \
              CAP_NET_ADMIN or CAP_NET_RAW, and routes that bring answers to clients back here \
              (IP_TRANSPARENT in ip(7)). Checks come from where the kernel says.",
    },
    OptionDoc {
        table: "listener",
        key: "resolve_interval",
        kind: Kind::Or("off", &Kind::Duration { min: SECOND, max: DAY, step: MILLISECOND }),
        presence: Presence::Default("\"30s\""),
        reload: true,
        doc: "How often the names of upstreams are looked up again. The C library does not say for \
              how long its answers are good.",
    },
    OptionDoc {
        table: "listener",
        key: "connect",
        kind: Kind::Word(&["after_hello", "after_handshake"]),
        presence: Presence::Default("\"after_hello\""),
        reload: true,
        doc: "When the upstream is dialled: while the handshake runs, or when it is done. Where \
              client_cert is \"required\" and this key is absent, it is \"after_handshake\", so \
              that nobody without a certificate reaches the component.",
    },
    OptionDoc {
        table: "listener.balance",
        key: "policy",
        kind: Kind::Word(&["round_robin", "least_connections", "power_of_two", "source_hash"]),
        presence: Presence::Default("\"round_robin\""),
        reload: true,
        doc: "Who is next: each in turn, the one with the fewest connections, the better of two \
              that are drawn, or the one that the source address belongs to.",
    },
    OptionDoc {
        table: "listener.balance",
        key: "eject_after",
        kind: Kind::Integer { min: 1, max: 100, unit: "failures" },
        presence: Presence::Default("1"),
        reload: true,
        doc: "Failures to connect in a row after which an address is passed over.",
    },
    OptionDoc {
        table: "listener.balance",
        key: "eject_time",
        kind: Kind::Duration { min: TENTH, max: HOUR, step: MILLISECOND },
        presence: Presence::Default("\"10s\""),
        reload: true,
        doc: "For how long, the first time; each time after that twice as long.",
    },
    OptionDoc {
        table: "listener.balance",
        key: "eject_max",
        kind: Kind::Duration { min: TENTH, max: DAY, step: MILLISECOND },
        presence: Presence::Default("\"60s\""),
        reload: true,
        doc: "For how long at most. At least eject_time; where that is more than the default, it \
              is eject_time.",
    },
    OptionDoc {
        table: "listener.checks",
        key: "probe",
        kind: Kind::Word(&["tcp", "tls"]),
        presence: Presence::Default("\"tcp\""),
        reload: true,
        doc: "What passes: that the upstream accepts, or that it shakes hands, too, with a \
              certificate that [listener.upstream_tls] takes of it.",
    },
    OptionDoc {
        table: "listener.checks",
        key: "interval",
        kind: Kind::Or("off", &Kind::Duration { min: TENTH, max: HOUR, step: MILLISECOND }),
        presence: Presence::Default("\"off\""),
        reload: true,
        doc: "Time from one check of an upstream to the next.",
    },
    OptionDoc {
        table: "listener.checks",
        key: "timeout",
        kind: Kind::Duration {
            min: Duration::from_millis(10),
            max: Duration::from_secs(60),
            step: MILLISECOND,
        },
        presence: Presence::Default("\"2s\""),
        reload: true,
        doc: "How long a check may take.",
    },
    OptionDoc {
        table: "listener.checks",
        key: "rise",
        kind: Kind::Integer { min: 1, max: 100, unit: "checks" },
        presence: Presence::Default("2"),
        reload: true,
        doc: "Checks in a row that must pass until an upstream is up again.",
    },
    OptionDoc {
        table: "listener.checks",
        key: "fall",
        kind: Kind::Integer { min: 1, max: 100, unit: "checks" },
        presence: Presence::Default("3"),
        reload: true,
        doc: "Checks in a row that must fail until an upstream is down.",
    },
    OptionDoc {
        table: "listener.timeouts",
        key: "handshake",
        kind: DEADLINE,
        presence: Presence::Default("\"10s\""),
        reload: true,
        doc: "From accepting a connection to the end of its handshake.",
    },
    OptionDoc {
        table: "listener.timeouts",
        key: "connect",
        kind: DEADLINE,
        presence: Presence::Default("\"3s\""),
        reload: true,
        doc: "From dialling an upstream to its answer and, with upstream_tls, to the end of its \
              handshake.",
    },
    OptionDoc {
        table: "listener.timeouts",
        key: "half_close",
        kind: Kind::Duration { min: MILLISECOND, max: DAY, step: MILLISECOND },
        presence: Presence::Default("\"60s\""),
        reload: true,
        doc: "Without a byte, once one direction has ended.",
    },
    OptionDoc {
        table: "listener.timeouts",
        key: "idle",
        kind: Kind::Or(
            "off",
            &Kind::Duration {
                min: SECOND,
                max: Duration::from_secs(30 * 86_400),
                step: MILLISECOND,
            },
        ),
        presence: Presence::Default("\"off\""),
        reload: true,
        doc: "How long a connection may live without a byte in either direction. Components \
              rest for long: keepalive finds those that are gone.",
    },
    OptionDoc {
        table: "listener.keepalive",
        key: "idle",
        kind: Kind::Or(
            "off",
            &Kind::Duration { min: SECOND, max: Duration::from_secs(32_767), step: SECOND },
        ),
        presence: Presence::Default("\"60s\""),
        reload: true,
        doc: "Silence before the first probe (TCP_KEEPIDLE). \"off\" turns keepalive off.",
    },
    OptionDoc {
        table: "listener.keepalive",
        key: "interval",
        kind: Kind::Duration { min: SECOND, max: Duration::from_secs(32_767), step: SECOND },
        presence: Presence::Default("\"10s\""),
        reload: true,
        doc: "Time between two probes (TCP_KEEPINTVL).",
    },
    OptionDoc {
        table: "listener.keepalive",
        key: "probes",
        kind: Kind::Integer { min: 1, max: 127, unit: "probes" },
        presence: Presence::Default("6"),
        reload: true,
        doc: "Unanswered probes after which the connection is dropped (TCP_KEEPCNT).",
    },
    OptionDoc {
        table: "listener.keepalive",
        key: "user_timeout",
        kind: Kind::Or("off", &Kind::Duration { min: MILLISECOND, max: DAY, step: MILLISECOND }),
        presence: Presence::Default("\"90s\""),
        reload: true,
        doc: "How long sent bytes and probes may stay unanswered (TCP_USER_TIMEOUT). A peer \
              that answers but reads nothing for that long is dropped, too. \"off\" leaves it \
              to the kernel.",
    },
];
