//! The vendor's spellings of TLS options, which may stand beside ours. What they mean for a side is
//! said by `genesys::options`.

use super::super::options::{Kind, OptionDoc, Presence};
use crate::genesys::transport::MAX_LENGTH;

const DIGITS: &[&str] = &["0", "1"];
const SWITCH: &[&str] = &["1", "yes", "on", "true", "0", "no", "off", "false"];
const PROTOCOLS: &[&str] = &["SSLv23", "TLSv1", "TLSv1.1", "TLSv11", "TLSv12", "TLSv13", ""];

const DOWNSTREAM: &str = "listener.tls";
const UPSTREAM: &str = "listener.upstream_tls";

pub(super) static OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        table: "listener",
        key: "transport",
        kind: Kind::Text { max: MAX_LENGTH },
        presence: Presence::Optional {
            example: "\"tls=1;certificate=sip.pem;certificate-key=sip.key\"",
        },
        reload: true,
        doc: "Transport parameters as the vendor has them: of a port, where TLS with peers ends \
              here, and stand in the tls table then; of a connection in the modes originate and \
              pair_entry, in upstream_tls. They are read as the vendor's reader does, and what it \
              would not see (a space behind a semicolon hides an option) is refused.",
    },
    option(DOWNSTREAM, "tls", SWITCH, "1", TLS),
    option(
        DOWNSTREAM,
        "tls-mutual",
        DIGITS,
        "1",
        "The vendor's word for client certificates: 1 is \"required\", 0 is \"none\".",
    ),
    option(DOWNSTREAM, "sec-protocol", PROTOCOLS, "\"TLSv12\"", SEC_PROTOCOL),
    semantics(DOWNSTREAM),
    option(DOWNSTREAM, "certificate-key", &[], "\"certificates/sip.example.com.key\"", FILE),
    option(DOWNSTREAM, "trusted-ca", &[], "\"certificates/ca.pem\"", FILE),
    option(DOWNSTREAM, "tls-crl", &[], "\"certificates/ca.crl\"", FILE),
    option(DOWNSTREAM, "cipher-list", &[], "\"ECDHE-RSA-AES256-GCM-SHA384\"", CIPHERS),
    option(DOWNSTREAM, "provider", &[], "\"PEM\"", PROVIDER),
    option(DOWNSTREAM, "fips140-enabled", &["0"], "0", FIPS),
    option(UPSTREAM, "tls", SWITCH, "1", TLS),
    option(
        UPSTREAM,
        "tls-mutual",
        DIGITS,
        "1",
        "With 1, the gateway must have a certificate to show. It shows one whenever it has one and \
         is asked.",
    ),
    option(
        UPSTREAM,
        "client-auth",
        DIGITS,
        "1",
        "Not about client certificates: whether the gateway, as the client, authenticates the \
         component. 1 is \"full\", 0 is \"none\", which needs verify_until.",
    ),
    option(
        UPSTREAM,
        "tls-target-name-check",
        &["host"],
        "\"host\"",
        "\"host\" is \"san_or_cn\". No other value is documented: to check no name, write verify = \
         \"chain\".",
    ),
    option(
        UPSTREAM,
        "tls-target-name",
        &[],
        "\"sip.example.com\"",
        "The name that is sent, and that the component's certificate must have.",
    ),
    option(UPSTREAM, "sec-protocol", PROTOCOLS, "\"TLSv12\"", SEC_PROTOCOL),
    semantics(UPSTREAM),
    option(UPSTREAM, "certificate-key", &[], "\"certificates/gateway.key\"", FILE),
    option(UPSTREAM, "trusted-ca", &[], "\"certificates/ca.pem\"", FILE),
    option(UPSTREAM, "tls-crl", &[], "\"certificates/ca.crl\"", FILE),
    option(UPSTREAM, "cipher-list", &[], "\"ECDHE-RSA-AES256-GCM-SHA384\"", CIPHERS),
    option(UPSTREAM, "provider", &[], "\"PEM\"", PROVIDER),
    option(UPSTREAM, "fips140-enabled", &["0"], "0", FIPS),
];

const TLS: &str = "What the vendor's reader asks of a port or connection. The table says already \
                   that there is TLS: 0 contradicts it, but for mode = \"autodetect\".";
const SEC_PROTOCOL: &str = "The vendor's word for versions. Its documents give it two meanings: \
                            sec_protocol_semantics must say which. A floor below TLS 1.2 begins \
                            there and such a version alone is refused, but for lane = \"legacy\". \
                            SSLv2 and SSLv3 always are.";
const FILE: &str = "The vendor's word for the same file.";
const CIPHERS: &str = "Suites by OpenSSL's or IANA's names, with : or , between them. Those of TLS \
                       1.3 stay, unless the list names some. Keywords of OpenSSL are refused: they \
                       choose among its own suites.";
const PROVIDER: &str = "Where keys are: \"PEM\" is all that the gateway reads.";
const FIPS: &str = "With 1, the file is refused: this build is no validated module, and a demand \
                    for one is not ignored.";

const fn option(
    table: &'static str,
    key: &'static str,
    words: &'static [&'static str],
    example: &'static str,
    doc: &'static str,
) -> OptionDoc {
    let presence = Presence::Optional { example };
    OptionDoc { table, key, kind: Kind::Vendor(words), presence, reload: true, doc }
}

/// Ours, and about nothing but the vendor's.
const fn semantics(table: &'static str) -> OptionDoc {
    OptionDoc {
        table,
        key: "sec_protocol_semantics",
        kind: Kind::Word(&["floor", "exact"]),
        presence: Presence::Optional { example: "\"floor\"" },
        reload: true,
        doc: "What sec-protocol means: \"floor\" is this version and newer ones, \"exact\" is this \
              version alone.",
    }
}
