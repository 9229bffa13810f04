//! What `tlsgate import genesys` and `tlsgate lint --genesys` say: golden inputs and outputs.
//!
//! `*.txt` beside this file hold one case after the other:
//!
//! ```text
//! === a title, used once
//! $ tlsgate import genesys lca.cfg --name cfg-a
//! >>> lca.cfg
//! what the file holds
//! --- 0
//! what is written
//! --- told
//! what standard error says
//! ```
//!
//! The number is the exit code. `TLSGATE_UPDATE_GOLDEN=1` writes the outputs anew; read the
//! difference before committing it.

mod effective;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tlsgate::catalogue::{Catalogue, Mode, Request, scaffold};
use tlsgate::config;

struct Case {
    title: String,
    command: String,
    files: Vec<(String, String)>,
    /// Everything above the outputs, as it stands.
    input: String,
}

#[test]
fn every_input_has_its_golden_output() {
    let mut count = 0;
    for file in files() {
        let golden = fs::read_to_string(&file).expect("the cases are text");
        let mut actual = String::new();
        for case in cases(&golden) {
            let gap = if actual.is_empty() { "" } else { "\n" };
            let output = run(&case);
            write!(actual, "{gap}=== {}\n{}{output}", case.title, case.input).expect("memory");
            count += 1;
        }
        if std::env::var_os("TLSGATE_UPDATE_GOLDEN").is_some() {
            fs::write(&file, &actual).expect("the source can be written");
        }
        let golden = fs::read_to_string(&file).expect("read before");
        assert_eq!(actual, golden, "outputs changed: see the header of tests/genesys/main.rs");
    }
    assert!(count >= 25, "{count} cases only");
}

#[test]
fn titles_are_used_once() {
    let mut seen = BTreeSet::new();
    for file in files() {
        for case in cases(&fs::read_to_string(file).expect("the cases are text")) {
            assert!(seen.insert(case.title.clone()), "twice: {}", case.title);
        }
    }
}

/// What is written is a configuration without a mistake, or the upper levels of one.
#[test]
fn what_is_written_is_a_configuration() {
    let mut listeners = 0;
    for file in files() {
        for case in cases(&fs::read_to_string(file).expect("the cases are text")) {
            let output = run(&case);
            let written =
                output.strip_prefix("--- 0\n").and_then(|rest| rest.split_once("--- told"));
            let Some((text, _)) = written.filter(|(text, _)| text.contains("\n[[")) else {
                continue;
            };
            let mut text = text.to_owned();
            if text.contains("[[listener]]") {
                listeners += 1;
            } else {
                text.push_str(LISTENER);
            }
            if let Err(diagnostics) = config::parse("written.toml", &text) {
                panic!("{}: {diagnostics}\n{text}", case.title);
            }
        }
    }
    assert!(listeners >= 20, "{listeners} only");
}

/// For a configuration that is upper levels alone.
const LISTENER: &str = "
[[listener]]
name = \"other\"
listen = \"127.0.0.1:1\"
upstream = \"127.0.0.1:2\"
[listener.tls]
certificate = \"a.pem\"
certificate_key = \"a.key\"
";

#[test]
fn every_connection_of_the_catalogue_has_a_route() {
    let catalogue = Catalogue::shipped();
    let mut routes = 0;
    for entry in catalogue.entries() {
        let until = (entry.mode() == Mode::Autodetect).then(|| "2999-12-31".to_owned());
        let [from, to] = [&entry.connection.from, &entry.connection.to[0]].map(Clone::clone);
        let request = Request { from, to, until, ..Request::default() };
        let text = scaffold(&entry, &request).expect("the catalogue's own mode");
        if let Err(diagnostics) = config::parse("written.toml", &text) {
            panic!("{}: {diagnostics}\n{text}", entry.connection.seed);
        }
        routes += 1;
    }
    assert_eq!(routes, 197);
}

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/genesys");
    let entries = fs::read_dir(directory).expect("the cases are part of the source");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

fn cases(text: &str) -> Vec<Case> {
    let cases = text.split("=== ").skip(1).map(|case| {
        let (title, rest) = case.split_once('\n').expect("a title");
        let input = rest.split("--- ").next().expect("something").to_owned();
        let mut parts = input.split(">>> ");
        let command = parts.next().expect("a command").trim_end();
        let command = command.strip_prefix("$ ").expect("a command begins with $").to_owned();
        let files = parts.map(|part| {
            let (name, content) = part.split_once('\n').expect("a name");
            (name.to_owned(), content.to_owned())
        });
        Case { title: title.to_owned(), command, files: files.collect(), input: input.clone() }
    });
    cases.collect()
}

/// The exit code and both outputs.
fn run(case: &Case) -> String {
    let directory = TempDir::new().expect("a temporary directory");
    for (name, content) in &case.files {
        fs::write(directory.path().join(name), content).expect("a writable directory");
    }
    let arguments = case.command.strip_prefix("tlsgate ").expect("our command");
    let output = Command::new("sh")
        .current_dir(&directory)
        .args(["-c", &format!("\"$0\" {arguments}"), env!("CARGO_BIN_EXE_tlsgate")])
        .output()
        .expect("a shell");
    let code = output.status.code().expect("it exits");
    let [out, told] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
    format!("--- {code}\n{out}--- told\n{told}")
}
