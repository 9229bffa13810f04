//! Completions of the command line, in the shells that read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::{gateway_program, run};
use crate::support::{SOON, has_tool};

/// What `tlsgate completions` knows.
const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

/// Completes the words as bash does when its user presses Tab behind the last one.
const BASH: &str = r#"
source "$1"; shift
spec=$(complete -p tlsgate); [[ $spec =~ -F\ ([^ ]+) ]]
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
"${BASH_REMATCH[1]}" tlsgate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

fn script(shell: &str) -> String {
    let ended = run(Command::new(gateway_program()).args(["completions", shell]), SOON);
    assert_eq!(ended.code(), 0, "{shell}: {}", ended.stderr);
    ended.stdout
}

fn write(directory: &Path, shell: &str) -> PathBuf {
    let file = directory.join(shell);
    fs::write(&file, script(shell)).expect("a writable directory");
    file
}

#[test]
#[ignore = "run by tests/run"]
fn completions_for_every_shell() {
    for shell in SHELLS {
        let script = script(shell);
        for word in ["check", "completions", "reference", "json"] {
            assert!(script.contains(word), "{shell}: no {word} in:\n{script}");
        }
    }
    let ended = run(Command::new(gateway_program()).args(["completions", "command.com"]), SOON);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
}

#[test]
#[ignore = "run by tests/run"]
fn completions_in_bash() {
    if !has_tool("bash") {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let file = write(directory.path(), "bash");
    let complete = |words: &[&str]| {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", BASH, "bash"]).arg(&file).args(words);
        let ended = run(&mut bash, SOON);
        assert_eq!(ended.code(), 0, "{words:?}: {}", ended.stderr);
        ended.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["tlsgate", "che"]), ["check"]);
    assert_eq!(complete(&["tlsgate", "config", "sch"]), ["schema"]);
    assert_eq!(complete(&["tlsgate", "check", "--js"]), ["--json"]);
    assert_eq!(complete(&["tlsgate", "completions", "z"]), ["zsh"]);
    // Where a file is wanted, files are offered.
    let configuration = directory.path().join("gateway.toml");
    fs::write(&configuration, "").expect("a writable directory");
    let begun = directory.path().join("gat");
    let begun = begun.to_str().expect("a temporary path is UTF-8");
    let expected = [configuration.to_str().expect("a temporary path is UTF-8")];
    for option in ["--config", "-c"] {
        assert_eq!(complete(&["tlsgate", "run", option, begun]), expected, "{option}");
    }
}

#[test]
#[ignore = "run by tests/run"]
fn completions_are_read_by_zsh() {
    is_read_by("zsh", "--no-exec");
}

#[test]
#[ignore = "run by tests/run"]
fn completions_are_read_by_fish() {
    is_read_by("fish", "--no-execute");
}

/// Lets a shell look for mistakes in its script.
fn is_read_by(shell: &str, check: &str) {
    if !has_tool(shell) {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let file = write(directory.path(), shell);
    let ended = run(Command::new(shell).arg(check).arg(&file), SOON);
    assert_eq!((ended.code(), &*ended.stderr), (0, ""), "{shell}");
    // The shell does find mistakes.
    fs::write(&file, "if true\n(\n").expect("a writable directory");
    assert_ne!(run(Command::new(shell).arg(check).arg(&file), SOON).code(), 0, "{shell}");
}
