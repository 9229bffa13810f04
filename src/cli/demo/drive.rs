//! Drives real TLS connections through the gateway, one kind of work after the other.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tlsgate_bench::client::{
    self, Pace, Plan, Progress, Report, Stop, TlsPlan, TlsVersion, Trust, Workload,
};

use super::setup::Setup;
use super::{Failure, figures};
use crate::app::{self, Gateway};

/// Bytes of a message.
const MESSAGE: u64 = 100;
/// Bytes of a bulk transfer.
const TRANSFER: u64 = 4 << 20;
/// Longest time for each step of an operation.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One kind of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) version: TlsVersion,
    pub(super) workload: Workload,
    /// Connections at a time: few where the time of one operation is what matters.
    pub(super) connections: usize,
}

/// What its rate is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Handshakes,
    Messages,
    Bytes,
}

/// What came of a task.
#[derive(Debug)]
pub(super) struct Driven {
    pub(super) task: Task,
    pub(super) report: Report,
    /// System calls that the gateway's engine made meanwhile.
    pub(super) system_calls: u64,
}

const TASKS: [Task; 7] = {
    const fn handshakes(name: &'static str, version: TlsVersion, resumed: f64) -> Task {
        let workload = Workload::Handshakes { resumed };
        Task { name, unit: Unit::Handshakes, version, workload, connections: 8 }
    }
    const fn transfers(name: &'static str, workload: Workload) -> Task {
        Task { name, unit: Unit::Bytes, version: TlsVersion::V13, workload, connections: 4 }
    }
    [
        handshakes("full handshakes, TLS 1.3", TlsVersion::V13, 0.0),
        handshakes("resumed handshakes, TLS 1.3", TlsVersion::V13, 1.0),
        handshakes("full handshakes, TLS 1.2", TlsVersion::V12, 0.0),
        handshakes("resumed handshakes, TLS 1.2", TlsVersion::V12, 1.0),
        Task {
            name: "100-byte messages, kept connections",
            unit: Unit::Messages,
            version: TlsVersion::V13,
            workload: Workload::Messages { size: MESSAGE, per_connection_rate: None },
            connections: 64,
        },
        transfers("bulk, component to peer", Workload::BulkDown { bytes: TRANSFER }),
        transfers("bulk, peer to component", Workload::BulkUp { bytes: TRANSFER }),
    ]
};

/// Does all tasks in `time`, and shows how far it is on standard error.
pub(super) fn drive(
    setup: &Setup,
    ca_pem: &str,
    gateway: &Gateway,
    time: Duration,
) -> Result<Vec<Driven>, Failure> {
    let share = time / u32::try_from(TASKS.len()).expect("a handful");
    let display = Display::new(time);
    let system_calls =
        || gateway.telemetry().snapshot().map(|snapshot| snapshot.totals.engine.system_calls);
    let mut driven = Vec::with_capacity(TASKS.len());
    for task in TASKS {
        let plan = plan(setup, ca_pem, task, share);
        let before = system_calls()?;
        let report = client::run(&plan, |progress| display.progress(&task, &progress))?;
        let done = Driven { task, report, system_calls: system_calls()?.saturating_sub(before) };
        display.done(&done, share);
        driven.push(done);
    }
    display.end();
    Ok(driven)
}

fn plan(setup: &Setup, ca_pem: &str, task: Task, time: Duration) -> Plan {
    Plan {
        target: setup.listen,
        tls: Some(TlsPlan {
            version: task.version,
            server_name: "localhost".to_owned(),
            trust: Trust::CaPem(ca_pem.to_owned()),
            shown: None,
            alpn: Vec::new(),
            suites: Vec::new(),
            groups: vec!["X25519".to_owned()],
        }),
        workload: task.workload,
        pace: Pace::Closed { concurrency: task.connections },
        stop: Stop { after: time, count: None },
        timeout: TIMEOUT,
        threads: threads(task.connections),
        cpus: Vec::new(),
    }
}

/// Half of the CPUs: the gateway needs the others.
fn threads(connections: usize) -> usize {
    (app::default_count() / 2).clamp(1, connections)
}

/// How far it is: a bar for people, a line for each task otherwise.
enum Display {
    Bar(ProgressBar),
    Lines,
}

impl Display {
    fn new(time: Duration) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new(millis(time));
        let template = "{bar:24.cyan/dim} {msg}";
        let style = ProgressStyle::with_template(template).expect("a constant, good template");
        bar.set_style(style.progress_chars("━━─"));
        Self::Bar(bar)
    }

    fn progress(&self, task: &Task, progress: &Progress) {
        let Self::Bar(bar) = self else { return };
        let rate = figures::rate(task.unit, progress.rate, bytes_of(task));
        bar.set_message(format!("{}  {rate}", task.name));
    }

    fn done(&self, driven: &Driven, share: Duration) {
        match self {
            Self::Bar(bar) => bar.inc(millis(share)),
            Self::Lines => {
                let Driven { task, report, .. } = driven;
                let rate = figures::rate(task.unit, report.rate(), bytes_of(task));
                let errors = report.error_count();
                eprintln!("{}: {}, errors: {errors}", task.name, rate.trim_start());
            }
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Bytes that one operation is worth; 0 where bytes are not what counts.
pub(super) fn bytes_of(task: &Task) -> u64 {
    match task.workload {
        Workload::BulkDown { bytes } | Workload::BulkUp { bytes } => bytes,
        _ => 0,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_through_the_gateway_is_driven() {
        let has = |unit, version: Option<TlsVersion>| {
            TASKS
                .iter()
                .filter(|task| task.unit == unit)
                .any(|task| version.is_none_or(|version| task.version == version))
        };
        assert!(has(Unit::Handshakes, Some(TlsVersion::V12)));
        assert!(has(Unit::Handshakes, Some(TlsVersion::V13)));
        assert!(has(Unit::Messages, None));
        let directions = TASKS.iter().filter(|task| task.unit == Unit::Bytes);
        assert_eq!(directions.map(bytes_of).collect::<Vec<_>>(), [TRANSFER, TRANSFER]);
    }

    #[test]
    fn threads_never_outnumber_connections() {
        assert_eq!(threads(1), 1);
        assert!((1..=8).contains(&threads(8)));
    }
}
