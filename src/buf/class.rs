//! Sizes of buffers, and where in them data lie.

/// Room that a record needs in front of its plaintext: header and explicit nonce (RFC 5288 §3).
pub const HEADROOM: usize = 13;
/// Room that it needs behind: content type and tag (RFC 8446 §5.2).
pub const TAILROOM: usize = 17;
/// Most plaintext in a record (RFC 8446 §5.1).
pub const RECORD_PLAINTEXT: usize = 16 * 1024;

/// Size of a buffer: small for messages, large for bulk.
///
/// Both hold whole TLS records plus what sealing adds, so that a received plaintext of
/// [`BufClass::plaintext_max`] always fits, sealed, into one buffer of the same class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufClass {
    /// 4 KiB of payload: requests, SIP messages, handshake flights.
    Message,
    /// 128 KiB of payload: eight full-size records.
    Bulk,
}

/// How the bytes of one receive lie in their buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// In one piece.
    Contiguous,
    /// In parts that become one record each, sealed in place: at most [`RECORD_PLAINTEXT`] bytes,
    /// with [`HEADROOM`] in front and [`TAILROOM`] behind.
    Spaced,
}

impl BufClass {
    /// Number of classes, for tables indexed by [`BufClass::index`].
    pub const COUNT: usize = 2;
    /// Every class, smallest first.
    pub const ALL: [Self; Self::COUNT] = [Self::Message, Self::Bulk];

    /// The smallest class that holds `len` bytes, or `None` when even the largest does not.
    pub fn holding(len: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.capacity() - START >= len)
    }

    /// Position in tables of [`BufClass::COUNT`] entries.
    pub const fn index(self) -> usize {
        match self {
            Self::Message => 0,
            Self::Bulk => 1,
        }
    }

    /// Bytes of memory in one buffer.
    pub const fn capacity(self) -> usize {
        match self {
            Self::Message => START + self.plaintext_max() + GAP,
            Self::Bulk => START + PARTS * STRIDE,
        }
    }

    /// Most plaintext that still fits this class once sealed.
    pub const fn plaintext_max(self) -> usize {
        match self {
            Self::Message => 4 * 1024,
            Self::Bulk => PARTS * RECORD_PLAINTEXT,
        }
    }

    /// Most bytes of one receive. In bulk and in one piece, they are records of that much plaintext:
    /// whoever sends full ones in TLS 1.3 has them end where receives end.
    pub const fn receive_max(self, layout: Layout) -> usize {
        match (self, layout) {
            (Self::Bulk, Layout::Contiguous) => self.plaintext_max() + PARTS * OVERHEAD,
            _ => self.plaintext_max(),
        }
    }

    /// Parts of one receive.
    pub const fn parts(self, layout: Layout) -> usize {
        match (self, layout) {
            (Self::Bulk, Layout::Spaced) => PARTS,
            _ => 1,
        }
    }

    /// From where one part of a receive begins to where the next does, and how much is in it.
    pub(super) const fn spaces(self, layout: Layout) -> (usize, usize) {
        match (self, layout) {
            (Self::Bulk, Layout::Spaced) => (STRIDE, RECORD_PLAINTEXT),
            _ => (self.capacity() - START, self.receive_max(layout)),
        }
    }
}

/// Where data begin in a buffer that holds none: at a cache line behind [`HEADROOM`].
pub(super) const START: usize = 64;
/// Free behind a part, for its tail and the head of the next.
const GAP: usize = 64;
/// Parts of a bulk buffer.
pub const PARTS: usize = 8;
/// From one to the next: no power of two, so that they spread over cache sets.
pub(super) const STRIDE: usize = RECORD_PLAINTEXT + GAP;
/// What TLS 1.3 adds to a plaintext: header, content type and tag.
const OVERHEAD: usize = 5 + TAILROOM;
