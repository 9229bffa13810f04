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

/// Who has connected a unix socket, as they were when they did (SO_PEERCRED). The process is 0 where it
/// has no number here, as from outside of a container.
///
/// # Errors
/// When the socket is of another kind.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let whole = libc::socklen_t::try_from(size_of_val(&peer)).expect("three ints are short");
    let mut length = whole;
    // SAFETY: the descriptor is open for as long as it is borrowed. The kernel writes at most `length`
    // bytes at the first pointer, which is those of `peer`, of which any are valid, and their number
    // at the second; it keeps neither.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    match result {
        0 if length == whole => Ok(peer),
        0 => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The supplementary groups of the process that has connected a unix socket, as they were when it did
/// (SO_PEERGROUPS, Linux 4.13).
///
/// # Errors
/// When the kernel does not know the option, or the socket is of another kind.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; USUAL_GROUPS];
    loop {
        let room = size_of_val(groups.as_slice());
        let mut length = libc::socklen_t::try_from(room).expect("at most MOST_GROUPS of 4 bytes");
        // SAFETY: the descriptor is open for as long as it is borrowed. The kernel writes at most
        // `length` bytes at the first pointer, which is that of as many bytes of `groups`, and the
        // length of all at the second, which is that of `length`; it keeps neither.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let error = io::Error::last_os_error();
        let count = length as usize / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let grows = groups.len() < count && count <= MOST_GROUPS;
        if error.raw_os_error() != Some(libc::ERANGE) || !grows {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

const USUAL_GROUPS: usize = 32;
/// NGROUPS_MAX (linux/limits.h).
const MOST_GROUPS: usize = 65_536;
