//! What an idle connection takes: a figure of each build, and a limit.

use std::process::Command;
use std::time::Duration;

use crate::support::ca::NAME;
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup};
use crate::support::holdings::Holdings;
use crate::support::process::{Process, bench_program, descriptor_limit, resident_bytes};
use crate::support::{Engine, SOON, engines, sized, wait_for};

/// Heap of one, with the keys of TLS 1.3 and what was agreed on. Its entries in the tables of the shard
/// and of the engine come on top: they are reserved at the start.
const MOST_HEAP: u64 = 768;

#[test]
#[ignore = "run by tests/run"]
fn idle_memory() {
    let possible = descriptor_limit().unwrap_or(u64::MAX).saturating_sub(512) / 2;
    let count = sized(9_000, 1_000).min(possible);
    // Of few connections, what the allocator keeps is as much as they are.
    let most_resident = sized(2_048, u64::MAX);
    for engine in engines() {
        let (heap, resident) = idle(engine, count);
        assert!(resident <= most_resident, "{engine:?}: {resident} bytes resident each");
        println!(
            "{engine:?}, {count} idle connections: {heap} bytes of heap each, {resident} resident"
        );
    }
}

/// Heap and resident memory for each of `count` connections that have been idle for a while.
fn idle(engine: Engine, count: u64) -> (u64, u64) {
    let component = Component::start();
    // Sessions that could be resumed are no part of a connection.
    let setup = Setup::new(engine, component.address()).tls("resumption = \"off\"");
    let gateway = setup.counts_heap().start();
    let start = Holdings::warmed_up(&gateway);
    let _client = open(&gateway, count);
    wait_for("all connections", SOON * 4, || (gateway.open_connections() == count).then_some(()));
    // Keys and queues are put away in the second in which a connection is seen to be idle.
    let heap = wait_for("connections that rest", SOON, || {
        let heap = gateway.metrics().count("tlsgate_heap_live_bytes", &[]);
        let each = heap.saturating_sub(start.heap) / count;
        let is_last = each <= MOST_HEAP;
        if !is_last {
            println!("{engine:?}: {each} bytes of heap each");
            std::thread::sleep(Duration::from_millis(500));
        }
        is_last.then_some(each)
    });
    (heap, resident_bytes(gateway.id()).saturating_sub(start.resident) / count)
}

/// A client that opens connections and then says nothing, until it is dropped.
fn open(gateway: &Gateway, count: u64) -> Process {
    Process::start(
        Command::new(bench_program())
            .arg("load")
            .arg(gateway.address().to_string())
            .args(["--workload", "idle", "--hold", "120s", "--timeout", "60s"])
            .args(["--concurrency", &count.to_string(), "--server-name", NAME, "--ca"])
            .arg(gateway.ca_file()),
    )
}
