//! What a thread did with its time, by the kernel's account of it.

use std::fs;
use std::time::{Duration, Instant};

use super::report::Effort;

/// Of the calling thread: nanoseconds on a CPU, nanoseconds of waiting for one, and more
/// (Documentation/scheduler/sched-stats.rst of the kernel).
const ACCOUNT: &str = "/proc/thread-self/schedstat";

/// A look at the account of the calling thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    at: Instant,
    ran: Duration,
    waited: Duration,
}

impl Look {
    /// None where the kernel keeps no such account.
    pub(super) fn now() -> Option<Self> {
        let text = fs::read_to_string(ACCOUNT).ok()?;
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten().map(Duration::from_nanos);
        Some(Self { at: Instant::now(), ran: next()?, waited: next()? })
    }

    /// What the thread did since an earlier look.
    pub(super) fn since(&self, earlier: &Self) -> Option<Effort> {
        let time = (self.at - earlier.at).as_secs_f64();
        let share = |later: Duration, earlier: Duration| {
            (later.saturating_sub(earlier).as_secs_f64() / time).min(1.0)
        };
        (time > 0.0).then(|| Effort {
            busy: share(self.ran, earlier.ran),
            waiting: share(self.waited, earlier.waited),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_only_works_is_busy_or_waits_for_its_cpu() {
        let Some(before) = Look::now() else { return };
        while before.at.elapsed() < Duration::from_millis(100) {
            std::hint::black_box(0);
        }
        let effort = Look::now().expect("as before").since(&before).expect("some time");
        // The kernel brings the account up to date at ticks.
        assert!(effort.exertion() > 0.5, "{effort:?}");
        let before = Look::now().expect("as before");
        std::thread::sleep(Duration::from_millis(100));
        let effort = Look::now().expect("as before").since(&before).expect("some time");
        assert!(effort.busy < 0.5, "{effort:?}");
    }
}
