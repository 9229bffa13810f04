//! Suites in the wrong list, and those that no list takes.

use super::model::WeakSuite;
use crate::genesys::ciphers;

/// What is wrong with a suite among those of a list that does not have it, and what to do. `None`
/// where it is none that we know.
pub(super) fn misplaced(suite: &str, list: &[&str]) -> Option<(&'static str, &'static str)> {
    if let Some(hint) = never_spoken(suite) {
        return Some(("is a suite that is never spoken here", hint));
    }
    let is_weak_list = list.iter().any(|suite| WeakSuite::named(suite).is_some());
    let is_modern_list = list.iter().any(|suite| ciphers::openssl_name(suite).is_some());
    if is_modern_list && WeakSuite::named(suite).is_some() {
        let hint = "Write it in compat12_ciphers, with lane = \"compat12\".";
        return Some(("is a suite that only weak lanes speak", hint));
    }
    if is_weak_list && ciphers::openssl_name(suite).is_some() {
        let hint = "Take it out: the modern ones come first anyway, and ciphers lists them.";
        return Some(("is a suite of the modern lane", hint));
    }
    None
}

/// Why no lane has the suite of this name.
fn never_spoken(suite: &str) -> Option<&'static str> {
    let upper = suite.to_ascii_uppercase();
    if !upper.starts_with("TLS_") && !upper.starts_with("SSL_") {
        return None;
    }
    let reasons = [
        ("EXPORT", "EXPORT suites have keys of 40 bits: take it out."),
        ("_NULL", "NULL suites do not encrypt: take it out."),
        (
            "ANON",
            "Anonymous suites have no certificate, and anybody in between reads along: take it out.",
        ),
        ("RC4", "RC4 is broken (RFC 7465): take it out. A peer that has no AES cannot be served."),
        (
            "DES_",
            "DES and 3DES have blocks of 64 bits (RFC 8429): take it out. A peer that has no AES \
             cannot be served.",
        ),
    ];
    reasons.iter().find(|(part, _)| upper.contains(part)).map(|(_, reason)| *reason)
}
