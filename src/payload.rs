//! A payload on its way: [`Bytes`] that an archive may lie in, and the [`Sink`] it is written to.

use rkyv::ser::allocator::Arena;
use rkyv::util::AlignedVec;

use crate::frame::ALIGN;

/// Bytes in private memory, aligned as payloads are in rings.
pub(crate) type Bytes = AlignedVec<ALIGN>;

/// The longest payload that any connection carries, in bytes.
pub(crate) const LONGEST: u32 = 1 << 30;

/// What a server's buffer keeps while its connection is quiet, and a client's that lies ready for any answer,
/// in bytes.
const KEPT: usize = 16 << 10;

/// What a buffer keeps from one long message to the next, in bytes.
const MOST_KEPT: usize = 4 << 20;

/// Whether a payload of so many bytes needs more than a quiet connection keeps.
pub(crate) fn is_long(length: usize) -> bool {
    length > KEPT
}

/// Once a connection is quiet: gives a buffer's memory back where it is more than messages mostly need.
pub(crate) fn trim(bytes: &mut Bytes) {
    if bytes.capacity() > KEPT {
        *bytes = Bytes::new();
    }
}

/// The same for the memory that values are encoded with: an arena that shrinks keeps its longest piece.
pub(crate) fn trim_arena(arena: &mut Arena) {
    if arena.shrink() > KEPT {
        *arena = Arena::new();
    }
}

/// Between two messages: gives a buffer's memory back where it is more than is kept for the next long one.
pub(crate) fn trim_longest(bytes: &mut Bytes) {
    if bytes.capacity() > MOST_KEPT {
        *bytes = Bytes::new();
    }
}

/// While a message lies there: gives back what it leaves free of the memory of a longer one, if that is more than is
/// kept.
pub(crate) fn fit(bytes: &mut Bytes) {
    if bytes.capacity() > MOST_KEPT && bytes.len() <= MOST_KEPT {
        bytes.shrink_to_fit();
    }
}

/// Takes the bytes of one message, front to back.
pub(crate) trait Sink {
    /// Appends `bytes`, or says that the message is larger than it may be.
    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong>;

    /// How many bytes may be appended in all.
    fn limit(&self) -> usize;
}

/// A message outgrew its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is larger than {limit} bytes")]
pub struct TooLong {
    /// The most bytes that would have been accepted.
    pub limit: usize,
}

/// The smallest sink: a growing vector with a limit.
#[derive(Debug)]
pub(crate) struct Limited<'a> {
    pub(crate) bytes: &'a mut Bytes,
    pub(crate) limit: usize,
}

impl Sink for Limited<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(TooLong { limit: self.limit });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn limit(&self) -> usize {
        self.limit
    }
}
