//! Listening sockets that the parent process opened (systemd, a test, a shell).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A duplicate of listening socket `fd`, which stays open for the next configuration.
///
/// # Errors
/// When `fd` is not open or not a listening stream socket.
pub fn take_listener(fd: i32) -> io::Result<OwnedFd> {
    if fd < 3 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "0 to 2 are the standard streams"));
    }
    // SAFETY: the number is not -1. If it is not open, the first call on it says EBADF; it is
    // borrowed for this function only, so nothing is closed that somebody else owns.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if !rustix::net::sockopt::socket_acceptconn(borrowed)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket"));
    }
    borrowed.try_clone_to_owned()
}
