//! One check of one address: does it accept, and does it shake hands?

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::group::Probe;
use crate::engine::Address;

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Connect(io::Error),
    #[error("in the handshake: {0}")]
    Handshake(io::Error),
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
}

/// Passes when the address does what the probe demands within `patience`, and takes the greeting. Under TLS 1.3 a server may
/// refuse a client's certificate later than that: such a refusal is not seen here.
///
/// # Errors
/// Why it did not pass.
pub(super) async fn check(
    address: &Address,
    (probe, greeting): (&Probe, &[u8]),
    patience: Duration,
) -> Result<(), Failure> {
    let attempt = async {
        let stream = Stream::connect(address).await.map_err(Failure::Connect)?;
        greet(&stream, greeting).await.map_err(Failure::Connect)?;
        let Probe::Tls(config, name) = probe else { return Ok(()) };
        let tls = ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other);
        let result = match tls {
            Ok(tls) => shake_hands(&stream, tls).await,
            Err(error) => Err(error),
        };
        result.map_err(Failure::Handshake)
    };
    timeout(patience, attempt).await.unwrap_or(Err(Failure::TooSlow(patience)))
}

/// A whole handshake, and a polite end.
async fn shake_hands(stream: &Stream, mut tls: ClientConnection) -> io::Result<()> {
    while tls.is_handshaking() {
        flush(stream, &mut tls).await?;
        if !tls.is_handshaking() {
            break;
        }
        stream.readable().await?;
        match tls.read_tls(&mut &*stream) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert that says why; that it failed is known anyway.
            let _told = flush(stream, &mut tls).await;
            return Err(io::Error::other(error));
        }
    }
    tls.send_close_notify();
    flush(stream, &mut tls).await?;
    // It has passed. Closing with something unread, such as tickets, would reset the server's
    // connection, and it would log that.
    let _said_goodbye = timeout(LINGER, drain(stream)).await;
    Ok(())
}

async fn greet(stream: &Stream, mut greeting: &[u8]) -> io::Result<()> {
    let mut stream = stream;
    while !greeting.is_empty() {
        stream.writable().await?;
        match stream.write(greeting) {
            Ok(written) => greeting = &greeting[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads and drops until the end.
async fn drain(stream: &Stream) -> io::Result<()> {
    let mut dropped = [0; 1024];
    let mut stream = stream;
    loop {
        stream.readable().await?;
        match stream.read(&mut dropped) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}

async fn flush(stream: &Stream, tls: &mut ClientConnection) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut &*stream) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How long a server that has shaken hands may take to end, too.
const LINGER: Duration = Duration::from_millis(200);

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => TcpStream::connect(address).await.map(Self::Tcp),
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read(buffer),
            Stream::Unix(stream) => stream.try_read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
