//! The demonstration that a newcomer runs first.

use std::process::Command;
use std::time::Duration;

use crate::support::process::{gateway_program, run};

#[test]
#[ignore = "run by tests/run"]
fn demo_once() {
    let mut command = Command::new(gateway_program());
    let ended = run(command.args(["demo", "--once"]), Duration::from_secs(120));
    println!("{}", ended.stdout);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    for word in ["p50", "p99"] {
        assert!(ended.stdout.contains(word), "no {word} in:\n{}", ended.stdout);
    }
}
