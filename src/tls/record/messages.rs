//! Handshake messages out of records, whatever records they are in.

use super::error::RecordError;

/// Longest body of a message.
pub const MAX_MESSAGE: usize = 0xffff;
const HEADER: usize = 4;

/// The start of a message that goes on in the next record; empty most of the time.
#[derive(Default)]
pub(super) struct Messages {
    partial: Vec<u8>,
}

impl Messages {
    /// True in the middle of a message.
    pub(super) fn is_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Takes the content of a record: `each` gets every message that is complete now, its type, its
    /// body and whether the record ends with it. `longest` says how long a message of a type may be;
    /// `None` where it has no place.
    ///
    /// # Errors
    /// Those of `each`, and for a message that is too long or has no place here.
    pub(super) fn feed(
        &mut self,
        content: &[u8],
        longest: impl Fn(u8) -> Option<usize>,
        mut each: impl FnMut(u8, &[u8], bool) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        // RFC 8446 §5.1: there are no empty pieces.
        if content.is_empty() {
            return Err(RecordError::Unexpected("an empty handshake record"));
        }
        let mut rest = content;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(self.missing(&longest)?.min(rest.len()));
            self.partial.extend_from_slice(part);
            rest = after;
            if self.missing(&longest)? == 0 {
                let message = std::mem::take(&mut self.partial);
                each(message[0], &message[HEADER..], rest.is_empty())?;
            }
        }
        Ok(())
    }

    /// Bytes until the message is complete; at least what its header lacks.
    fn missing(&self, longest: impl Fn(u8) -> Option<usize>) -> Result<usize, RecordError> {
        let Some(longest) = self.partial.first().map(|kind| longest(*kind)) else {
            return Ok(HEADER);
        };
        let longest = longest.ok_or(RecordError::Unexpected("a message that has no place here"))?;
        let [_, high, middle, low, body @ ..] = &self.partial[..] else {
            return Ok(HEADER - self.partial.len());
        };
        let length = u32::from_be_bytes([0, *high, *middle, *low]);
        let length = usize::try_from(length).ok().filter(|length| *length <= longest);
        let length = length.ok_or(RecordError::Malformed("handshake message: it is too long"))?;
        Ok(length - body.len())
    }
}
