//! What OpenSSL takes for its socket: bytes that have come, and buffers for those that are to go.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use crate::buf::{Buf, BufClass, Pool};

/// The wire, in memory. Reading past what is there would block; writing never does.
#[derive(Default)]
pub(super) struct Memory {
    /// The ClientHello, before everything else.
    hello: VecDeque<u8>,
    input: Option<Buf>,
    /// Lent while OpenSSL works: see [`Memory::lend`].
    sink: Option<Sink>,
    /// As the client, while it shakes hands: what it has said.
    pub(super) said: Option<Said>,
}

/// What a client's handshake has said, as far as others can see.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// A certificate in the clear, which is how it goes up to TLS 1.2.
    pub(super) certificate: bool,
    /// Bytes in records of TLS 1.3 that are encrypted.
    pub(super) encrypted: usize,
}

/// Where records go.
struct Sink {
    pool: Pool,
    records: VecDeque<Buf>,
    class: BufClass,
}

impl Memory {
    pub(super) fn feed_hello(&mut self, hello: &[u8]) {
        self.hello.extend(hello);
    }

    pub(super) fn feed(&mut self, input: Buf) {
        debug_assert!(self.input.as_ref().is_none_or(|rest| rest.is_empty()), "read to its end");
        self.input = Some(input);
    }

    /// Bytes that OpenSSL has not taken yet.
    pub(super) fn unread(&self) -> usize {
        self.hello.len() + self.input.as_ref().map_or(0, |input| input.len())
    }

    /// Forgets what has come.
    pub(super) fn discard(&mut self) {
        self.hello = VecDeque::new();
        self.input = None;
    }

    /// Lets OpenSSL write behind `records`, in new buffers of this class where they are full, until
    /// [`Memory::give_back`].
    pub(super) fn lend(&mut self, records: &mut VecDeque<Buf>, pool: &Pool, class: BufClass) {
        let records = std::mem::take(records);
        self.sink = Some(Sink { pool: pool.clone(), records, class });
    }

    pub(super) fn give_back(&mut self, records: &mut VecDeque<Buf>) {
        if let Some(sink) = self.sink.take() {
            *records = sink.records;
        }
    }
}

impl Read for Memory {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.hello.is_empty() {
            let read = self.hello.read(into)?;
            if self.hello.is_empty() {
                // It is not needed again.
                self.hello = VecDeque::new();
            }
            return Ok(read);
        }
        let Some(input) = &mut self.input else { return Err(io::ErrorKind::WouldBlock.into()) };
        let read = input.first().read(into)?;
        input.advance(read);
        if input.is_empty() {
            self.input = None;
        }
        Ok(read)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(said) = &mut self.said {
            said.note(bytes);
        }
        let Some(sink) = &mut self.sink else {
            return Err(io::Error::other("OpenSSL writes when it was not asked to"));
        };
        sink.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.records.back_mut().is_none_or(|last| last.tail_mut().is_empty()) {
                self.records.push_back(self.pool.take(self.class));
            }
            let last = self.records.back_mut().expect("pushed above");
            let tail = last.tail_mut();
            let part = tail.len().min(bytes.len());
            tail[..part].copy_from_slice(&bytes[..part]);
            last.extend(part);
            bytes = &bytes[part..];
        }
    }
}

impl Said {
    /// OpenSSL writes whole records, and begins one with the Certificate message (RFC 5246 §7.4.2).
    fn note(&mut self, mut records: &[u8]) {
        const HANDSHAKE: u8 = 22;
        const APPLICATION_DATA: u8 = 23;
        const CERTIFICATE: u8 = 11;
        while let [kind, _, _, high, low, rest @ ..] = records {
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
            let (body, after) = rest.split_at(length);
            match (*kind, body) {
                (APPLICATION_DATA, _) => self.encrypted += length,
                // The list in it has a length of its own, three bytes, which is all where it is empty.
                (HANDSHAKE, [CERTIFICATE, 0, 0, 0..=3, ..]) => {}
                (HANDSHAKE, [CERTIFICATE, ..]) => self.certificate = true,
                _ => {}
            }
            records = after;
        }
    }
}
