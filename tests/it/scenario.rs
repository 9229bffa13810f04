//! Scenario files: what they make is what the gateway sees, mistakes in them are all told, and all servers
//! go through them.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tlsgate_bench::backend::{Backend, Mode};
use tlsgate_bench::client::Report;

use crate::battery::peers::servers::{ANSWER, Start, is_there};
use crate::support::backend::dead_address;
use crate::support::ca::{KeyKind, NAME, ca};
use crate::support::component::Component;
use crate::support::gateway::Setup;
use crate::support::log::Line;
use crate::support::process::{Ended, bench_program, gateway_program, run};
use crate::support::{SOON, engines, has_tool, sized, skip_impossible};

/// Two phases of handshakes of which half resume, messages at the same time, and connections that are
/// only held.
const MIX: &str = r#"
format = 1
about = "a check"
duration = "2s"

[target.gateway]
address = "ADDRESS"
server_name = "SERVER"
ca = "CA-FILE"

[[flow]]
name = "storm"
kind = "handshakes"
connections = 48
resumed = 0.5
phases = [
  { rate = 100, duration = "1s" },
  { rate = 50, start = "1500ms", duration = "500ms", shape = "ramp:150" },
]
objectives = ["rate_error < 1%", "errors == 0", "done == 150"]

[[flow]]
name = "talk"
kind = "messages"
tls = "1.2"
connections = 40
rate = 200    # --set says otherwise
arrivals = "poisson"
size = 300
objectives = ["rate_error < 1%", "errors == 0"]

[[flow]]
name = "idle"
kind = "idle"
connections = 20
objectives = ["done == 20"]
"#;

/// Connections of the storm.
const SLOTS: u64 = 48;

fn load(directory: &Path, words: &[&str]) -> Ended {
    let mut command = Command::new(bench_program());
    command.current_dir(directory).args(["load", "--scenario", "mix.toml"]).args(words);
    run(&mut command, 2 * SOON)
}

fn flow(json: &Value, name: &str) -> Report {
    let flows = json["flows"].as_array().expect("flows");
    let flow = flows.iter().find(|flow| flow["name"] == name).expect("it ran");
    serde_json::from_value(flow["report"].clone()).expect("the tool's own report")
}

/// Seconds of the day at which a connection ended, by the access log.
fn seconds(line: &Line) -> f64 {
    let (_, time) = line.text("time").trim_end_matches('Z').split_once('T').expect("a time");
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().expect("a number"))
}

#[test]
#[ignore = "run by tests/run"]
fn load_scenario() {
    let component = Component::start();
    for engine in engines() {
        let setup = Setup::new(engine, component.address());
        let gateway = setup.certificate("ecdsa", KeyKind::Ecdsa, &[NAME]).start();
        let directory = TempDir::new().expect("a temporary directory");
        let ca = gateway.ca_file().display().to_string();
        let mix = MIX.replace("ADDRESS", &gateway.address().to_string());
        let mix = mix.replace("SERVER", NAME).replace("CA-FILE", &ca);
        fs::write(directory.path().join("mix.toml"), mix).expect("a writable directory");
        let ended = load(
            directory.path(),
            &[
                "--json",
                "-",
                "--hlog",
                "mix.hlog",
                "--html",
                "mix.html",
                "--set",
                "flow.talk.rate=150",
            ],
        );
        assert_eq!(ended.code(), 0, "{engine:?}: {} {}", ended.stdout, ended.stderr);
        let json: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let [storm, talk, idle] = ["storm", "talk", "idle"].map(|name| flow(&json, name));
        let whole: Report = serde_json::from_value(json["report"].clone()).expect("the sum");
        assert_eq!(whole.done, storm.done + talk.done + idle.done);
        // 2 s of 150 a second, at random: four standard deviations.
        assert!((230..370).contains(&talk.done), "{}", talk.done);
        assert_eq!((storm.resumed, storm.handshakes_full), (75, 75 + SLOTS));
        gateway.wait_until_idle();
        let lines = gateway.at_least(usize::try_from(whole.connections).expect("some hundred"));
        let of = |version: &'static str| {
            lines.iter().filter(move |line| line.text("tls_version") == version)
        };
        let received = |version| of(version).map(|line| line.number("bytes_received")).sum::<u64>();
        assert_eq!((of("TLSv1.2").count(), received("TLSv1.2")), (40, 300 * talk.done));
        assert_eq!(received("TLSv1.3"), 100 * (150 + SLOTS + 20));
        assert_eq!(lines.iter().filter(|line| line.is_resumed()).count(), 75);
        // Of the storm: the others are open from the beginning to the end.
        let short = of("TLSv1.3").filter(|line| line.number("lifetime_us") < 1_900_000);
        let mut times: Vec<f64> = short.map(seconds).collect();
        times.sort_by(f64::total_cmp);
        // Each slot has got a session before.
        let times = &times[usize::try_from(SLOTS).expect("small")..];
        // The first hundred are due every 10 ms, and end some time later: the next ones from 1.5 s on.
        let places = (0_u32..100).map(|place| f64::from(place) / 100.0);
        let begin = times.iter().zip(places).map(|(time, place)| time - place);
        let begin = begin.fold(f64::INFINITY, f64::min);
        let first = times.iter().filter(|time| **time < begin + 1.49).count();
        println!(
            "{engine:?}: {first} of {} in the first phase; {:.3?}",
            times.len(),
            storm.late.max()
        );
        assert!((times.len(), first) == (150, 100), "{first} of {}", times.len());
        let read = |name| fs::read_to_string(directory.path().join(name)).expect("written");
        let (log, page) = (read("mix.hlog"), read("mix.html"));
        for name in ["storm", "talk", "idle"] {
            assert!(log.contains(&format!("Tag={name}.total,")) && page.contains(name), "{name}");
        }
    }
}

#[test]
#[ignore = "run by tests/run"]
fn load_hostile() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let backend = Backend::start(any, Mode::Sniff).expect("a backend");
    let component = backend.tcp_address().expect("a TCP address");
    let directory = TempDir::new().expect("a temporary directory");
    let hostile = |address: SocketAddr, more: &[&str]| {
        let mut command = Command::new(bench_program());
        command.current_dir(directory.path()).args(["load", "--scenario", "B9", "--json", "-"]);
        let address = format!("target.gateway.address={address}");
        for set in [&[address.as_str(), "scale=0.05", "timeout=10s"], more].concat() {
            command.args(["--set", set]);
        }
        run(&mut command, 2 * SOON)
    };
    // Nobody is there yet: it only makes the CA.
    let ended = hostile(dead_address(), &["duration=1ms", "flow.split.connections=1"]);
    assert_ne!(ended.code(), 2, "{}", ended.stderr);
    // How fast it is, is not the question here.
    let calm = "flow.agents.objectives=[\"errors == 0\"]";
    let trusted = format!("trusted_ca = {:?}", directory.path().join("clients-ca.pem"));
    for engine in engines() {
        let setup = Setup::new(engine, component).timeouts("handshake = \"2s\"");
        let setup = setup.tls(&format!("client_cert = \"required\"\n{trusted}"));
        // Each failure is seen: nobody is kept away for those before.
        let gateway = setup.gateway("[handshakes]\nsource_failures = \"off\"").start();
        let ended = hostile(gateway.address(), &["duration=1s", "flow.loris.every=200ms", calm]);
        assert_eq!(ended.code(), 0, "{engine:?}: {} {}", ended.stdout, ended.stderr);
        let json: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        gateway.wait_until_idle();
        let metrics = gateway.metrics();
        let failures =
            |reason| metrics.count("tlsgate_handshake_failures_total", &[("reason", reason)]);
        let [agents, expired, loris, split, garbage, plaintext] =
            ["agents", "expired", "loris", "split", "garbage", "plaintext"]
                .map(|name| flow(&json, name));
        println!(
            "{engine:?}: {} expired, {} slow, {} garbage, {} plaintext refused; {} split served",
            expired.done, loris.done, garbage.done, plaintext.done, split.done
        );
        assert!(agents.done > 0 && split.done > 0 && split.error_count() == 0);
        for flow in [&expired, &loris, &garbage, &plaintext] {
            assert!(flow.done > 0, "{engine:?}: nobody tried");
        }
        assert_eq!(failures("client_certificate_invalid"), expired.done);
        assert_eq!(failures("handshake_timeout"), loris.done);
    }
}

/// Each asks a server of the kind that it speaks with; the second page of HTTP is not there.
const PAYLOADS: &str = r#"
format = 1

[target.http]
address = "HTTP"
trust = "any"
tls = "1.2"

[target.ldap]
address = "LDAP"
trust = "any"

[target.own]
address = "OWN"
tls = "none"

[[flow]]
name = "pages"
kind = "messages"
target = "http"
payload = "http"
path = "/answer"
connections = 4
count = 40
pipeline = 3

[[flow]]
name = "silent"
kind = "handshakes"
target = "http"
payload = "none"
resumed = 0.5
connections = 4
count = 20

[[flow]]
name = "missing"
kind = "messages"
target = "http"
payload = "http"
path = "/missing"
connections = 1
count = 3
objectives = ["errors(http) == 3"]

[[flow]]
name = "bind"
kind = "handshakes"
target = "ldap"
payload = "ldap-bind"
connections = 4
count = 20

[[flow]]
name = "search"
kind = "messages"
target = "ldap"
payload = "ldap-search"
connections = 4
count = 40

[[flow]]
name = "nobody"
kind = "messages"
target = "ldap"
payload = "ldap-search"
base = "cn=nobody,dc=test"
connections = 1
count = 3
objectives = ["errors(protocol) == 3"]

[[flow]]
name = "options"
kind = "messages"
target = "own"
payload = "sip-options"
size = { uniform = [500, 1500] }
connections = 4
count = 40

[[flow]]
name = "register"
kind = "handshakes"
target = "own"
payload = "sip-register"
connections = 4
count = 20

[[flow]]
name = "frames"
kind = "messages"
target = "own"
payload = "frames"
size = { lognormal = { median = 600, sigma = 1, most = "8K" } }
answer = { list = [[100, 3], ["200K", 1]] }
connections = 4
count = 40
pipeline = 2
"#;

#[test]
#[ignore = "run by tests/run"]
fn load_payloads() {
    if !rustix::process::getuid().is_root() {
        return skip_impossible("servers are started as users of their own");
    }
    if !["nginx", "slapd"].iter().all(|tool| is_there(tool) || has_tool(tool)) {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path();
    ca().issue(path, "component", KeyKind::Ecdsa, &[NAME]);
    fs::write(path.join("ca.pem"), ca().pem()).expect("a writable directory");
    let start = Start::new(path, None);
    let (nginx, slapd) = (start.nginx(), start.slapd());
    let own =
        Backend::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Mode::Sniff).expect("a backend");
    let own_address = own.tcp_address().expect("a TCP address");
    let text = PAYLOADS
        .replace("HTTP\"", &format!("{}\"", nginx.address))
        .replace("LDAP\"", &format!("{}\"", slapd.address))
        .replace("OWN\"", &format!("{own_address}\""));
    fs::write(path.join("mix.toml"), text).expect("a writable directory");
    let ended = load(path, &["--json", "-"]);
    assert_eq!(ended.code(), 0, "{} {}", ended.stdout, ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    for (name, done) in [
        ("pages", 40),
        ("silent", 20),
        ("bind", 20),
        ("search", 40),
        ("options", 40),
        ("register", 20),
        ("frames", 40),
    ] {
        let report = flow(&json, name);
        assert_eq!((report.done, report.error_count()), (done, 0), "{name}: {:?}", report.errors);
        println!("{name}: {done} answers, p99 {:?}", report.total.quantile(0.99));
    }
    // Three heads and bodies each time.
    let pages = flow(&json, "pages");
    assert!(pages.bytes_received > 40 * 3 * ANSWER.len() as u64, "{}", pages.bytes_received);
}

/// That all of it runs, and that nothing fails that should not: how fast is not the question.
#[test]
#[ignore = "run by tests/run"]
fn scenarios_side_by_side() {
    if !["haproxy", "nginx", "chrt"].iter().all(|tool| has_tool(tool)) {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let file = directory.path().join("results.json");
    let page = directory.path().join("page.html");
    let mut command = Command::new(bench_program());
    let size: &[&str] = sized(&["--rounds", "2"], &["--quick"]);
    command.arg("scenarios").args(size);
    let engine = engines().last().expect("one at least").name();
    command.args(["--scenarios", "B3-crash,B4", "--targets", &format!("{engine},haproxy,nginx")]);
    command.arg("--gateway").arg(gateway_program()).arg("--json").arg(&file);
    let ended = run(command.arg("--html").arg(&page), 20 * SOON);
    assert_eq!(ended.code(), 0, "{} {}", ended.stdout, ended.stderr);
    let read = |path| fs::read_to_string(path).expect("written");
    let json: Value = serde_json::from_str(&read(&file)).expect("JSON");
    let runs = json["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 6 * sized(2, 1), "{}", ended.stdout);
    let mut everybody = 0;
    for ran in runs {
        for flow in ran["flows"].as_array().expect("flows") {
            assert_eq!(flow["errors"], serde_json::json!({}), "{}: {flow}", ran["target"]);
            let [done, lost, all] = ["done", "lost", "connections"].map(|key| flow[key].as_u64());
            if flow["name"] == "servers" {
                assert!(done > Some(0), "{flow}");
            } else {
                // On a busy machine it may have been over before it happened.
                assert!(done == lost && (lost == all || lost == Some(0)), "{flow}");
                everybody += lost.unwrap_or_default();
            }
        }
        assert!(ran["used"]["resident"].as_u64() > Some(1 << 20), "{ran}");
    }
    println!("{}", ended.stdout);
    assert!(everybody > 0, "nobody has lost a connection");
    let page = read(&page);
    assert!(page.matches("<figure>").count() >= 10 && page.contains("storm13, p99 by second"));
}

#[test]
#[ignore = "run by tests/run, beside others"]
fn scenario_mistakes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scenario/mistakes.txt");
    let golden = fs::read_to_string(&file).expect("the corpus");
    let directory = TempDir::new().expect("a temporary directory");
    let mut actual = String::new();
    for case in golden.split("=== ").skip(1) {
        let (title, rest) = case.split_once('\n').expect("a title");
        let (input, _) = rest.split_once("---\n").expect("a scenario");
        fs::write(directory.path().join("mix.toml"), input).expect("a writable directory");
        let ended = load(directory.path(), &[]);
        assert_eq!(ended.code(), 2, "{title}: {} {}", ended.stdout, ended.stderr);
        let said = ended.stderr.trim_start_matches("tlsgate-bench: ");
        let gap = if actual.is_empty() { "" } else { "\n" };
        write!(actual, "{gap}=== {title}\n{input}---\n{said}").expect("a string takes everything");
    }
    if std::env::var_os("TLSGATE_UPDATE_GOLDEN").is_some() {
        fs::write(&file, &actual).expect("the source can be written");
    }
    let golden = fs::read_to_string(&file).expect("read before");
    assert_eq!(actual, golden, "messages changed: TLSGATE_UPDATE_GOLDEN=1 writes them anew");
}
