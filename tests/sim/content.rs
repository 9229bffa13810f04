//! What is said: bytes that tell where in which stream they belong, so that none can be missing,
//! twice or elsewhere without being noticed.

/// One direction of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content(u64);

impl Content {
    /// What a client says.
    pub(crate) const fn upload(client: usize) -> Self {
        Self(client as u64 * 2)
    }

    /// What a component says of its own.
    pub(crate) const fn download(client: usize) -> Self {
        Self(client as u64 * 2 + 1)
    }

    /// Bytes `from..from + len` of the stream.
    pub(crate) fn bytes(self, from: usize, len: usize) -> Vec<u8> {
        let first = from / BLOCK;
        let blocks = (first..(from + len).div_ceil(BLOCK)).flat_map(|block| self.block(block));
        blocks.skip(from - first * BLOCK).take(len).collect()
    }

    /// Whether `data` is what comes at `from`.
    pub(crate) fn is_at(self, from: usize, data: &[u8]) -> bool {
        self.bytes(from, data.len()) == data
    }

    fn block(self, number: usize) -> [u8; BLOCK] {
        let mixed = (self.0 << 40 | number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes()
    }
}

const BLOCK: usize = 8;
