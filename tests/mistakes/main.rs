//! What `tlsgate check` says about every kind of mistake: the golden messages of the corpus.
//!
//! `TLSGATE_UPDATE_GOLDEN=1` writes the messages anew; read the difference before committing it.

mod corpus;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use corpus::{FILE, Mistake};
use tempfile::TempDir;
use tlsgate::app::Loaded;

/// Fewest kinds of mistakes, [`kind`] by [`kind`].
const LEAST_KINDS: usize = 60;

#[test]
fn every_mistake_has_its_golden_message() {
    let mut actual: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mistakes = corpus::all();
    for mistake in &mistakes {
        let (title, input, said) = (&mistake.title, &mistake.input, said_about(mistake));
        let text = actual.entry(mistake.source.clone()).or_default();
        let gap = if text.is_empty() { "" } else { "\n" };
        write!(text, "{gap}=== {title}\n{input}---\n{said}").expect("a string takes everything");
    }
    for (file, actual) in &actual {
        if std::env::var_os("TLSGATE_UPDATE_GOLDEN").is_some() {
            fs::write(file, actual).expect("the source can be written");
        }
        let golden = fs::read_to_string(file).expect("read before");
        assert_eq!(*actual, golden, "messages changed: see the header of this file");
    }
}

#[test]
fn titles_are_used_once() {
    let mut seen = BTreeSet::new();
    for mistake in corpus::all() {
        assert!(seen.insert(mistake.title.clone()), "twice: {}", mistake.title);
    }
}

#[test]
fn there_are_sixty_kinds_and_more() {
    let refused: Vec<Mistake> = corpus::all().into_iter().filter(Mistake::is_refused).collect();
    let kinds: BTreeSet<String> = refused.iter().map(|mistake| kind(&mistake.message)).collect();
    println!("{} kinds in {} configurations:", kinds.len(), refused.len());
    kinds.iter().for_each(|kind| println!("  {kind}"));
    assert!(kinds.len() >= LEAST_KINDS, "{} kinds only", kinds.len());
}

/// What `tlsgate check` says, without what is different on each machine and day.
fn said_about(mistake: &Mistake) -> String {
    let directory = TempDir::new().expect("a temporary directory");
    let file = mistake.write(directory.path());
    let said = match tlsgate::app::load(&file) {
        Ok(Loaded { compiled, .. }) => {
            assert!(!compiled.warnings.is_empty(), "no mistake: {}", mistake.title);
            compiled.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect()
        }
        Err(error) => error.to_string(),
    };
    let place = format!("{}/", directory.path().display());
    let said = said.trim_end_matches('\n').replace(&place, "");
    let lines = said.lines().map(|line| {
        let line = between(line, "expired ", " days ago", "<some>");
        let line = between(&line, "becomes valid in ", " days", "<some>");
        let line = between(&line, ", group ", ": open to ", "<its>");
        between(&line, "component.invalid:5060 (", ")", "<what the resolver says>")
    });
    lines.map(|line| line + "\n").collect()
}

/// Replaces what stands between two texts.
fn between(line: &str, before: &str, after: &str, replacement: &str) -> String {
    let parts = line.split_once(before).and_then(|(head, rest)| {
        let (_, tail) = rest.rsplit_once(after)?;
        Some(format!("{head}{before}{replacement}{after}{tail}"))
    });
    parts.unwrap_or_else(|| line.to_owned())
}

/// What is told about the first mistake, without names, values and numbers: two messages of one
/// kind differ by these only.
fn kind(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let hint = message.lines().find(|line| line.starts_with("    hint:")).unwrap_or_default();
    let found = message.lines().find(|line| line.starts_with("    found:")).unwrap_or_default();
    // Behind the key stands what is wrong with it.
    let place = format!("{FILE}:");
    let what = match first.strip_prefix(&place) {
        Some(rest) => rest.rsplit_once(": ").map_or(rest, |(_, what)| what),
        None => first,
    };
    // What was found says what is wrong with a file.
    let found = if what.ends_with("cannot be used") { found } else { "" };
    bare(&[what, found, hint].join(" | "))
}

/// Without quoted text, numbers and what looks like the name of a file or key.
fn bare(text: &str) -> String {
    let mut bare = String::new();
    for (index, part) in text.split(['"', '`']).enumerate() {
        bare.push_str(if index % 2 == 0 { part } else { "_" });
    }
    let is_name = |word: &&str| !word.contains(|c: char| c.is_ascii_digit() || "./[]=".contains(c));
    let is_plain = |word: &&str| is_name(&word.trim_end_matches(['.', ':', ',', ')']));
    let words = bare.split_whitespace();
    words.map(|word| if is_plain(&word) { word } else { "_" }).collect::<Vec<_>>().join(" ")
}
