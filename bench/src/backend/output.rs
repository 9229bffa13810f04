//! What a connection still has to send: stored bytes first, then a stretch of generated content.

use crate::content;

/// Stored bytes at which a connection stops reading.
pub(super) const HIGH_WATER: usize = 256 * 1024;

/// Capacity above which an emptied buffer is given back.
const KEEP: usize = 16 * 1024;

/// Invariant: stored bytes precede generated ones, so nothing is stored while content is left.
#[derive(Debug, Default)]
pub(super) struct Output {
    stored: Vec<u8>,
    sent: usize,
    offset: u64,
    left: u64,
}

impl Output {
    /// Appends bytes. Must not be called while content is being generated.
    pub(super) fn store(&mut self, data: &[u8]) {
        debug_assert!(!self.is_generating(), "stored bytes would overtake generated ones");
        if self.sent > 0 {
            self.stored.drain(..self.sent);
            self.sent = 0;
        }
        self.stored.extend_from_slice(data);
    }

    /// After what is stored, sends the first `bytes` bytes of the content.
    pub(super) fn generate(&mut self, bytes: u64) {
        debug_assert!(!self.is_generating(), "one stretch at a time");
        (self.offset, self.left) = (0, bytes);
    }

    pub(super) fn is_generating(&self) -> bool {
        self.left > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next().is_empty()
    }

    /// Whether more may be stored now.
    pub(super) fn has_room(&self) -> bool {
        self.stored.len() - self.sent < HIGH_WATER && !self.is_generating()
    }

    /// The next bytes to send; empty when there is nothing.
    pub(super) fn next(&self) -> &[u8] {
        if self.sent < self.stored.len() {
            &self.stored[self.sent..]
        } else {
            content::at(self.offset, self.left)
        }
    }

    /// Tells that `count` bytes of [`Self::next`] were sent.
    pub(super) fn advance(&mut self, count: usize) {
        if self.sent < self.stored.len() {
            self.sent += count;
            if self.sent == self.stored.len() {
                self.stored.clear();
                self.stored.shrink_to(KEEP);
                self.sent = 0;
            }
        } else {
            self.offset += count as u64;
            self.left -= count as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_go_before_generated_ones() {
        let mut output = Output::default();
        output.store(b"head");
        output.generate(100_000);
        let mut seen = Vec::new();
        while !output.is_empty() {
            let next = output.next();
            let taken = next.len().min(999);
            seen.extend_from_slice(&next[..taken]);
            output.advance(taken);
        }
        assert_eq!(&seen[..4], b"head");
        assert_eq!(seen.len(), 100_004);
        assert!(content::matches(0, &seen[4..]));
    }

    #[test]
    fn room_ends_at_high_water_and_comes_back() {
        let mut output = Output::default();
        output.store(&vec![1; HIGH_WATER]);
        assert!(!output.has_room());
        output.advance(1);
        assert!(output.has_room());
        output.advance(HIGH_WATER - 1);
        assert!(output.is_empty());
    }
}
