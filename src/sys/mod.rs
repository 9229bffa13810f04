//! Small wrappers around what neither std nor rustix offers safely.

#[allow(unsafe_code, reason = "asks the kernel about its clock")]
pub mod clock;
#[allow(unsafe_code, reason = "asks the C library's allocator")]
pub mod heap;
#[allow(unsafe_code, reason = "takes over descriptors by number")]
pub mod inherited;
pub mod packets;
pub mod program;
#[allow(unsafe_code, reason = "sets options that only the C library names")]
pub mod socket;
