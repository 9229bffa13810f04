//! The capacity planner, with the files that come with it.

use std::process::Command;

use crate::support::SOON;
use crate::support::process::{Ended, bench_program, run};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/capacity");

fn plan(more: &[&str]) -> Ended {
    let mut command = Command::new(bench_program());
    command.args(["capacity", "plan", "--model", &format!("{EXAMPLES}/node.toml")]);
    command.args(["--demand", &format!("{EXAMPLES}/demand.toml")]).args(more);
    run(&mut command, SOON)
}

#[test]
#[ignore = "run by tests/run"]
fn capacity_plan() {
    let ended = plan(&["--json"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let answer: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let nodes = answer["plan"]["nodes"].as_u64().expect("a number");
    let first = answer["plan"]["saturates_first"].as_str().expect("a name");
    assert!(nodes > 1 && !first.is_empty(), "{}", ended.stdout);
    // One node less is not enough, and what breaks is said.
    let ended = plan(&["--nodes", &(nodes - 1).to_string()]);
    assert_eq!(ended.code(), 3, "{}", ended.stdout);
    assert!(ended.stdout.contains("To change:"), "{}", ended.stdout);
    println!("{nodes} nodes; saturates first: {first}");
}
