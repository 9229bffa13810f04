//! Every table and option of the file: name, kind, default, meaning. Data only.
//!
//! Change it here, and reading, messages, the reference (`reference.rs`) and the JSON Schema for
//! editors (`schema.rs`) follow.

use std::time::Duration;

use super::options::{Kind, OptionDoc, Presence, Repeat, TableDoc};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A deadline: never zero, at most an hour.
const DEADLINE: Kind = Kind::Duration { min: MILLISECOND, max: HOUR, step: MILLISECOND };

/// Every table; the empty name is the file itself. The order is that of the reference.
pub static TABLES: &[TableDoc] = &[
    TableDoc { name: "", repeat: None, doc: "" },
    TableDoc { name: "gateway", repeat: None, doc: "What holds for the whole process." },
    TableDoc { name: "admin", repeat: None, doc: "Health, metrics and status over HTTP." },
    TableDoc { name: "log", repeat: None, doc: "Messages, and one line per connection." },
    TableDoc {
        name: "resumption",
        repeat: None,
        doc: "The session store and the ticket keys, shared by all workers and listeners.",
    },
    TableDoc {
        name: "listener",
        repeat: Some(Repeat { max: 4096, required: true }),
        doc: "An address where peers connect with TLS, and the component behind it. \
              Write the table once for each listener.",
    },
    TableDoc {
        name: "listener.tls",
        repeat: None,
        doc: "TLS towards the peers of the listener above it.",
    },
    TableDoc {
        name: "listener.tls.certificates",
        repeat: Some(Repeat { max: 1024, required: false }),
        doc: "Several certificates, instead of certificate and certificate_key in \
              [listener.tls]. SNI and the algorithms of the peer choose among them; the first \
              is for peers whose SNI is absent or unknown. It may also be written as an array: \
              certificates = [{ certificate = \"a.pem\", certificate_key = \"a.key\" }].",
    },
    TableDoc {
        name: "listener.timeouts",
        repeat: None,
        doc: "How long the phases of a connection may take.",
    },
    TableDoc {
        name: "listener.keepalive",
        repeat: None,
        doc: "TCP keepalive, on both sides: it finds peers that vanished (tcp(7)).",
    },
];

/// Every option. The order is that of the reference.
pub static OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        table: "gateway",
        key: "workers",
        kind: Kind::Or("auto", &Kind::Integer { min: 1, max: 1024, unit: "threads" }),
        presence: Presence::Default("\"auto\""),
        reload: false,
        doc: "Worker threads, each pinned to one CPU. \"auto\" is one for each CPU that the \
              affinity mask and the cgroup quota allow.",
    },
    OptionDoc {
        table: "gateway",
        key: "engine",
        kind: Kind::Word(&["auto", "io_uring", "epoll"]),
        presence: Presence::Default("\"auto\""),
        reload: false,
        doc: "How bytes are moved. \"auto\" takes io_uring where the kernel and the container \
              allow it, else epoll, and logs the reason.",
    },
    OptionDoc {
        table: "gateway",
        key: "max_connections",
        kind: Kind::Or("auto", &Kind::Integer { min: 1, max: 16_777_216, unit: "connections" }),
        presence: Presence::Default("\"auto\""),
        reload: false,
        doc: "Connections over all workers. \"auto\" derives it from the limit of open files.",
    },
    OptionDoc {
        table: "gateway",
        key: "drain_timeout",
        kind: Kind::Duration { min: Duration::ZERO, max: DAY, step: MILLISECOND },
        presence: Presence::Default("\"30s\""),
        reload: true,
        doc: "How long the gateway, told to stop, waits for connections to end by themselves.",
    },
    OptionDoc {
        table: "gateway",
        key: "certificate_watch",
        kind: Kind::Or("off", &Kind::Duration { min: SECOND, max: HOUR, step: MILLISECOND }),
        presence: Presence::Default("\"off\""),
        reload: true,
        doc: "How often the files of certificates, keys, CAs and ticket secrets are looked at. \
              When one has changed, all are read again, as by a reload, and the rest of the \
              configuration stays.",
    },
    OptionDoc {
        table: "gateway",
        key: "restart_timeout",
        kind: Kind::Duration { min: SECOND, max: HOUR, step: MILLISECOND },
        presence: Presence::Default("\"60s\""),
        reload: true,
        doc: "How long the new process of a restart (USR2) may take to be ready. After that it is \
              killed, and the running one goes on.",
    },
    OptionDoc {
        table: "gateway",
        key: "buffer_memory",
        // io_uring alone holds 6.1 MiB of provided buffers ready.
        kind: Kind::Size { min: 16 * MIB, max: 1024 * GIB },
        presence: Presence::Default("\"256MiB\""),
        reload: false,
        doc: "Receive and send buffers in use, for each worker. Above it, receiving pauses.",
    },
    OptionDoc {
        table: "gateway",
        key: "hello_memory",
        kind: Kind::Size { min: 128 * KIB, max: 64 * GIB },
        presence: Presence::Default("\"16MiB\""),
        reload: false,
        doc: "Unfinished ClientHellos, for each worker. Above it, new ones are refused.",
    },
    OptionDoc {
        table: "gateway",
        key: "hello_memory_per_source",
        kind: Kind::Size { min: 64 * KIB, max: 64 * GIB },
        presence: Presence::Default("\"1MiB\""),
        reload: false,
        doc: "Unfinished ClientHellos from one source address, for each worker. At most \
              hello_memory; where that is less than the default, it is the default.",
    },
    OptionDoc {
        table: "admin",
        key: "listen",
        kind: Kind::Or("off", &Kind::SocketAddress),
        presence: Presence::Default("\"127.0.0.1:9440\""),
        reload: false,
        doc: "Where the admin port listens. It asks for no password: keep it on a private \
              address.",
    },
    OptionDoc {
        table: "admin",
        key: "control",
        kind: Kind::Or("off", &Kind::Path),
        presence: Presence::Default("\"off\""),
        reload: false,
        doc: "Path of a unix socket for `tlsgate reload`. Only the user that the gateway runs as, \
              and root, may use it.",
    },
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
        doc: "Where the line for each connection goes. A reload opens the file anew.",
    },
    OptionDoc {
        table: "resumption",
        key: "max_entries",
        kind: Kind::Integer { min: 1, max: 100_000_000, unit: "sessions" },
        presence: Presence::Default("100000"),
        reload: false,
        doc: "Sessions in the store. Above it, the least recently used one goes.",
    },
    OptionDoc {
        table: "resumption",
        key: "max_bytes",
        kind: Kind::Size { min: MIB, max: 1024 * GIB },
        presence: Presence::Default("\"64MiB\""),
        reload: false,
        doc: "Memory of the store. Above it, the least recently used session goes.",
    },
    OptionDoc {
        table: "resumption",
        key: "lifetime",
        kind: Kind::Duration { min: SECOND, max: Duration::from_secs(7 * 86_400), step: SECOND },
        presence: Presence::Default("\"6h\""),
        reload: true,
        doc: "How long after it was made a session may be resumed; in TLS 1.3 a resumption makes \
              a new one. RFC 8446 section 4.6.1 allows 7 days. A change makes tickets that were \
              made before it useless: peers shake hands in full once. Nodes that share \
              ticket_secret need the same lifetime, and clocks that differ by less.",
    },
    OptionDoc {
        table: "resumption",
        key: "ticket_secret",
        kind: Kind::Path,
        presence: Presence::Optional { example: "\"ticket.secret\"" },
        reload: true,
        doc: "File of the secrets that ticket keys are derived from, 1 to 4 of them, one on each \
              line, as `tlsgate secret` prints them; mode 0600 or 0400. With the same file, \
              tickets are good on all nodes and after a restart. The first secret makes tickets, \
              all of them read tickets. Without a file, secrets are random and change with each \
              lifetime.",
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
              resolved when the file is loaded.",
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
        table: "listener.tls",
        key: "certificate",
        kind: Kind::Path,
        presence: Presence::RequiredUnless {
            other: "certificates",
            example: "\"certificates/sip.example.com.pem\"",
        },
        reload: true,
        doc: "PEM file of the certificate chain, the listener's own certificate first. For \
              several certificates write [[listener.tls.certificates]] instead.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "certificate_key",
        kind: Kind::Path,
        presence: Presence::RequiredUnless {
            other: "certificates",
            example: "\"certificates/sip.example.com.key\"",
        },
        reload: true,
        doc: "PEM file of the certificate's private key.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "key_group",
        kind: Kind::Text { max: 32 },
        presence: Presence::Optional { example: "\"tls-keys\"" },
        reload: true,
        doc: "Group that may read private key files besides their owner. Without it, a key file \
              that a group can read is refused.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "strict_sni",
        kind: Kind::Switch,
        presence: Presence::Default("false"),
        reload: true,
        doc: "Refuse an SNI that no certificate names, with the alert unrecognized_name (RFC \
              6066 section 3), instead of showing the first certificate.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "alpn",
        kind: Kind::List { item: &Kind::Text { max: 255 }, min: 0, max: 32, single: false },
        presence: Presence::Default("[]"),
        reload: true,
        doc: "Protocols for ALPN (RFC 7301), most preferred first. Empty is no ALPN.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "min_version",
        kind: Kind::TlsVersion,
        presence: Presence::Default("\"1.2\""),
        reload: true,
        doc: "Oldest version of TLS that is spoken. \"TLSv1.2\" and \"TLSv1.3\" are understood \
              too.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "max_version",
        kind: Kind::TlsVersion,
        presence: Presence::Default("\"1.3\""),
        reload: true,
        doc: "Newest version of TLS that is spoken.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "client_cert",
        kind: Kind::Word(&["none", "optional", "required"]),
        presence: Presence::Default("\"none\""),
        reload: true,
        doc: "Whether peers show a certificate. \"optional\" lets those without one in and still \
              refuses a bad one.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "trusted_ca",
        kind: Kind::Path,
        presence: Presence::Optional { example: "\"certificates/ca.pem\"" },
        reload: true,
        doc: "PEM file of the CAs that client certificates must chain to. Set it exactly where \
              client_cert is \"optional\" or \"required\".",
    },
    OptionDoc {
        table: "listener.tls",
        key: "resumption",
        kind: Kind::Word(&["tickets", "store", "off"]),
        presence: Presence::Default("\"tickets\""),
        reload: true,
        doc: "How a peer comes back without a full handshake: with a ticket that holds the \
              encrypted session, with the name of an entry in the session store, or not at all.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "tls13_tickets",
        kind: Kind::Integer { min: 0, max: 4, unit: "tickets" },
        presence: Presence::Default("1"),
        reload: true,
        doc: "Tickets sent after each TLS 1.3 handshake. A peer uses one for each connection \
              that it resumes. None are sent where resumption is \"off\".",
    },
    OptionDoc {
        table: "listener.tls.certificates",
        key: "certificate",
        kind: Kind::Path,
        presence: Presence::Required { example: "\"certificates/sip.example.com.ecdsa.pem\"" },
        reload: true,
        doc: "PEM file of the certificate chain, the listener's own certificate first.",
    },
    OptionDoc {
        table: "listener.tls.certificates",
        key: "certificate_key",
        kind: Kind::Path,
        presence: Presence::Required { example: "\"certificates/sip.example.com.ecdsa.key\"" },
        reload: true,
        doc: "PEM file of the certificate's private key.",
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
        doc: "From dialling an upstream to its answer.",
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
