//! Buffers that belong to a shard: taken when bytes arrive, given back when they are sent.
//!
//! A [`Buf`] owns its memory, so it can be handed to the kernel, kept by a slow connection or sent
//! on, and goes back to its shard's [`Pool`] by itself when dropped. An idle connection owns none.
//!
//! Its data need not lie in one piece: records that are opened in place leave their plaintexts with
//! gaps between them, and plaintext that is to be sealed in place is received with room around each
//! part. Both are sent by one vectored operation, so nothing is copied to make them whole.

mod class;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

pub use class::{BufClass, HEADROOM, Layout, PARTS as MAX_SPACES, RECORD_PLAINTEXT, TAILROOM};
use class::{PARTS, START};

/// Most ranges of data in one buffer: what a vectored operation is told of.
pub const MAX_RANGES: usize = 64;

/// The buffers of one shard, bounded in bytes.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Rc<PoolInner>,
}

impl Pool {
    /// A pool that keeps at most `limit` bytes in use, and `retained` free buffers for messages and half
    /// as many for bulk.
    pub fn new(limit: usize, retained: usize) -> Self {
        let free = BufClass::ALL.map(|_| RefCell::new(Vec::with_capacity(retained)));
        let inner = PoolInner { free, retained, limit, in_use: Cell::new(0) };
        Self { inner: Rc::new(inner) }
    }

    /// Allocates the free buffers, so that live memory at rest is the same before a load and after.
    pub fn stock(&self) {
        for class in BufClass::ALL {
            let mut free = self.inner.free[class.index()].borrow_mut();
            while free.len() < self.inner.retained(class) {
                free.push(Chunk::allocate(class));
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
        let chunk = recycled.unwrap_or_else(|| Chunk::allocate(class));
        self.inner.in_use.set(self.inner.in_use.get() + class.capacity());
        Buf { chunk: Some(chunk), pool: Rc::clone(&self.inner) }
    }

    /// A copy of `bytes`, even above the limit.
    ///
    /// # Panics
    /// When no class holds them ([`BufClass::holding`]).
    pub fn copy_of(&self, bytes: &[u8]) -> Buf {
        let mut buf = self.take(BufClass::holding(bytes.len()).unwrap_or(BufClass::Bulk));
        buf.append(bytes);
        buf
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

/// One buffer: memory, and the ranges of it that hold data, in order. Mostly one.
///
/// A buffer that holds nothing yet begins behind [`HEADROOM`], so what is appended to it can be
/// sealed in place.
pub struct Buf {
    /// There until the buffer is dropped.
    chunk: Option<Box<Chunk>>,
    pool: Rc<PoolInner>,
}

impl Buf {
    /// Size class.
    pub fn class(&self) -> BufClass {
        self.chunk().class
    }

    /// Bytes of data, in all ranges.
    pub fn len(&self) -> usize {
        self.chunk().len
    }

    /// True when there are no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ranges that hold data: at most [`MAX_RANGES`], none empty.
    pub fn count(&self) -> usize {
        self.chunk().ranges.len()
    }

    /// Where in the memory range `index` is.
    ///
    /// # Panics
    /// When there is no such range.
    pub fn range(&self, index: usize) -> Range<usize> {
        self.chunk().ranges[index].range()
    }

    /// Free bytes in front of range `index` and behind it, up to its neighbours.
    ///
    /// # Panics
    /// When there is no such range.
    pub fn room(&self, index: usize) -> (usize, usize) {
        let Chunk { memory, ranges, .. } = self.chunk();
        let range = ranges[index].range();
        let before = index.checked_sub(1).map_or(0, |before| ranges[before].range().end);
        let after = ranges.get(index + 1).map_or(memory.len(), |after| after.range().start);
        (range.start - before, after - range.end)
    }

    /// The data, range by range.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let Chunk { memory, ranges, .. } = self.chunk();
        ranges.iter().map(|span| &memory[span.range()])
    }

    /// The data of the first range; nothing where there is none.
    pub fn first(&self) -> &[u8] {
        self.parts().next().unwrap_or_default()
    }

    /// The data of the last range; nothing where there is none.
    pub fn last(&self) -> &[u8] {
        let Chunk { memory, ranges, .. } = self.chunk();
        ranges.last().map_or(&[], |span| &memory[span.range()])
    }

    /// A copy of all data.
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().flatten().copied().collect()
    }

    /// The data in one piece: moved together where they are not.
    pub fn contiguous(&mut self) -> &mut [u8] {
        let Chunk { memory, ranges, .. } = self.chunk_mut();
        let Some(first) = ranges.first().map(|first| first.range()) else { return &mut [] };
        let mut end = first.end;
        for span in ranges.drain(1..) {
            memory.copy_within(span.range(), end);
            end += span.range().len();
        }
        ranges[0] = Span::new(first.start..end);
        &mut memory[first.start..end]
    }

    /// The whole memory, for a cipher to write into. The data are what the ranges say, whatever it
    /// wrote.
    pub fn memory_mut(&mut self) -> &mut [u8] {
        &mut self.chunk_mut().memory
    }

    /// Forgets all data.
    pub fn clear(&mut self) {
        let chunk = self.chunk_mut();
        chunk.ranges.clear();
        chunk.len = 0;
    }

    /// Declares `range` of the memory to be all there is.
    ///
    /// # Panics
    /// When the range leaves the memory.
    pub fn set_range(&mut self, range: Range<usize>) {
        self.clear();
        self.push_range(range);
    }

    /// Declares another range to hold data, behind all others. Where there are [`MAX_RANGES`], what
    /// is in it moves to the end of the last.
    ///
    /// # Panics
    /// When the range leaves the memory, or is not behind the others.
    pub fn push_range(&mut self, range: Range<usize>) {
        let Chunk { memory, ranges, len, .. } = self.chunk_mut();
        let last = ranges.last().map_or(0, |last| last.range().end);
        assert!(last <= range.start && range.start <= range.end && range.end <= memory.len());
        if range.is_empty() {
            return;
        }
        *len += range.len();
        let is_full = ranges.len() == MAX_RANGES;
        match ranges.last_mut() {
            Some(span) if is_full || last == range.start => {
                memory.copy_within(range.clone(), last);
                *span = Span::new(span.range().start..last + range.len());
            }
            _ => ranges.push(Span::new(range)),
        }
    }

    /// Declares that range `index` begins and ends elsewhere: a record has grown out of it.
    ///
    /// # Panics
    /// When there is no such range, or the new one is empty or reaches into another.
    pub fn replace_range(&mut self, index: usize, range: Range<usize>) {
        let (before, after) = self.room(index);
        let Chunk { ranges, len, .. } = self.chunk_mut();
        let old = ranges[index].range();
        assert!(old.start - before <= range.start && range.end <= old.end + after);
        assert!(!range.is_empty(), "no range is empty");
        *len = *len - old.len() + range.len();
        ranges[index] = Span::new(range);
    }

    /// Unused memory behind the data.
    pub fn tail_mut(&mut self) -> &mut [u8] {
        let Chunk { memory, ranges, .. } = self.chunk_mut();
        let end = ranges.last().map_or(START, |last| last.range().end);
        &mut memory[end..]
    }

    /// Declares `len` bytes of [`Buf::tail_mut`] to be data.
    ///
    /// # Panics
    /// When it is not that long.
    pub fn extend(&mut self, len: usize) {
        let end = self.chunk().ranges.last().map_or(START, |last| last.range().end);
        self.push_range(end..end + len);
    }

    /// Copies `bytes` behind the data.
    ///
    /// # Panics
    /// When [`Buf::tail_mut`] is not that long.
    pub fn append(&mut self, bytes: &[u8]) {
        self.tail_mut()[..bytes.len()].copy_from_slice(bytes);
        self.extend(bytes.len());
    }

    /// Forgets the first `len` bytes of data.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn advance(&mut self, len: usize) {
        let chunk = self.chunk_mut();
        chunk.len = chunk.len.checked_sub(len).expect("no more is forgotten than there is");
        let mut left = len;
        let is_gone = |span: &&Span| {
            let len = span.range().len();
            let is_gone = len <= left;
            left -= if is_gone { len } else { 0 };
            is_gone
        };
        let gone = chunk.ranges.iter().take_while(is_gone).count();
        chunk.ranges.drain(..gone);
        if let Some(first) = chunk.ranges.first_mut() {
            *first = Span::new(first.range().start + left..first.range().end);
        }
    }

    /// Where bytes that are received in this layout go, in order.
    pub fn spaces_mut(&mut self, layout: Layout) -> impl ExactSizeIterator<Item = &mut [u8]> {
        let Chunk { memory, class, .. } = self.chunk_mut();
        let (stride, len) = class.spaces(layout);
        memory[START..].chunks_mut(stride).map(move |space| &mut space[..len])
    }

    /// Declares the first `len` bytes of [`Buf::spaces_mut`] to be all there is.
    ///
    /// # Panics
    /// When they do not hold so many.
    pub fn set_received(&mut self, layout: Layout, len: usize) {
        assert!(len <= self.class().receive_max(layout));
        self.clear();
        let (stride, space) = self.class().spaces(layout);
        let mut left = len;
        for start in (START..self.class().capacity()).step_by(stride) {
            let part = left.min(space);
            self.push_range(start..start + part);
            left -= part;
        }
    }

    /// Receives from memory, of `bytes` all.
    ///
    /// # Panics
    /// When they are more than one receive brings.
    pub fn fill(&mut self, layout: Layout, bytes: &[u8]) {
        let mut rest = bytes;
        for space in self.spaces_mut(layout) {
            let (part, after) = rest.split_at(rest.len().min(space.len()));
            space[..part.len()].copy_from_slice(part);
            rest = after;
        }
        self.set_received(layout, bytes.len());
    }

    fn chunk(&self) -> &Chunk {
        self.chunk.as_deref().expect("there until it is dropped")
    }

    fn chunk_mut(&mut self) -> &mut Chunk {
        self.chunk.as_deref_mut().expect("there until it is dropped")
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if let Some(chunk) = self.chunk.take() {
            self.pool.give_back(chunk);
        }
    }
}

impl std::fmt::Debug for Buf {
    /// Never the bytes: they are somebody's plaintext.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({:?}, {} bytes in {})", self.class(), self.len(), self.count())
    }
}

/// Appends `buf` to a queue. What fills little of its memory is copied behind what waits, if it fits
/// there with [`TAILROOM`]: a peer that does not read must not hold a buffer for every small message.
pub fn enqueue(queue: &mut VecDeque<Buf>, buf: Buf) {
    if buf.len() < buf.class().capacity() / 4
        && let Some(last) = queue.back_mut()
        && last.tail_mut().len() >= buf.len() + TAILROOM
    {
        return buf.parts().for_each(|part| last.append(part));
    }
    queue.push_back(buf);
}

/// What a buffer owns, recycled as a whole.
#[derive(Debug)]
struct Chunk {
    memory: Box<[u8]>,
    class: BufClass,
    /// Of all ranges together.
    len: usize,
    ranges: Vec<Span>,
}

impl Chunk {
    fn allocate(class: BufClass) -> Box<Self> {
        let memory = vec![0; class.capacity()].into_boxed_slice();
        Box::new(Self { memory, class, len: 0, ranges: Vec::with_capacity(PARTS) })
    }
}

/// A range, in the eight bytes that it needs.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(range: Range<usize>) -> Self {
        let place = |at: usize| u32::try_from(at).expect("a buffer is far below 4 GiB");
        Self { start: place(range.start), end: place(range.end) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[derive(Debug)]
struct PoolInner {
    #[expect(clippy::vec_box, reason = "a buffer moves as a pointer, into and out of the pool")]
    free: [RefCell<Vec<Box<Chunk>>>; BufClass::COUNT],
    retained: usize,
    limit: usize,
    in_use: Cell<usize>,
}

impl PoolInner {
    fn retained(&self, class: BufClass) -> usize {
        match class {
            BufClass::Message => self.retained,
            BufClass::Bulk => self.retained / 2,
        }
    }

    fn give_back(&self, mut chunk: Box<Chunk>) {
        self.in_use.set(self.in_use.get() - chunk.class.capacity());
        let mut free = self.free[chunk.class.index()].borrow_mut();
        if free.len() < self.retained(chunk.class) {
            chunk.ranges.clear();
            chunk.len = 0;
            free.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests;
