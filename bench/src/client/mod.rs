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
mod connection;
mod effort;
mod exchange;
mod failure;
mod gate;
mod latency;
mod openssl;
mod plan;
mod rates;
mod report;
mod schedule;
mod session;
mod share;
mod slots;
mod timeline;
mod tls;
mod transport;
mod warnings;
mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

pub use failure::ErrorKind;
pub use latency::{Latency, Packed};
pub use plan::{Pace, Plan, Shown, Stop, TlsPlan, TlsVersion, Trust, Workload};
pub use rates::{Arrivals, Shape, Spacing};
pub use report::{Effort, Errors, Phase, Report};
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
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
pub fn run(plan: &Plan, progress: impl FnMut(Progress)) -> Result<Report, Error> {
    run_against(plan, &[], progress)
}

/// The same, with threads that take `targets` in turn, if there are any, instead of the plan's.
pub(crate) fn run_against(
    plan: &Plan,
    targets: &[SocketAddr],
    mut progress: impl FnMut(Progress),
) -> Result<Report, Error> {
    plan.check()?;
    let tls = plan.tls.as_ref().map(TlsSetup::new).transpose()?;
    let template = Template::new(&plan.workload);
    let gate = Gate::new(plan.threads);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let (sender, news) = mpsc::channel();
        for number in 0..plan.threads {
            let (sender, gate) = (sender.clone(), &gate);
            let (tls, template) = (tls.clone(), template.clone());
            let work = move || {
                // Also when this thread panics, or the others would wait for it.
                let _leave = gate.leave_on_drop(number);
                let share = Share::of(plan, targets, number);
                // The receiver is gone only when there will be no report.
                let tell = |piece| sender.send(News::Piece(piece)).unwrap_or(());
                let worker = Worker::new(plan, share, tls, template, gate);
                if let Err(error) = worker.and_then(|worker| worker.run(tell)) {
                    sender.send(News::Failed(error)).unwrap_or(());
                }
            };
            let builder = std::thread::Builder::new().name(format!("client-{number}"));
            if let Err(source) = builder.spawn_scoped(scope, work) {
                gate.abort();
                return Err(Error::Io { doing: "start a thread", source });
            }
        }
        drop(sender);
        let mut report = Report::default();
        let (mut last, mut last_done) = (started, 0);
        loop {
            let until = last + PROGRESS_INTERVAL;
            match news.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(News::Piece(piece)) => report.add(&piece),
                Ok(News::Failed(error)) => {
                    gate.abort();
                    return Err(error);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let (now, done) = (Instant::now(), gate.done());
                    progress(Progress {
                        stage: gate.stage(),
                        done,
                        errors: gate.errors(),
                        open: gate.open(),
                        rate: per_second(done - last_done, now - last),
                        elapsed: now - started,
                    });
                    (last, last_done) = (now, done);
                }
            }
        }
        Ok(report)
    })
}

/// What threads tell.
enum News {
    Piece(Piece),
    Failed(Error),
}
