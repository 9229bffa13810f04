//! TLS towards the component: options that may stand at every level.

use super::super::options::{Kind, OptionDoc, Presence};
use super::{PATHS, SUITES, crl};

pub(super) static OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        table: "listener.upstream_tls",
        key: "trusted_ca",
        kind: PATHS,
        presence: Presence::Optional { example: "\"certificates/ca.pem\"" },
        reload: true,
        doc: "PEM files of the CAs that the component's certificate must chain to. Needed \
              for verify = \"full\" and \"chain\".",
    },
    crl::files("listener.upstream_tls"),
    crl::unknown("listener.upstream_tls"),
    crl::expired("listener.upstream_tls"),
    crl::depth("listener.upstream_tls"),
    OptionDoc {
        table: "listener.upstream_tls",
        key: "verify",
        kind: Kind::Word(&["full", "chain", "pin", "none"]),
        presence: Presence::Default("\"full\""),
        reload: true,
        doc: "How the component proves who it is: \"full\" by its chain and its name, \
              \"chain\" by its chain alone, \"pin\" by its public key (pins), \"none\" not \
              at all. \"none\" and \"chain\" need verify_until; \"none\" is counted as \
              unauthenticated everywhere.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "verify_until",
        kind: Kind::Date,
        presence: Presence::Optional { example: "\"2027-12-31\"" },
        reload: true,
        doc: "Last day, in UTC, of verify = \"none\" or \"chain\": after it the file is \
              refused, from 30 days before it warned about.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "pins",
        kind: Kind::List { item: &Kind::Digest, min: 1, max: 64, single: true },
        presence: Presence::Optional {
            example: "[\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"]",
        },
        reload: true,
        doc: "SHA-256 of the public keys (SubjectPublicKeyInfo) that the component may \
              have, in base64 or hexadecimal.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "server_name",
        kind: Kind::Text { max: 253 },
        presence: Presence::Optional { example: "\"sip.example.com\"" },
        reload: true,
        doc: "The name, or IP address, that the component's certificate must have. Without \
              it, it is the host that upstream names: each endpoint its own.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "sni",
        kind: Kind::Or("off", &Kind::Text { max: 253 }),
        presence: Presence::Optional { example: "\"sip.example.com\"" },
        reload: true,
        doc: "The name that is sent as SNI. Without it, it is the one that is checked; \
              \"off\" sends none.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "name_match",
        kind: Kind::Word(&["san", "san_or_cn"]),
        presence: Presence::Default("\"san\""),
        reload: true,
        doc: "Where the name is looked for: in the subject alternative name, or, in a \
              certificate without one, also in the common name (RFC 6125 section 6.4.4).",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "certificate",
        kind: Kind::Path,
        presence: Presence::Optional { example: "\"certificates/gateway.pem\"" },
        reload: true,
        doc: "PEM file of the chain that is shown to a component which asks for a \
              certificate.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "certificate_key",
        kind: Kind::Path,
        presence: Presence::Optional { example: "\"certificates/gateway.key\"" },
        reload: true,
        doc: "PEM file of the certificate's private key.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "key_group",
        kind: Kind::Text { max: 32 },
        presence: Presence::Optional { example: "\"tls-keys\"" },
        reload: true,
        doc: "Group that may read the private key file besides its owner.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "alpn",
        kind: Kind::List { item: &Kind::Text { max: 255 }, min: 0, max: 32, single: false },
        presence: Presence::Default("[]"),
        reload: true,
        doc: "Protocols offered by ALPN (RFC 7301), most preferred first. Empty is no \
              ALPN.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "min_version",
        kind: Kind::TlsVersion,
        presence: Presence::Default("\"1.2\""),
        reload: true,
        doc: "Oldest version of TLS that is spoken. \"1.0\" and \"1.1\" need lane = \"legacy\", \
              whose default is \"1.0\".",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "max_version",
        kind: Kind::TlsVersion,
        presence: Presence::Default("\"1.3\""),
        reload: true,
        doc: "Newest version of TLS that is spoken.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "ciphers",
        kind: SUITES,
        presence: Presence::Default("[]"),
        reload: true,
        doc: "Cipher suites, most preferred first, by their IANA names. Empty is all of \
              them.",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "revalidate",
        kind: Kind::Word(&["keep", "drain", "close"]),
        presence: Presence::Default("\"keep\""),
        reload: true,
        doc: "What happens to a connection whose component would not be accepted any more, after a \
              change of CAs, lists of revoked certificates, names, pins or versions, or because its \
              certificate has expired: as in [listener.tls].",
    },
    OptionDoc {
        table: "listener.upstream_tls",
        key: "resumption",
        kind: Kind::Switch,
        presence: Presence::Default("true"),
        reload: true,
        doc: "Whether sessions with the component are resumed.",
    },
];
