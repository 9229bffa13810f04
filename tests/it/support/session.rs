//! A client's end of a connection, whatever library makes its TLS, if any.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use openssl::ssl::{ErrorCode, ShutdownState, SslStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use super::client::TlsStream;

/// Longest time without any progress.
const STALL: Duration = Duration::from_secs(60);

/// Read and written as a blocking stream, or by pieces when its socket does not block.
pub(crate) trait Session: Read + Write {
    fn socket(&self) -> &TcpStream;

    /// Takes some bytes to send; none when there is no room.
    fn push(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// What has come; `None` when nothing has, 0 at the end.
    fn pull(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Sends what it has taken; returns whether nothing of that waits any more.
    fn send(&mut self) -> io::Result<bool>;

    /// Ends its own direction: by close_notify, or FIN where there is no TLS. More can still be read.
    /// Returns whether that was said; else there is no room yet.
    fn end(&mut self) -> io::Result<bool>;
}

/// Its own address, by which its line in the access log is found.
pub(crate) fn local(session: &dyn Session) -> SocketAddr {
    session.socket().local_addr().expect("a connected socket")
}

/// Ends its own direction.
///
/// # Panics
/// When the connection fails.
pub(crate) fn end(session: &mut dyn Session) {
    assert!(session.end().expect("sent"), "a blocking socket has room");
}

/// Ends its own direction and reads to the other's end.
///
/// # Panics
/// When that does not come, or something before it.
pub(crate) fn close(mut session: Box<dyn Session>) {
    end(&mut *session);
    let mut rest = Vec::new();
    session.read_to_end(&mut rest).expect("the gateway ends its direction, too");
    assert_eq!(rest.len(), 0, "nothing was left to read");
}

/// Closes with RST.
pub(crate) fn reset(session: Box<dyn Session>) {
    let socket = SockRef::from(session.socket());
    socket.set_linger(Some(Duration::ZERO)).expect("an open socket");
}

/// Sends `message` and reads as much back, which must be the same.
///
/// # Panics
/// When the connection fails, or the answer is another one.
pub(crate) fn assert_echo(session: &mut dyn Session, message: &[u8]) {
    session.write_all(message).and_then(|()| session.flush()).expect("sent");
    let mut answer = vec![0; message.len()];
    session.read_exact(&mut answer).expect("an answer");
    assert!(answer == message, "the echo is another one");
}

/// Waits until one of these sockets has something to read, or room where that is waited for.
///
/// # Errors
/// `TimedOut` after a minute without any.
pub(crate) fn wait(sockets: &[(&TcpStream, PollFlags)]) -> io::Result<()> {
    let mut polled: Vec<PollFd<'_>> =
        sockets.iter().map(|(socket, interest)| PollFd::new(socket, *interest)).collect();
    let timeout = Timespec::try_from(STALL).expect("a minute");
    match poll(&mut polled, Some(&timeout))? {
        0 => Err(ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

impl Session for TlsStream {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send()?;
        self.conn.writer().write(bytes)
    }

    fn pull(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            if let Some(length) = unless_blocked(self.conn.reader().read(buffer))? {
                return Ok(Some(length));
            }
            if unless_blocked(self.conn.read_tls(&mut self.sock))?.is_none() {
                return Ok(None);
            }
            self.conn.process_new_packets().map_err(io::Error::other)?;
        }
    }

    fn send(&mut self) -> io::Result<bool> {
        while self.conn.wants_write() {
            if unless_blocked(self.conn.write_tls(&mut self.sock))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn end(&mut self) -> io::Result<bool> {
        self.conn.send_close_notify();
        // What is not sent now goes with [`Session::send`].
        self.send()?;
        Ok(true)
    }
}

impl Session for SslStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref()
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(unless_blocked(self.write(bytes))?.unwrap_or(0))
    }

    fn pull(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        unless_blocked(self.read(buffer))
    }

    fn send(&mut self) -> io::Result<bool> {
        // What it has no room for, it does not take.
        Ok(true)
    }

    fn end(&mut self) -> io::Result<bool> {
        if self.get_shutdown().contains(ShutdownState::SENT) {
            return Ok(true);
        }
        match self.shutdown() {
            Ok(_) => Ok(true),
            Err(error) if error.code() == ErrorCode::WANT_WRITE => Ok(false),
            Err(error) => Err(error.into_io_error().unwrap_or_else(io::Error::other)),
        }
    }
}

impl Session for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(unless_blocked(self.write(bytes))?.unwrap_or(0))
    }

    fn pull(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        unless_blocked(self.read(buffer))
    }

    fn send(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn end(&mut self) -> io::Result<bool> {
        self.shutdown(Shutdown::Write)?;
        Ok(true)
    }
}

/// `None` when there is nothing to read, or no room.
fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
