//! A connected socket with or without TLS over it, non-blocking.

use std::io::{self, ErrorKind as IoKind, Read, Write};
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::failure::{ErrorKind, Failure};
use super::hello::Pacing;
use super::session::{Handshake, Session};
use super::tls::Connector;

/// What [`Transport::receive`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// The socket has nothing now.
    Nothing,
    /// Bytes came; there may be more.
    Something,
    /// The peer ended its direction in order.
    End,
}

/// The client's side of TLS.
#[derive(Debug)]
pub(super) enum Tls {
    Made(Box<dyn Session>),
    /// To be made when the connection is up: one that never is should not use up a session to resume.
    Later(Connector),
}

#[derive(Debug)]
pub(super) struct Transport {
    socket: TcpStream,
    tls: Option<Box<dyn Session>>,
    /// What makes that, once the connection is up.
    later: Option<Connector>,
    /// Of what is sent until the handshake is over.
    pacing: Option<Pacing>,
    /// The TLS peer sent close_notify.
    ended: bool,
    /// The socket may have something to read. Saves a system call that would find nothing.
    readable: bool,
    /// The peer's FIN or reset is there, behind what is still to be read; no event will tell again.
    hung_up: bool,
}

impl Transport {
    /// Starts connecting to `target`, from `source` if that is given.
    pub(super) fn connect(
        target: SocketAddr,
        source: Option<IpAddr>,
        registry: &Registry,
        token: Token,
        tls: Option<Tls>,
        pacing: Option<Pacing>,
    ) -> Result<Self, Failure> {
        let mut socket = match source {
            None => TcpStream::connect(target)?,
            Some(source) => connect_from(source, target)?,
        };
        socket.set_nodelay(true)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let (tls, later) = match tls {
            None => (None, None),
            Some(Tls::Made(session)) => (Some(session), None),
            Some(Tls::Later(connector)) => (None, Some(connector)),
        };
        let (ended, readable, hung_up) = (false, false, false);
        Ok(Self { socket, tls, later, pacing, ended, readable, hung_up })
    }

    /// Whether it goes on without news of its socket.
    pub(super) fn is_paced(&self) -> bool {
        self.pacing.as_ref().is_some_and(Pacing::waits)
    }

    /// The socket has news: something to read, an error included, or that the peer sends no more.
    pub(super) fn event(&mut self, readable: bool, hung_up: bool) {
        self.readable |= readable || hung_up;
        self.hung_up |= hung_up;
    }

    /// Whether the connection is up.
    pub(super) fn is_connected(&mut self) -> Result<bool, Failure> {
        match self.socket.peer_addr() {
            Ok(_) => {
                if let Some(connector) = self.later.take() {
                    self.tls = Some(connector.session()?);
                }
                Ok(true)
            }
            Err(error) if error.kind() == IoKind::NotConnected => {
                self.socket.take_error()?.map_or(Ok(false), |error| Err(error.into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Goes on with the handshake; returns whether it is over. Plaintext has none.
    pub(super) fn handshake(&mut self, scratch: &mut [u8]) -> Result<bool, Failure> {
        loop {
            self.flush()?;
            if self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking()) {
                self.pacing = None;
                return Ok(true);
            }
            // Data of a server that speaks first has no request to belong to.
            let mut early = |_: &[u8]| {
                Err(Failure::new(ErrorKind::Content, "the server spoke before it was asked"))
            };
            match self.receive(scratch, &mut early)? {
                Received::Something => {}
                Received::Nothing => return Ok(false),
                Received::End => {
                    return Err(Failure::new(ErrorKind::Closed, "closed in the handshake"));
                }
            }
        }
    }

    /// How the handshake went; none for plaintext.
    pub(super) fn handshake_kind(&self) -> Option<Handshake> {
        self.tls.as_ref().map(|tls| tls.kind())
    }

    /// The ALPN protocol that the server chose.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|tls| tls.alpn())
    }

    /// Sends some of `data`; 0 when the socket takes nothing now.
    pub(super) fn send(&mut self, data: &[u8]) -> Result<usize, Failure> {
        if !self.flush()? {
            return Ok(0);
        }
        match &mut self.tls {
            None => unless_blocked(self.socket.write(data), 0),
            Some(tls) => {
                let taken = tls.seal(data)?;
                self.flush()?;
                Ok(taken)
            }
        }
    }

    /// Sends records that are ready; returns whether none is left.
    pub(super) fn flush(&mut self) -> Result<bool, Failure> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            let written = match &mut self.pacing {
                None => tls.write_to(&mut self.socket),
                Some(pacing) if !pacing.is_due() => return Ok(false),
                Some(pacing) => {
                    pacing.sent();
                    tls.write_to(&mut pacing.narrow(&mut self.socket))
                }
            };
            if unless_blocked(written, 0)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Receives once, and gives `sink` what came as plaintext, in one or more pieces.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Received, Failure> {
        if self.ended {
            return Ok(Received::End);
        }
        if !self.readable {
            return Ok(Received::Nothing);
        }
        let count = match self.socket.read(scratch) {
            Ok(count) => {
                // A short read emptied the socket: more will come with an event (epoll(7)).
                self.readable = count == scratch.len() || self.hung_up;
                count
            }
            Err(error) if error.kind() == IoKind::WouldBlock => {
                self.readable = false;
                return Ok(Received::Nothing);
            }
            Err(error) if error.kind() == IoKind::Interrupted => return Ok(Received::Something),
            Err(error) => return Err(error.into()),
        };
        let data = &scratch[..count];
        match &mut self.tls {
            None if data.is_empty() => Ok(Received::End),
            None => sink(data).map(|()| Received::Something),
            Some(_) if data.is_empty() => {
                Err(Failure::new(ErrorKind::Truncated, "the stream ended without close_notify"))
            }
            Some(tls) => {
                let opened = tls.open(data, sink);
                if opened.is_err() {
                    // An alert that says why may be waiting. Should it not fit, the error that
                    // caused it is still the one to report.
                    tls.write_to(&mut self.socket).ok();
                }
                self.ended = opened?;
                Ok(if self.ended { Received::End } else { Received::Something })
            }
        }
    }

    /// Says goodbye and closes. What does not fit the socket's buffer is not waited for.
    pub(super) fn close(mut self) -> Result<(), Failure> {
        if let Some(tls) = &mut self.tls {
            tls.close_notify();
            self.flush()?;
        }
        Ok(())
    }
}

/// Starts connecting from an address of this machine.
fn connect_from(source: IpAddr, target: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    match socket.connect(&target.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error.into()),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

fn unless_blocked(result: io::Result<usize>, blocked: usize) -> Result<usize, Failure> {
    match result {
        Ok(count) => Ok(count),
        Err(error) if matches!(error.kind(), IoKind::WouldBlock | IoKind::Interrupted) => {
            Ok(blocked)
        }
        Err(error) => Err(error.into()),
    }
}
