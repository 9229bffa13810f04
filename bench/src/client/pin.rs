//! Threads on CPUs of their own.

use rustix::thread::{CpuSet, sched_setaffinity};

use super::Error;

/// Keeps the calling thread on a CPU.
pub(super) fn to(cpu: usize) -> Result<(), Error> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(Error::Plan(format!("there is no CPU {cpu}")));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|errno| Error::io("pin a thread to a CPU")(errno.into()))
}
