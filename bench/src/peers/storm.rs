//! What becomes of flows that are up when three times as many handshakes are offered as a server can
//! do, with an RSA certificate: its signature costs a server so much that one CPU of clients can do this,
//! if they spend as little on their part as can be ([`Test::tls`]).

use std::collections::BTreeMap;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use serde::Serialize;
use tlsgate_bench::client::{
    Arrivals, ErrorKind, Latency, Pace, Plan, Report, Stop, Workload, run,
};
use tlsgate_bench::{priority, procstat};

use super::Bench;
use super::target::{Kind, Target};
use super::test::{Role, Test};
use crate::measure::load::{MESSAGE, handshakes, plan};
use crate::measure::sample::clean;

const FLOWS: usize = 200;
/// Messages per second of each flow.
const FLOW_RATE: f64 = 50.0;
/// Handshakes offered over what the server can do.
pub(crate) const OVERLOAD: f64 = 3.0;
/// When a client gives up.
const DEADLINE: Duration = Duration::from_secs(2);
/// Handshakes that clients have under way at most.
const CLIENTS: usize = 4_000;
/// Flows are up before the storm begins.
const LEAD: Duration = Duration::from_millis(500);

/// A storm over one server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Storm {
    pub(crate) target: Kind,
    /// Full handshakes per second that it can do beside the flows.
    pub(crate) peak: f64,
    /// Per second in the storm.
    pub(crate) offered: f64,
    /// Of these, for which the clients were quick enough.
    pub(crate) begun: f64,
    pub(crate) completed: f64,
    /// What became of the others.
    pub(crate) failed: BTreeMap<ErrorKind, u64>,
    /// Round trips of the flows without a storm.
    pub(crate) calm: Tail,
    /// Round trips of the flows in the storm.
    pub(crate) storm: Tail,
    /// What went wrong with the flows in the storm.
    pub(crate) lost: BTreeMap<ErrorKind, u64>,
    /// Time in the storm that the hypervisor has given to others, of both CPUs.
    pub(crate) stolen: Duration,
}

/// The end of a distribution.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Tail {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
    pub(crate) longest: Duration,
}

impl From<&Latency> for Tail {
    fn from(latency: &Latency) -> Self {
        let at = |quantile| latency.quantile(quantile);
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), longest: latency.max() }
    }
}

/// Measures the calm, the peak and the storm, `length` each. The peak is what can be done beside the
/// flows.
///
/// # Errors
/// When the peak or the calm has errors. In the storm they are what is measured.
pub(crate) fn measure(
    bench: &Bench<'_>,
    target: &Target,
    length: Duration,
) -> Result<Storm, String> {
    let text = |error: tlsgate_bench::client::Error| error.to_string();
    let plan_of = |role: Role, test: Test, load: (Workload, usize), after: Duration| {
        let stop = Stop { after, count: None };
        let tls = test.tls(bench.stage.identities);
        plan(target.ports.of(role), tls, load, stop, &[bench.settings.load_cpu])
    };
    let messages = Workload::Messages { size: MESSAGE, per_connection_rate: Some(FLOW_RATE) };
    let flows = |after| plan_of(Role::Server, Test::Full13, (messages, FLOWS), after);
    // What flows and backend wait for the storm's clients, on the CPU that they share, is not of the
    // server.
    let first = |length| {
        priority::raise_this_thread(true)?;
        run(&flows(length), |_| {}).map_err(text)
    };
    let mut calm = std::thread::scope(|scope| joined(scope.spawn(|| first(length))))?;
    // On a busy machine the client itself may be late.
    calm.errors.remove(&ErrorKind::NotStarted);
    clean(&calm)?;
    let beside_flows = |plan: &Plan| {
        std::thread::scope(|scope| {
            let up = scope.spawn(|| first(LEAD + length));
            std::thread::sleep(LEAD);
            let came = run(plan, |_| {}).map_err(text);
            Ok::<_, String>((joined(up)?, came?))
        })
    };
    let closed = plan_of(Role::Rsa, Test::Rsa13, handshakes(false), length);
    let (_, peak) = beside_flows(&closed)?;
    clean(&peak)?;
    let offered = peak.rate() * OVERLOAD;
    let pace = Pace::Open { arrivals: Arrivals::even(offered), concurrency: CLIENTS };
    let storm = Plan { pace, timeout: DEADLINE, ..closed };
    let cpus = [bench.settings.server_cpu, bench.settings.load_cpu];
    let stolen = || procstat::stolen(&cpus).map_err(|error| error.to_string());
    let before = stolen()?;
    let (up, came) = beside_flows(&storm)?;
    Ok(Storm {
        target: target.kind,
        peak: peak.rate(),
        offered,
        begun: came.begun_rate(length),
        completed: came.steady_rate(length),
        failed: errors(&came),
        calm: Tail::from(&calm.total),
        storm: Tail::from(&up.total),
        lost: errors(&up),
        stolen: stolen()?.saturating_sub(before),
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn errors(report: &Report) -> BTreeMap<ErrorKind, u64> {
    report.errors.iter().map(|(kind, errors)| (*kind, errors.count)).collect()
}
