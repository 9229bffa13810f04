//! Listening sockets: one per worker for TCP, one shared by all for unix and inherited ones.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::model::{ListenAddress, Listener};
use crate::engine::socket::{self, set_tcp_options};
use crate::sys::inherited;

/// A bound listener.
#[derive(Debug)]
pub(super) struct Bound {
    /// One socket per worker.
    pub listeners: Vec<socket::Listener>,
    /// The address it really got, as text.
    pub address: String,
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: cannot listen on {address}: {error}{hint}")]
pub struct BindError {
    pub listener: String,
    pub address: String,
    pub error: io::Error,
    pub hint: &'static str,
}

/// Binds `listener` for `workers` workers.
///
/// # Errors
/// What the kernel said, and what to do about it.
pub(super) fn bind(listener: &Listener, workers: usize) -> Result<Bound, BindError> {
    let bound = match &listener.listen {
        ListenAddress::Tcp(address) => {
            free_port(*address).and_then(|()| bind_tcp(listener, *address, workers))
        }
        ListenAddress::Unix(path) => bind_unix(listener, path, workers),
        ListenAddress::Inherited(fd) => inherit(listener, *fd, workers),
    };
    bound.map_err(|error| failure(listener, error))
}

/// `error` as what happened to `listener`.
pub(super) fn failure(listener: &Listener, error: io::Error) -> BindError {
    BindError {
        listener: listener.name.clone(),
        address: describe(&listener.listen),
        hint: hint(&error),
        error,
    }
}

/// A listen address as it stands in the configuration.
fn describe(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        ListenAddress::Inherited(fd) => format!("fd:{fd}"),
    }
}

fn bind_tcp(listener: &Listener, address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let mut address = address;
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // "[::]" means IPv6; IPv4 has a listener of its own.
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        // Accepted sockets inherit these, which saves the calls for each of them.
        set_tcp_options(&socket, &listener.keepalive)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(i32::try_from(listener.backlog).unwrap_or(i32::MAX))?;
        if let Some(actual) = socket.local_addr()?.as_socket() {
            // Port 0: the other workers share the port that the first one got.
            address = actual;
        }
        listeners.push(socket::Listener { socket: socket.into(), shared: false });
    }
    Ok(Bound { listeners, address: address.to_string() })
}

/// With SO_REUSEPORT alone, a second gateway of the same user would silently share the port.
///
/// A predecessor that was killed keeps its port for some milliseconds, until the kernel has torn
/// its ring down: hence a few tries.
#[expect(clippy::disallowed_methods, reason = "an edge: before the first shard runs, nobody waits")]
fn free_port(address: SocketAddr) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match try_port(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < BIND_TRIES => {
                tries += 1;
                std::thread::sleep(BIND_PAUSE);
            }
            result => return result,
        }
    }
}

fn try_port(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Lets TIME_WAIT connections of a predecessor not count.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))
}

fn bind_unix(listener: &Listener, path: &Path, workers: usize) -> io::Result<Bound> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(i32::try_from(listener.backlog).unwrap_or(i32::MAX))?;
    share(&socket.into(), workers, format!("unix:{}", path.display()))
}

/// Removes a socket file that nobody listens on any more.
pub(super) fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn inherit(listener: &Listener, fd: i32, workers: usize) -> io::Result<Bound> {
    let socket = Socket::from(inherited::take_listener(fd)?);
    let address = match socket.local_addr()?.as_socket() {
        Some(address) => {
            set_tcp_options(&socket, &listener.keepalive)?;
            format!("{address} (fd:{fd})")
        }
        None => format!("fd:{fd}"),
    };
    share(&socket.into(), workers, address)
}

fn share(socket: &OwnedFd, workers: usize, address: String) -> io::Result<Bound> {
    let clone = |_| Ok(socket::Listener { socket: socket.try_clone()?, shared: true });
    let listeners = (0..workers).map(clone).collect::<io::Result<_>>()?;
    Ok(Bound { listeners, address })
}

const BIND_TRIES: u32 = 10;
const BIND_PAUSE: Duration = Duration::from_millis(50);

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process has it: see `ss -ltnp`)",
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need root or CAP_NET_BIND_SERVICE, unix sockets a writable folder)"
        }
        io::ErrorKind::AddrNotAvailable => " (no interface has this address: see `ip address`)",
        _ => "",
    }
}
