//! The first message of a peer: put together within bounds ([`HelloReader`]) and looked into
//! ([`Hello`]), before any TLS library sees it.
//!
//! Pure: bytes in, verdict out. Invariants:
//! - Memory grows with the bytes that arrived, never with a length that was announced, and is at
//!   most twice those bytes, at least 512, at most [`MAX_MESSAGE`].
//! - Only the handshake message is kept. Record headers are checked and dropped: the transcript
//!   hash covers messages (RFC 8446 §4.4.1), so the TLS library can be given other records with
//!   the same message ([`HelloReader::reframed`]). One in the format of SSL 2 is kept as it came.
//! - Nothing that a peer sends panics.

mod peek;
mod sslv2;
mod stray;
#[cfg(test)]
mod tests;
mod usual;

pub use peek::{AlpnProtocols, Hello, Sni, SniForm, U16s};
pub use stray::Stray;
pub use usual::{Usual, usual_suites};

use crate::tls::alert;

/// Longest ClientHello: the body of 64 KiB less one that TLS libraries take, and its header.
pub const MAX_MESSAGE: usize = 4 + 0xffff;

/// Longest plaintext record (RFC 8446 §5.1).
const MAX_RECORD: usize = 1 << 14;
/// Smallest piece of memory asked for: most ClientHellos need no second one.
const MIN_CAPACITY: usize = 512;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const CONTENT_ALERT: u8 = 21;
const CONTENT_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Puts the ClientHello together from TCP bytes that come in any pieces.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// Start of the record that is being read: header, or whatever came instead of one.
    start: [u8; stray::LONGEST],
    started: usize,
    /// Bytes of the current record's body still to come; zero between records.
    record_left: usize,
    /// Version field of the first record.
    record_version: Option<[u8; 2]>,
    message: Vec<u8>,
    /// The message is in the format of SSL 2.
    is_sslv2_format: bool,
    /// Such a message as it came, once it is complete.
    raw: Vec<u8>,
    end: Option<Result<(), HelloError>>,
}

/// How far a [`HelloReader`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All input was taken and the message is not complete.
    NeedMore,
    /// The message is complete. Bytes of the input after `consumed` are not part of it.
    Complete { consumed: usize },
}

/// Why the bytes are not a ClientHello that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The stream does not start with a TLS handshake record.
    #[error("not a TLS ClientHello: {0}")]
    NotTls(Stray),
    /// A ClientHello of SSL 2, which is spoken nowhere (RFC 6176).
    #[error("ClientHello of SSL 2")]
    Ssl2,
    /// A length or a value breaks the format.
    #[error("malformed ClientHello: {0}")]
    Malformed(&'static str),
    /// Something else came where the ClientHello, or more of it, should.
    #[error("unexpected instead of a ClientHello: {0}")]
    Unexpected(&'static str),
    /// Well-formed and forbidden.
    #[error("illegal ClientHello: {0}")]
    Illegal(&'static str),
    /// A record longer than 2^14 bytes.
    #[error("record longer than 16384 bytes")]
    RecordOverflow,
    /// The message announces more than [`MAX_MESSAGE`] bytes.
    #[error("ClientHello longer than 64 KiB")]
    TooLarge,
}

impl HelloError {
    /// The fatal alert to answer with, by its RFC 8446 §6 number; `None` where the peer would not
    /// understand one or has ended the connection itself.
    pub const fn alert(&self) -> Option<u8> {
        match self {
            // SSL 2 has no alerts.
            Self::NotTls(_) | Self::Ssl2 => None,
            Self::Malformed(_) | Self::TooLarge => Some(alert::DECODE_ERROR),
            Self::Unexpected(_) => Some(alert::UNEXPECTED_MESSAGE),
            Self::Illegal(_) => Some(alert::ILLEGAL_PARAMETER),
            Self::RecordOverflow => Some(alert::RECORD_OVERFLOW),
        }
    }
}

impl HelloReader {
    /// A reader that has seen nothing and holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// As soon as the stream cannot become a ClientHello; the same error again when fed on. After
    /// the message is complete nothing is consumed any more.
    pub fn feed(&mut self, input: &[u8]) -> Result<Progress, HelloError> {
        match self.end {
            None => {}
            Some(Ok(())) => return Ok(Progress::Complete { consumed: 0 }),
            Some(Err(error)) => return Err(error),
        }
        let result = self.advance(input);
        self.end = match result {
            Ok(Progress::NeedMore) => None,
            Ok(Progress::Complete { .. }) => Some(Ok(())),
            Err(error) => {
                (self.message, self.raw) = (Vec::new(), Vec::new());
                Some(Err(error))
            }
        };
        result
    }

    /// Bytes of memory held for the message.
    pub fn buffered(&self) -> usize {
        self.message.capacity() + self.raw.capacity()
    }

    /// The handshake message, header included, as far as it has come; complete, one in the format of
    /// SSL 2 is in today's.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Looks into the message.
    ///
    /// # Errors
    /// As [`Hello::parse`].
    pub fn hello(&self) -> Result<Hello<'_>, HelloError> {
        let mut hello = Hello::parse(&self.message)?;
        hello.is_sslv2_format = self.is_sslv2_format;
        Ok(hello)
    }

    /// The message in as few records as it takes, with the version of the first record received; one
    /// in the format of SSL 2 as it came, since its bytes are what the transcript hash covers.
    pub fn reframed(&self) -> Vec<u8> {
        if self.is_sslv2_format {
            return self.raw.clone();
        }
        let [major, minor] = self.record_version.unwrap_or([3, 1]);
        let records = self.message.len().div_ceil(MAX_RECORD);
        let mut bytes = Vec::with_capacity(self.message.len() + records * RECORD_HEADER);
        for body in self.message.chunks(MAX_RECORD) {
            let length = u16::try_from(body.len()).expect("chunks are at most 2^14 bytes");
            bytes.extend_from_slice(&[CONTENT_HANDSHAKE, major, minor]);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(body);
        }
        bytes
    }

    fn advance(&mut self, input: &[u8]) -> Result<Progress, HelloError> {
        let mut rest = input;
        loop {
            if self.record_left == 0 {
                let Some(length) = self.read_start(&mut rest)? else {
                    return Ok(Progress::NeedMore);
                };
                self.record_left = length;
            }
            let length = rest.len().min(self.record_left);
            if length == 0 {
                return Ok(Progress::NeedMore);
            }
            let (body, after) = rest.split_at(length);
            rest = after;
            self.record_left -= length;
            if self.take_body(body)? {
                return Ok(Progress::Complete { consumed: input.len() - rest.len() });
            }
        }
    }

    /// Collects a record header and checks it: the length of the record, once it is there.
    fn read_start(&mut self, rest: &mut &[u8]) -> Result<Option<usize>, HelloError> {
        loop {
            if let Some(length) = self.check_start()? {
                self.started = 0;
                return Ok(Some(length));
            }
            let Some((byte, after)) = rest.split_first() else {
                return Ok(None);
            };
            // In range: check_start decides at the latest when `start` is full.
            self.start[self.started] = *byte;
            self.started += 1;
            *rest = after;
        }
    }

    /// `None` is for "cannot tell yet".
    fn check_start(&mut self) -> Result<Option<usize>, HelloError> {
        let start = &self.start[..self.started];
        let first_record = self.record_version.is_none();
        if first_record && start.first().is_some_and(|first| *first >= 0x80) {
            return self.check_sslv2();
        }
        if first_record && let Some(stray) = stray::recognise(start) {
            return Err(HelloError::NotTls(stray));
        }
        match *start {
            // RFC 8446 §6: body is level and description.
            [CONTENT_ALERT, 3, _, 0, 2, level, description] => {
                Err(HelloError::NotTls(Stray::Alert { level, description }))
            }
            [CONTENT_ALERT, 3, _, high, low, ..] if (high, low) != (0, 2) => {
                Err(HelloError::Unexpected("an alert record of a wrong length"))
            }
            [CONTENT_ALERT, 3, ..] => Ok(None),
            [CONTENT_HANDSHAKE, 3, minor, high, low] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                match length {
                    0 => Err(HelloError::Malformed("empty handshake record")),
                    1..=MAX_RECORD => {
                        self.record_version.get_or_insert([3, minor]);
                        Ok(Some(length))
                    }
                    _ => Err(HelloError::RecordOverflow),
                }
            }
            [CONTENT_HANDSHAKE | CONTENT_ALERT, major, ..] if major != 3 => {
                Err(HelloError::Malformed("record version is not 3.x"))
            }
            [] | [CONTENT_HANDSHAKE | CONTENT_ALERT, ..] => Ok(None),
            // Before the first record, `stray` decides about everything else.
            _ if first_record => Ok(None),
            _ => Err(HelloError::Unexpected("a record of another type")),
        }
    }

    /// As [`check_start`](Self::check_start), where the first byte has its top bit set: the whole
    /// message counts as one record.
    fn check_sslv2(&mut self) -> Result<Option<usize>, HelloError> {
        let start = &self.start[..self.started];
        match (sslv2::recognise(start), start) {
            (Some(true), [_, _, _, 0, 2]) => Err(HelloError::Ssl2),
            (Some(true), [first, second, ..]) => {
                let total = sslv2::length(*first, *second);
                let left = total.checked_sub(start.len()).filter(|left| *left > 0);
                let left = left.ok_or(HelloError::Malformed("SSL 2 message length"))?;
                self.is_sslv2_format = true;
                self.message.extend_from_slice(start);
                Ok(Some(left))
            }
            (Some(_), _) => Err(HelloError::NotTls(Stray::Binary)),
            (None, _) => Ok(None),
        }
    }

    /// Adds bytes of a record's body to the message. True when the message is complete.
    fn take_body(&mut self, body: &[u8]) -> Result<bool, HelloError> {
        if self.is_sslv2_format {
            self.append(body, MAX_MESSAGE);
            if self.record_left > 0 {
                return Ok(false);
            }
            let message = sslv2::translate(&self.message)?;
            self.raw = std::mem::replace(&mut self.message, message);
            self.raw.shrink_to_fit();
            return Ok(true);
        }
        let header = MESSAGE_HEADER.saturating_sub(self.message.len()).min(body.len());
        let (header, body) = body.split_at(header);
        self.append(header, MAX_MESSAGE);
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(HelloError::Unexpected("a handshake message of another type"));
        }
        let &[_, high, middle, low, ..] = self.message.as_slice() else {
            return Ok(false);
        };
        let announced = u32::from_be_bytes([0, high, middle, low]);
        let total = usize::try_from(announced).map_or(usize::MAX, |body| MESSAGE_HEADER + body);
        if total > MAX_MESSAGE {
            return Err(HelloError::TooLarge);
        }
        let missing = total - self.message.len();
        // RFC 8446 §5.1: messages do not share a record across a key change, and nothing may
        // follow a ClientHello before the server has answered.
        if body.len() > missing || (body.len() == missing && self.record_left > 0) {
            return Err(HelloError::Unexpected("more in the record than the ClientHello"));
        }
        self.append(body, total);
        Ok(self.message.len() == total)
    }

    /// Grows to double of what is there, yet not beyond what the message needs.
    fn append(&mut self, bytes: &[u8], limit: usize) {
        let needed = self.message.len() + bytes.len();
        if needed > self.message.capacity() {
            let doubled = self.message.capacity() * 2;
            let capacity = doubled.max(MIN_CAPACITY).min(limit).max(needed);
            self.message.reserve_exact(capacity - self.message.len());
        }
        self.message.extend_from_slice(bytes);
    }
}
