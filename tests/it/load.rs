//! The load generator: starts on time, an exact share of resumptions, a pause of the target that
//! shows as what it was to those who had to wait, and logs that other tools read as we do.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tlsgate_bench::client::{Phase, Report};

use crate::support::ca::{KeyKind, NAME};
use crate::support::component::Component;
use crate::support::gateway::Setup;
use crate::support::process::{Ended, Process, bench_program};
use crate::support::{SOON, engines, has_tool, sized, wait_for};

/// Where the package libhdrhistogram-java has HdrHistogram's own library.
const JAR: &str = "/usr/share/java/hdrhistogram.jar";
/// Status when an objective is not met.
const MISSED: i32 = 3;

/// The measuring tool at work, with its report on standard output.
fn start(words: &[&str]) -> Process {
    Process::start(Command::new(bench_program()).arg("load").args(words).args(["--json", "-"]))
}

fn report(ended: &Ended) -> Report {
    let json: Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", ended.stdout, ended.stderr));
    serde_json::from_value(json["report"].clone()).expect("the tool's own report")
}

#[test]
#[ignore = "run by tests/run"]
fn load_paused_target() {
    const RATE: f64 = 1_000.0;
    let (pause, rate) = (Duration::from_secs(2), RATE.to_string());
    let component = Component::start();
    let address = component.name();
    let common = [address.as_str(), "--plain", "-w", "messages", "-d", sized("10s", "4s")];
    let with = |own: &[&str]| start(&[&common, own].concat());
    // Whoever waits for an answer before it asks again does not see the pause.
    let open = with(&["-c", "64", "--rate", &rate, "--objective", "p99(total) < 1s"]);
    let closed = with(&["-c", "8", "--objective", "p99(total) < 1s, errors == 0"]);
    std::thread::sleep(Duration::from_secs(1));
    let before = Instant::now();
    component.signal(Signal::STOP);
    std::thread::sleep(pause);
    component.signal(Signal::CONT);
    let paused = before.elapsed();
    let (open, closed) = (open.wait(SOON), closed.wait(SOON));
    assert_eq!((open.code(), closed.code()), (MISSED, 0), "{} {}", open.stderr, closed.stderr);
    let (open, closed) = (report(&open), report(&closed));
    let half = paused / 2;
    // Those who should have started in the first half of the pause.
    let waited = open.total.count_above(half);
    let share =
        f64::from(u32::try_from(waited).expect("some thousand")) / RATE / half.as_secs_f64();
    println!(
        "paused for {paused:.2?}; open loop: {waited} waited longer than half of it, {share:.2} of \
         those who came in its first half, the longest {:.2?}, rate error {:?}; closed loop: {} of \
         {}",
        open.total.max(),
        open.rate_error(),
        closed.total.count_above(half),
        closed.done
    );
    assert!((0.9..1.3).contains(&share), "{share}");
    assert!(open.total.max() >= paused.mul_f64(0.95), "{:?}", open.total.max());
    assert!(open.rate_error().is_some_and(|error| error < 0.01), "{:?}", open.rate_error());
    assert!(closed.total.count_above(half) <= 8, "{}", closed.total.count_above(half));
}

#[test]
#[ignore = "run by tests/run"]
fn load_resumption_ratio() {
    const SHARE: f64 = 0.9;
    let component = Component::start();
    for engine in engines() {
        let setup = Setup::new(engine, component.address());
        let gateway = setup.certificate("ecdsa", KeyKind::Ecdsa, &[NAME]).start();
        for version in ["1.2", "1.3"] {
            let (target, share) = (gateway.address().to_string(), SHARE.to_string());
            let ca = gateway.ca_file();
            let ca = ca.to_str().expect("a plain path");
            let count = sized("20000", "600");
            let words = [&target, "--resumed", &share, "--tls", version, "-n", count, "--ca", ca];
            let own = ["--server-name", NAME, "-c", "16", "-d", "5m", "--threads", "2"];
            let objective = ["--objective", "resumed_share >= 89.1%, resumed_share <= 90.9%"];
            let metric =
                |kind| gateway.metrics().count("tlsgate_handshakes_total", &[("kind", kind)]);
            let before = [metric("full"), metric("resumed")];
            let ended = start(&[&words[..], &own, &objective].concat()).wait(10 * SOON);
            assert_eq!(ended.code(), 0, "{engine:?} {version}: {} {}", ended.stdout, ended.stderr);
            let report = report(&ended);
            assert_eq!(report.error_count(), 0, "{engine:?} {version}: {:?}", report.errors);
            // Each of the slots made a full one before.
            let seen = [metric("full") - before[0] - 16, metric("resumed") - before[1]];
            let measured = report.resumed_share().expect("operations");
            println!("{engine:?} {version}: {measured:.5}; the gateway saw {seen:?}");
            assert!((measured - SHARE).abs() < 0.01 * SHARE, "{measured}");
            assert_eq!(seen, [report.done - report.resumed, report.resumed]);
        }
    }
}

/// On a terminal of its own, which `script` makes: one that knows figures, and one that meets nobody and
/// wants colours.
#[test]
#[ignore = "run by tests/run, beside others"]
fn load_in_a_terminal() {
    if !has_tool("script") {
        return;
    }
    let component = Component::start();
    let start = |target: &str, no_color: &str| {
        let words = format!("load {target} --plain -w messages -c 4 --rate 100 -d 5m");
        let program = bench_program().display().to_string();
        let line = format!("stty rows 20 cols 70; exec {program} {words}");
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]);
        Process::start(command.env("TERM", "xterm").env("NO_COLOR", no_color))
    };
    let served = start(&component.name(), "1");
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = dead.local_addr().expect("an address").to_string();
    drop(dead);
    let refused = start(&address, "");
    let seen = |process: &Process, what: &dyn Fn(&str) -> bool| {
        wait_for("a frame", SOON, || process.stdout().iter().any(|line| what(line)).then_some(()));
    };
    let has = |text: &'static str| move |line: &str| line.contains(text);
    seen(&served, &|line| line.contains("measuring ") && line.contains(" min left"));
    seen(&served, &|line| line.contains("/s  p50 ") && !line.contains("p50 –"));
    // Above the lines that were drawn before.
    seen(&served, &has("\u{1b}[1A"));
    seen(&refused, &has("\u{1b}[31merrors: refused "));
    let colours = |line: &String| line.contains("\u{1b}[31m");
    assert!(!served.stdout().iter().any(colours));
}

#[test]
#[ignore = "run by tests/run"]
fn load_histogram_log() {
    if !has_tool("java") {
        return;
    }
    if !Path::new(JAR).exists() {
        println!("SKIPPED: there is no {JAR} (package libhdrhistogram-java)");
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let (log, component) = (directory.path().join("run.hlog"), Component::start());
    let path = log.to_str().expect("a plain path");
    let words = [&component.name(), "--plain", "-c", "64", "--hlog", path, "--threads", "2"];
    let own = ["--rate", "800", "--arrivals", "poisson", "-d", "2200ms"];
    let report = report(&start(&[&words[..], &own].concat()).wait(SOON));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/Hlog.java");
    let mut java = Command::new("java");
    java.args(["-cp", JAR]).arg(source).arg(path);
    let ended = crate::support::process::run(&mut java, 2 * SOON);
    assert_eq!(ended.code(), 0, "{} {}", ended.stdout, ended.stderr);
    let read: BTreeMap<&str, Vec<u64>> = ended
        .stdout
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().expect("a name");
            (name, words.map(|word| word.parse().expect("a number")).collect())
        })
        .collect();
    assert!(report.timeline.len() >= 2, "{:?}", report.timeline.keys());
    assert_eq!(read.len(), 3, "{}", ended.stdout);
    for phase in [Phase::Connect, Phase::FirstByte, Phase::Total] {
        let latency = report.phase(phase);
        let quantiles = [0.5, 0.9, 0.99, 0.999, 1.0];
        let nanos = |quantile| u64::try_from(latency.quantile(quantile).as_nanos()).expect("short");
        let mut own = vec![latency.count()];
        own.extend(quantiles.map(nanos));
        println!("{}: count and percentiles {own:?}", phase.name());
        assert_eq!(read.get(phase.name()), Some(&own), "{}", ended.stdout);
    }
}
