//! TLS towards the peers: options that may stand at every level.

use super::super::options::{Kind, OptionDoc, Presence};
use super::{PATHS, SUITES, crl};

pub(super) static OPTIONS: &[OptionDoc] = &[
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
        key: "ocsp_file",
        kind: Kind::Path,
        presence: Presence::Optional { example: "\"certificates/sip.example.com.ocsp\"" },
        reload: true,
        doc: "OCSP response in DER that is sent along with the certificate (stapling, RFC 6066 \
              section 8).",
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
        doc: "Refuse an SNI that no certificate names, or none at all, with the alert unrecognized_name (RFC \
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
              too. \"1.0\" and \"1.1\" need lane = \"legacy\", whose default is \"1.0\".",
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
        key: "ciphers",
        kind: SUITES,
        presence: Presence::Default("[]"),
        reload: true,
        doc: "Cipher suites, most preferred first, by their IANA names. Empty is all of them.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "client_cert",
        kind: Kind::Word(&["none", "optional", "required", "report"]),
        presence: Presence::Default("\"none\""),
        reload: true,
        doc: "Whether peers show a certificate. \"optional\" lets those without one in and still \
              refuses a bad one. \"report\" lets everybody in and tells what \"required\" would have \
              said; it needs client_cert_until.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "client_cert_until",
        kind: Kind::Date,
        presence: Presence::Optional { example: "\"2027-12-31\"" },
        reload: true,
        doc: "Last day, in UTC, of client_cert = \"report\" or \"optional\": after it the file is \
              refused, from 30 days before it warned about.",
    },
    OptionDoc {
        table: "listener.tls",
        key: "trusted_ca",
        kind: PATHS,
        presence: Presence::Optional { example: "\"certificates/ca.pem\"" },
        reload: true,
        doc: "PEM files of the CAs that client certificates must chain to. Set it exactly where \
              client_cert is not \"none\".",
    },
    crl::files("listener.tls"),
    crl::unknown("listener.tls"),
    crl::expired("listener.tls"),
    crl::depth("listener.tls"),
    OptionDoc {
        table: "listener.tls",
        key: "revalidate",
        kind: Kind::Word(&["keep", "drain", "close"]),
        presence: Presence::Default("\"keep\""),
        reload: true,
        doc: "What happens to a connection that is up and, after a change of CAs, lists of revoked \
              certificates, rules or versions, or because a certificate has expired, would not be \
              admitted any more. \"keep\" lets it go on and counts it as stale, \"drain\" ends it in \
              order, each worker 100 a second, \"close\" at once, with an alert where it can be told.",
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
        table: "listener.tls.certificates",
        key: "ocsp_file",
        kind: Kind::Path,
        presence: Presence::Optional { example: "\"certificates/sip.example.com.ocsp\"" },
        reload: true,
        doc: "OCSP response in DER that is sent along with the certificate (stapling, RFC 6066 \
              section 8).",
    },
];
