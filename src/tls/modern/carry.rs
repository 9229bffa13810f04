//! What has come of a record that is not complete.

use crate::buf::Buf;
use crate::tls::record::HEADER;

/// The start of an incomplete record; while rustls works, behind whole records that hold the start
/// of an incomplete handshake message. Empty most of the time.
///
/// Not a buffer of the pool: if all of that waited for the rest of records, nothing would be left
/// to receive the rest with. It grows with what arrives, up to [`MAX_CARRY`].
#[derive(Default)]
pub(super) struct Carry {
    pub(super) bytes: Vec<u8>,
    /// Length of the whole records. rustls has seen them and moves the parts of the message in them
    /// together, so their headers are not there to be read again.
    pub(super) whole: usize,
}

impl Carry {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// True until it is known how long the record is.
    pub(super) fn lacks_header(&self) -> bool {
        self.bytes.len() < self.whole + HEADER
    }

    /// Completes the record from the front of `input`, or as much of it as there is. True when it is
    /// complete.
    pub(super) fn fill(&mut self, input: &mut Buf) -> bool {
        loop {
            let missing = missing_bytes(&self.bytes[self.whole..]);
            if missing == 0 {
                return true;
            }
            let first = input.first();
            let part = missing.min(first.len());
            if part == 0 {
                return false;
            }
            self.bytes.extend_from_slice(&first[..part]);
            // The header may only now be complete, and say how much is missing.
            input.advance(part);
        }
    }

    /// Forgets what was in it. The memory stays until [`Carry::rest`]: where one record is cut, the
    /// next may be, too.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.whole = 0;
    }

    /// Gives back memory that is not used.
    pub(super) fn rest(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }
}

/// Bytes until the record that `data` starts with is complete; at least what the header lacks.
fn missing_bytes(data: &[u8]) -> usize {
    let [_, _, _, high, low, body @ ..] = data else { return HEADER - data.len() };
    usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(body.len())
}

/// Length of the record that `data` starts with, if it is all there.
pub(super) fn whole_record(data: &[u8]) -> Option<usize> {
    let [_, _, _, high, low, ..] = data else { return None };
    let length = HEADER + usize::from(u16::from_be_bytes([*high, *low]));
    (length <= data.len()).then_some(length)
}

/// Room for the longest handshake message rustls takes, 64 KiB, in records of which half is
/// overhead.
pub(super) const MAX_CARRY: usize = 128 * 1024;
