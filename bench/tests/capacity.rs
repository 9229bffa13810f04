//! The planner as scripts see it: output, exit status, what is said about mistakes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/capacity/node.toml");
const DEMAND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/capacity/demand.toml");

fn capacity(arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_tlsgate-bench");
    let Output { status, stdout, stderr } =
        Command::new(program).arg("capacity").args(arguments).output().expect("run it");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn plan(demand: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let demand = demand.to_str().expect("a plain path");
    capacity(&[&["plan", "--model", MODEL, "--demand", demand], more].concat())
}

#[test]
fn a_plan_for_people_and_for_programs() {
    let (status, text, _) = plan(Path::new(DEMAND), &[]);
    assert_eq!(status, Some(0), "{text}");
    for words in ["cores", "Saturates first", "M/G/1", "RSA-2048 keys", "a node is lost"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    let (status, text, _) = plan(Path::new(DEMAND), &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &json["holds"]), (Some(0), &true.into()));
    let nodes = json["plan"]["nodes"].as_u64().expect("a number");
    assert_eq!(json["plan"]["cores"].as_u64(), Some(nodes * 4));
    assert_eq!(json["choices"].as_array().map(Vec::len), Some(7));
    let less = (nodes - 1).to_string();
    let (status, text, _) = plan(Path::new(DEMAND), &["--nodes", &less]);
    assert_eq!(status, Some(3), "{text}");
    assert!(text.contains("The objectives are not met. To change:"), "{text}");
}

#[test]
fn a_node_to_spare_is_not_the_only_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("demand.toml");
    // So little that one node is plenty for it.
    let (_, example, _) = capacity(&["example", "demand"]);
    let small = example.replace("count = 10000", "count = 10");
    let of = |spare: &str, more: &[&str]| {
        let text = small.replace("spare_nodes = 1 ", &format!("spare_nodes = {spare} "));
        fs::write(&file, text).expect("a writable directory");
        let (status, text, said) = plan(&file, &[&["--json"], more].concat());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        (status, json["plan"]["nodes"].as_u64(), said)
    };
    let (status, nodes, said) = of("0", &["--nodes", "1"]);
    assert_eq!((status, nodes), (Some(0), Some(1)), "{said}");
    let (status, nodes, said) = of("1", &["--nodes", "1"]);
    assert_eq!((status, nodes), (Some(2), None), "{said}");
    assert!(said.contains("1 nodes are too few for objectives.spare_nodes = 1"), "{said}");
    assert_eq!(of("1", &[]).1, Some(2));
    assert_eq!(of("3", &[]).1, Some(4));
}

#[test]
fn examples_can_be_planned_with_and_mistakes_have_a_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("demand.toml");
    let (_, example, _) = capacity(&["example", "demand"]);
    fs::write(&file, &example).expect("a writable directory");
    assert_eq!(plan(&file, &[]).0, Some(0));
    for (from, to, expected) in [
        ("headroom = 0.3", "headroom = 3", "headroom = 3 is not allowed: 0 to 0.95"),
        ("headroom = 0.3", "headrom = 0.3", "headrom"),
        ("\np99_ms = 1 ", "\np99_ms = 0.001 ", "raise it above that"),
    ] {
        fs::write(&file, example.replacen(from, to, 1)).expect("a writable directory");
        let (status, _, said) = plan(&file, &[]);
        assert!(status == Some(2) && said.contains(expected), "{to}: {said}");
    }
    let (_, observations, _) = capacity(&["example", "observations"]);
    fs::write(&file, &observations).expect("a writable directory");
    let (model, path) = (directory.path().join("model.toml"), file.to_str().expect("plain"));
    let (status, text, said) = capacity(&["fit", path]);
    assert!(status == Some(0) && text.contains("[cpu_us.full_tls13]"), "{text}{said}");
    let (_, quality, _) = capacity(&["fit", path, "--out", model.to_str().expect("plain")]);
    assert!(quality.contains("residuals are") && model.is_file(), "{quality}");
    let (status, text, _) = capacity(&["profiles"]);
    assert!(status == Some(0) && text.contains("P13") && text.contains("(sourced)"), "{text}");
}

#[test]
fn a_plan_for_browsers_has_tables_and_curves() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("plan.html");
    let path = file.to_str().expect("a plain path");
    let (status, text, said) = plan(Path::new(DEMAND), &["--html", path]);
    assert!(status == Some(0) && text.contains("Saturates first"), "{text}{said}");
    let page = fs::read_to_string(&file).expect("written");
    for words in ["Saturates first", "RSA-2048 keys", "a node is lost", "nodes that are needed"] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    assert!(page.matches("<polyline").count() > 8, "{page}");
}

#[test]
fn what_cannot_be_verified_is_said_with_a_way_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = directory.path().join("node.toml");
    let verify =
        |mix: &str| capacity(&["verify", "--node", node.to_str().expect("plain"), "--mix", mix]);
    fs::copy(MODEL, &node).expect("a writable directory");
    let (status, _, said) = verify(DEMAND);
    assert!(status == Some(2) && said.contains("calibrate one first"), "{said}");
    let text = fs::read_to_string(MODEL).expect("there");
    let text = text.replace("tlsgate, io_uring", "tlsgate io_uring: some version");
    fs::write(&node, text).expect("a writable directory");
    let (status, _, said) = verify(DEMAND);
    assert!(status == Some(2) && said.contains("what is verified is echoes"), "{said}");
    assert!(said.contains("demand.toml: flow agents"), "{said}");
    let (status, _, said) = capacity(&["verify", "--node", MODEL]);
    assert!(status == Some(2) && said.contains("--mix"), "{said}");
}
