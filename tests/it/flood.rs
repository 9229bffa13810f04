//! The lane `legacy` under a flood of handshakes, and killed: the modern lane does not notice.

use std::time::Duration;

use tlsgate_bench::client::{
    ErrorKind, Pace, Plan, Report, Stage, Stop, TlsPlan, TlsVersion, Trust, Workload, run,
};
use tlsgate_bench::{priority, procstat};

use crate::legacy_child::kill;
use crate::support::ca::{NAME, ca};
use crate::support::client::{TlsStream, Version, assert_echo, close, config, connect};
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup};
use crate::support::openssl::SUITE;
use crate::support::process::{Process, bench_program};
use crate::support::way::takes_old;
use crate::support::{Engine, SOON, engines, is_full, sized, wait_until};

/// Connections that are up all the time.
const KEPT: u64 = 10;
/// Until the lane's process is there again: it has back-off.
const AGAIN: Duration = Duration::from_secs(60);
/// Connections at a time of the flood.
const FLOOD: &str = "64";
/// Handshakes of the flood before anything is measured, and those that make it one.
const SOME: u64 = 5;

/// What happens to the lane `legacy` while the modern one is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Quiet,
    Flooded,
    /// Flooded, and its process is killed.
    Killed,
}

const TROUBLES: [Trouble; 3] = [Trouble::Quiet, Trouble::Flooded, Trouble::Killed];

/// What the modern lane did meanwhile.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// Of messages on connections that were up, in milliseconds.
    p99: f64,
    /// Handshakes per second.
    rate: f64,
}

#[test]
#[ignore = "run by tests/run"]
fn flood_of_the_legacy_lane_is_not_felt_in_the_modern_one() {
    for engine in engines() {
        flood(engine);
    }
}

fn flood(engine: Engine) {
    let component = Component::start();
    priority::raise(component.id(), true).expect("to be root");
    let gateway = takes_old(Setup::new(engine, component.address())).start();
    let config = config(Version::V13);
    let _burner = start_burner();
    let mut kept: Vec<TlsStream> = (0..KEPT).map(|_| connect(gateway.address(), &config)).collect();
    let mut measured: Vec<(Trouble, Figures)> = Vec::new();
    let mut flooded = 0;
    let rounds = sized(9, 3);
    for round in 0..rounds {
        // What changes with time hits none of them more than the others.
        for turn in 0..TROUBLES.len() {
            let trouble = TROUBLES[(round + turn) % TROUBLES.len()];
            let (figures, handshakes) = measure(&gateway, trouble);
            println!("{engine:?} {trouble:?}: {figures:.2?}, {handshakes} handshakes of the flood");
            measured.push((trouble, figures));
            flooded += handshakes;
            kept.iter_mut().for_each(|stream| assert_echo(stream, b"as ever"));
        }
    }
    kept.into_iter().for_each(close);
    assert!(flooded > rounds as u64 * 2 * SOME, "{flooded} handshakes are no flood");
    let metrics = gateway.metrics();
    let deaths = metrics.count("tlsgate_legacy_child_deaths_total", &[]);
    assert_eq!(deaths, rounds as u64, "{engine:?}: each time it was killed is counted");
    judge(engine, &measured);
}

/// Noise is what quiet phases, which took turns with the others, differ by. The reduced size is too
/// short for medians: one good phase under trouble must do, as it would not come from a lane that takes
/// the other's time.
fn judge(engine: Engine, measured: &[(Trouble, Figures)]) {
    let of = |wanted: Trouble, figure: fn(&Figures) -> f64| {
        let of_it = measured.iter().filter(|(trouble, _)| *trouble == wanted);
        let mut values: Vec<f64> = of_it.map(|(_, figures)| figure(figures)).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let middle = |values: &[f64]| values[values.len() / 2];
    let quiet = [of(Trouble::Quiet, |it| it.p99), of(Trouble::Quiet, |it| it.rate)];
    for trouble in [Trouble::Flooded, Trouble::Killed] {
        let now = [of(trouble, |it| it.p99), of(trouble, |it| it.rate)];
        println!(
            "{engine:?} {trouble:?}, medians: p99 {:.2} ms, {:.2} ms when quiet; {:.0} handshakes a \
             second, {:.0} when quiet",
            middle(&now[0]),
            middle(&quiet[0]),
            middle(&now[1]),
            middle(&quiet[1]),
        );
        let last = now[1].len() - 1;
        let (slowest, fewest) = (quiet[0][last], quiet[1][0]);
        let (p99, rate, slowest, fewest) = match is_full() {
            true => (middle(&now[0]), middle(&now[1]), slowest, fewest),
            // A time slice of the scheduler is noise, however short the rest takes.
            false => (now[0][0], now[1][last], slowest * 3.0 + 10.0, fewest / 3.0),
        };
        assert!(p99 <= slowest, "{engine:?} {trouble:?}: messages wait {p99} ms");
        assert!(rate >= fewest, "{engine:?} {trouble:?}: {rate} handshakes a second");
    }
}

/// The figures of one phase, and how many handshakes the flood got done meanwhile.
fn measure(gateway: &Gateway, trouble: Trouble) -> (Figures, u64) {
    wait_until("the lane is there", AGAIN, || {
        gateway.metrics().count("tlsgate_legacy_child_up", &[]) == 1
    });
    let handshakes = || gateway.metrics().count("tlsgate_handshakes_total", &[]);
    let before = handshakes();
    let flood = (trouble != Trouble::Quiet).then(|| start_flood(gateway));
    if flood.is_some() {
        wait_until("the flood begins", SOON, || handshakes() >= before + SOME);
    }
    let mut is_due = trouble == Trouble::Killed;
    let messages = Workload::Messages { size: 100, per_connection_rate: Some(50.0) };
    let messages = load(gateway, messages, 20, || {
        if std::mem::take(&mut is_due) {
            kill_child(gateway);
        }
    });
    let modern = load(gateway, Workload::Handshakes { resumed: 0.0 }, 4, || {});
    drop(flood);
    wait_until("the others have gone", SOON, || gateway.open_connections() == KEPT);
    let own = messages.connections + modern.connections;
    let p99 = messages.total.quantile(0.99).as_secs_f64() * 1e3;
    (Figures { p99, rate: modern.rate() }, handshakes() - before - own)
}

/// Where who floods is: the gateway's worker is on the first CPU, and peers have machines of their own.
/// The legacy lane's process goes where it likes.
fn last_cpu() -> usize {
    std::thread::available_parallelism().expect("Linux tells").get() - 1
}

/// Takes the time that nobody else wants on that CPU, all the time: CPUs that share a core slow each
/// other down, which would make a quiet phase look better than one in which anything runs.
fn start_burner() -> Process {
    let cpu = last_cpu().to_string();
    let burn = ["taskset", "--cpu-list", &cpu, "sh", "-c", "while :; do :; done"];
    Process::start(priority::idly().args(burn))
}

fn start_flood(gateway: &Gateway) -> Process {
    let mut command = priority::idly();
    command.arg(bench_program()).arg("load");
    command.arg(gateway.address().to_string()).args(["--tls", "1.0", "--suites", SUITE]);
    command.args(["--insecure", "--concurrency", FLOOD, "--duration", "1h"]);
    command.args(["--cpus", &last_cpu().to_string()]);
    Process::start(&mut command)
}

/// The modern lane's work; `meanwhile` is called while it goes on.
fn load(
    gateway: &Gateway,
    workload: Workload,
    concurrency: usize,
    mut meanwhile: impl FnMut(),
) -> Report {
    let tls = TlsPlan {
        version: TlsVersion::V13,
        server_name: NAME.to_owned(),
        trust: Trust::CaPem(ca().pem()),
        shown: None,
        alpn: Vec::new(),
        suites: Vec::new(),
        groups: Vec::new(),
    };
    let plan = Plan {
        target: gateway.address(),
        tls: Some(tls),
        workload,
        pace: Pace::Closed { concurrency },
        stop: Stop { after: Duration::from_millis(sized(5_000, 300)), count: None },
        timeout: SOON,
        threads: 1,
        cpus: Vec::new(),
    };
    priority::raise_this_thread(true).expect("to be root");
    let report = run(&plan, |progress| {
        if progress.stage == Stage::Measure {
            meanwhile();
        }
    });
    priority::raise_this_thread(false).expect("to be root");
    let mut report = report.unwrap_or_else(|error| panic!("{workload:?}: {error}"));
    // A message that was late when the time was over: what is late is told by the others.
    report.errors.remove(&ErrorKind::NotStarted);
    assert_eq!(report.error_count(), 0, "{workload:?}: {:?}", report.errors);
    report
}

fn kill_child(gateway: &Gateway) {
    let family = procstat::family(gateway.id()).expect("it runs");
    // The gateway, its starter, and what that has started.
    let &[_, _, child] = &family[..] else { panic!("no child, or more: {family:?}") };
    kill(child);
}
