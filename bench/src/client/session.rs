//! The client's end of TLS, whatever library makes it: bytes in, bytes out, no socket.

use std::fmt::Debug;
use std::io::{self, BufRead, ErrorKind as IoKind, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::failure::Failure;

/// Where plaintext goes.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Failure>;

/// How a handshake went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    Full,
    Resumed,
}

/// TLS of one connection.
pub(super) trait Session: Debug {
    fn is_handshaking(&self) -> bool;

    /// Of a handshake that is over.
    fn kind(&self) -> Handshake;

    /// The ALPN protocol that the server chose.
    fn alpn(&self) -> Option<&[u8]>;

    /// Puts some of `data` into records; returns how much.
    fn seal(&mut self, data: &[u8]) -> Result<usize, Failure>;

    /// Whether records wait to be sent.
    fn wants_write(&self) -> bool;

    /// Writes some of the records that wait; returns how many bytes.
    fn write_to(&mut self, socket: &mut dyn Write) -> io::Result<usize>;

    /// Takes what came, and gives `sink` the plaintext in it; returns whether the peer said
    /// close_notify.
    fn open(&mut self, data: &[u8], sink: Sink<'_>) -> Result<bool, Failure>;

    fn close_notify(&mut self);
}

/// rustls.
#[derive(Debug)]
pub(super) struct Rustls(ClientConnection);

impl Rustls {
    pub(super) fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Failure> {
        Ok(Self(ClientConnection::new(config, name)?))
    }
}

impl Session for Rustls {
    fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    fn kind(&self) -> Handshake {
        match self.0.handshake_kind() {
            Some(HandshakeKind::Resumed) => Handshake::Resumed,
            _ => Handshake::Full,
        }
    }

    fn alpn(&self) -> Option<&[u8]> {
        self.0.alpn_protocol()
    }

    fn seal(&mut self, data: &[u8]) -> Result<usize, Failure> {
        Ok(self.0.writer().write(data)?)
    }

    fn wants_write(&self) -> bool {
        self.0.wants_write()
    }

    fn write_to(&mut self, mut socket: &mut dyn Write) -> io::Result<usize> {
        self.0.write_tls(&mut socket)
    }

    /// The socket is read in big pieces by the caller, because rustls itself asks for 4 KiB at a
    /// time.
    fn open(&mut self, mut data: &[u8], sink: Sink<'_>) -> Result<bool, Failure> {
        let mut is_closed = false;
        while !data.is_empty() && !is_closed {
            self.0.read_tls(&mut data)?;
            is_closed = self.0.process_new_packets()?.peer_has_closed();
            let mut reader = self.0.reader();
            loop {
                match reader.fill_buf() {
                    Ok([]) => break,
                    Ok(plain) => {
                        let length = plain.len();
                        sink(plain)?;
                        reader.consume(length);
                    }
                    Err(error) if error.kind() == IoKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(is_closed)
    }

    fn close_notify(&mut self) {
        self.0.send_close_notify();
    }
}
