//! What the C library's allocator has handed out.

/// Bytes allocated and not freed, over all threads. `None` where the C library is not glibc.
pub fn live_bytes() -> Option<u64> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallinfo2 (glibc 2.33) takes no arguments and only reads the allocator's own
        // counters, under its locks.
        let info = unsafe { libc::mallinfo2() };
        Some((info.uordblks + info.hblkhd) as u64)
    }
    #[cfg(not(target_env = "gnu"))]
    None
}
