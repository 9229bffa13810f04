//! Transport parameters of a port or a connection: `tls=1;certificate=a.pem`.
//!
//! The vendor's reader splits at `;` and takes, for each option that it asks for, the value of the
//! first piece that begins with the option's name and `=`. It trims nothing, so a piece with a space
//! in front is never found: to it, `"certificate=a.pem; tls=1"` means no TLS. [`parse`] reads the
//! same and tells what a person would have read otherwise.

use super::finding::{Finding, Place};
use super::options;

/// What the notation puts in front, with or without spaces around the sign.
const PREFIX: &str = "transport";

/// What is read of a longer string; the vendor documents no limit.
pub const MAX_LENGTH: usize = 16 << 10;

/// One option that the vendor's reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    /// Everything up to the next `;`, with its spaces.
    pub value: String,
    /// Where the name stands, 1-based, in characters.
    pub column: usize,
}

/// A transport string as the vendor's reader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Each known option once, in the order of the text.
    pub parameters: Vec<Parameter>,
    /// Places in the text, with line 0: move them with [`Place::inside`].
    pub findings: Vec<Finding>,
}

impl Parsed {
    /// The value that the vendor's reader has for an option.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|parameter| parameter.name == name);
        found.map(|parameter| parameter.value.as_str())
    }
}

/// Reads `transport = name=value;…`, or what stands behind its first sign.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let cut = text.char_indices().nth(MAX_LENGTH).map(|(at, _)| at);
    if cut.is_some() {
        let message = format!("is not read to its end: {MAX_LENGTH} characters are the most");
        parsed.findings.push(Finding::error(&at(1), "", message, "Shorten it."));
    }
    let text = &text[..cut.unwrap_or(text.len())];
    let body = body(text);
    let mut column = 1 + text[..text.len() - body.len()].chars().count();
    for piece in body.split(';') {
        read(piece, column, &mut parsed);
        column += piece.chars().count() + 1;
    }
    parsed
}

/// What stands behind `transport =`: one space belongs to that notation, more do not.
fn body(text: &str) -> &str {
    let rest = text.trim_start().strip_prefix(PREFIX).map(str::trim_start);
    match rest.and_then(|rest| rest.strip_prefix('=')) {
        Some(body) => body.strip_prefix(' ').unwrap_or(body),
        None => text,
    }
}

/// Takes a piece that the vendor's reader finds, and says why it does not find another.
fn read(piece: &str, column: usize, parsed: &mut Parsed) {
    let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
    let is_known = options::NAMES.contains(&name);
    if !is_known || !piece.contains('=') {
        parsed.findings.extend(unread(piece, name, column));
        return;
    }
    if parsed.get(name).is_some() {
        let message = format!(
            "is given before, and the vendor's reader takes the first: {value:?} \
                               is never read"
        );
        parsed.findings.push(Finding::warning(&at(column), name, message, "Keep one."));
        return;
    }
    if value != value.trim() {
        let message = format!("is read with the spaces in it: {value:?}");
        let hint = "Write no spaces around ; and =.";
        parsed.findings.push(Finding::warning(&at(column), name, message, hint));
    }
    let [name, value] = [name, value].map(str::to_owned);
    parsed.parameters.push(Parameter { name, value, column });
}

/// Why the vendor's reader does not find a piece.
fn unread(piece: &str, name: &str, column: usize) -> Option<Finding> {
    let meant = name.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
    let known = |word: &str| options::NAMES.contains(&word);
    if meant.is_empty() {
        // Nothing between two signs is nothing to anybody.
        return (!piece.is_empty())
            .then(|| Finding::warning(&at(column), "", "is no name=value: ignored", ""));
    }
    let (message, hint) = if !piece.contains('=') {
        ("has no value: the vendor's reader does not see it".to_owned(), "Write name=value.")
    } else if known(meant) && name.trim() == meant {
        let message = "is not seen by the vendor's reader, which takes no spaces off: it reads \
                       this string as if the option were not there";
        (message.to_owned(), "Write no spaces around ; and =.")
    } else if known(meant) {
        ("stands in quotes: the vendor's reader does not see it".to_owned(), "Take them off.")
    } else if let Some(likely) = options::likely(meant) {
        let message =
            format!("is not \"{likely}\" to the vendor's reader: names are case-sensitive");
        (message, "Write the name as it is documented.")
    } else {
        ("is not a security option that is documented: ignored".to_owned(), "")
    };
    Some(Finding::warning(&at(column), meant, message, hint))
}

fn at(column: usize) -> Place {
    Place { column, ..Place::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The vendor's reader, written as it is described: what [`parse`] must agree with.
    fn reader(text: &str, name: &str) -> Option<String> {
        let begins = format!("{name}=");
        text.split(';').find_map(|piece| piece.strip_prefix(&begins)).map(str::to_owned)
    }

    fn told(text: &str) -> Vec<(usize, String)> {
        let findings = parse(text).findings;
        findings.into_iter().map(|one| (one.place.column, one.key)).collect()
    }

    #[test]
    fn a_good_string_has_no_findings() {
        let parsed = parse("tls=1;certificate=/a b.pem;tls-target-name=x=y;");
        assert_eq!(parsed.findings, []);
        assert_eq!(parsed.get("tls"), Some("1"));
        assert_eq!(parsed.get("certificate"), Some("/a b.pem"));
        assert_eq!(parsed.get("tls-target-name"), Some("x=y"));
        assert_eq!(parsed.get("trusted-ca"), None);
    }

    #[test]
    fn the_prefix_may_stand_in_front() {
        for prefix in ["transport=", "transport = ", "transport =", " transport= "] {
            assert_eq!(parse(&format!("{prefix}tls=1")).get("tls"), Some("1"), "{prefix}");
        }
        assert_eq!(parse("transport =  tls=1").get("tls"), None);
        assert_eq!(parse("transport =  tls=1").findings.len(), 1);
    }

    #[test]
    fn a_space_in_front_hides_an_option() {
        let parsed = parse("certificate=a.pem; tls=1");
        assert_eq!(parsed.get("tls"), None);
        assert_eq!(told("certificate=a.pem; tls=1"), [(19, "tls".to_owned())]);
    }

    #[test]
    fn every_quirk_is_told() {
        for (text, column, key) in [
            ("tls =1", 1, "tls"),
            ("tls= 1", 1, "tls"),
            ("tls=1 ;certificate=a", 1, "tls"),
            ("tls=1;tls=0", 7, "tls"),
            ("TLS=1", 1, "TLS"),
            ("tls_mutual=1", 1, "tls_mutual"),
            ("\"tls=1;certificate=a\"", 1, "tls"),
            ("upgrade=1", 1, "upgrade"),
            ("tls", 1, "tls"),
            ("tls=1; ", 7, ""),
        ] {
            assert_eq!(told(text), [(column, key.to_owned())], "{text:?}");
        }
    }

    #[test]
    fn a_long_string_is_cut_and_told() {
        let text = format!("tls=1;certificate={}", "ä".repeat(MAX_LENGTH));
        assert_eq!(parse(&text).get("tls"), Some("1"));
        assert_eq!(parse(&text).findings.len(), 1);
    }

    proptest! {
        #[test]
        fn sees_what_the_vendors_reader_sees(
            pieces in proptest::collection::vec("[ tlsTLS=;1-]{0,6}|tls=1|tls-mutual=[01]| tls=1", 0..6)
        ) {
            let text = pieces.join(";");
            let parsed = parse(&text);
            for name in options::NAMES {
                prop_assert_eq!(parsed.get(name).map(str::to_owned), reader(&text, name));
            }
        }
    }
}
