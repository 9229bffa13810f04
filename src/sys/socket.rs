//! Options of sockets.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Lets bind(2) choose an address and leave the port to connect(2), which knows the destination:
/// then one port serves as many connections as there are destinations (IP_BIND_ADDRESS_NO_PORT,
/// Linux 4.2). For IPv4 and IPv6.
///
/// # Errors
/// When the kernel does not know the option.
pub fn bind_address_no_port(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("an int is short");
    // SAFETY: the descriptor is open for as long as it is borrowed. The kernel reads `length` bytes
    // at the pointer, which is those of `on`, and keeps nothing of it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
