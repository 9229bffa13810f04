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
fn objectives_have_a_status_of_their_own() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let dead = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let judged = |objective: &str| load(&["--plain", &dead, "-n", "5", "--objective", objective]);
    let (output, text) = judged("errors(refused) == 5, done == 0");
    assert_eq!(output.status.code(), Some(0), "errors that were wanted: {text}");
    let (output, text) = judged("errors == 5, p99(total) < 1s");
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("errors == 5: met (5)") && text.contains("< 1s: NOT MET"), "{text}");
    let (output, _) = judged("p99(totl) < 1s");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no phase 'totl'; there are connect, hs_full"), "{text}");
}

#[test]
fn reports_are_merged() {
    let served = Served::start("sniff");
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("a plain path").to_owned();
    let (one, two, all, log) = (path("1.json"), path("2.json"), path("all.json"), path("all.hlog"));
    // Three seconds each, at the same time.
    let started = [(&one, "30", "10"), (&two, "12", "4")].map(|(file, count, rate)| {
        let words = ["load", "--plain", &served.address, "-w", "messages", "-n", count];
        let mut command = Command::new(PROGRAM);
        command.args(words).args(["--rate", rate, "-c", "4", "--json", file]);
        command.stdout(Stdio::null()).spawn().expect("run it")
    });
    for mut child in started {
        assert_eq!(child.wait().expect("its end").code(), Some(0));
    }
    let merge = |files: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("merge").args(files).args(["--json", &all, "--hlog", &log]);
        command.args(["--objective", "done == 42, count(total) == 42"]).output().expect("run it")
    };
    let output = merge(&[&one, &two]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = std::fs::read_to_string(&all).expect("the file");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["report"]["total"]["count"], 42);
    assert_eq!(json["plan"].as_array().map(Vec::len), Some(2));
    let log = std::fs::read_to_string(&log).expect("the file");
    let untagged = log.lines().any(|line| line.starts_with(|sign: char| sign.is_ascii_digit()));
    assert!(log.contains("\nTag=connect,") && untagged, "{log}");
    let page = path("page.html");
    let mut compare = Command::new(PROGRAM);
    compare.arg("compare").args([&one, &two, &all]).args(["--html", &page]);
    assert!(compare.status().expect("run it").success());
    let page = std::fs::read_to_string(&page).expect("the file");
    // Nine percentile curves, one for each run and phase, and three timelines of each.
    assert_eq!(page.matches("<polyline").count() + page.matches("<circle").count(), 18, "{page}");
    assert_eq!(page.matches("<td>42</td>").count(), 3, "{page}");
    let later = path("later.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&two).expect("the file")).expect("JSON");
    let timeline = json["report"]["timeline"].as_object_mut().expect("seconds");
    let shifted = timeline.iter().map(|(second, interval)| {
        let second: u64 = second.parse().expect("a number");
        ((second + 1_000).to_string(), interval.clone())
    });
    *timeline = shifted.collect();
    std::fs::write(&later, json.to_string()).expect("a writable directory");
    let again = path("./1.json");
    for (files, said) in [
        ([&one, "Cargo.toml"], "Cargo.toml is not what load --json writes"),
        ([&one, &again], "1.json is there twice"),
        ([&one, &later], "later.json did not run at the same time"),
    ] {
        let output = merge(&files);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn scenarios_are_listed_run_and_merged() {
    let (output, text) = load(&["--list"]);
    assert_eq!((output.status.code(), text.lines().count()), (Some(0), 23), "{text}");
    let (output, _) = load(&["--list=B99"]);
    assert_eq!(output.status.code(), Some(2));
    let (_, text) = load(&["--list=p9"]);
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("a plain path").to_owned();
    let (file, one, two, all) =
        (path("own.toml"), path("1.json"), path("2.json"), path("all.json"));
    std::fs::write(&file, text).expect("a writable directory");
    let served = Served::start("sniff");
    let address = format!("target.gateway.address={}", served.address);
    let settings = [&address, "target.gateway.tls=none", "duration=1s", "scale=0.2"];
    let scenario = |file: &str| {
        let mut words = vec!["--scenario".to_owned(), file.to_owned()];
        words.extend(settings.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]));
        words
    };
    let start = |file: &str, json: &str| {
        let mut command = Command::new(PROGRAM);
        command.arg("load").args(scenario(file)).args(["--floor=50ms", "--json", json]);
        command.stdout(Stdio::piped());
        command.spawn().expect("run it")
    };
    // The file that was printed, and the same by its name.
    for run in [start(&file, &one), start("P9", &two)] {
        let output = run.wait_with_output().expect("its end");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("│ trunk "), "{text}");
        assert!(text.contains("trunk: objective errors == 0: met (0)"), "{text}");
        assert!(text.contains("trunk: floor, against a server in this process: "), "{text}");
    }
    let merged = Command::new(PROGRAM).args(["merge", &one, &two, "--json", &all]).output();
    let merged = merged.expect("run it");
    assert!(merged.status.success(), "{merged:?}");
    let text = String::from_utf8_lossy(&merged.stdout);
    assert_eq!(text.matches("trunk: objective errors == 0: met (0)").count(), 1, "{text}");
    let read = |path: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(path).expect("the file")).expect("JSON")
    };
    let done = |path: &str| read(path)["flows"][0]["report"]["done"].as_u64().expect("a number");
    assert!(done(&one) > 0 && done(&all) == done(&one) + done(&two), "{}", done(&all));
    // What is no scenario beside one.
    let (plain, mut json) = (path("plain.json"), read(&two));
    json.as_object_mut().expect("an object").remove("flows");
    std::fs::write(&plain, json.to_string()).expect("a writable directory");
    let merged = Command::new(PROGRAM).args(["merge", &one, &plain]).output().expect("run it");
    let text = String::from_utf8_lossy(&merged.stdout);
    assert!(text.contains("│ load ") && text.contains("│ trunk "), "{text}");
    for (words, said) in [
        (vec!["--scenario", "P9", "--set", "scale=0"], "--set: scale = 0; allowed"),
        (vec!["--scenario", "P9", "--set", "flow.trunks.rate=1"], "there is no such table"),
        (vec!["--scenario", "P9", "--rate", "5"], "cannot be used with"),
        (vec!["--scenario", "B99"], "cannot read B99"),
    ] {
        let (output, _) = load(&words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(said), "{said}: {text}");
    }
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
