//! Buffers that belong to a shard: taken when bytes arrive, given back when they are sent.
//!
//! A [`Buf`] owns its memory, so it can be handed to the kernel, kept by a slow connection or sent
//! on, and goes back to its shard's [`Pool`] by itself when dropped. An idle connection owns none.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;

/// Size of a buffer: small for messages, large for bulk.
///
/// Both hold whole TLS records plus what sealing adds, so that a received plaintext of
/// [`BufClass::plaintext_max`] always fits, sealed, into one buffer of the same class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufClass {
    /// 4 KiB of payload: requests, SIP messages, handshake flights.
    Message,
    /// 64 KiB of payload: four full-size records.
    Bulk,
}

impl BufClass {
    /// Number of classes, for tables indexed by [`BufClass::index`].
    pub const COUNT: usize = 2;
    /// Every class, smallest first.
    pub const ALL: [Self; Self::COUNT] = [Self::Message, Self::Bulk];

    /// The smallest class that holds `len` bytes, or `None` when even the largest does not.
    pub fn holding(len: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.capacity() >= len)
    }

    /// Position in tables of [`BufClass::COUNT`] entries.
    pub const fn index(self) -> usize {
        match self {
            Self::Message => 0,
            Self::Bulk => 1,
        }
    }

    /// Bytes in one buffer.
    pub const fn capacity(self) -> usize {
        self.plaintext_max() + self.seal_room()
    }

    /// Most plaintext that still fits this class once sealed.
    pub const fn plaintext_max(self) -> usize {
        match self {
            Self::Message => 4 * 1024,
            Self::Bulk => 64 * 1024,
        }
    }

    /// Room for record headers, explicit nonces and tags: 29 bytes a record in TLS 1.2 GCM
    /// (RFC 5288 §3), rounded up so that strides are not a power of two and spread over cache sets.
    const fn seal_room(self) -> usize {
        match self {
            Self::Message => 128,
            Self::Bulk => 320,
        }
    }
}

/// The buffers of one shard, bounded in bytes.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Rc<PoolInner>,
}

impl Pool {
    /// A pool that keeps at most `limit` bytes in use and `retained` free buffers of each class.
    pub fn new(limit: usize, retained: usize) -> Self {
        let free = BufClass::ALL.map(|_| RefCell::new(Vec::with_capacity(retained)));
        let inner = PoolInner { free, retained, limit, in_use: Cell::new(0) };
        Self { inner: Rc::new(inner) }
    }

    /// Allocates the free buffers, so that live memory at rest is the same before a load and after.
    pub fn stock(&self) {
        for class in BufClass::ALL {
            let mut free = self.inner.free[class.index()].borrow_mut();
            while free.len() < self.inner.retained {
                free.push(class.allocate());
            }
        }
    }

    /// A buffer, or `None` when the pool's limit is reached. For memory that can wait: receiving.
    pub fn try_take(&self, class: BufClass) -> Option<Buf> {
        (self.room(class) > 0).then(|| self.take(class))
    }

    /// A buffer, even above the limit. For memory that is already owed: bytes that were received
    /// and must be passed on. The excess is bounded because receiving stops at the limit.
    pub fn take(&self, class: BufClass) -> Buf {
        let recycled = self.inner.free[class.index()].borrow_mut().pop();
        let chunk = recycled.unwrap_or_else(|| class.allocate());
        self.inner.in_use.set(self.inner.in_use.get() + class.capacity());
        Buf { chunk, class, range: 0..0, pool: Rc::clone(&self.inner) }
    }

    /// How many buffers of `class` [`Pool::try_take`] can still give.
    pub fn room(&self, class: BufClass) -> usize {
        let limit = match class {
            BufClass::Message => self.inner.limit,
            // Peers that do not read must not keep others from handshakes and messages.
            BufClass::Bulk => self.inner.limit - self.inner.limit / 8,
        };
        limit.saturating_sub(self.inner.in_use.get()) / class.capacity()
    }

    /// True when more than half of the limit is in use: time to hold back.
    pub fn is_tight(&self) -> bool {
        self.inner.in_use.get() > self.inner.limit / 2
    }

    /// Bytes in buffers that are not free.
    pub fn bytes_in_use(&self) -> usize {
        self.inner.in_use.get()
    }
}

/// One buffer: a chunk of memory and the range of it that holds data.
pub struct Buf {
    chunk: Box<[u8]>,
    class: BufClass,
    range: Range<usize>,
    pool: Rc<PoolInner>,
}

impl Buf {
    /// Size class.
    pub fn class(&self) -> BufClass {
        self.class
    }

    /// Declares `range` of the whole chunk to be the data.
    ///
    /// # Panics
    /// When the range leaves the chunk.
    pub fn set_range(&mut self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.chunk.len());
        self.range = range;
    }

    /// The whole memory, for a kernel or a cipher to write into before [`Buf::set_range`].
    pub fn chunk_mut(&mut self) -> &mut [u8] {
        &mut self.chunk
    }

    /// Unused memory after the data.
    pub fn tail_mut(&mut self) -> &mut [u8] {
        &mut self.chunk[self.range.end..]
    }

    /// Declares `len` bytes of [`Buf::tail_mut`] to be data.
    pub fn extend(&mut self, len: usize) {
        self.set_range(self.range.start..self.range.end + len);
    }

    /// Forgets the first `len` bytes of data.
    pub fn advance(&mut self, len: usize) {
        self.set_range(self.range.start + len..self.range.end);
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.chunk[self.range.clone()]
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.chunk[self.range.clone()]
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let chunk = std::mem::take(&mut self.chunk);
        self.pool.give_back(chunk, self.class);
    }
}

impl std::fmt::Debug for Buf {
    /// Never the bytes: they are somebody's plaintext.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({:?}, {} bytes)", self.class, self.range.len())
    }
}

#[derive(Debug)]
struct PoolInner {
    free: [RefCell<Vec<Box<[u8]>>>; BufClass::COUNT],
    retained: usize,
    limit: usize,
    in_use: Cell<usize>,
}

impl PoolInner {
    fn give_back(&self, chunk: Box<[u8]>, class: BufClass) {
        self.in_use.set(self.in_use.get() - class.capacity());
        let mut free = self.free[class.index()].borrow_mut();
        if free.len() < self.retained {
            free.push(chunk);
        }
    }
}

impl BufClass {
    fn allocate(self) -> Box<[u8]> {
        vec![0; self.capacity()].into_boxed_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_the_next_one_taken() {
        let pool = Pool::new(1 << 20, 1);
        let mut first = pool.take(BufClass::Message);
        let address = first.chunk_mut().as_ptr();
        drop(first);
        assert_eq!(pool.take(BufClass::Message).chunk_mut().as_ptr(), address);
    }

    #[test]
    fn the_limit_stops_receiving_but_not_passing_on() {
        let pool = Pool::new(2 * BufClass::Message.capacity(), 0);
        let held = [BufClass::Message; 2].map(|class| pool.try_take(class).expect("two fit"));
        assert!(pool.try_take(BufClass::Message).is_none());
        drop(pool.take(BufClass::Message));
        drop(held);
        assert_eq!(pool.bytes_in_use(), 0);
        assert!(pool.try_take(BufClass::Message).is_some());
    }

    #[test]
    fn bulk_leaves_room_for_messages() {
        let pool = Pool::new(8 * BufClass::Bulk.capacity(), 0);
        let bulk: Vec<_> = std::iter::from_fn(|| pool.try_take(BufClass::Bulk)).collect();
        assert_eq!(bulk.len(), 7);
        assert!(pool.try_take(BufClass::Message).is_some());
    }

    #[test]
    fn data_is_what_the_range_says() {
        let pool = Pool::new(1 << 20, 0);
        let mut buf = pool.take(BufClass::Message);
        buf.tail_mut()[..5].copy_from_slice(b"hello");
        buf.extend(5);
        buf.advance(1);
        assert_eq!(&*buf, b"ello");
    }
}
