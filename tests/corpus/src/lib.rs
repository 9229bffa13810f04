//! Malformed ClientHellos of our own making, each with the end that the gateway gives it.
//!
//! `hellos.txt` is the corpus, one case a line: name, reason, alert, bytes. It is written from
//! [`generate`], which says for each case in which one way it is broken;
//! `TLSGATE_UPDATE_GOLDEN=1 cargo test -p tlsgate-corpus` writes it anew. Besides: numbers from a
//! seed, and mutations.

mod cases;
pub mod hello;
pub mod mutate;
pub mod notation;
pub mod rng;

use std::borrow::Cow;

pub use cases::generate;

/// One input and what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    pub outcome: Outcome,
    /// What the peer sends before its FIN.
    pub stream: Vec<u8>,
}

/// How the gateway ends a connection, in the words of its access log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    pub reason: Cow<'static, str>,
    /// The alert sent, `-` for none.
    pub alert: Cow<'static, str>,
}

impl Outcome {
    pub const fn new(reason: &'static str, alert: &'static str) -> Self {
        Self { reason: Cow::Borrowed(reason), alert: Cow::Borrowed(alert) }
    }
}

/// The corpus as committed.
pub fn corpus() -> Vec<Case> {
    parse(include_str!("../hellos.txt"))
}

/// # Panics
/// When a line is not of the form that the head of this file tells.
pub fn parse(text: &str) -> Vec<Case> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let case = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next().map(str::to_owned).expect("four words in a line");
        let (name, reason, alert, bytes) = (word(), word(), word(), word());
        let stream = notation::read(&bytes).unwrap_or_else(|| panic!("{name}: not hex"));
        Case { name, outcome: Outcome { reason: reason.into(), alert: alert.into() }, stream }
    };
    lines.map(case).collect()
}

/// The text of `hellos.txt` for these cases.
pub fn text(cases: &[Case]) -> String {
    let mut text = String::from(
        "# ClientHellos and what comes of them: name, reason, alert, bytes before the FIN.\n\
         # (00x9) is nine bytes 00, - is none. Written by tests/corpus/src/cases.rs.\n",
    );
    for Case { name, outcome: Outcome { reason, alert }, stream } in cases {
        text += &format!("{name} {reason} {alert} {}\n", notation::write(stream));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_corpus_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("hellos.txt");
        let fresh = text(&generate());
        if std::env::var_os("TLSGATE_UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &fresh).expect("the source can be written");
        }
        let committed = std::fs::read_to_string(&path).expect("the corpus");
        assert!(committed == fresh, "the cases changed: see the head of src/lib.rs");
        assert_eq!(parse(&fresh), generate());
    }

    #[test]
    fn every_case_has_its_own_name_and_bytes() {
        let cases = generate();
        assert!(cases.len() >= 200, "{}", cases.len());
        let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), cases.len());
        let mut streams = BTreeSet::new();
        for case in &cases {
            assert!(streams.insert(&case.stream), "{} is there already", case.name);
        }
    }
}
