//! Processes that have taken over from the one that a check started. They become children of the
//! check when those before them have ended.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};

use super::gateway::Gateway;
use super::process::{Ended, Process};
use super::{SOON, wait_for, wait_until};

/// The successors of a process, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Succession(Vec<Pid>);

impl Succession {
    /// Must be called before there is a successor.
    pub(crate) fn new() -> Self {
        set_child_subreaper(Some(getpid())).expect("Linux 3.4 and newer");
        Self::default()
    }

    pub(crate) fn add(&mut self, pid: u32) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        self.0.push(pid.expect("the number of a process"));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The process that serves, if it is not the one that was started.
    pub(crate) fn last(&self) -> Option<u32> {
        self.0.last().map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn before_last(&self) -> Option<u32> {
        self.0.iter().rev().nth(1).map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    pub(crate) fn signal_last(&self, signal: Signal) {
        let last = self.0.last().expect("there is one");
        kill_process(*last, signal).expect("it runs");
    }

    /// Waits until all have ended; returns the exit codes, -1 for one that a signal ended. The
    /// process that was started must have ended.
    ///
    /// # Panics
    /// When one does not end within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Vec<i32> {
        let deadline = Instant::now() + limit;
        let wait = |pid: Pid| {
            loop {
                match waitpid(Some(pid), WaitOptions::NOHANG) {
                    Ok(Some((_, status))) => return status.exit_status().unwrap_or(-1),
                    // It is about to become our child.
                    Ok(None) | Err(rustix::io::Errno::CHILD) => {}
                    Err(errno) => panic!("{pid:?}: {errno}"),
                }
                assert!(Instant::now() < deadline, "{pid:?} has not ended within {limit:?}");
                thread::sleep(Duration::from_millis(5));
            }
        };
        self.0.drain(..).map(wait).collect()
    }
}

impl Gateway {
    /// The process that serves.
    pub(crate) fn id(&self) -> u32 {
        self.succession.last().unwrap_or_else(|| self.process().id())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        match self.succession.last() {
            Some(_) => self.succession.signal_last(signal),
            None => self.process().signal(signal),
        }
    }

    /// Sends USR2 and waits until another process serves.
    pub(crate) fn restart(&mut self) {
        self.signal(Signal::USR2);
        self.wait_for_successor();
    }

    /// Waits until one more process has taken over.
    pub(crate) fn wait_for_successor(&mut self) {
        let count = self.succession.len();
        let pid = wait_for("the new process serves", SOON, || self.takeovers().nth(count));
        self.succession.add(pid);
    }

    /// Waits until the process that served before has ended.
    pub(crate) fn wait_for_predecessor(&self) {
        let before = self.succession.before_last();
        let before = before.unwrap_or_else(|| self.process().id());
        wait_until("the old process ends", SOON, || {
            // One that nobody has waited for yet is a zombie: proc_pid_stat(5).
            let stat = std::fs::read_to_string(format!("/proc/{before}/stat"));
            stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        });
    }

    /// Processes that have taken over, by the log.
    fn takeovers(&self) -> impl Iterator<Item = u32> {
        let lines = self.process().stderr().into_iter();
        lines.filter(|line| line.contains("the new process serves")).map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
            let pid = line["fields"]["pid"].as_u64().expect("which one");
            u32::try_from(pid).expect("the number of a process")
        })
    }
}

/// Waits for a process and all that have taken over from it; returns the exit codes of these, too.
pub(super) fn end(
    mut process: Process,
    succession: &mut Succession,
    limit: Duration,
) -> (Ended, Vec<i32>) {
    // What they write goes through the pipes of the first, which therefore end last.
    wait_until("the first process ends", limit, || process.poll().is_some());
    let codes = succession.wait(limit);
    (process.wait(limit), codes)
}

impl Drop for Succession {
    /// What a failed check leaves behind.
    fn drop(&mut self) {
        for pid in self.0.drain(..).rev() {
            // Fails only when it has ended already.
            let _ended = kill_process(pid, Signal::KILL);
        }
    }
}
