//! Who has the CPU when several want it, so that a figure is the gateway's and not the scheduler's.
//!
//! Priorities among ordinary tasks are not enough: a CPU that runs a task of the lowest one gives it to
//! another at the next tick only, now and then, which is up to 4 ms (seen on Linux 6.18).

use std::process::Command;

/// At the lowest priority: it takes no time from anybody but by what it makes others do.
pub(crate) fn idly() -> Command {
    let mut command = Command::new("chrt");
    command.args(["--idle", "0"]);
    command
}

/// Before all others, as soon as there is something to do.
pub(crate) fn first() -> Command {
    let mut command = Command::new("chrt");
    command.args(["--fifo", "1"]);
    command
}

/// All threads of a process come first from now on.
pub(crate) fn raise(process: u32) {
    let process = process.to_string();
    set(Command::new("chrt").args(["--all-tasks", "--fifo", "--pid", "1", &process]));
}

/// This thread and those that it starts come first from now on, or are like others again.
pub(crate) fn raise_this_thread(is_first: bool) {
    let mut chrt = Command::new("chrt");
    let policy = if is_first { ["--fifo", "--pid", "1"] } else { ["--other", "--pid", "0"] };
    let this = rustix::thread::gettid().as_raw_nonzero().to_string();
    set(chrt.args(policy).arg(this));
}

fn set(command: &mut Command) {
    let ended = command.output().expect("util-linux");
    if !ended.status.success() {
        println!("{command:?}: what others take is in the figures: {ended:?}");
    }
}
