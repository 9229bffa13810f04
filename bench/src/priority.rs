//! Who has the CPU when several want it, so that a figure is the gateway's and not the scheduler's.
//!
//! Priorities among ordinary tasks are not enough: a CPU that runs a task of the lowest one gives it to
//! another at the next tick only, now and then, which is up to 4 ms (seen on Linux 6.18).

use std::process::Command;

/// At the lowest priority: it takes no time from anybody but by what it makes others do.
pub fn idly() -> Command {
    let mut command = Command::new("chrt");
    command.args(["--idle", "0"]);
    command
}

/// Before all others, as soon as there is something to do.
pub fn first() -> Command {
    let mut command = Command::new("chrt");
    command.args(["--fifo", "1"]);
    command
}

/// All threads of a process come first from now on, or are like others again.
///
/// # Errors
/// As [`raise_this_thread`].
pub fn raise(process: u32, is_first: bool) -> Result<(), String> {
    set(&["--all-tasks"], is_first, &process.to_string())
}

/// This thread and those that it starts come first from now on, or are like others again.
///
/// # Errors
/// When chrt(1) is missing, or there is no right to do so (`CAP_SYS_NICE`).
pub fn raise_this_thread(is_first: bool) -> Result<(), String> {
    set(&[], is_first, &rustix::thread::gettid().as_raw_nonzero().to_string())
}

fn set(options: &[&str], is_first: bool, id: &str) -> Result<(), String> {
    let policy = if is_first { ["--fifo", "--pid", "1"] } else { ["--other", "--pid", "0"] };
    let ended = Command::new("chrt").args(options).args(policy).arg(id).output();
    let ended = ended.map_err(|error| format!("chrt: {error}"))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("chrt: {}", String::from_utf8_lossy(&ended.stderr).trim_end()))
}
