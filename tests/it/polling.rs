//! Latency for CPU time: with `sqpoll` and `busy_poll`, messages take hardly any system calls.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::ca::NAME;
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Process, bench_program, run};
use crate::support::{Engine, SOON, engines, has_tool, polling, sized, skip_impossible, wait_for};

/// Longer than a message takes to come on a busy machine: a worker that has looked for so long sleeps,
/// which is a system call.
const BUSY: Duration = Duration::from_millis(100);
const MOST: f64 = 0.05;

#[test]
#[ignore = "run by tests/run"]
fn polling_system_calls() {
    if !has_tool("strace") || !engines().contains(&Engine::Uring) {
        return;
    }
    let component = Component::start();
    let round_trips = sized(50_000, 1_000);
    // Each is relayed there and back.
    let each = |calls: u64| calls as f64 / (2 * round_trips) as f64;
    for (settings, most) in [(String::new(), f64::INFINITY), (polling("10s", BUSY), MOST)] {
        let setup = Setup::new(Engine::Uring, component.address()).gateway(&settings);
        let gateway = setup.start();
        let Some(Calls { kernel, own }) = calls(&gateway, round_trips) else { return };
        println!(
            "io_uring_enter for a message: {:.4}, by its own count {:.4}",
            each(kernel),
            each(own)
        );
        assert!(each(kernel) <= most && each(own) <= most, "{kernel} and {own} of {round_trips}");
        // The tracer does see them, where there are some.
        assert!(kernel > 0 || most < 1.0, "none of {round_trips} was counted");
        let reason = gateway.status()["engine_reason"].as_str().expect("text").to_owned();
        assert_eq!(reason.contains("sqpoll"), most < 1.0, "{reason}");
    }
}

/// System calls of the ring.
struct Calls {
    kernel: u64,
    /// By the gateway's metric.
    own: u64,
}

/// None where nothing can be traced.
fn calls(gateway: &Gateway, round_trips: u64) -> Option<Calls> {
    let directory = TempDir::new().expect("a temporary directory");
    let output = directory.path().join("calls");
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-U", "name,calls", "-e", "trace=io_uring_enter", "-o"]).arg(&output);
    let mut strace = Process::start(command.args(["-p", &gateway.id().to_string()]));
    let is_attached = wait_for("strace", SOON, || {
        let attached = strace.stderr().iter().any(|line| line.contains(" attached"));
        attached.then_some(true).or_else(|| strace.poll().map(|_| false))
    });
    if !is_attached {
        skip_impossible(&strace.stderr().join("; "));
        return None;
    }
    let own = || gateway.metrics().count("tlsgate_engine_system_calls_total", &[]);
    let before = own();
    let mut load = Command::new(bench_program());
    load.arg("load").arg(gateway.address().to_string()).args(["--workload", "messages"]);
    load.args(["--concurrency", "16", "--count", &round_trips.to_string()]);
    load.args(["--server-name", NAME, "--ca"]).arg(gateway.ca_file());
    let ended = run(&mut load, 5 * SOON);
    assert_eq!(ended.code(), 0, "{} {}", ended.stdout, ended.stderr);
    let own = own() - before;
    strace.signal(Signal::INT);
    let ended = strace.wait(SOON);
    let kernel = counted(&output).unwrap_or_else(|| panic!("{}", ended.stderr));
    Some(Calls { kernel, own })
}

/// `io_uring_enter CALLS` among other lines, or nothing of it.
fn counted(output: &Path) -> Option<u64> {
    let text = fs::read_to_string(output).ok()?;
    let mut lines = text.lines().filter_map(|line| line.trim().split_once(' '));
    let calls = lines.find(|(name, _)| *name == "io_uring_enter").map_or("0", |(_, calls)| calls);
    calls.trim().parse().ok()
}
