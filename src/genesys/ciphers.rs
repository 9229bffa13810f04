//! `cipher-list` by name: which of our suites each name means.
//!
//! How the vendor writes the list is not documented. Names are taken, in OpenSSL's or IANA's
//! spelling, with OpenSSL's separators (ciphers(1)); its keywords and operators choose among the
//! suites of an OpenSSL library and cannot choose among ours.

/// TLS 1.3 suites, by IANA's names. A list of older suites does not speak about them.
pub const TLS13: [&str; 3] =
    ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];

/// TLS 1.2 suites: IANA's name, OpenSSL's.
pub const TLS12: [(&str, &str); 6] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
];

/// OpenSSL's name of a modern suite by IANA's; those of TLS 1.3 have one name.
pub fn openssl_name(iana: &str) -> Option<&'static str> {
    let tls12 = TLS12.into_iter().find(|(name, _)| *name == iana).map(|(_, openssl)| openssl);
    tls12.or_else(|| TLS13.into_iter().find(|name| *name == iana))
}

/// A list, name by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// IANA's names of suites we have, each once, in the order of the list.
    pub suites: Vec<&'static str>,
    /// What is not the name of one of them.
    pub refused: Vec<String>,
}

/// Translates a list.
pub fn translate(list: &str) -> Translation {
    let mut translation = Translation::default();
    for name in list.split([':', ',', ' ']).filter(|name| !name.is_empty()) {
        match suite(name) {
            Some(suite) if translation.suites.contains(&suite) => {}
            Some(suite) => translation.suites.push(suite),
            None => translation.refused.push(name.to_owned()),
        }
    }
    translation
}

fn suite(name: &str) -> Option<&'static str> {
    let tls13 = TLS13.into_iter().find(|suite| *suite == name);
    let tls12 = TLS12.into_iter().find(|(iana, openssl)| [*iana, *openssl].contains(&name));
    tls13.or(tls12.map(|(iana, _)| iana))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider::provider;

    #[test]
    fn both_spellings_and_all_separators() {
        let translation = translate(
            "ECDHE-RSA-AES128-GCM-SHA256:TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,AES128-SHA \
             TLS_AES_128_GCM_SHA256:!aNULL::HIGH",
        );
        assert_eq!(
            translation.suites,
            ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"]
        );
        assert_eq!(translation.refused, ["AES128-SHA", "!aNULL", "HIGH"]);
    }

    #[test]
    fn the_suites_are_those_of_the_provider() {
        let mut ours: Vec<String> = TLS13.iter().map(|name| (*name).to_owned()).collect();
        ours.extend(TLS12.iter().map(|(iana, _)| (*iana).to_owned()));
        // rustls calls TLS_AES_128_GCM_SHA256 TLS13_AES_128_GCM_SHA256.
        let name = |suite: &rustls::SupportedCipherSuite| {
            format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
        };
        let mut theirs: Vec<String> = provider().cipher_suites.iter().map(name).collect();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
    }
}
