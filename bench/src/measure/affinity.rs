//! Which CPU runs what.

use std::io;
use std::process::{Child, Command};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Pins the calling thread.
///
/// # Errors
/// `InvalidInput` for a number that no CPU can have, else the error of sched_setaffinity(2).
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    pin_to(&[cpu])
}

fn pin_to(cpus: &[usize]) -> io::Result<()> {
    let mut only = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            let text = format!("there is no CPU {cpu}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        only.set(cpu);
    }
    Ok(sched_setaffinity(None, &only)?)
}

/// Starts a process that may run on `cpus` only: a child inherits the mask of the thread that
/// starts it, so that is changed for a moment.
///
/// # Errors
/// As [`pin`], or those of starting the process.
pub(crate) fn spawn_on(cpus: &[usize], command: &mut Command) -> io::Result<Child> {
    let own = sched_getaffinity(None)?;
    pin_to(cpus)?;
    let child = command.spawn();
    sched_setaffinity(None, &own)?;
    child
}

/// Runs `work` on a thread of its own that is pinned to `cpu`.
///
/// # Errors
/// Those of `work`, or why there is no such thread.
pub(crate) fn on<T: Send>(
    cpu: usize,
    work: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    let pinned = move || {
        pin(cpu).map_err(|error| format!("cannot run on CPU {cpu}: {error}"))?;
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, pinned);
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// One that this process may run on.
#[cfg(test)]
pub(crate) fn some_cpu() -> usize {
    let own = sched_getaffinity(None).expect("a mask");
    (0..CpuSet::MAX_CPU).find(|cpu| own.is_set(*cpu)).expect("a CPU")
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_child_gets_one_cpu_and_the_parent_keeps_its_own() {
        let before = sched_getaffinity(None).expect("a mask");
        let cpu = some_cpu();
        let mut command = Command::new("grep");
        command.args(["Cpus_allowed_list", "/proc/self/status"]).stdout(Stdio::piped());
        let output =
            spawn_on(&[cpu], &mut command).expect("start").wait_with_output().expect("end");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.split_whitespace().last(), Some(cpu.to_string().as_str()), "{text}");
        assert!(sched_getaffinity(None).expect("a mask") == before);
        assert!(pin(CpuSet::MAX_CPU).is_err());
    }
}
