//! Lanes weaker than the modern one: of a listener and its rules, of no higher level.

use super::super::model::{WEAK_SUITES, WeakSuite};
use super::super::options::{Condition, Kind, OptionDoc, Presence};

const DOWNSTREAM: &str = "listener.tls";
const UPSTREAM: &str = "listener.upstream_tls";

/// Keys that no level above a listener has.
pub(super) const KEYS: [&str; 9] = [
    "lane",
    "legacy_until",
    "allow_from",
    "legacy_certificate",
    "legacy_certificate_key",
    "legacy_ciphers",
    "compat12_ciphers",
    "compat12_certificate",
    "compat12_certificate_key",
];

const NAMES: [&str; WEAK_SUITES.len()] = {
    let suites: &[WeakSuite] = &WEAK_SUITES;
    let mut names = [""; WEAK_SUITES.len()];
    let mut at = 0;
    while at < suites.len() {
        names[at] = suites[at].name;
        at += 1;
    }
    names
};
const SUITES: Kind =
    Kind::List { item: &Kind::Word(&NAMES), min: 1, max: WEAK_SUITES.len(), single: true };

pub(super) static OPTIONS: &[OptionDoc] = &[
    lane(
        DOWNSTREAM,
        "The weakest lane that peers may take; each takes the best that its ClientHello allows. \
         \"modern\": TLS 1.2 with AEAD, and 1.3. \"compat12\": TLS 1.2 with older suites, or with a \
         name in SNI that the modern lane does not take. \"legacy\": TLS 1.0 and 1.1, peers without \
         signature algorithms, in a process of its own; it needs legacy_until, allow_from and a \
         certificate of its own.",
    ),
    until(DOWNSTREAM),
    allow_from(
        DOWNSTREAM,
        "Addresses and ranges whose connections may take the legacy lane: those of peers, or what a \
         trusted sender of the PROXY protocol says. lane = \"legacy\" needs it.",
    ),
    path(
        "legacy_certificate",
        "\"certificates/sip.legacy.pem\"",
        "PEM file of the chain that the legacy lane shows. Its key is that lane's alone: a key that \
         another lane has, anywhere in the file, is refused.",
    ),
    path(
        "legacy_certificate_key",
        "\"certificates/sip.legacy.key\"",
        "PEM file of the private key of legacy_certificate.",
    ),
    legacy_ciphers(DOWNSTREAM),
    compat12_ciphers(DOWNSTREAM),
    path(
        "compat12_certificate",
        "\"certificates/sip.compat12.pem\"",
        "PEM file of the chain that the compat12 lane shows, instead of the modern lane's. Needed \
         where compat12_ciphers has a suite of static RSA (TLS_RSA_WITH_...): such a key answers \
         whoever tries to decrypt with it.",
    ),
    path(
        "compat12_certificate_key",
        "\"certificates/sip.compat12.key\"",
        "PEM file of the private key of compat12_certificate.",
    ),
    lane(
        UPSTREAM,
        "The weakest lane that the component may be spoken to in. One ClientHello offers all that \
         it allows, the best first. \"legacy\" needs legacy_until and allow_from, and where \
         certificate is there, its key is that lane's alone.",
    ),
    until(UPSTREAM),
    allow_from(
        UPSTREAM,
        "Addresses and ranges of clients for whom the component may be spoken to in the legacy lane; \
         others are refused. lane = \"legacy\" needs it.",
    ),
    legacy_ciphers(UPSTREAM),
    compat12_ciphers(UPSTREAM),
];

const fn lane(table: &'static str, doc: &'static str) -> OptionDoc {
    let kind = Kind::Word(&["modern", "compat12", "legacy"]);
    let presence = Presence::Default("\"modern\"");
    OptionDoc { table, key: "lane", kind, presence, reload: true, doc }
}

const fn until(table: &'static str) -> OptionDoc {
    OptionDoc {
        table,
        key: "legacy_until",
        kind: Kind::Date,
        presence: Presence::Optional { example: "\"2027-12-31\"" },
        reload: true,
        doc: "Last day, in UTC, of lane = \"legacy\", which needs it: after it the file is refused, \
              from 30 days before it warned about, and a running gateway takes no new handshake in \
              that lane; what becomes of those that are up, revalidate says.",
    }
}

const fn allow_from(table: &'static str, doc: &'static str) -> OptionDoc {
    OptionDoc {
        table,
        key: "allow_from",
        kind: Kind::List {
            item: &Kind::Condition(Condition::Source),
            min: 1,
            max: 1024,
            single: true,
        },
        presence: Presence::Optional { example: "[\"10.1.2.0/28\"]" },
        reload: true,
        doc,
    }
}

const fn legacy_ciphers(table: &'static str) -> OptionDoc {
    OptionDoc {
        table,
        key: "legacy_ciphers",
        kind: SUITES,
        presence: Presence::Optional { example: "[\"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA\"]" },
        reload: true,
        doc: "Suites of the legacy lane, most preferred first, by their IANA names. The modern ones \
              of TLS 1.2 come before them. Without it, they are those of TLS 1.0: AES with CBC and \
              SHA-1, with ECDHE, then DHE, then static RSA.",
    }
}

const fn compat12_ciphers(table: &'static str) -> OptionDoc {
    OptionDoc {
        table,
        key: "compat12_ciphers",
        kind: SUITES,
        presence: Presence::Optional { example: "[\"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384\"]" },
        reload: true,
        doc: "Suites of the compat12 lane, most preferred first, by their IANA names. The modern \
              ones of TLS 1.2 come before them. lane = \"compat12\" needs it; with lane = \"legacy\" \
              it opens that lane, too.",
    }
}

const fn path(key: &'static str, example: &'static str, doc: &'static str) -> OptionDoc {
    let presence = Presence::Optional { example };
    OptionDoc { table: DOWNSTREAM, key, kind: Kind::Path, presence, reload: true, doc }
}
