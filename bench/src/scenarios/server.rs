//! A server in a scenario: it may be told to take a new configuration, to hand over, or be killed.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use super::setups::Setup;
use crate::measure::process::{Process, await_end, pid_of};
use crate::measure::rounds::Server as _;
use crate::peers::target::Kind;

/// How long a new process may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(10);

/// A running server; it ends when dropped, with all processes that came of it.
pub(super) struct Server<'run> {
    kind: Kind,
    setup: &'run Setup<'run>,
    /// None while it is started again.
    process: Option<Process>,
    /// Every process that it has had.
    pub(super) pids: Vec<u32>,
    /// Processes that others have handed over to.
    successors: Vec<u32>,
}

impl<'run> Server<'run> {
    /// # Errors
    /// Why it does not serve, for the user to read.
    pub(super) fn start(kind: Kind, setup: &'run Setup<'run>) -> Result<Self, String> {
        let (pids, successors) = (Vec::new(), Vec::new());
        let mut server = Self { kind, setup, process: None, pids, successors };
        server.begin()?;
        Ok(server)
    }

    fn begin(&mut self) -> Result<(), String> {
        let Setup { stage, .. } = self.setup;
        let name = self.kind.name().replace(' ', "-");
        let command = self.setup.command(self.kind)?;
        let addresses = self.setup.addresses();
        let process = Process::serve(&name, command, &[stage.cpu], &addresses, stage.scratch)?;
        // A master and a worker.
        process.family(if self.kind.is_gateway() { 1 } else { 2 })?;
        self.process = Some(process);
        self.look_around()
    }

    /// Takes note of processes that are new.
    ///
    /// # Errors
    /// When they cannot be found.
    pub(super) fn look_around(&mut self) -> Result<(), String> {
        for pid in self.process()?.family(1)? {
            if !self.pids.contains(&pid) {
                self.pids.push(pid);
            }
        }
        Ok(())
    }

    /// It is killed with all its processes, and started again.
    ///
    /// # Errors
    /// Why it does not serve again.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        let process = self.process.take().ok_or("it does not run")?;
        process.crash()?;
        self.begin()
    }

    /// It is told, in its own way, that its configuration and files are others.
    ///
    /// # Errors
    /// Those of kill(2).
    pub(super) fn reload(&self) -> Result<(), String> {
        let signal = if self.kind == Kind::Haproxy { Signal::USR2 } else { Signal::HUP };
        self.process()?.signal(signal)
    }

    /// It hands over to a new process, in its own way.
    ///
    /// # Errors
    /// When none appears.
    pub(super) fn hand_over(&mut self) -> Result<(), String> {
        let before = self.pids.len();
        let signal = if self.kind == Kind::Nginx { Signal::HUP } else { Signal::USR2 };
        self.process()?.signal(signal)?;
        let deadline = Instant::now() + PATIENCE;
        while self.pids.len() == before {
            if Instant::now() > deadline {
                return Err(format!("{} has started no new process", self.kind.name()));
            }
            std::thread::sleep(TICK);
            self.look_around()?;
        }
        if self.kind.is_gateway() {
            // The others' masters stay.
            self.successors.extend(&self.pids[before..]);
        }
        Ok(())
    }

    fn process(&self) -> Result<&Process, String> {
        self.process.as_ref().ok_or_else(|| format!("{} does not run", self.kind.name()))
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        for pid in self.successors.iter().filter_map(|pid| pid_of(*pid)) {
            // Fails when it has ended by itself.
            kill_process(pid, Signal::TERM).ok();
        }
        // One that has handed over stays until its successors are no children of its own.
        self.process = None;
        self.successors.iter().for_each(|pid| await_end(*pid));
    }
}
