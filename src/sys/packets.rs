//! Packets, and descriptors with them, over a pair of connected sockets: how this process talks to
//! those of its own that run beside it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use socket2::SockRef;

/// Longest packet, in bytes: a fraction of the send buffer that a socket has by default.
pub const MAX_PACKET: usize = 64 * 1024;
/// Descriptors with one packet: what the kernel allows (SCM_MAX_FD, linux/net/scm.h).
pub const MAX_DESCRIPTORS: usize = 253;

/// Two ends, with room for `packets` of the longest. Neither is inherited by programs that are
/// started.
///
/// # Errors
/// When there are no descriptors left.
pub fn pair(packets: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // Whatever the system's default is.
    SockRef::from(&ours).set_send_buffer_size(packets * MAX_PACKET)?;
    SockRef::from(&theirs).set_send_buffer_size(packets * MAX_PACKET)?;
    Ok((ours, theirs))
}

/// Sends a packet whole or not at all (unix(7), SOCK_SEQPACKET), and descriptors with it.
///
/// # Errors
/// `InvalidInput` when it or the number of descriptors is too large, EPIPE when the other end has
/// gone, EAGAIN when there is no room and `flags` or a limit of the socket say not to wait.
pub fn send(
    socket: impl AsFd,
    packet: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    if packet.len() > MAX_PACKET || !descriptors.is_empty() && !control.push(rights) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too much for one packet"));
    }
    let iov = [io::IoSlice::new(packet)];
    loop {
        match sendmsg(&socket, &iov, &mut control, flags | SendFlags::NOSIGNAL) {
            Ok(_whole) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The next packet, in the first bytes of `packet`, of which there should be [`MAX_PACKET`], and the
/// descriptors that came with it.
///
/// # Errors
/// `UnexpectedEof` when the other end has gone, EAGAIN when nothing has come and a limit of the
/// socket says not to wait, `InvalidData` when it is too long or there is no room for the
/// descriptors.
pub fn receive(socket: impl AsFd, packet: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut iov = [io::IoSliceMut::new(packet)];
        match recvmsg(&socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            // CONNRESET says, once, that the other has ended without reading all; what it said
            // before comes after that.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(invalid_data("a packet that is too long"));
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(invalid_data("more sockets than this process may have open"));
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((received.bytes, descriptors))
}

/// For a packet that is not what it should be.
pub fn invalid_data(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
