//! Two workers against one: what a unit costs when the gateway has both CPUs. Client and backend
//! are on both CPUs too, in either case, and neither CPU is ever idle.

use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::target::{Kind, Stage, Target};
use super::test::Test;
use crate::measure::probe::Probe;
use crate::measure::process::{Process, free_address};
use crate::measure::rounds::{self, Row, Server};
use crate::measure::sample::{self, Clock, Subject};
use crate::measure::spin::Spinner;

/// What is measured.
pub(crate) const TESTS: [Test; 2] = [Test::Full13, Test::RoundTrips50];

/// How many workers the gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Workers {
    One,
    Two,
}

impl Server for Workers {
    fn name(self) -> &'static str {
        match self {
            Self::One => "1 worker",
            Self::Two => "2 workers",
        }
    }
}

/// How samples are taken, and on which CPUs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conduct {
    pub(crate) rounds: u32,
    /// Length of one sample's load.
    pub(crate) sample: Duration,
    pub(crate) both: [usize; 2],
}

/// Samples of both, in turns.
///
/// # Errors
/// When a process does not start.
pub(crate) fn take(
    stage: &Stage<'_>,
    probe: &Probe,
    Conduct { rounds, sample: length, both }: Conduct,
    failures: &mut Vec<String>,
    note: &mut dyn FnMut(&str),
) -> Result<Vec<Row<Test, Workers>>, String> {
    let backend = free_address()?;
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command.args(["backend", "--listen", &backend.to_string(), "--mode", "sniff"]);
    let _behind = Process::serve("backend-of-both", command, &both, &[backend], stage.scratch)?;
    let stage = Stage { backend, ..*stage };
    let one = Target::start(Kind::IoUring, &stage)?;
    let two = Target::start_on(Kind::IoUring, &stage, &both)?;
    let _spinners = [Spinner::start(both[0])?, Spinner::start(both[1])?];
    let sample = |test: Test, workers: Workers, patience: u32| {
        let target = if workers == Workers::One { &one } else { &two };
        let subject = Subject {
            address: target.ports.of(test.role()),
            pids: &target.pids,
            cpu: None,
            client_cpus: &both,
            clock: Clock::Threads,
        };
        let tls = test.tls(stage.identities);
        sample::take(test, subject, tls, length * patience)
    };
    let servers = |_| vec![Workers::One, Workers::Two];
    Ok(rounds::take(rounds, &TESTS, servers, probe, sample, failures, note))
}
