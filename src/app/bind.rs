//! Listening sockets: one per worker for TCP, shared by all for unix and inherited ones.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::socket_acceptconn;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::config::model::{ListenAddress, Listener};
use crate::engine::socket::set_tcp_options;
use crate::sys::inherited;
use crate::systemd::Activation;

/// A bound listener.
#[derive(Debug)]
pub(super) struct Bound {
    /// At least one.
    pub sockets: Vec<OwnedFd>,
    /// Each socket is for every worker. Else each is for one, and every worker has one.
    pub shared: bool,
    /// The address it really got, as text.
    pub address: String,
    /// The file that was made for it, if it is a unix socket.
    pub file: Option<SocketFile>,
}

/// The file of a unix socket, removed when this is dropped before it was kept.
#[derive(Debug)]
pub(super) struct SocketFile(Option<PathBuf>);

impl SocketFile {
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Left behind, it is found stale the next time.
            let _left = fs::remove_file(path);
        }
    }
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener}: cannot listen on {address}: {error}{hint}")]
pub struct BindError {
    pub listener: String,
    /// 1-based line of the configuration that names the address.
    pub line: usize,
    pub address: String,
    pub error: io::Error,
    pub hint: &'static str,
}

/// Binds `listener` for `workers` workers. `passed` is what systemd passed, and `ours` are ports
/// that this process listens on already, at other addresses.
///
/// # Errors
/// What the kernel said, and what to do about it.
pub(super) fn bind(
    listener: &Listener,
    workers: usize,
    passed: &Activation,
    ours: &HashSet<u16>,
) -> Result<Bound, BindError> {
    let bound = match &listener.listen {
        // The kernel would say that it is taken: by us.
        ListenAddress::Tcp(address) if ours.contains(&address.port()) => {
            bind_tcp(listener, *address, workers)
        }
        ListenAddress::Tcp(address) => {
            free_port(*address).and_then(|()| bind_tcp(listener, *address, workers))
        }
        ListenAddress::Unix(path) => bind_unix(listener, path),
        ListenAddress::Inherited(fd) => inherit(listener, &[*fd]),
        ListenAddress::Activated(name) => {
            activated(name, passed).and_then(|descriptors| inherit(listener, &descriptors))
        }
    };
    bound.map_err(|error| failure(listener, error))
}

/// Takes `sockets`, with which a predecessor listens on the address of `listener`, for `workers`
/// workers. They stay as they are: see [`set_options`]. What is bound besides does not listen yet:
/// see [`listen`].
///
/// # Errors
/// As [`bind`].
pub(super) fn adopt(
    listener: &Listener,
    workers: usize,
    sockets: Vec<OwnedFd>,
) -> Result<Bound, BindError> {
    try_adopt(listener, workers, sockets).map_err(|error| failure(listener, error))
}

/// Makes `socket` listen for `listener`, if it does not yet.
///
/// # Errors
/// As [`bind`].
pub(super) fn listen(listener: &Listener, socket: &OwnedFd) -> Result<(), BindError> {
    let listen = || match socket_acceptconn(socket)? {
        true => Ok(()),
        false => SockRef::from(socket).listen(backlog(listener)),
    };
    listen().map_err(|error| failure(listener, error))
}

/// Gives a socket that listens what the configuration says: keepalive, and the length of the queue
/// where it is not somebody else who opened the socket.
///
/// # Errors
/// What the kernel said.
pub(super) fn set_options(listener: &Listener, socket: &OwnedFd) -> io::Result<()> {
    set_keepalive(listener, socket)?;
    match listener.listen {
        ListenAddress::Tcp(_) | ListenAddress::Unix(_) => {
            SockRef::from(socket).listen(backlog(listener))
        }
        ListenAddress::Inherited(_) | ListenAddress::Activated(_) => Ok(()),
    }
}

/// As [`set_tcp_options`], on a socket that may have had others. Unix sockets have none.
///
/// # Errors
/// What the kernel said.
pub(super) fn set_keepalive(listener: &Listener, socket: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if socket.local_addr()?.as_socket().is_none() {
        return Ok(());
    }
    socket.set_keepalive(listener.keepalive.idle.is_some())?;
    socket.set_tcp_user_timeout(None)?;
    set_tcp_options(&socket, &listener.keepalive)
}

fn backlog(listener: &Listener) -> i32 {
    i32::try_from(listener.backlog).unwrap_or(i32::MAX)
}

/// Tells the listener of a predecessor that `address` is: as the configuration has it, in bytes.
pub(super) fn key(address: &ListenAddress) -> Vec<u8> {
    match address {
        // A path need not be text.
        ListenAddress::Unix(path) => [b"unix:", path.as_os_str().as_bytes()].concat(),
        address => describe(address).into_bytes(),
    }
}

/// The port that a socket is bound to; `None` for unix sockets.
pub(super) fn port(socket: &OwnedFd) -> Option<u16> {
    let address = SockRef::from(socket).local_addr().ok()?;
    address.as_socket().map(|address| address.port())
}

/// `error` as what happened to `listener`.
pub(super) fn failure(listener: &Listener, error: io::Error) -> BindError {
    BindError {
        listener: listener.name.clone(),
        line: listener.listen_line,
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
        ListenAddress::Activated(name) => format!("systemd:{name}"),
    }
}

fn bind_tcp(listener: &Listener, address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let first = tcp_socket(listener, address)?;
    // Port 0: the other workers share the port that the first one got.
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![OwnedFd::from(first)];
    for _ in 1..workers {
        sockets.push(tcp_socket(listener, address)?.into());
    }
    sockets.iter().try_for_each(|socket| SockRef::from(socket).listen(backlog(listener)))?;
    Ok(Bound { sockets, shared: false, address: address.to_string(), file: None })
}

/// A bound socket that does not listen.
fn tcp_socket(listener: &Listener, address: SocketAddr) -> io::Result<Socket> {
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
    Ok(socket)
}

fn try_adopt(listener: &Listener, workers: usize, mut sockets: Vec<OwnedFd>) -> io::Result<Bound> {
    for socket in &sockets {
        inherited::refuse_unless_listening(socket)?;
    }
    let shared = !matches!(listener.listen, ListenAddress::Tcp(_));
    let address = match &listener.listen {
        ListenAddress::Unix(_) => describe(&listener.listen),
        ListenAddress::Inherited(_) | ListenAddress::Activated(_) => actual(listener, &sockets)?,
        ListenAddress::Tcp(address) => {
            let first = sockets.first().map(SockRef::from);
            let first = first.map(|first| first.local_addr()).transpose()?;
            let address = first.and_then(|first| first.as_socket()).unwrap_or(*address);
            // More workers than before.
            while sockets.len() < workers {
                sockets.push(tcp_socket(listener, address)?.into());
            }
            address.to_string()
        }
    };
    Ok(Bound { sockets, shared, address, file: None })
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

fn bind_unix(listener: &Listener, path: &Path) -> io::Result<Bound> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = Some(SocketFile(Some(path.to_owned())));
    socket.listen(backlog(listener))?;
    let address = describe(&listener.listen);
    Ok(Bound { sockets: vec![socket.into()], shared: true, address, file })
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

fn inherit(listener: &Listener, descriptors: &[i32]) -> io::Result<Bound> {
    let sockets = descriptors.iter().map(|fd| inherited::take_listener(*fd));
    let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
    for socket in &sockets {
        set_keepalive(listener, socket)?;
    }
    let address = actual(listener, &sockets)?;
    Ok(Bound { sockets, shared: true, address, file: None })
}

/// The descriptors that systemd passed under that name.
fn activated(name: &str, passed: &Activation) -> io::Result<Vec<i32>> {
    let descriptors: Vec<i32> = passed.named(name).collect();
    if descriptors.is_empty() {
        let names = match passed.names() {
            names if names.is_empty() => "none at all".to_owned(),
            names => names.join(", "),
        };
        let text = format!("systemd passed no socket of that name (but {names})");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(descriptors)
}

/// Where inherited sockets listen, and what they were inherited as.
fn actual(listener: &Listener, sockets: &[OwnedFd]) -> io::Result<String> {
    let mut addresses = Vec::new();
    for socket in sockets {
        addresses.extend(SockRef::from(socket).local_addr()?.as_socket());
    }
    let described = describe(&listener.listen);
    if addresses.is_empty() {
        return Ok(described);
    }
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    Ok(format!("{} ({described})", addresses.join(", ")))
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
