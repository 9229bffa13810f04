//! What the kernel thinks of its own clock.

use std::mem::MaybeUninit;

/// Whether the clock is synchronised, and by how many microseconds it may be off at most
/// (adjtimex(2)). `None` where a sandbox does not let one ask.
pub fn state() -> Option<(bool, u64)> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: the pointer is to memory for one timex, all of it zero: `modes` 0 reads and changes
    // nothing. The kernel fills it and keeps no pointer.
    let state = unsafe { libc::adjtimex(timex.as_mut_ptr()) };
    if state < 0 {
        return None;
    }
    // SAFETY: it has only integers, for which zero is a value, and the kernel has written it.
    let timex = unsafe { timex.assume_init() };
    Some((timex.status & libc::STA_UNSYNC == 0, u64::try_from(timex.maxerror).ok()?))
}
