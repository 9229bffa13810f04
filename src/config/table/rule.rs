//! Rules inside a listener: whom they are about, and what holds for those.

use super::super::options::{Condition, Kind, OptionDoc, Presence};

/// Most entries of one list of conditions.
const ENTRIES: usize = 1024;

pub(super) static OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        table: "listener.rule",
        key: "name",
        kind: Kind::Name,
        presence: Presence::Required { example: "\"partners\"" },
        reload: true,
        doc: "Names the rule in the log. Each name is used once in its listener.",
    },
    OptionDoc {
        table: "listener.rule",
        key: "source",
        kind: list(&Kind::Condition(Condition::Source)),
        presence: Presence::Optional { example: "[\"10.1.0.0/16\", \"fd00::/8\"]" },
        reload: true,
        doc: "Addresses that peers come from. Of the kinds of conditions that a rule names all \
              must hold, of the entries of one kind one. The most specific rule that matches wins: \
              by client, then sni, then source, then alpn, then offers.",
    },
    OptionDoc {
        table: "listener.rule",
        key: "sni",
        kind: list(&Kind::Condition(Condition::Sni)),
        presence: Presence::Optional { example: "[\"sip.example.com\", \"*.partner.example\"]" },
        reload: true,
        doc: "Names that peers ask for. A star is exactly one label.",
    },
    OptionDoc {
        table: "listener.rule",
        key: "alpn",
        kind: list(&Kind::Text { max: 255 }),
        presence: Presence::Optional { example: "[\"sip/2\"]" },
        reload: true,
        doc: "Protocols that peers offer by ALPN.",
    },
    OptionDoc {
        table: "listener.rule",
        key: "offers",
        kind: list(&Kind::Condition(Condition::Version)),
        presence: Presence::Optional { example: "[\"1.2\"]" },
        reload: true,
        doc: "Newest version of TLS that peers offer.",
    },
    OptionDoc {
        table: "listener.rule",
        key: "client",
        kind: list(&Kind::Condition(Condition::Client)),
        presence: Presence::Optional {
            example: "[\"cn:phone-7\", \"dns:*.phones.example\", \"uri:spiffe://example.org/*\"]",
        },
        reload: true,
        doc: "Who the peer is by its verified certificate: sha256: and spki: (digests of the \
              certificate and of its public key), uri:, dns:, ip: (alternative names), subject:, \
              cn:, issuer:. Such a rule matches after the handshake, so it may admit or deny and \
              choose upstreams, and TLS is what the listener says.",
    },
    OptionDoc {
        table: "listener.rule",
        key: "action",
        kind: Kind::Word(&["admit", "deny"]),
        presence: Presence::Optional { example: "\"deny\"" },
        reload: true,
        doc: "\"deny\" refuses the connection, counted as policy_denied. Without it, it is \
              admitted.",
    },
    OptionDoc {
        table: "listener.rule",
        key: "upstream",
        kind: Kind::List { item: &Kind::Endpoint, min: 1, max: 64, single: true },
        presence: Presence::Optional { example: "\"127.0.0.1:5070\"" },
        reload: true,
        doc: "The component for these connections. Without it, it is the listener's.",
    },
    OptionDoc {
        table: "listener.rule",
        key: "upstream_source",
        kind: Kind::List { item: &Kind::UpstreamSource, min: 1, max: 64, single: true },
        presence: Presence::Optional { example: "[\"10.0.0.2\", \"10.0.0.3\"]" },
        reload: true,
        doc: "As upstream_source of the listener, for the upstream of the rule.",
    },
];

const fn list(item: &'static Kind) -> Kind {
    Kind::List { item, min: 1, max: ENTRIES, single: true }
}
