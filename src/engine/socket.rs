//! Sockets as both kernel engines make them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, TcpKeepalive, Type};

use super::{Address, Source};
use crate::config::model::Keepalive;

/// A socket to dial `to` with, and the address in the kernel's form.
///
/// # Errors
/// EMFILE, ENFILE, ENOBUFS; a unix path that is too long; as [`Source`] is bound.
pub(crate) fn dialler(to: &Address, source: Source) -> io::Result<(Socket, SockAddr)> {
    let (socket, address) = match to {
        Address::Tcp(address) => {
            let domain = Domain::for_address(*address);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_tcp_nodelay(true)?;
            source.bind(&socket, *address)?;
            (socket, SockAddr::from(*address))
        }
        Address::Unix(path) => {
            (Socket::new(Domain::UNIX, Type::STREAM, None)?, SockAddr::unix(path)?)
        }
    };
    Ok((socket, address))
}

/// TCP_NODELAY, keepalive and TCP_USER_TIMEOUT. Set on a listener, accepted sockets inherit them.
///
/// # Errors
/// When the kernel refuses a value.
pub fn set_tcp_options(socket: &Socket, keepalive: &Keepalive) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    set_keepalive(&SockRef::from(socket), keepalive)
}

/// Keepalive and TCP_USER_TIMEOUT of a dialled socket that has lasted for a while. Unix sockets have
/// neither.
pub(crate) fn keep_alive(socket: &OwnedFd, keepalive: &Keepalive) {
    // Refused on a unix socket, and on one whose connection has just gone, of which a receive tells.
    let _has_none = set_keepalive(&SockRef::from(socket), keepalive);
}

fn set_keepalive(socket: &SockRef<'_>, keepalive: &Keepalive) -> io::Result<()> {
    if let Some(idle) = keepalive.idle {
        let probes = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.probes);
        socket.set_tcp_keepalive(&probes)?;
    }
    if !keepalive.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(keepalive.user_timeout))?;
    }
    Ok(())
}

/// The peer's IP address and port; `None` for unix sockets and peers that have already gone.
pub(crate) fn peer_of(stream: &OwnedFd) -> Option<SocketAddr> {
    SockRef::from(stream).peer_addr().ok()?.as_socket()
}

/// Our own IP address and port; `None` for unix sockets.
pub(crate) fn local_of(stream: &OwnedFd) -> Option<SocketAddr> {
    SockRef::from(stream).local_addr().ok()?.as_socket()
}

/// Makes the coming close send RST instead of FIN.
pub(crate) fn reset_on_close(socket: &OwnedFd) {
    // Fails only on a socket that has no connection left to reset.
    let _unconnected = SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
}

/// A bound, listening socket. An engine makes it non-blocking and leaves it so: two processes that
/// share it, one about to follow the other, have one such flag between them.
#[derive(Debug)]
pub struct Listener {
    pub socket: OwnedFd,
    /// Other shards or processes have the same socket (a unix or inherited one), so closing ours
    /// loses nothing of its accept queue.
    pub shared: bool,
}

/// An accepted connection that nobody has taken over: reset when dropped, so that a peer that is
/// turned away knows it at once.
#[derive(Debug)]
pub struct Stream(Option<OwnedFd>);

impl Stream {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(Some(socket))
    }

    /// See [`peer_of`].
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.0.as_ref().and_then(peer_of)
    }

    pub(crate) fn into_socket(mut self) -> OwnedFd {
        self.0.take().expect("taken only here")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            reset_on_close(socket);
        }
    }
}

/// Accepts what is queued on a non-blocking `listener` and nothing that arrives from now on.
///
/// A filter on the socket drops what would still join the queue, so that closing the listener
/// afterwards loses no connection that the kernel had completed. A shared socket stays open
/// elsewhere and must not be filtered; of its queue no more is taken than a long one holds, so that
/// this ends though others connect meanwhile.
pub(crate) fn drain_accept_queue(
    listener: &Listener,
    accept_flags: rustix::net::SocketFlags,
) -> Vec<Stream> {
    // Without the filter (no memory for it) a connection may slip in between the last accept and
    // the close; it is then reset, as with any closed listener.
    if !listener.shared {
        let _unfiltered = SockRef::from(&listener.socket).attach_filter(&[DROP_ALL]);
    }
    let most = if listener.shared { SHARED_MOST } else { usize::MAX };
    let mut streams = Vec::new();
    while streams.len() < most {
        match rustix::net::accept_with(&listener.socket, accept_flags) {
            Ok(socket) => streams.push(Stream::new(socket)),
            Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
            Err(_empty_or_exhausted) => break,
        }
    }
    streams
}

/// Sixteen times the default of `backlog`.
const SHARED_MOST: usize = 65_536;

/// `BPF_RET | BPF_K` with k = 0: let no byte of any packet through (linux/filter.h).
const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);
