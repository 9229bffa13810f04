//! What vectored operations name: a header, and the pieces of memory that it lists.

use crate::buf::MAX_RANGES;

/// The headers of a turn. The kernel reads them when it is given the operation
/// (IORING_FEAT_SUBMIT_STABLE, 5.5), so they are used again in the next turn.
#[derive(Default)]
pub(super) struct Vectors {
    /// Boxed, because the kernel is told where they are while more are made.
    #[expect(clippy::vec_box, reason = "as said")]
    all: Vec<Box<Vector>>,
    used: usize,
}

struct Vector {
    header: libc::msghdr,
    pieces: [libc::iovec; MAX_RANGES],
}

impl Vectors {
    /// A header that lists these pieces, at most [`MAX_RANGES`] of them, until
    /// [`Vectors::submitted`].
    pub(super) fn header(
        &mut self,
        pieces: impl Iterator<Item = (*mut u8, usize)>,
    ) -> *mut libc::msghdr {
        if self.used == self.all.len() {
            self.all.push(Vector::new());
        }
        let vector = &mut *self.all[self.used];
        self.used += 1;
        let mut count = 0;
        for (place, (memory, len)) in vector.pieces.iter_mut().zip(pieces) {
            *place = libc::iovec { iov_base: memory.cast(), iov_len: len };
            count += 1;
        }
        vector.header.msg_iov = vector.pieces.as_mut_ptr();
        vector.header.msg_iovlen = count;
        &raw mut vector.header
    }

    /// So many that they should go before there are more.
    pub(super) fn are_many(&self) -> bool {
        self.used >= MANY
    }

    /// All that was listed has been given to the kernel.
    pub(super) fn submitted(&mut self) {
        self.used = 0;
        // A burst leaves no memory behind.
        self.all.truncate(KEPT);
    }
}

impl Vector {
    fn new() -> Box<Self> {
        // SAFETY: no name, no control data, no pieces: all zeros are a valid header.
        let header = unsafe { std::mem::zeroed() };
        let piece = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Box::new(Self { header, pieces: [piece; MAX_RANGES] })
    }
}

/// A megabyte. In a turn there may be more.
const MANY: usize = 1024;
/// Headers kept from turn to turn: of 1 KiB each.
const KEPT: usize = 64;
