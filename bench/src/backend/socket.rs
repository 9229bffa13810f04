//! TCP and Unix-domain sockets, and TLS over TCP, under one type, so that the rest does not care.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Type};

use super::Address;
use super::tls::TlsStream;

/// Connections that may wait for accept; the kernel lowers it to net.core.somaxconn.
const BACKLOG: i32 = 8192;

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens on `address` and returns the listener with the address it got.
    pub(super) fn bind(address: &Address) -> io::Result<(Self, Address)> {
        match address {
            Address::Tcp(address) => {
                let domain = Domain::for_address(*address);
                let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.set_nonblocking(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(BACKLOG)?;
                let listener = TcpListener::from_std(socket.into());
                let address = Address::Tcp(listener.local_addr()?);
                Ok((Self::Tcp(listener), address))
            }
            Address::Unix(path) => {
                Ok((Self::Unix(UnixListener::bind(path)?), Address::Unix(path.clone())))
            }
        }
    }

    /// A connection that waits, with TLS over it if there is a configuration; TCP only then.
    pub(super) fn accept(&self, tls: Option<&Arc<ServerConfig>>) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // Answers are single writes: waiting for more to send would only add latency.
                SockRef::from(&stream).set_tcp_nodelay(true)?;
                match tls {
                    None => Ok(Socket::Tcp(stream)),
                    Some(tls) => {
                        let stream = TlsStream::new(stream, Arc::clone(tls))?;
                        Ok(Socket::Tls(Box::new(stream)))
                    }
                }
            }
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept()?.0)),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Self::Unix(listener) => listener.register(registry, token, Interest::READABLE),
        }
    }
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

impl Socket {
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, both),
            Self::Unix(stream) => stream.register(registry, token, both),
            Self::Tls(tls) => tls.stream.register(registry, token, both),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(data),
            Self::Unix(stream) => stream.write(data),
            Self::Tls(tls) => tls.write(data),
        }
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(tls) => tls.finish(),
        }
    }

    /// Whether all that was written is the kernel's business now.
    pub(super) fn is_flushed(&mut self) -> io::Result<bool> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(true),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
