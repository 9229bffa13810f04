//! A mix, carried out against one server for a while.

use std::sync::mpsc::channel;
use std::time::Duration;

use serde::Serialize;
use tlsgate_bench::capacity::demand::{Group, Key, Tls, Version};
use tlsgate_bench::capacity::mix::{Kind, Mix, Part};
use tlsgate_bench::client::{
    Arrivals, Flow, Latency, Pace, Plan, Report, Shape, Spacing, Stage, Stop, Workload, run_mix,
};

use crate::measure::load::plan;
use crate::measure::probe::Probe;
use crate::peers::target::{Identities, Target};
use crate::peers::test::Test;

/// New connections under way at most: what is beyond was not started in time.
const UNDER_WAY: usize = 256;
/// Messages flow for so long before the first new connection comes, and so long behind the last one.
const LEAD: Duration = Duration::from_millis(200);
/// When a client gives up.
const TIMEOUT: Duration = Duration::from_secs(4);

/// What one trial has shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Trial {
    /// Offered, as it came, as times the mix, by a CPU as fast as the model's.
    pub(crate) scale: f64,
    /// Speed of the server's CPU over that of the model's, about the trial.
    pub(crate) speed: f64,
    /// The least share of operations of a kind that were done in time.
    pub(crate) completed: f64,
    /// p50 and p99 in seconds, by [`Kind`].
    pub(crate) p50: [f64; 2],
    pub(crate) p99: [f64; 2],
    /// The share of time in which the client's busiest thread could not have done more.
    pub(crate) client: f64,
    /// What the gateway said towards the end; none of other servers.
    pub(crate) headroom: Option<f64>,
}

/// A part of a mix that was carried out.
struct Done<'run> {
    kind: Kind,
    plan: &'run Plan,
    report: &'run Report,
}

/// Where trials are held.
pub(crate) struct Ring<'run> {
    pub(crate) identities: &'run Identities,
    pub(crate) target: &'run Target,
    pub(crate) probe: &'run Probe,
    pub(crate) load_cpu: usize,
    /// Signatures per second of the CPU that the model is about.
    pub(crate) speed: f64,
}

impl Ring<'_> {
    /// Offers `scale` times the mix for `length`; a CPU that is faster now than the model's is offered
    /// as much more.
    ///
    /// # Errors
    /// When there is nothing to say of it: why.
    pub(crate) fn hold(&self, mix: &Mix, scale: f64, length: Duration) -> Result<Trial, String> {
        let before = self.probe.speed()? / self.speed;
        let parts = mix.parts(scale * before);
        let flows = parts.iter().enumerate().map(|(at, part)| {
            let seed = mix.seed().wrapping_mul(1_000).wrapping_add(at as u64);
            self.flow(part, seed, length)
        });
        let flows: Vec<Flow> = flows.collect::<Result<_, String>>()?;
        let (reports, headroom) = self.carry_out(&flows, length)?;
        let kinds = parts.iter().map(|part| part.kind);
        let all: Vec<Done<'_>> = kinds
            .zip(&flows)
            .zip(&reports)
            .map(|((kind, flow), report)| Done { kind, plan: &flow.plan, report })
            .collect();
        let speed = f64::midpoint(before, self.probe.speed()? / self.speed);
        let of_kind = |kind: Kind| {
            let mut sum = Latency::default();
            let own = all.iter().filter(|done| done.kind == kind);
            own.for_each(|done| sum.merge(&done.report.total));
            sum
        };
        let quantile = |of| Kind::ALL.map(|kind| of_kind(kind).quantile(of).as_secs_f64());
        let completed = all.iter().map(|done| done_in_time(done.report, done.plan.stop.after));
        let efforts = reports.iter().filter_map(|report| report.effort);
        Ok(Trial {
            scale: scale * before / speed * offered(&all),
            speed,
            completed: completed.fold(1.0, f64::min),
            p50: quantile(0.5),
            p99: quantile(0.99),
            // All of them are on one CPU.
            client: efforts.map(|effort| effort.exertion()).fold(0.0, f64::max).min(1.0),
            headroom,
        })
    }

    /// Reports are in the order of `flows`.
    fn carry_out(
        &self,
        flows: &[Flow],
        length: Duration,
    ) -> Result<(Vec<Report>, Option<f64>), String> {
        std::thread::scope(|scope| {
            let (began, begin) = channel();
            let work = scope.spawn(move || {
                let mut began = Some(began);
                run_mix(flows, |progress| {
                    if progress.stage >= Stage::Measure {
                        // Once; who waited may have given up.
                        began.take().into_iter().for_each(|news| news.send(()).unwrap_or(()));
                    }
                })
            });
            // Fails when it has ended before it began: its result will say why.
            begin.recv().unwrap_or(());
            // The gauge is about the last second or two.
            std::thread::sleep(LEAD + length.mul_f64(0.9));
            let headroom = self.target.headroom();
            let reports = work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((reports.map_err(|error| error.to_string())?, headroom?))
        })
    }

    /// Messages flow before the first new connection comes, and behind the last one.
    fn flow(&self, part: &Part, seed: u64, length: Duration) -> Result<Flow, String> {
        let test = like(part.tls)?;
        let address = self.target.ports.of(test.role());
        let tls = test.tls(self.identities);
        let (workload, concurrency, start, after) = match part.kind {
            Kind::Messages => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "demands are checked"
                )]
                let size = part.size.round().max(1.0) as u64;
                let workload = Workload::Messages { size, per_connection_rate: None };
                (workload, part.connections, Duration::ZERO, length + 2 * LEAD)
            }
            Kind::Handshakes => {
                (Workload::Handshakes { resumed: part.tls.resumed }, UNDER_WAY, LEAD, length)
            }
        };
        let stop = Stop { after, count: None };
        let spacing = Spacing::Poisson { seed };
        let arrivals = Arrivals { rate: part.rate, shape: Shape::Constant, spacing };
        let pace = Pace::Open { arrivals, concurrency };
        let plan = plan(address, tls, (workload, concurrency), stop, &[self.load_cpu]);
        Ok(Flow { start, ..Flow::alone(Plan { pace, timeout: TIMEOUT, ..plan }) })
    }
}

/// What came by chance over what was to come: of new connections, if there are any, as they cost the most.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn offered(all: &[Done<'_>]) -> f64 {
    let most = all.iter().map(|done| done.kind).max();
    let (mut came, mut wanted) = (0.0, 0.0);
    for Done { plan, report, .. } in all.iter().filter(|done| Some(done.kind) == most) {
        if let Pace::Open { arrivals, .. } = plan.pace {
            came += report.due as f64;
            wanted += arrivals.rate * plan.stop.after.as_secs_f64();
        }
    }
    if came > 0.0 && wanted > 0.0 { came / wanted } else { 1.0 }
}

/// The share of what was to start that was done by the end: what starts evenly over the time and takes so
/// long on average is still under way then to that part. Where a queue grows, that takes long; a single
/// one that waits for a lost packet does not.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn done_in_time(report: &Report, after: Duration) -> f64 {
    if report.due == 0 {
        return 1.0;
    }
    let behind = report.total.mean().as_secs_f64() / after.as_secs_f64().max(f64::EPSILON);
    report.done as f64 / report.due as f64 * (1.0 - behind).max(0.0)
}

/// The test that does TLS so.
fn like(tls: Tls) -> Result<Test, String> {
    let Tls { version, key, group, mutual, .. } = tls;
    match (version, key, group, mutual) {
        (Version::V13, Key::P256, Group::X25519, false) => Ok(Test::Full13),
        (Version::V12, Key::P256, Group::X25519, false) => Ok(Test::Full12),
        (Version::V13, Key::Rsa2048, Group::X25519, false) => Ok(Test::Rsa13),
        (Version::V12, Key::Rsa2048, Group::X25519, false) => Ok(Test::Rsa12),
        (Version::V13, Key::P256, Group::X25519, true) => Ok(Test::Mutual13),
        (Version::V13, Key::P256, Group::X25519Mlkem768, false) => Ok(Test::Mlkem13),
        _ => Err(format!(
            "{tls:?}: servers are not set up for that; mutual TLS and X25519MLKEM768 can be \
             verified one at a time, with TLS 1.3 and key = \"p256\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_behind_the_end_is_not_done_in_time() {
        let second = Duration::from_secs(1);
        let near = |one: f64, other: f64| (one - other).abs() < 2e-3;
        let mut report = Report { due: 1_000, done: 1_000, ..Report::default() };
        (0..999).for_each(|_| report.total.record(Duration::from_millis(1)));
        report.total.record(second);
        assert!(near(done_in_time(&report, second), 0.998), "one that waits is one");
        (0..1_000).for_each(|_| report.total.record(second / 2));
        assert!(near(done_in_time(&report, second), 0.749), "a queue has grown");
        report.done = 500;
        assert!(near(done_in_time(&report, second), 0.374));
        assert!(near(done_in_time(&report, second / 8), 0.0));
        assert!((done_in_time(&Report::default(), second) - 1.0).abs() < 1e-9, "nothing was due");
    }
}
