//! Descriptors and memory of this process, as the kernel tells them.

use std::fs;

use serde::{Deserialize, Serialize};

/// Figures of the process at one moment; `None` where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFigures {
    pub open_fds: Option<u64>,
    /// Soft limit on descriptors; `None` also for no limit.
    pub max_fds: Option<u64>,
    /// Physical memory in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// Bytes allocated on the heap and not freed, where the allocator counts them.
    pub heap_bytes: Option<u64>,
}

impl ProcessFigures {
    /// Reads the figures. `heap_bytes` is passed through: only the caller knows its allocator.
    pub fn read(heap_bytes: Option<u64>) -> Self {
        Self {
            open_fds: open_fds(),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            resident_bytes: resident_bytes(),
            heap_bytes,
        }
    }
}

fn open_fds() -> Option<u64> {
    // Since Linux 6.2 the size of the directory is the number of descriptors; before, it is zero
    // and the entries have to be counted (one is the descriptor that reads them).
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => {
            let entries = fs::read_dir("/proc/self/fd").ok()?.count();
            u64::try_from(entries.saturating_sub(1)).ok()
        }
        count => Some(count),
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_the_process() {
        let before = ProcessFigures::read(Some(7));
        let files: Vec<_> =
            (0..50).map(|_| fs::File::open("/dev/null").expect("/dev/null opens")).collect();
        let after = ProcessFigures::read(None);
        // Other tests open and close files meanwhile, hence the slack.
        let before_fds = before.open_fds.expect("told by /proc");
        let after_fds = after.open_fds.expect("told by /proc");
        assert!(after_fds > before_fds + 10, "{after_fds} after {} more", files.len());
        assert!(after.resident_bytes.expect("told by /proc") > 100_000);
        assert!(after.max_fds.is_none_or(|limit| limit >= 50));
        assert_eq!((before.heap_bytes, after.heap_bytes), (Some(7), None));
    }
}
