//! What the kernel says a thread did with its time.

use std::fs;
use std::time::Duration;

use super::Effort;

/// Of the calling thread: nanoseconds on a CPU, nanoseconds of waiting for one, and more
/// (Documentation/scheduler/sched-stats.rst of the kernel).
const ACCOUNT: &str = "/proc/thread-self/schedstat";

/// Since the calling thread began. The kernel brings it up to date at ticks, so it may be some
/// milliseconds old. None where there is no such account.
pub(super) fn of_this_thread() -> Option<Effort> {
    parse(&fs::read_to_string(ACCOUNT).ok()?)
}

fn parse(text: &str) -> Option<Effort> {
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten().map(Duration::from_nanos);
    Some(Effort { ran: next()?, waited: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_two_times_and_the_rest_is_no_matter() {
        let effort = Effort { ran: Duration::from_nanos(7), waited: Duration::from_nanos(12) };
        assert_eq!(parse("7 12 3\n"), Some(effort));
        assert_eq!(parse("7 12"), Some(effort));
        for wrong in ["", "7", "7 x 3", "-1 2 3"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
