//! Lists of revoked certificates: the same options for either side.

use super::super::options::{Kind, OptionDoc, Presence};
use super::PATHS;

pub(super) const fn files(table: &'static str) -> OptionDoc {
    OptionDoc {
        table,
        key: "crl_files",
        kind: PATHS,
        presence: Presence::Optional { example: "[\"certificates/ca.crl\"]" },
        reload: true,
        doc: "Lists of revoked certificates (RFC 5280), PEM or DER. Without any, nothing is \
              revoked. Changed files count without a reload: see crl_watch.",
    }
}

pub(super) const fn unknown(table: &'static str) -> OptionDoc {
    OptionDoc {
        table,
        key: "crl_unknown",
        kind: Kind::Word(&["deny", "allow"]),
        presence: Presence::Default("\"deny\""),
        reload: true,
        doc: "What to do with a certificate of an issuer of whom there is no list.",
    }
}

pub(super) const fn expired(table: &'static str) -> OptionDoc {
    OptionDoc {
        table,
        key: "crl_expired",
        kind: Kind::Word(&["reject", "accept"]),
        presence: Presence::Default("\"reject\""),
        reload: true,
        doc: "Whether a list still counts after its nextUpdate. With \"reject\", certificates that \
              it would be asked about are refused.",
    }
}

pub(super) const fn depth(table: &'static str) -> OptionDoc {
    OptionDoc {
        table,
        key: "crl_depth",
        kind: Kind::Word(&["chain", "leaf"]),
        presence: Presence::Default("\"chain\""),
        reload: true,
        doc: "Which certificates are looked up: those of the whole chain, or the peer's own.",
    }
}
