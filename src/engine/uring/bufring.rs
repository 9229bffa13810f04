//! A ring of provided buffers: the kernel picks one when bytes arrive, not before.

use std::alloc::{self, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::buf::{Buf, BufClass, Layout, Pool};

/// The buffers of one class that the kernel may fill, by buffer id.
pub(super) struct BufRing {
    entries: NonNull<BufRingEntry>,
    layout: alloc::Layout,
    class: BufClass,
    /// Number of entries, a power of two.
    len: u16,
    tail: u16,
    /// What each buffer id stands for while the kernel may write to it.
    provided: Vec<Option<Buf>>,
    free_ids: Vec<u16>,
    /// How many to provide: the kernel takes the one that has waited longest, so the more there are,
    /// the colder is each.
    wanted: u16,
    /// Since they were provided.
    taken: u16,
}

impl BufRing {
    /// An empty ring of `len` entries (a power of two up to 32,768) that holds no more than
    /// `memory` bytes, yet one buffer at least.
    pub(super) fn new(class: BufClass, len: u16, memory: usize) -> io::Result<Self> {
        debug_assert!(len.is_power_of_two());
        let most = u16::try_from(memory / class.capacity()).unwrap_or(len).clamp(1, len);
        let size = usize::from(len) * size_of::<BufRingEntry>();
        // The kernel maps whole pages (io_uring_register_buf_ring(3)).
        let layout = alloc::Layout::from_size_align(size, rustix::param::page_size())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else {
            handle_alloc_error(layout)
        };
        let free_ids = (0..most).rev().collect();
        let provided = (0..most).map(|_| None).collect();
        let (tail, taken, wanted) = (0, 0, FEWEST.min(most));
        Ok(Self { entries, layout, class, len, tail, provided, free_ids, wanted, taken })
    }

    pub(super) fn address(&self) -> u64 {
        self.entries.as_ptr().expose_provenance() as u64
    }

    pub(super) fn len(&self) -> u16 {
        self.len
    }

    pub(super) fn group(&self) -> u16 {
        group_of(self.class)
    }

    /// Buffers the kernel can fill now.
    pub(super) fn available(&self) -> u16 {
        // At most `len` ids exist.
        u16::try_from(self.provided.len() - self.free_ids.len()).unwrap_or(self.len)
    }

    /// Provides twice as many buffers as were taken since the last time, as far as the pool allows. Where
    /// fewer are taken than before, they become fewer by and by.
    pub(super) fn refill(&mut self, pool: &Pool) {
        let most = u16::try_from(self.provided.len()).unwrap_or(self.len);
        let before = self.wanted - self.wanted / 64;
        self.wanted = self.taken.saturating_mul(2).max(before).max(FEWEST).min(most);
        self.taken = 0;
        let mut added = false;
        while self.available() < self.wanted {
            let Some(&id) = self.free_ids.last() else { break };
            let Some(mut buf) = pool.try_take(self.class) else { break };
            self.free_ids.pop();
            self.provide(id, &mut buf);
            self.provided[usize::from(id)] = Some(buf);
            added = true;
        }
        if added {
            self.publish();
        }
    }

    /// True when no more buffers can be provided than were.
    pub(super) fn is_at_limit(&self, pool: &Pool) -> bool {
        usize::from(self.wanted) == self.provided.len() || pool.room(self.class) == 0
    }

    /// Takes the buffer that the kernel filled.
    pub(super) fn take(&mut self, id: u16) -> Buf {
        self.taken += 1;
        self.free_ids.push(id);
        self.provided[usize::from(id)].take().expect("the kernel names only provided buffers")
    }

    fn provide(&mut self, id: u16, buf: &mut Buf) {
        let memory = buf.spaces_mut(Layout::Contiguous).next().expect("every buffer has room");
        let address = memory.as_mut_ptr().expose_provenance() as u64;
        let len = u32::try_from(memory.len()).expect("a buffer is far below 4 GiB");
        let slot = usize::from(self.tail & (self.len - 1));
        // SAFETY: `slot` is below `len`, the number of entries allocated.
        let place = unsafe { self.entries.add(slot) };
        // SAFETY: the entry is initialised (zeroed), and the kernel reads only entries below the
        // tail it has seen, which this one is not yet.
        let entry = unsafe { &mut *place.as_ptr() };
        entry.set_addr(address);
        entry.set_len(len);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel the new tail.
    fn publish(&self) {
        // SAFETY: `entries` points to the first of the initialised entries.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is a u16 inside our allocation, aligned, and from here on only written
        // through this atomic while the kernel reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufRing {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`; the ring that knew it is gone (see Ring).
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) };
    }
}

/// Buffers that are provided however few are taken.
const FEWEST: u16 = 64;

/// Buffer group id of a class.
pub(super) fn group_of(class: BufClass) -> u16 {
    match class {
        BufClass::Message => 0,
        BufClass::Bulk => 1,
    }
}
