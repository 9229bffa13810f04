//! A storm: more full handshakes than the gateway can do. Connections that are up do not feel more of
//! it than a step or two, as many handshakes are done as ever, and the rest is refused at once.
//!
//! The full size wants a machine that has nothing else to do. The reduced one measures nothing: its
//! queue is so short that a few peers at the same time are a storm, however slow the machine is.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use core_affinity::CoreId;
use serde_json::Value;
use tlsgate_bench::client::{ErrorKind, Report};
use tlsgate_bench::{priority, procstat};

use crate::support::ca::{KeyKind, NAME};
use crate::support::component::Component;
use crate::support::gateway::{Gateway, Setup};
use crate::support::process::{Process, bench_program};
use crate::support::{Engine, SOON, engines, is_full, sized, wait_until};

/// Connections that are up, and messages of each in a second.
const FLOWS: u64 = 200;
const MESSAGES: u64 = 50;
/// What clients wait for in the full size, each step of theirs: the gateway's own deadline is earlier.
const CLIENT_DEADLINE: Duration = Duration::from_secs(4);
/// Offered, of what can be done.
const TIMES: f64 = 3.0;
/// Storms in the full size.
const STORMS: usize = 5;
/// Offered in the reduced size, in a second.
const BURST: f64 = 2_000.0;

#[test]
#[ignore = "run by tests/run"]
fn storm_of_handshakes() {
    // Gateway on one CPU, everybody else on another.
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let apart = match cores[..] {
        [first, second, ..] => core_affinity::set_for_current(second).then_some(first),
        _ => None,
    };
    for engine in engines() {
        storm(engine, apart);
    }
}

/// What a phase has shown.
struct Phase {
    flows: Report,
    handshakes: Report,
}

fn storm(engine: Engine, apart: Option<CoreId>) {
    let component = Component::start();
    if is_full() {
        priority::raise(component.id(), true).expect("to be root");
    }
    let mut setup =
        Setup::new(engine, component.address()).certificate("rsa", KeyKind::Rsa, &[NAME]);
    if !is_full() {
        setup = setup.gateway("[handshakes]\nqueue_timeout = \"50ms\"");
    }
    if let Some(CoreId { id }) = apart {
        setup = setup.under(&["taskset".to_owned(), "--cpu-list".to_owned(), id.to_string()]);
    }
    let gateway = setup.start();
    let calm = Figures::of(&start_flows(&gateway).report());
    let best = phase(&gateway, &["--concurrency", "16"]);
    let peak = best.handshakes.rate();
    let wanted = sized((peak * TIMES).max(1.0), BURST);
    let busy = Figures::of(&best.flows);
    println!(
        "{engine:?}: {peak:.0} handshakes a second can be done, {wanted:.0} are wanted; messages when calm \
         {calm:?}, with as many handshakes as can be done {busy:?}"
    );
    let storms: Vec<Storm> = (0..sized(STORMS, 1)).map(|_| Storm::over(&gateway, wanted)).collect();
    let metrics = gateway.metrics();
    let longest = metrics.sum("tlsgate_handshake_step_longest_seconds", &[]);
    let longest = Duration::from_secs_f64(longest.expect("of each worker"));
    let shed = metrics.count("tlsgate_handshakes_shed_total", &[]);
    println!("{engine:?}: {shed} shed, longest step {longest:.2?}");
    for storm in &storms {
        println!("{engine:?}: in the storm {storm:?}");
        assert_refused_at_once(engine, &storm.handshakes);
        assert!(storm.handshakes.done > 0 && storm.flows.done > 0, "{engine:?}: nothing was done");
    }
    assert!(shed > 0, "{engine:?}: nothing was shed, so it was no storm");
    assert_told(engine, &gateway);
    if is_full() {
        let bounds = Bounds { p99: calm.p99 + 2 * longest, done: 0.9 * peak, begun: 0.95 * wanted };
        bounds.assert_hold(engine, &storms);
    }
    wait_until("calm", SOON, || {
        gateway.metrics().count("tlsgate_handshake_steps_waiting", &[]) == 0
    });
}

/// A phase with more handshakes than can be done.
struct Storm {
    flows: Report,
    handshakes: Report,
    /// What the hypervisor has given to others meanwhile, of both CPUs.
    stolen: Duration,
}

impl Storm {
    fn over(gateway: &Gateway, wanted: f64) -> Self {
        // A figure to be read: on a machine with one CPU, there is none.
        let stolen = || procstat::stolen(&[0, 1]).unwrap_or_default();
        let (before, rate) = (stolen(), format!("{wanted:.0}"));
        let Phase { flows, handshakes } =
            phase(gateway, &["--concurrency", "4000", "--rate", &rate]);
        Self { flows, handshakes, stolen: stolen().saturating_sub(before) }
    }

    fn messages(&self) -> Figures {
        Figures::of(&self.flows)
    }

    /// In a second.
    fn begun(&self) -> f64 {
        self.handshakes.begun_rate(length())
    }

    /// In a second.
    fn done(&self) -> f64 {
        self.handshakes.steady_rate(length())
    }
}

impl fmt::Debug for Storm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handshakes, stolen, .. } = self;
        let slowest = handshakes.total.max();
        write!(
            out,
            "{:.0} handshakes a second were begun, {:.0} done, the slowest in {slowest:.2?}; {:?}; \
             {stolen:?} stolen; {:?}",
            self.begun(),
            self.done(),
            self.messages(),
            handshakes.errors,
        )
    }
}

/// What the medians of several storms are held to: one pause of the hypervisor's does not decide.
struct Bounds {
    /// Of messages, at most.
    p99: Duration,
    /// Handshakes in a second, at least.
    done: f64,
    /// The same of those that clients have begun.
    begun: f64,
}

impl Bounds {
    fn assert_hold(&self, engine: Engine, storms: &[Storm]) {
        for storm in storms {
            let late = storm.flows.errors_of(ErrorKind::NotStarted);
            assert_eq!(storm.flows.error_count(), late, "{engine:?}: {:?}", storm.flows.errors);
            let slowest = storm.handshakes.total.max();
            assert!(slowest < CLIENT_DEADLINE, "{engine:?}: done after {slowest:?}");
        }
        let median = |figure: &dyn Fn(&Storm) -> f64| {
            let mut figures: Vec<f64> = storms.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        let p99 = median(&|storm| storm.messages().p99.as_secs_f64());
        let worst = median(&|storm| storm.messages().worst.as_secs_f64());
        let (begun, done) = (median(&Storm::begun), median(&Storm::done));
        assert!(begun >= self.begun, "{engine:?}: the clients are too slow for a storm");
        assert!(p99 <= self.p99.as_secs_f64(), "{engine:?}: messages wait for handshakes");
        assert!(worst <= 0.25, "{engine:?}: a message waited for {worst} s");
        assert!(done >= self.done, "{engine:?}: what is refused costs what could be done");
    }
}

/// Of messages.
#[derive(Debug)]
#[expect(dead_code, reason = "p50 is to be read")]
struct Figures {
    p50: Duration,
    p99: Duration,
    worst: Duration,
}

impl Figures {
    fn of(flows: &Report) -> Self {
        let total = &flows.total;
        Self { p50: total.quantile(0.5), p99: total.quantile(0.99), worst: total.max() }
    }
}

/// Nobody is left hanging: who is not served is reset.
fn assert_refused_at_once(engine: Engine, storm: &Report) {
    for kind in storm.errors.keys() {
        // The client's own limits say nothing about the gateway.
        let is_refusal =
            matches!(kind, ErrorKind::Reset | ErrorKind::Refused | ErrorKind::NotStarted);
        assert!(is_refusal, "{engine:?}: {kind} is no refusal: {:?}", storm.errors);
    }
}

/// `/status` says what was shed, and the log when it began.
fn assert_told(engine: Engine, gateway: &Gateway) {
    let status = gateway.status();
    let told = &status["connections"]["shed"];
    let told = [&told["queue"], &told["late"]].map(|shed| shed.as_u64().unwrap_or(0));
    assert!(told.iter().sum::<u64>() > 0, "{engine:?}: {}", status["connections"]);
    let stderr = gateway.stderr();
    assert!(stderr.contains("handshakes are shed"), "{engine:?}: {stderr}");
}

fn phase(gateway: &Gateway, handshakes: &[&str]) -> Phase {
    let flows = start_flows(gateway);
    wait_until("the flows are up", SOON, || gateway.open_connections() >= FLOWS);
    let mut words = words("handshakes");
    words.extend(handshakes.iter().map(|word| (*word).to_owned()));
    // One CPU of clients is to outrun the gateway.
    words.push("--careless".to_owned());
    let handshakes = Load::start(Command::new(bench_program()), gateway, &words).report();
    Phase { flows: flows.report(), handshakes }
}

fn flows(gateway: &Gateway) -> Vec<String> {
    let mut words = words("messages");
    let (flows, messages) = (FLOWS.to_string(), MESSAGES.to_string());
    let ca = gateway.ca_file().display().to_string();
    let own = ["--concurrency", &flows, "--connection-rate", &messages, "--ca", &ca];
    words.extend(own.map(str::to_owned));
    words
}

/// Of a phase.
fn length() -> Duration {
    Duration::from_secs(sized(5, 1))
}

fn words(workload: &str) -> Vec<String> {
    let [duration, timeout] = [length(), sized(CLIENT_DEADLINE, SOON)];
    let [duration, timeout] = [duration, timeout].map(|time| format!("{}s", time.as_secs()));
    ["--workload", workload, "--duration", &duration, "--timeout", &timeout]
        .map(str::to_owned)
        .into()
}

/// The measuring tool at work.
struct Load(Process);

impl Load {
    fn start(mut command: Command, gateway: &Gateway, words: &[String]) -> Self {
        command.arg("load").arg(gateway.address().to_string()).args(words);
        command.args(["--server-name", NAME, "--json", "-"]);
        Self(Process::start(&mut command))
    }

    fn report(self) -> Report {
        // Status 1 when there were errors, which a storm is made of.
        let ended = self.0.wait(Duration::from_secs(60));
        let json: Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", ended.stdout, ended.stderr));
        serde_json::from_value(json["report"].clone()).expect("the tool's own report")
    }
}

/// The connections that are up. What they wait for their own CPU is not the gateway's doing.
fn start_flows(gateway: &Gateway) -> Load {
    let mut command = if is_full() { priority::first() } else { Command::new("env") };
    command.arg(bench_program());
    Load::start(command, gateway, &flows(gateway))
}
