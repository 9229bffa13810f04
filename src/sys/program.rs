//! Programs that this process has started.

use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The exit status of one that ends within `limit`.
pub fn wait_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).and_then(|process| {
        let limit = Timespec::try_from(limit).map_err(|_| rustix::io::Errno::INVAL)?;
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))
    });
    // Without an answer, killing it is what is left.
    ended.is_ok_and(|ended| ended > 0).then(|| child.wait().ok()).flatten()
}
