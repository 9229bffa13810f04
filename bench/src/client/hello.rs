//! How clients begin that are not as servers would like them: slowly, in pieces, or with something else
//! than a ClientHello.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::failure::{ErrorKind, Failure};
use super::session::{Handshake, Session, Sink};
use crate::content;

/// How a client begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Hello {
    /// As TLS libraries do.
    #[default]
    Usual,
    /// What it sends up to the end of the handshake comes in pieces of its stream, a segment for each.
    Pieces {
        /// Bytes of a piece, at least 1.
        bytes: usize,
        /// Time between two of them, to 50 ms.
        every: Duration,
    },
    /// Something that no server can answer.
    Odd(Odd),
}

/// What is sent in place of a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Odd {
    /// A request of HTTP.
    Plaintext,
    /// Bytes that mean nothing.
    Garbage,
    /// A hello of SSL 2.0 that offers nothing newer (draft-hickman-netscape-ssl).
    Sslv2,
    /// A record that begins a ClientHello of 16 MiB.
    Oversized,
    /// The first half of a ClientHello, and no more.
    Half,
    /// Nothing.
    Silent,
}

impl Odd {
    /// What is sent; `hello` is what a client usually sends.
    fn bytes(self, mut hello: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Plaintext => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            Self::Garbage => content::at(0, 512).to_vec(),
            Self::Sslv2 => {
                // Version 2, seven suites of SSL 2.0, no session, a challenge of 16 bytes.
                let head = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10";
                let suites = b"\x01\x00\x80\x02\x00\x80\x03\x00\x80\x04\x00\x80\x05\x00\x80\x06\x00\x40\x07\x00\xc0";
                [&head[..], suites, content::at(0, 16)].concat()
            }
            Self::Oversized => {
                // A full record with the beginning of a handshake message of the greatest length.
                let head = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03";
                [&head[..], content::at(0, 16_384 - 6)].concat()
            }
            Self::Half => {
                hello.truncate(hello.len() / 2);
                hello
            }
            Self::Silent => Vec::new(),
        }
    }
}

/// Pieces of a stream in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacing {
    bytes: usize,
    every: Duration,
    next: Instant,
}

impl Pacing {
    /// Of this hello; none when it does not come in pieces.
    pub(super) fn new(hello: Hello) -> Option<Self> {
        match hello {
            Hello::Pieces { bytes, every } => Some(Self { bytes, every, next: Instant::now() }),
            Hello::Usual | Hello::Odd(_) => None,
        }
    }

    /// Whether pieces have to wait for each other.
    pub(super) fn waits(&self) -> bool {
        !self.every.is_zero()
    }

    /// Whether a piece may go now.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// A piece has gone.
    pub(super) fn sent(&mut self) {
        self.next = Instant::now() + self.every;
    }

    /// `socket`, which takes a piece at a time.
    pub(super) fn narrow<'a>(&self, socket: &'a mut dyn Write) -> Narrow<'a> {
        Narrow { socket, bytes: self.bytes }
    }
}

/// Takes so many bytes at a time.
pub(super) struct Narrow<'a> {
    socket: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Narrow<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.socket.write(&data[..data.len().min(self.bytes)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Sends an odd hello, and waits for the end.
#[derive(Debug)]
pub(super) struct OddSession {
    bytes: Vec<u8>,
    sent: usize,
}

/// Types of records (RFC 8446 §5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

impl OddSession {
    /// In place of `usual`, whose hello it may need.
    pub(super) fn new(odd: Odd, usual: &mut dyn Session) -> Result<Self, Failure> {
        let mut hello = Vec::new();
        while usual.wants_write() {
            usual.write_to(&mut hello)?;
        }
        Ok(Self { bytes: odd.bytes(hello), sent: 0 })
    }
}

impl Session for OddSession {
    fn is_handshaking(&self) -> bool {
        true
    }

    fn kind(&self) -> Handshake {
        Handshake::Full
    }

    fn alpn(&self) -> Option<&[u8]> {
        None
    }

    fn seal(&mut self, _data: &[u8]) -> Result<usize, Failure> {
        Ok(0)
    }

    fn wants_write(&self) -> bool {
        self.sent < self.bytes.len()
    }

    fn write_to(&mut self, socket: &mut dyn Write) -> io::Result<usize> {
        let count = socket.write(&self.bytes[self.sent..])?;
        self.sent += count;
        Ok(count)
    }

    fn open(&mut self, data: &[u8], _sink: Sink<'_>) -> Result<bool, Failure> {
        match data.first() {
            Some(&ALERT) => Err(Failure::alert("the server sent an alert")),
            Some(&HANDSHAKE) => {
                Err(Failure::new(ErrorKind::Admitted, "the server began a handshake"))
            }
            // Plaintext for plaintext, or an answer in an older form.
            _ => Ok(false),
        }
    }

    fn close_notify(&mut self) {}
}
