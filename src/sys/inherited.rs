//! Sockets that the parent process opened (systemd, a shell, the process that this one follows).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// A duplicate of listening socket `fd`, which stays open for the next configuration.
///
/// # Errors
/// When `fd` is not open or not a listening stream socket.
pub fn take_listener(fd: i32) -> io::Result<OwnedFd> {
    refuse_standard_streams(fd)?;
    // SAFETY: the number is not -1. If it is not open, the first call on it says EBADF; it is
    // borrowed for this function only, so nothing is closed that somebody else owns.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    refuse_unless_listening(borrowed)?;
    borrowed.try_clone_to_owned()
}

/// # Errors
/// When `socket` is not a listening socket.
pub fn refuse_unless_listening(socket: impl AsFd) -> io::Result<()> {
    if !rustix::net::sockopt::socket_acceptconn(socket)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket"));
    }
    Ok(())
}

/// The socket that a predecessor passed under number `fd`, for this process alone from now on.
///
/// # Errors
/// When `fd` is not open or not a unix socket.
pub fn take_channel(fd: i32) -> io::Result<OwnedFd> {
    refuse_standard_streams(fd)?;
    // SAFETY: as in `take_listener`.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if rustix::net::sockopt::socket_domain(borrowed)? != rustix::net::AddressFamily::UNIX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a unix socket"));
    }
    // SAFETY: it is open, and the predecessor passed it to whoever reads its number, which the
    // start of the program does once.
    let channel = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&channel, rustix::io::FdFlags::CLOEXEC)?;
    Ok(channel)
}

/// Closes every descriptor but the standard streams, in a program that has just begun.
///
/// # Errors
/// On kernels before Linux 5.9, which do not know the call.
pub fn close_all() -> io::Result<()> {
    let flags: libc::c_int = 0;
    // SAFETY: the call takes numbers only. It is made by the main function of the child before it
    // has opened anything or started a thread, so nothing here owns what is closed.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn refuse_standard_streams(fd: i32) -> io::Result<()> {
    if fd < 3 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "0 to 2 are the standard streams"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, IntoRawFd};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_listening_sockets_are_taken_and_they_stay_open() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(take_listener(listener.as_raw_fd()).expect("it listens"));
        let stream = TcpStream::connect(address).expect("it is still open");
        let file = File::open("/dev/null").expect("it is always there");
        for fd in [-1, 0, 2, 1_000_000, stream.as_raw_fd(), file.as_raw_fd()] {
            assert!(take_listener(fd).is_err(), "{fd}");
        }
    }

    #[test]
    fn only_unix_sockets_are_channels_and_programs_do_not_inherit_them() {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let number = theirs.into_raw_fd();
        let taken = take_channel(number).expect("a unix socket");
        assert_eq!(taken.as_raw_fd(), number);
        let flags = rustix::io::fcntl_getfd(&taken).expect("it is open");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        drop((ours, taken));
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let file = File::open("/dev/null").expect("it is always there");
        for fd in [-1, 1, 1_000_000, tcp.as_raw_fd(), file.as_raw_fd()] {
            assert!(take_channel(fd).is_err(), "{fd}");
        }
    }
}
