//! The bytes that clients and backends exchange: one fixed pseudo-random stream that either side
//! can make, check or sum up at any offset without storing it.
//!
//! The stream repeats after [`PERIOD`] bytes. The period is prime, so that a lost, repeated or
//! swapped piece of any usual buffer size changes what the receiver sees. Every byte has its top
//! bit set: the stream never looks like text, which matters to backends that sniff for HTTP.

use std::sync::LazyLock;

/// Length after which the stream repeats; also the longest slice that [`at`] returns.
pub const PERIOD: usize = 65_521;

/// Two periods, so that a whole period is contiguous from every offset.
static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut table: Vec<u8> = (0..PERIOD)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3] | 0x80
        })
        .collect();
    table.extend_from_within(..);
    table
});

/// Up to `limit` bytes of the stream from `offset` on: `min(limit, PERIOD)` bytes.
pub fn at(offset: u64, limit: u64) -> &'static [u8] {
    let start = position(offset);
    let length = usize::try_from(limit).unwrap_or(PERIOD).min(PERIOD);
    &TABLE[start..start + length]
}

/// Whether `data` is what the stream holds from `offset` on.
pub fn matches(offset: u64, data: &[u8]) -> bool {
    let mut offset = offset;
    data.chunks(PERIOD).all(|chunk| {
        let start = position(offset);
        offset = offset.wrapping_add(PERIOD as u64);
        chunk == &TABLE[start..start + chunk.len()]
    })
}

/// The checksum of the first `length` bytes of the stream.
pub fn checksum(length: u64) -> u64 {
    let mut sum = Checksum::new();
    let mut offset = 0;
    while offset < length {
        let piece = at(offset, length - offset);
        sum.update(piece);
        offset += piece.len() as u64;
    }
    sum.finish()
}

fn position(offset: u64) -> usize {
    usize::try_from(offset % PERIOD as u64).expect("a remainder of a usize fits a usize")
}

/// A running 64-bit checksum against corruption (not against an adversary).
///
/// FNV-1a over little-endian 64-bit words in four interleaved lanes, which runs at memory speed
/// where the byte-wise original would cost more than the TLS it is meant to check.
#[derive(Clone, Debug)]
pub struct Checksum {
    lanes: [u64; LANES],
    carry: [u8; BLOCK],
    carried: usize,
    length: u64,
}

const LANES: usize = 4;
const WORD: usize = size_of::<u64>();
const BLOCK: usize = LANES * WORD;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

impl Checksum {
    /// The checksum of no bytes.
    pub fn new() -> Self {
        let lanes = std::array::from_fn(|lane| FNV_OFFSET.wrapping_add(lane as u64));
        Self { lanes, carry: [0; BLOCK], carried: 0, length: 0 }
    }

    /// Adds `data`; how the bytes are cut into calls makes no difference.
    pub fn update(&mut self, data: &[u8]) {
        self.length = self.length.wrapping_add(data.len() as u64);
        let mut data = data;
        if self.carried > 0 {
            let taken = data.len().min(BLOCK - self.carried);
            self.carry[self.carried..self.carried + taken].copy_from_slice(&data[..taken]);
            self.carried += taken;
            data = &data[taken..];
            if self.carried < BLOCK {
                return;
            }
            let block = self.carry;
            self.block(&block);
            self.carried = 0;
        }
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        for block in blocks {
            self.block(block);
        }
        self.carry[..rest.len()].copy_from_slice(rest);
        self.carried = rest.len();
    }

    /// The checksum of everything added so far.
    pub fn finish(&self) -> u64 {
        let mut padded = self.clone();
        padded.carry[self.carried..].fill(0);
        let block = padded.carry;
        padded.block(&block);
        let folded = padded.lanes.iter().fold(FNV_OFFSET, |sum, lane| step(sum, *lane));
        step(folded, self.length)
    }

    fn block(&mut self, block: &[u8; BLOCK]) {
        let (words, _) = block.as_chunks::<WORD>();
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = step(*lane, u64::from_le_bytes(*word));
        }
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

/// One FNV-1a step; the rotation lets high bits of a word reach the low bits of the sum.
fn step(sum: u64, word: u64) -> u64 {
    (sum ^ word).wrapping_mul(FNV_PRIME).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_the_same_however_it_is_cut() {
        let mut whole = Vec::new();
        while whole.len() < 3 * PERIOD {
            whole.extend_from_slice(at(whole.len() as u64, 1000));
        }
        assert!(matches(0, &whole));
        assert!(matches(777, &whole[777..]));
        assert!(!matches(778, &whole[777..]));
        assert!(whole.iter().all(|byte| *byte >= 0x80));
    }

    #[test]
    fn one_wrong_byte_is_seen() {
        let mut data = at(5, 60_000).to_vec();
        data[59_999] ^= 1;
        assert!(!matches(5, &data));
    }

    #[test]
    fn checksum_does_not_depend_on_cuts_but_on_every_byte() {
        let data = at(0, 10_000).to_vec();
        let expected = checksum(10_000);
        for cut in [1, 7, 31, 32, 33, 4096] {
            let mut sum = Checksum::new();
            data.chunks(cut).for_each(|chunk| sum.update(chunk));
            assert_eq!(sum.finish(), expected, "cut {cut}");
        }
        for position in [0, 31, 32, 5000, 9999] {
            let mut wrong = data.clone();
            wrong[position] ^= 0x40;
            let mut sum = Checksum::new();
            sum.update(&wrong);
            assert_ne!(sum.finish(), expected, "position {position}");
        }
    }

    #[test]
    fn checksum_tells_trailing_zeros_apart() {
        let mut short = Checksum::new();
        short.update(&[0; 3]);
        let mut long = Checksum::new();
        long.update(&[0; 4]);
        assert_ne!(short.finish(), long.finish());
        assert_ne!(Checksum::new().finish(), short.finish());
    }
}
