//! Every table and option of the file: name, kind, default, meaning. Data only.
//!
//! Change it here, and reading, messages, the reference (`reference.rs`) and the JSON Schema for
//! editors (`schema.rs`) follow.

mod crl;
mod handshakes;
mod lanes;
mod listener;
mod log;
mod process;
mod proxy;
mod rule;
mod tls;
mod upstream_tls;
mod vendor;

use super::options::{Kind, OptionDoc, Repeat, TableDoc};

/// Every option. The order is that of the reference.
pub fn options() -> impl Iterator<Item = &'static OptionDoc> {
    let groups = [
        process::OPTIONS,
        log::OPTIONS,
        handshakes::OPTIONS,
        listener::OPTIONS,
        proxy::OPTIONS,
        rule::OPTIONS,
        tls::OPTIONS,
        upstream_tls::OPTIONS,
        lanes::OPTIONS,
        vendor::OPTIONS,
    ];
    groups.into_iter().flatten()
}

/// Every table; the empty name is the file itself. The order is that of the reference.
pub static TABLES: &[TableDoc] = &[
    once("", ""),
    once("gateway", "What holds for the whole process."),
    once("admin", "Health, metrics and status over HTTP."),
    once("log", "Messages, and one line per connection."),
    once(
        "resumption",
        "The session store and the ticket keys, shared by all workers and listeners.",
    ),
    once(
        "handshakes",
        "How many handshakes there may be. Connections that are up go first, then sessions that \
         are resumed, full handshakes, those with client certificates, and the legacy lane. What \
         cannot be done in time is reset, which looks like a port where nobody listens.",
    ),
    once(
        "defaults",
        "TLS for all listeners. It may be said at five levels: here, for a host, for an \
         application, for a listener and for a rule of it. For each option the lowest level that \
         sets it counts. Certificates, trusted_ca, versions and ciphers are one bundle: they come \
         together from the lowest level that sets any of them. The vendor's names of options may \
         stand beside ours: each option in one spelling at a level.",
    ),
    like("defaults.tls", "listener.tls", None),
    like("defaults.tls.certificates", "listener.tls.certificates", SEVERAL),
    like("defaults.upstream_tls", "listener.upstream_tls", None),
    often("host", MANY, false, "TLS for the applications and listeners of a host."),
    like("host.tls", "listener.tls", None),
    like("host.tls.certificates", "listener.tls.certificates", SEVERAL),
    like("host.upstream_tls", "listener.upstream_tls", None),
    often("application", MANY, false, "TLS for the listeners of an application."),
    like("application.tls", "listener.tls", None),
    like("application.tls.certificates", "listener.tls.certificates", SEVERAL),
    like("application.upstream_tls", "listener.upstream_tls", None),
    often(
        "listener",
        MANY,
        true,
        "An address where peers connect, and the component behind it. Write the table once for \
         each listener.",
    ),
    once(
        "listener.tls",
        "TLS towards the peers of the listener above it: in the modes terminate, bridge, \
         autodetect and pair_exit.",
    ),
    often(
        "listener.tls.certificates",
        CERTIFICATES,
        false,
        "Several certificates, instead of certificate and certificate_key in [listener.tls]. SNI \
         and the algorithms of the peer choose among them; the first is for peers whose SNI is \
         absent or unknown. It may also be written as an array: certificates = [{ certificate = \
         \"a.pem\", certificate_key = \"a.key\" }].",
    ),
    once(
        "listener.upstream_tls",
        "TLS towards the component: in the modes originate, bridge and pair_entry, and in \
         autodetect where this table is there.",
    ),
    often(
        "listener.rule",
        RULES,
        false,
        "What holds for some connections of the listener above it: those that the conditions are \
         about. Its tls and upstream_tls tables are the lowest level.",
    ),
    like("listener.rule.tls", "listener.tls", None),
    like("listener.rule.tls.certificates", "listener.tls.certificates", SEVERAL),
    like("listener.rule.upstream_tls", "listener.upstream_tls", None),
    once("listener.balance", "How connections are spread over several upstreams."),
    once("listener.checks", "Looking after upstreams without being asked: by connecting to them."),
    once("listener.timeouts", "How long the phases of a connection may take."),
    once(
        "listener.keepalive",
        "TCP keepalive, on both sides: it finds peers that vanished (tcp(7)).",
    ),
];

/// Whether it opens a lane weaker than the modern one, or is about such a lane.
pub(super) fn is_of_lanes(option: &OptionDoc) -> bool {
    lanes::KEYS.contains(&option.key)
}

/// Files, or one.
const PATHS: Kind = Kind::List { item: &Kind::Path, min: 1, max: 64, single: true };

/// The suites of rustls; those of TLS 1.2 are ECDHE with an AEAD.
const SUITES: Kind = Kind::List {
    item: &Kind::Word(&[
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ]),
    min: 0,
    max: 9,
    single: false,
};

/// Most listeners, hosts and applications.
const MANY: usize = 4096;
const CERTIFICATES: usize = 1024;
/// Most rules of a listener.
const RULES: usize = 100_000;
const SEVERAL: Option<Repeat> = Some(Repeat { max: CERTIFICATES, required: false });

const fn once(name: &'static str, doc: &'static str) -> TableDoc {
    TableDoc { name, like: None, repeat: None, doc }
}

const fn often(name: &'static str, max: usize, required: bool, doc: &'static str) -> TableDoc {
    TableDoc { name, like: None, repeat: Some(Repeat { max, required }), doc }
}

/// A table with the options of another one.
const fn like(name: &'static str, other: &'static str, repeat: Option<Repeat>) -> TableDoc {
    TableDoc { name, like: Some(other), repeat, doc: "" }
}
