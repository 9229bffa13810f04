//! The capacity planner, with the files that come with it.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Ended, bench_program, gateway_program, run};
use crate::support::{SOON, sized};

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
    let answer: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let nodes = answer["plan"]["nodes"].as_u64().expect("a number");
    let first = answer["plan"]["saturates_first"].as_str().expect("a name");
    assert!(nodes > 1 && !first.is_empty(), "{}", ended.stdout);
    // One node less is not enough, and what breaks is said.
    let ended = plan(&["--nodes", &(nodes - 1).to_string()]);
    assert_eq!(ended.code(), 3, "{}", ended.stdout);
    assert!(ended.stdout.contains("To change:"), "{}", ended.stdout);
    println!("{nodes} nodes; saturates first: {first}");
}

/// Others may use so much of the server's CPU: with more, nothing is judged but that everything runs.
const QUIET: f64 = 0.15;

#[test]
#[ignore = "run by tests/run"]
fn capacity_verify() {
    let directory = TempDir::new().expect("a temporary directory");
    let node = directory.path().join("node.toml");
    let node = node.to_str().expect("a plain path");
    let size: &[&str] = sized(&[], &["--quick"]);
    let capacity = |words: &[&str]| {
        let mut command = Command::new(bench_program());
        command.arg("capacity").args(words).args(size).arg("--json");
        let ended = run(command.arg("--gateway").arg(gateway_program()), 20 * SOON);
        let answer: Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", ended.stdout, ended.stderr));
        (ended.code(), answer)
    };
    let (status, calibrated) = capacity(&["calibrate", "--out", node]);
    assert_eq!(status, 0, "{}", calibrated["failures"]);
    // What it was made of makes the same model.
    let observations = node.replace("node.toml", "node-observations.toml");
    let mut fit = Command::new(bench_program());
    let fitted = run(fit.args(["capacity", "fit", &observations]), SOON);
    let model = std::fs::read_to_string(node).expect("written");
    assert!(fitted.stdout.trim_end().ends_with(model.trim_end()), "{}\n{model}", fitted.stdout);
    for cost in ["full_tls13", "resumed_tls12", "rsa2048", "message", "byte_up"] {
        assert!(model.contains(&format!("[cpu_us.{cost}]")), "{cost}: {model}");
    }
    let mix = format!("{EXAMPLES}/mixes/storm.toml");
    let (status, verified) = capacity(&["verify", "--node", node, "--mix", &mix, "--runs", "1"]);
    let busy = calibrated["foreign"]["median"].as_f64().expect("a share");
    let mix = &verified["mixes"][0];
    assert!(mix["predicted"].as_f64().is_some_and(|rate| rate > 0.0), "{verified}");
    if busy > QUIET {
        println!("others use {busy:.2} of the CPU: {mix}");
        return;
    }
    assert_eq!(status, 0, "{}", verified["failures"]);
    judge(mix);
}

fn judge(mix: &Value) {
    let found = &mix["runs"][0];
    let number = |value: &Value| value.as_f64().expect("a number");
    let (predicted, measured) = (number(&mix["predicted"]), number(&found["saturation"]));
    println!("storm: {predicted:.0} operations a second predicted, {measured:.0} measured");
    assert!((1.0 / 3.0..3.0).contains(&(predicted / measured)), "{predicted} and {measured}");
    assert!(number(&found["knee"]) <= 1.1 * measured, "{found}");
    for trial in ["calm", "loaded"] {
        for kind in 0..2 {
            assert!(number(&found[trial]["p99"][kind]) > 0.0, "{trial}: {found}");
        }
        let headroom = number(&found[trial]["headroom"]);
        assert!((0.0..=1.0).contains(&headroom), "{trial}: {found}");
    }
}
