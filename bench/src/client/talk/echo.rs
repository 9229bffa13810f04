//! Opaque bytes that come back.

use super::Reader;
use crate::client::failure::{ErrorKind, Failure};
use crate::content;

/// `number` makes echoes differ, so that those of others do not go unnoticed.
pub(super) fn begin(number: u64, size: u64, out: &mut Vec<u8>) -> Echo {
    let offset = number.wrapping_mul(7919) % content::PERIOD as u64;
    let mut written = 0;
    while written < size {
        let piece = content::at(offset + written, size - written);
        out.extend_from_slice(piece);
        written += piece.len() as u64;
    }
    Echo { offset, seen: 0, size }
}

/// The same bytes.
#[derive(Debug)]
pub(super) struct Echo {
    offset: u64,
    seen: u64,
    size: u64,
}

impl Reader for Echo {
    fn take(&mut self, data: &[u8]) -> Result<usize, Failure> {
        let left = self.size - self.seen;
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
        if !content::matches(self.offset + self.seen, &data[..taken]) {
            let detail = format!("wrong content behind byte {} of an echo", self.seen);
            return Err(Failure::new(ErrorKind::Content, detail));
        }
        self.seen += taken as u64;
        Ok(taken)
    }

    fn is_done(&self) -> bool {
        self.seen == self.size
    }
}
