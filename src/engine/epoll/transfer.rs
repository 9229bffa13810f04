//! The system calls that move bytes: plain ones for data in one piece, else vectored ones.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recv, recvmsg, sendmsg,
};

use crate::buf::{Buf, Layout, MAX_RANGES, MAX_SPACES};

/// Sends of `buf` what the socket takes; returns how much.
pub(super) fn send(fd: &OwnedFd, buf: &Buf) -> Result<usize, Errno> {
    if buf.count() <= 1 {
        return rustix::net::send(fd, buf.first(), SendFlags::NOSIGNAL);
    }
    let mut parts = buf.parts();
    let count = parts.len();
    let parts: [IoSlice<'_>; MAX_RANGES] =
        std::array::from_fn(|_| IoSlice::new(parts.next().unwrap_or_default()));
    let mut nothing = SendAncillaryBuffer::default();
    sendmsg(fd, &parts[..count], &mut nothing, SendFlags::NOSIGNAL)
}

/// Receives into `buf` what is there; returns how much. It is not declared to be data yet.
pub(super) fn receive(fd: &OwnedFd, buf: &mut Buf, layout: Layout) -> Result<usize, Errno> {
    let mut spaces = buf.spaces_mut(layout);
    if spaces.len() == 1 {
        let space = spaces.next().unwrap_or_default();
        return recv(fd, space, RecvFlags::empty()).map(|(received, _)| received);
    }
    let mut spaces: [IoSliceMut<'_>; MAX_SPACES] =
        std::array::from_fn(|_| IoSliceMut::new(spaces.next().unwrap_or_default()));
    let mut nothing = RecvAncillaryBuffer::default();
    recvmsg(fd, &mut spaces, &mut nothing, RecvFlags::empty()).map(|received| received.bytes)
}
