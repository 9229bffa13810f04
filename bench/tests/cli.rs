//! The program as scripts see it: output, files, exit status.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tlsgate-bench");

/// A backend process that ends with the test.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(mode: &str) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["backend", "--listen", "127.0.0.1:0", "--mode", mode])
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the backend");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        let address = line.strip_prefix("listening on ").expect("the promised words").trim();
        Self { address: address.to_owned(), child }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().expect("stop the backend");
        self.child.wait().expect("reap the backend");
    }
}

fn load(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(PROGRAM).arg("load").args(arguments).output().expect("run it");
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    (output, text)
}

#[test]
fn a_table_for_people_and_json_for_programs() {
    let served = Served::start("sniff");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("report.json");
    let path = file.to_str().expect("a plain path");
    let (output, text) =
        load(&["--plain", &served.address, "-w", "messages", "-n", "200", "--json", path]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for word in ["p50", "p99.99", "total", "200 operations", "0 errors"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let (_, text) = load(&["--plain", &served.address, "-w", "down", "-n", "3", "--json", "-"]);
    for text in [text, std::fs::read_to_string(file).expect("the file")] {
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["report"]["done"], json["plan"]["stop"]["count"]);
        assert_eq!(json["report"]["total"]["count"], json["report"]["done"]);
        assert!(json["report"]["total"]["p50_ns"].as_u64() > Some(0));
    }
}

#[test]
fn errors_are_status_1_and_mistakes_status_2() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let dead = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let (output, text) = load(&["--plain", &dead, "-n", "5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("5 errors") && text.contains("error refused: 5"), "{text}");
    let (output, _) = load(&["--insecure", &dead, "--suites", "NONE"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown cipher suite 'NONE'"));
    let (output, _) = load(&[&dead]);
    assert_eq!(output.status.code(), Some(2), "no word about trust");
}

#[test]
fn peers_needs_a_gateway_and_two_cpus() {
    let peers = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).arg("peers").args(arguments).output().expect("run it");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, text) = peers(&["--quick", "--gateway", "/does/not/exist"]);
    assert!(status == Some(2) && text.contains("no gateway at /does/not/exist"), "{text}");
    let (status, text) = peers(&["--quick", "--server-cpu", "1"]);
    assert!(status == Some(2) && text.contains("a CPU each"), "{text}");
    // A program that is no gateway: what it says is passed on, and nothing is measured.
    let (status, text) = peers(&["--quick", "--gateway", "/bin/false"]);
    assert!(status == Some(2) && text.contains("does not listen"), "{text}");
}
