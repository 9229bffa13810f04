//! Keeps a CPU from ever being idle, without taking time from anyone.
//!
//! Where two CPUs are hyper-threads of one core, code on one of them runs up to twice as fast
//! while the other is idle. Then a faster server, which leaves the client waiting more often,
//! would look slower per unit than it is.

use std::hint::black_box;
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal};

use super::affinity;
use super::process::find_program;

/// A process that computes at the scheduling policy SCHED_IDLE; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Spinner(Child);

impl Spinner {
    /// # Errors
    /// When chrt(1) of util-linux is missing, or a process cannot be started.
    pub(crate) fn start(cpu: usize) -> Result<Self, String> {
        let chrt = find_program("chrt").ok_or("chrt (package util-linux) is not installed")?;
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(chrt);
        command.args(["--idle", "0"]).arg(own).arg("spin");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        affinity::spawn_on(&[cpu], &mut command)
            .map(Self)
            .map_err(|error| format!("cannot start the spinning process: {error}"))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        // Fails when it has ended by itself, and then it has ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Spins until the process that started this one has gone.
///
/// # Errors
/// Those of prctl(2).
pub(crate) fn forever() -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut state = [1u64, 2, 3, 4];
    loop {
        // Multiplications and additions that depend on each other in four chains: enough to
        // keep the execution units of a core busy, as a neighbour at work would.
        for word in &mut state {
            *word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        black_box(&mut state);
    }
}
