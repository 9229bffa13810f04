//! The measuring client: many connections per thread, closed or open loop, every answer checked,
//! every step timed, every error counted by kind.
//!
//! ```no_run
//! use std::time::Duration;
//! use tlsgate_bench::client::{Pace, Plan, Stop, Workload, run};
//!
//! let plan = Plan {
//!     target: "127.0.0.1:7000".parse().expect("an address"),
//!     tls: None,
//!     workload: Workload::Messages { size: 100, per_connection_rate: None },
//!     pace: Pace::Closed { concurrency: 50 },
//!     stop: Stop { after: Duration::from_secs(10), count: None },
//!     timeout: Duration::from_secs(10),
//!     threads: 1,
//!     cpus: Vec::new(),
//! };
//! let report = run(&plan, |progress| eprintln!("{} done", progress.done))?;
//! println!("{} per second, p99 {:?}", report.rate(), report.total.quantile(0.99));
//! # Ok::<(), tlsgate_bench::client::Error>(())
//! ```

mod alarm;
mod careless;
mod connection;
mod effort;
mod exchange;
mod failure;
mod flow;
mod gate;
mod hello;
mod latency;
mod openssl;
mod pin;
mod plan;
mod rates;
mod report;
mod resumption;
mod retry;
mod schedule;
mod session;
mod share;
mod sizes;
mod slots;
mod talk;
mod timeline;
mod tls;
mod transport;
mod warnings;
mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

pub use failure::ErrorKind;
pub use flow::{Flow, Identity, Period, Wants};
pub use hello::{Hello, Odd};
pub use latency::{Latency, Packed};
pub use plan::{Pace, Plan, Shown, Stop, TlsPlan, TlsVersion, Trust, Workload};
pub(crate) use rates::MAX_RATE;
pub use rates::{Arrivals, Shape, Spacing};
pub use report::{Effort, Errors, Phase, Report};
pub use retry::Retry;
pub use sizes::Sizes;
pub use talk::{Ldap, Protocol, SipMethod, Talk};
pub use timeline::Interval;

use exchange::Template;
use gate::Gate;
use report::per_second;
use share::Share;
use timeline::Piece;
use tls::TlsSetup;
use worker::Worker;

/// Time between two calls of the progress callback.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'run> {
    /// The stage that the slowest thread is in.
    pub stage: Stage,
    /// Operations done so far.
    pub done: u64,
    /// Errors so far.
    pub errors: u64,
    /// Connections open now.
    pub open: u64,
    /// Operations per second since the last call.
    pub rate: f64,
    /// Time since the run began, preparations included.
    pub elapsed: Duration,
    /// What each flow has found out, in their order, up to the end of the last second of the clock.
    pub reports: &'run [Report],
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Opening the connections that stay, or getting the sessions to resume.
    Prepare,
    /// Holding idle connections.
    Hold,
    /// Operations start and are measured.
    Measure,
    /// No more operations start; those in flight end.
    Drain,
}

/// Why there is no report.
#[derive(Debug)]
pub enum Error {
    /// The plan makes no sense.
    Plan(String),
    /// The TLS part of the plan cannot be had.
    Tls(String),
    /// The client itself could not go on; peer-caused errors are in the report instead.
    Io {
        /// What it was about to do.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(problem) | Self::Tls(problem) => out.write_str(problem),
            Self::Io { doing, source } => write!(out, "cannot {doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Plan(_) | Self::Tls(_) => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

/// Carries out a plan; `progress` is called about ten times per second, on the calling thread.
///
/// It ends in bounded time whatever the target does: every step has its timeout, and after
/// [`Stop`] operations in flight have one more.
///
/// # Errors
/// [`Error`]; what goes wrong with single connections is counted in the report.
pub fn run(plan: &Plan, progress: impl FnMut(Progress<'_>)) -> Result<Report, Error> {
    let mut reports = run_mix(&[Flow::alone(plan.clone())], progress)?;
    Ok(reports.pop().expect("one flow, one report"))
}

/// Carries out flows at the same time, which begin when all of them are prepared; the reports are in
/// their order. `progress` is of all together.
///
/// # Errors
/// As [`run`].
pub fn run_mix(flows: &[Flow], progress: impl FnMut(Progress<'_>)) -> Result<Vec<Report>, Error> {
    run_against(flows, &[], progress)
}

/// As [`run_mix`], with threads that take `targets` in turn, if there are any, instead of their plans'.
pub(crate) fn run_against(
    flows: &[Flow],
    targets: &[SocketAddr],
    progress: impl FnMut(Progress<'_>),
) -> Result<Vec<Report>, Error> {
    let mut made = Vec::new();
    for flow in flows {
        flow.check()?;
        let tls = flow.plan.tls.as_ref().map(|tls| TlsSetup::new(tls, &flow.identities));
        made.push((tls.transpose()?, Template::new(&flow.plan.workload, flow.talk.as_ref())));
    }
    let gate = Gate::new(flows.iter().map(|flow| flow.plan.threads).sum());
    std::thread::scope(|scope| {
        let (sender, news) = mpsc::channel();
        let mut desk = 0;
        for (of, (flow, (tls, template))) in flows.iter().zip(made).enumerate() {
            for number in 0..flow.plan.threads {
                let (sender, gate) = (sender.clone(), &gate);
                let (tls, template) = (tls.clone(), template.clone());
                let share = Share::of(&flow.plan, targets, number, desk);
                let work = move || {
                    // Also when this thread panics, or the others would wait for it.
                    let _leave = gate.leave_on_drop(share.desk);
                    // The receiver is gone only when there will be no report.
                    let tell = |piece| sender.send(News::Piece(of, piece)).unwrap_or(());
                    let worker = Worker::new(flow, share, tls, template, gate);
                    if let Err(error) = worker.and_then(|worker| worker.run(tell)) {
                        sender.send(News::Failed(error)).unwrap_or(());
                    }
                };
                let builder = std::thread::Builder::new().name(format!("client-{desk}"));
                if let Err(source) = builder.spawn_scoped(scope, work) {
                    gate.abort();
                    return Err(Error::Io { doing: "start a thread", source });
                }
                desk += 1;
            }
        }
        drop(sender);
        gather(&news, &gate, flows.len(), progress)
    })
}

/// Puts together what threads tell until all are gone.
fn gather(
    news: &Receiver<News>,
    gate: &Gate,
    flows: usize,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Vec<Report>, Error> {
    let mut reports = vec![Report::default(); flows];
    let started = Instant::now();
    let (mut last, mut last_done) = (started, 0);
    loop {
        let until = last + PROGRESS_INTERVAL;
        match news.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(News::Piece(of, piece)) => reports[of].add(&piece),
            Ok(News::Failed(error)) => {
                gate.abort();
                return Err(error);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(reports),
            Err(RecvTimeoutError::Timeout) => {
                let (now, done) = (Instant::now(), gate.done());
                progress(Progress {
                    stage: gate.stage(),
                    done,
                    errors: gate.errors(),
                    open: gate.open(),
                    rate: per_second(done - last_done, now - last),
                    elapsed: now - started,
                    reports: &reports,
                });
                (last, last_done) = (now, done);
            }
        }
    }
}

/// What threads tell.
enum News {
    /// Of the flow with this number.
    Piece(usize, Piece),
    Failed(Error),
}
