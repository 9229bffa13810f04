//! Nothing is put off: no marks in comments, no macros that stand for missing code. Each thing has
//! one word.

use super::finding::Finding;
use super::source::{File, Tree};

/// Marks of things left to do, in two pieces so that this file has none.
const MARKS: [(&str, &str); 3] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X")];
const MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Where a word of the glossary is taken for something else: folders, the wrong word, the right one.
const SYNONYMS: [(&[&str], &str, &str); 4] = [
    (&["src/tls/hello", "src/tls/modern", "src/tls/openssl"], "frame", "record (of TLS)"),
    (&["src"], "frontend", "downstream or listener"),
    (&["src/conn", "src/shard", "src/engine"], "session", "connection (a session is resumable)"),
    (&["src/conn", "src/shard", "src/upstream"], "backend", "upstream or component"),
];

const WHY: &str = "what is not done is an issue with an owner, not a line that nobody reads";

pub(crate) fn left_to_do(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.values() {
        findings.extend(marks(file));
        let macros = (0..file.tokens.len()).filter(|at| file.is_sign(at + 1, '!'));
        for at in macros {
            let Some(name) = file.word(at).filter(|word| MACROS.contains(word)) else { continue };
            findings.push(Finding {
                path: file.path.clone(),
                line: file.tokens[at].line,
                what: format!("{name}!"),
                why: WHY,
                instead: "write what is missing, or return an error that says so".to_owned(),
            });
        }
    }
    findings
}

/// Names in the source keep to the glossary of ARCHITECTURE.md.
pub(crate) fn synonyms(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folders, wrong, right) in SYNONYMS {
        let is_in =
            |path: &str| folders.iter().any(|folder| path.starts_with(&format!("{folder}/")));
        for file in tree.rust().filter(|file| is_in(&file.path)) {
            let places = (0..file.tokens.len()).filter(|at| !file.tokens[*at].is_test);
            let named = places.filter_map(|at| Some((file.tokens[at].line, file.word(at)?)));
            let wrongly = named.filter(|(_, word)| {
                word.to_lowercase().split('_').any(|part| part.trim_end_matches('s') == wrong)
            });
            findings.extend(wrongly.map(|(line, word)| Finding {
                path: file.path.clone(),
                line,
                what: format!("the name {word}"),
                why: "two words for one thing are looked for twice",
                instead: format!("say {right}: the glossary is at the end of ARCHITECTURE.md"),
            }));
        }
    }
    findings
}

fn marks(file: &File) -> impl Iterator<Item = Finding> {
    let marks = MARKS.map(|(one, two)| format!("{one}{two}"));
    let lines = file.text.lines().enumerate().filter_map(move |(index, line)| {
        let mark = marks.iter().find(|mark| line.contains(*mark))?;
        Some((index + 1, mark.clone()))
    });
    lines.map(|(line, mark)| Finding {
        path: file.path.clone(),
        line,
        what: format!("the mark {mark}"),
        why: WHY,
        instead: "do it, or open an issue".to_owned(),
    })
}
