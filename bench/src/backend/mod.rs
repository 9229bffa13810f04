//! Backends: small servers on their own thread that stand behind the gateway under test, or in its place.
//!
//! They are fast enough not to be the limit, bounded in what they store per connection, and check
//! nothing themselves: what they answer lets the client check.

mod connection;
mod frames;
mod http;
mod output;
mod server;
mod service;
mod sip;
mod socket;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use mio::Waker;
use rustls::ServerConfig;

/// What a backend does with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sends back every byte; at end of input it flushes, then closes its own direction.
    Echo,
    /// HTTP/1.1 with keep-alive: `GET /`, `GET /bytes/N`, `POST /sink`, and `HEAD` of the first two.
    ///
    /// `/bytes/N` sends the first N bytes of [`crate::content`]. `/sink` takes a body with a
    /// Content-Length and answers `LENGTH CHECKSUM`, the latter in 16 hexadecimal digits as by
    /// [`crate::content::Checksum`].
    Http,
    /// Answers frames: see [`crate::frame`].
    Frames,
    /// SIP over a stream: every request is answered with 200.
    Sip,
    /// [`Mode::Http`], [`Mode::Sip`] or [`Mode::Frames`] when the first bytes are theirs, else
    /// [`Mode::Echo`].
    Sniff,
    /// Speaks first: sends the banner at once, then echoes.
    Greeter {
        /// Sent as it is; no line end is added.
        banner: Vec<u8>,
    },
    /// Reads and forgets; closes when the peer does.
    Discard,
    /// Sends the first `bytes` bytes of [`crate::content`], then closes its direction; what the
    /// peer sends is read and forgotten.
    Source {
        /// Bytes before the end of the stream.
        bytes: u64,
    },
}

impl FromStr for Mode {
    type Err = String;

    /// `echo`, `http`, `frames`, `sip`, `sniff`, `discard`, `greeter`, `greeter:BANNER` or `source:BYTES`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        match (name, argument) {
            ("echo", None) => Ok(Self::Echo),
            ("http", None) => Ok(Self::Http),
            ("frames", None) => Ok(Self::Frames),
            ("sip", None) => Ok(Self::Sip),
            ("sniff", None) => Ok(Self::Sniff),
            ("discard", None) => Ok(Self::Discard),
            ("greeter", banner) => {
                let mut banner = banner.unwrap_or("hello").as_bytes().to_vec();
                banner.extend_from_slice(b"\r\n");
                Ok(Self::Greeter { banner })
            }
            ("source", Some(bytes)) => match bytes.parse() {
                Ok(bytes) => Ok(Self::Source { bytes }),
                Err(_) => Err(format!("source:BYTES needs a number of bytes, not '{bytes}'")),
            },
            _ => Err(format!(
                "unknown mode '{text}': echo, http, frames, sip, sniff, discard, greeter[:BANNER] or source:BYTES"
            )),
        }
    }
}

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP; port 0 lets the kernel choose one.
    Tcp(SocketAddr),
    /// A Unix-domain stream socket. The file must not exist; it is removed when the backend stops.
    Unix(PathBuf),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Address {
    type Err = String;

    /// `IP:PORT` or `unix:PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix:PATH needs a path".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| format!("'{text}' is neither IP:PORT nor unix:PATH")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// What a backend has seen since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted and served.
    pub accepted: u64,
    /// Connections closed at once because [`MAX_CONNECTIONS`] were open.
    pub refused: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Connections that ended with a socket error, such as a reset by the peer.
    pub failed: u64,
}

/// Most connections that one backend serves at a time.
pub const MAX_CONNECTIONS: usize = 65_536;

/// A running backend; stops, and waits for its thread, when dropped.
#[derive(Debug)]
pub struct Backend {
    address: Address,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Backend {
    /// Listens on `address` and serves connections on a new thread.
    ///
    /// # Errors
    /// Those of bind(2), listen(2) and epoll_create(2), or of starting a thread.
    pub fn start(address: impl Into<Address>, mode: Mode) -> io::Result<Self> {
        Self::start_limited(&address.into(), mode, None, MAX_CONNECTIONS)
    }

    /// As [`Backend::start`], with TLS on every connection.
    ///
    /// # Errors
    /// As [`Backend::start`].
    pub fn start_tls(
        address: SocketAddr,
        mode: Mode,
        config: Arc<ServerConfig>,
    ) -> io::Result<Self> {
        Self::start_limited(&address.into(), mode, Some(config), MAX_CONNECTIONS)
    }

    fn start_limited(
        address: &Address,
        mode: Mode,
        tls: Option<Arc<ServerConfig>>,
        limit: usize,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let server = server::Server::bind(address, mode, tls, limit, Arc::clone(&shared))?;
        let address = server.address().clone();
        let waker = server.waker()?;
        let thread = std::thread::Builder::new()
            .name("backend".to_owned())
            .spawn(move || server.run())
            .map(Some)?;
        Ok(Self { address, shared, waker, thread })
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The TCP address it listens on; none for a Unix-domain socket.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    /// A reading of the counters, each exact, not taken at one instant.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            accepted: read(&self.shared.accepted),
            refused: read(&self.shared.refused),
            open: read(&self.shared.open),
            failed: read(&self.shared.failed),
        }
    }

    /// Waits until the backend ends by itself, which it does only when polling fails.
    ///
    /// # Errors
    /// The error of epoll_wait(2) or epoll_ctl(2) that ended it.
    pub fn wait(mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the backend's thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let outcome = self.waker.wake().map(|()| thread.join());
            match outcome {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) | Err(error) => eprintln!("backend {}: {error}", self.address),
                Ok(Err(_)) => eprintln!("backend {}: its thread panicked", self.address),
            }
        }
    }
}

/// What the handle and the thread share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
    failed: AtomicU64,
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn connections_over_the_limit_are_closed_and_counted() {
        let any: Address = "127.0.0.1:0".parse().expect("an address");
        let mode = Mode::Greeter { banner: b"!".to_vec() };
        let backend = Backend::start_limited(&any, mode, None, 2).expect("a backend");
        let address = backend.tcp_address().expect("a TCP backend");
        let connect = || TcpStream::connect(address).expect("connect");
        let greeted = |stream: &mut TcpStream| matches!(stream.read(&mut [0]), Ok(1));
        let mut streams = [connect(), connect()];
        assert!(streams.iter_mut().all(greeted));
        assert!(!greeted(&mut connect()));
        assert_eq!((backend.counters().accepted, backend.counters().refused), (2, 1));
        // A seat that was left is taken again.
        let [left, kept] = streams;
        drop(left);
        let deadline = Instant::now() + Duration::from_secs(20);
        while backend.counters().open > 1 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(greeted(&mut connect()));
        drop(kept);
    }

    #[test]
    fn modes_and_addresses_from_text() {
        assert_eq!("source:12".parse(), Ok(Mode::Source { bytes: 12 }));
        assert_eq!("greeter:hi".parse(), Ok(Mode::Greeter { banner: b"hi\r\n".to_vec() }));
        assert!("source".parse::<Mode>().is_err());
        assert!("echo:1".parse::<Mode>().is_err());
        assert_eq!("unix:/a/b".parse(), Ok(Address::Unix("/a/b".into())));
        assert!("localhost".parse::<Address>().is_err());
        let tcp: Address = "127.0.0.1:80".parse().expect("valid");
        assert_eq!(tcp.to_string(), "127.0.0.1:80");
    }
}
