//! TLS inside of TDS 7 packets, while it shakes hands; afterwards records come as they are
//! (MS-TDS 3.2.5.2).

use std::io::{self, Read, Write};

const HEADER: usize = 8;
const PRELOGIN: u8 = 0x12;
/// First byte of a record with data: the handshake is over.
const APPLICATION_DATA: u8 = 23;

/// Wraps what is written, unwraps what is read.
pub(super) struct Wrapping<S> {
    stream: S,
    /// Came in a packet, and was not read yet.
    unwrapped: Vec<u8>,
    /// The other end wraps no more.
    is_over: bool,
}

impl<S: Read + Write> Wrapping<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, unwrapped: Vec::new(), is_over: false }
    }
}

impl<S: Read> Read for Wrapping<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unwrapped.is_empty() && self.is_over {
            return self.stream.read(buffer);
        }
        if self.unwrapped.is_empty() {
            let mut first = [0; 1];
            if self.stream.read(&mut first)? == 0 {
                return Ok(0);
            }
            if first[0] == PRELOGIN {
                let mut rest = [0; HEADER - 1];
                self.stream.read_exact(&mut rest)?;
                let length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
                self.unwrapped.resize(length.saturating_sub(HEADER), 0);
                self.stream.read_exact(&mut self.unwrapped)?;
            } else {
                self.is_over = true;
                self.unwrapped.push(first[0]);
            }
        }
        let length = self.unwrapped.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.unwrapped.drain(..length)) {
            *to = from;
        }
        Ok(length)
    }
}

impl<S: Write> Write for Wrapping<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.first() == Some(&APPLICATION_DATA) {
            self.stream.write_all(bytes)?;
            return Ok(bytes.len());
        }
        let part = &bytes[..bytes.len().min(4_000)];
        let length = u16::try_from(HEADER + part.len()).expect("4,000 at most").to_be_bytes();
        self.stream.write_all(&[PRELOGIN, 1, length[0], length[1], 0, 0, 0, 0])?;
        self.stream.write_all(part)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
