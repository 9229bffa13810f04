//! Checks of upstreams: what is down is passed over before anybody had to try it.

use std::time::{Duration, Instant};

use crate::support::client::{Version, assert_echo, close, config, connect};
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup};
use crate::support::{Engine, SOON, engines, wait_until};
use crate::upstream::{Clients, one};

/// As in [`CHECKS`].
const INTERVAL: Duration = Duration::from_millis(500);
const RISE: u32 = 2;
const FALL: u32 = 3;
const CHECKS: &str = "checks = { interval = \"500ms\", timeout = \"1s\", rise = 2, fall = 3 }";
/// How long connections alone would pass it over.
const EJECTION: Duration = Duration::from_secs(10);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);

/// A gateway with checks, in front of a primary and a backup.
struct Rig {
    gateway: Gateway,
    primary: Component,
    names: [String; 2],
    _backup: Component,
}

impl Rig {
    fn start(engine: Engine) -> Self {
        let (primary, backup) = (Component::start(), Component::start());
        let names = [primary.name(), backup.name()];
        let setup = Setup::new(engine, primary.address()).listener(CHECKS);
        let gateway = setup.listener(&format!("backup = {:?}", names[1])).start();
        Self { gateway, primary, names, _backup: backup }
    }

    /// A figure of each upstream.
    fn figures(&self, metric: &str) -> [u64; 2] {
        let metrics = self.gateway.metrics();
        let name = format!("tlsgate_upstream_{metric}");
        self.names.each_ref().map(|upstream| metrics.count(&name, &[("upstream", upstream)]))
    }

    fn of_primary(&self, metric: &str) -> u64 {
        self.figures(metric)[0]
    }

    /// Waits until checks say so; returns how long that took.
    fn wait_until_primary_is(&self, up: bool) -> Duration {
        let begin = Instant::now();
        let what = if up { "it is up" } else { "it is down" };
        wait_until(what, SOON, || self.of_primary("up") == u64::from(up));
        begin.elapsed()
    }

    /// Connections of each upstream while there is one.
    fn reached(&self) -> [u64; 2] {
        let nobody_is_left = || self.figures("connections") == [0, 0];
        wait_until("everybody has left", SOON, nobody_is_left);
        let mut stream = connect(self.gateway.address(), &config(Version::V13));
        assert_echo(&mut stream, b"whom?");
        let reached = self.figures("connections");
        close(stream);
        wait_until("it has left", SOON, nobody_is_left);
        reached
    }
}

const PRIMARY: [u64; 2] = [1, 0];
const BACKUP: [u64; 2] = [0, 1];

#[test]
#[ignore = "run by tests/run, beside others: it waits most of the time"]
fn upstream_health() {
    for engine in engines() {
        let mut rig = Rig::start(engine);
        wait_until("checks happen", SOON, || {
            rig.figures("checks_total").iter().all(|count| *count > 1)
        });
        assert_eq!(rig.reached(), PRIMARY, "the backup waits");
        without_clients(&mut rig);
        with_clients(&mut rig);
    }
}

/// Only checks can find out.
fn without_clients(rig: &mut Rig) {
    rig.primary.kill();
    let took = rig.wait_until_primary_is(false);
    println!("down after {took:?}");
    assert!(took < INTERVAL * FALL + SLACK, "{took:?}");
    for _ in 0..20 {
        one(rig.gateway.address()).expect("the backup serves");
    }
    assert_eq!(rig.of_primary("connect_failures_total"), 0, "nobody had to try");
    assert_eq!(rig.reached(), BACKUP);
    rig.primary.start_again();
    let took = rig.wait_until_primary_is(true);
    println!("up after {took:?}");
    assert!(took < INTERVAL * RISE + SLACK, "{took:?}");
    assert_eq!(rig.reached(), PRIMARY, "at once");
}

/// Connections find out first, and checks that it is back.
fn with_clients(rig: &mut Rig) {
    let clients = Clients::start(rig.gateway.address());
    rig.primary.kill();
    wait_until("it is taken out", SOON, || rig.of_primary("ejections_total") > 0);
    rig.wait_until_primary_is(false);
    rig.primary.start_again();
    let begin = Instant::now();
    rig.wait_until_primary_is(true);
    let served = clients.stop();
    println!("{served:?}");
    // That of a client that was being served when the component died.
    assert!(served.errors.len() <= 1, "{served:?}");
    assert!(served.slowest < SLACK, "{served:?}");
    assert_eq!(rig.reached(), PRIMARY, "checks disprove what its connections had found");
    assert!(begin.elapsed() < EJECTION, "sooner than the ejection ends by itself");
}
