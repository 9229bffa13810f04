//! The headroom that the gateway shows of itself falls when there is more to do, and comes back.

use std::process::Command;

use serde_json::Value;

use crate::support::ca::{KeyKind, NAME};
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Process, bench_program};
use crate::support::{SOON, engines, wait_for, wait_until};

/// By how much two loads must differ to be told apart on a machine that has other work.
const APART: f64 = 0.05;

#[test]
#[ignore = "run by tests/run"]
fn headroom_falls_with_load() {
    let component = Component::start();
    for engine in engines() {
        let setup = Setup::new(engine, component.address()).workers(2);
        let gateway = setup.certificate("rsa", KeyKind::Rsa, &[NAME]).start();
        let known = || of_node(&gateway);
        // What starting has cost is no load.
        let idle = wait_for("headroom", SOON, || known().filter(|headroom| *headroom > 0.5));
        let load = load(&gateway);
        wait_until("less headroom", SOON, || known().is_some_and(|it| it < idle - APART));
        let status = gateway.status();
        let shards = status["shards"].as_array().expect("shards");
        let of = |shard: &Value| shard["headroom"]["headroom"].as_f64().expect("known by now");
        let least = shards.iter().map(of).fold(1.0, f64::min);
        let node = status["headroom"]["headroom"].as_f64().expect("known by now");
        println!("{engine:?}: {idle:.3} when idle, {node:.3} under load: {}", status["headroom"]);
        assert!((node - least).abs() < 1e-9, "{engine:?}: {status}");
        for share in ["headroom", "busy", "starved"] {
            let share = status["headroom"][share].as_f64().expect("a share");
            assert!((0.0..=1.0).contains(&share), "{engine:?}: {}", status["headroom"]);
        }
        let cost = status["headroom"]["event_cost_us"].as_f64();
        assert!(cost.is_some_and(|cost| cost > 0.0), "{engine:?}: {}", status["headroom"]);
        let metrics = gateway.metrics();
        for name in [
            "tlsgate_headroom_ratio",
            "tlsgate_shard_headroom_ratio",
            "tlsgate_shard_busy_ratio",
            "tlsgate_shard_starved_ratio",
            "tlsgate_shard_event_cost_seconds",
        ] {
            assert!(metrics.has(name), "{engine:?}: no {name}");
        }
        drop(load);
        wait_until("headroom again", SOON, || known().is_some_and(|it| it > node + APART / 2.0));
    }
}

fn of_node(gateway: &Gateway) -> Option<f64> {
    gateway.status()["headroom"]["headroom"].as_f64()
}

/// As many handshakes as can be done, for longer than anybody waits.
fn load(gateway: &Gateway) -> Process {
    let mut command = Command::new(bench_program());
    command.arg("load").arg(gateway.address().to_string());
    command.args(["--workload", "handshakes", "--concurrency", "16", "--duration", "5m"]);
    command.args(["--server-name", NAME, "--ca"]).arg(gateway.ca_file());
    Process::start(&mut command)
}
