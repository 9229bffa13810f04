//! What a shard and the child say to each other about one connection, over the pair of sockets that
//! they have for it. Pure.
//!
//! A frame is its kind, one byte, the length of its body, three bytes in network order, and the
//! body. Of data, any part may be passed on as it comes; every other frame is read whole. Neither
//! side trusts the other to send well-formed frames.

use std::collections::VecDeque;

use crate::buf::{Buf, BufClass, Pool};
use crate::fields::{Reader, Short, Writer};

/// What a frame says. "Shard" or "child" is who may say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Shard, first, where TLS is spoken as the server: the ClientHello as it came, and what came
    /// behind it.
    Hello { hello: Vec<u8>, rest: Vec<u8> },
    /// Shard, first, where it is spoken as the client.
    Start,
    /// Shard: no more data; to be said with close_notify.
    CloseNotify,
    /// Shard, last: end it with a fatal alert of this description.
    Alert(u8),
    /// Shard: FIN behind all that was sent. Child: the peer's FIN.
    Fin,
    /// Child: the handshake is done.
    Established(Box<Established>),
    /// Child, last: the session is over.
    Failed(Failed),
    /// Child: nothing. Sent to find out whether the shard is still there.
    Nothing,
}

/// [`Frame::Nothing`] as it is sent.
pub const NOTHING: [u8; 4] = [9, 0, 0, 0];

/// What the handshake agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Established {
    /// As in the protocol: 0x0301 is TLS 1.0.
    pub version: u16,
    /// IANA number.
    pub suite: u16,
    pub group: Option<String>,
    pub alpn: Option<Vec<u8>>,
    pub resumed: bool,
    /// As the client: the server has asked for our certificate and was shown it.
    pub shown: bool,
    /// What the peer has shown, in DER, its own first.
    pub certificates: Vec<Vec<u8>>,
}

/// Why a session is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// A word that the shard knows.
    pub reason: String,
    pub detail: String,
    pub alert_sent: Option<u8>,
    pub alert_received: Option<u8>,
    /// Another such word: what is wrong with the peer's certificate.
    pub certificate: Option<String>,
}

/// What comes out of a stream of frames.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Of a frame of data, as much as there is.
    Data(&'a [u8]),
    Frame(Frame),
}

/// Reads frames from a stream that is cut anywhere.
#[derive(Debug, Default)]
pub struct FrameReader {
    head: [u8; HEAD],
    /// Bytes of `head` that are there.
    filled: usize,
    /// Of a frame that is read whole.
    body: Vec<u8>,
    /// Bytes of the body that are still to come.
    missing: usize,
}

/// Why a stream is none of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    #[error("a frame of kind {0} with {1} bytes")]
    TooLong(u8, usize),
    #[error("a frame whose body is not that of its kind")]
    BadBody,
}

/// Bytes in front of a frame's body.
const HEAD: usize = 4;

/// Queues data, as frames that are each in one buffer.
pub fn queue_data(queue: &mut VecDeque<Buf>, pool: &Pool, data: &[u8]) {
    for part in data.chunks(BufClass::Bulk.plaintext_max()) {
        append(queue, pool, &data_head(part.len()), part);
    }
}

/// Queues an encoded frame.
pub fn queue_frame(queue: &mut VecDeque<Buf>, pool: &Pool, frame: &[u8]) {
    for part in frame.chunks(BufClass::Bulk.plaintext_max()) {
        append(queue, pool, &[], part);
    }
}

/// Queues bytes that fit a buffer together, behind what waits in one that has room for them.
fn append(queue: &mut VecDeque<Buf>, pool: &Pool, head: &[u8], body: &[u8]) {
    let length = head.len() + body.len();
    let has_room = queue.back_mut().is_some_and(|last| last.tail_mut().len() >= length);
    if !has_room {
        let class = BufClass::holding(length).unwrap_or(BufClass::Bulk);
        queue.push_back(pool.take(class));
    }
    if let Some(last) = queue.back_mut() {
        last.append(head);
        last.append(body);
    }
}

/// What goes in front of data.
fn data_head(length: usize) -> [u8; HEAD] {
    head(DATA, length)
}

impl Frame {
    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Hello { hello, rest } => {
                out.bytes(hello);
                out.bytes(rest);
            }
            Self::Alert(description) => out.byte(*description),
            Self::Established(established) => established.write(&mut out),
            Self::Failed(failed) => failed.write(&mut out),
            Self::Start | Self::CloseNotify | Self::Fin | Self::Nothing => {}
        }
        [&head(self.kind(), out.0.len())[..], &out.0].concat()
    }

    /// The frame of this kind with this body.
    fn decode(kind: u8, body: &[u8]) -> Result<Self, FrameError> {
        let mut input = Reader(body);
        let frame = match kind {
            1 => Self::Hello { hello: input.bytes()?.to_vec(), rest: input.bytes()?.to_vec() },
            2 => Self::Start,
            4 => Self::CloseNotify,
            5 => Self::Alert(input.byte()?),
            6 => Self::Fin,
            7 => Self::Established(Box::new(Established::read(&mut input)?)),
            8 => Self::Failed(Failed::read(&mut input)?),
            9 => Self::Nothing,
            kind => return Err(FrameError::UnknownKind(kind)),
        };
        if input.0.is_empty() { Ok(frame) } else { Err(FrameError::BadBody) }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => 1,
            Self::Start => 2,
            Self::CloseNotify => 4,
            Self::Alert(_) => 5,
            Self::Fin => 6,
            Self::Established(_) => 7,
            Self::Failed(_) => 8,
            Self::Nothing => 9,
        }
    }
}

impl Established {
    fn write(&self, out: &mut Writer) {
        out.array(self.version.to_be_bytes());
        out.array(self.suite.to_be_bytes());
        out.option(self.group.as_ref(), |out, group| out.bytes(group.as_bytes()));
        out.option(self.alpn.as_ref(), |out, alpn| out.bytes(alpn));
        out.byte(u8::from(self.resumed));
        out.byte(u8::from(self.shown));
        self.certificates.iter().for_each(|der| out.bytes(der));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, FrameError> {
        let mut read = Self {
            version: u16::from_be_bytes(input.array()?),
            suite: u16::from_be_bytes(input.array()?),
            group: option(input, text)?,
            alpn: option(input, |input| Ok(input.bytes()?.to_vec()))?,
            resumed: flag(input)?,
            shown: flag(input)?,
            certificates: Vec::new(),
        };
        while !input.0.is_empty() {
            read.certificates.push(input.bytes()?.to_vec());
        }
        Ok(read)
    }
}

impl Failed {
    fn write(&self, out: &mut Writer) {
        out.bytes(self.reason.as_bytes());
        out.bytes(self.detail.as_bytes());
        out.option(self.alert_sent, Writer::byte);
        out.option(self.alert_received, Writer::byte);
        out.option(self.certificate.as_ref(), |out, word| out.bytes(word.as_bytes()));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            reason: text(input)?,
            detail: text(input)?,
            alert_sent: option(input, |input| Ok(input.byte()?))?,
            alert_received: option(input, |input| Ok(input.byte()?))?,
            certificate: option(input, text)?,
        })
    }
}

impl FrameReader {
    /// Takes the next part out of the front of `input`; `None` when that is used up.
    ///
    /// # Errors
    /// The stream is none of frames; what follows has no meaning.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Part<'a>>, FrameError> {
        loop {
            if self.filled < HEAD {
                let part = take(input, HEAD - self.filled);
                self.head[self.filled..][..part.len()].copy_from_slice(part);
                self.filled += part.len();
                if self.filled < HEAD {
                    return Ok(None);
                }
                self.missing = self.length()?;
            }
            let part = take(input, self.missing);
            self.missing -= part.len();
            let kind = self.head[0];
            if kind == DATA {
                if self.missing == 0 {
                    self.filled = 0;
                }
                match (part, self.missing) {
                    ([], 0) => continue,
                    ([], _) => return Ok(None),
                    _ => return Ok(Some(Part::Data(part))),
                }
            }
            self.body.extend_from_slice(part);
            if self.missing > 0 {
                return Ok(None);
            }
            self.filled = 0;
            let body = std::mem::take(&mut self.body);
            return Frame::decode(kind, &body).map(|frame| Some(Part::Frame(frame)));
        }
    }

    /// What the head says of its body.
    fn length(&self) -> Result<usize, FrameError> {
        let [kind, high, middle, low] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let most = match kind {
            DATA => usize::MAX,
            1 | 7 => MAX_LONG,
            2 | 4..=9 => MAX_SHORT,
            kind => return Err(FrameError::UnknownKind(kind)),
        };
        if length > most { Err(FrameError::TooLong(kind, length)) } else { Ok(length) }
    }
}

impl From<Short> for FrameError {
    fn from(Short: Short) -> Self {
        Self::BadBody
    }
}

fn head(kind: u8, length: usize) -> [u8; HEAD] {
    // Data come in buffers, and nothing else is longer than MAX_LONG.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    debug_assert!(length < 1 << 24, "a frame's length has three bytes");
    let [_, high, middle, low] = length.to_be_bytes();
    [kind, high, middle, low]
}

fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (part, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    part
}

fn option<'a, T>(
    input: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, FrameError>,
) -> Result<Option<T>, FrameError> {
    flag(input)?.then(|| read(input)).transpose()
}

fn flag(input: &mut Reader<'_>) -> Result<bool, FrameError> {
    match input.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FrameError::BadBody),
    }
}

fn text(input: &mut Reader<'_>) -> Result<String, FrameError> {
    String::from_utf8(input.bytes()?.to_vec()).map_err(|_| FrameError::BadBody)
}

const DATA: u8 = 3;
/// Longest body of a hello, which has 64 KiB and one receive behind it, and of what the handshake
/// agreed on: certificates of a peer have 100 KiB at most in OpenSSL (SSL_MAX_CERT_LIST_DEFAULT).
const MAX_LONG: usize = 160 * 1024;
/// Longest body of the others: a sentence or two.
const MAX_SHORT: usize = 4 * 1024;

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
