//! A single-producer, single-consumer ring of frames between two processes that do not trust each
//! other.
//!
//! The ring takes its memory from outside ([`Memory`]): a mapping in production, the heap in one
//! process, loom's cells in a model. It never sleeps and makes no system call.
//!
//! Each side keeps its own position, and the last good copy of the other's, in private memory.
//! Positions count bytes since the ring was made; they run freely and are masked for use. A word
//! that the peer wrote is loaded once, checked ([`position`]) and used from the local copy.

mod consumer;
mod memory;
mod position;
mod producer;
mod regions;
#[cfg(all(test, not(loom)))]
mod tests;
mod ways;

pub(crate) use consumer::Consumer;
pub(crate) use memory::{Await, Memory, Word};
pub(crate) use position::Violation;
pub(crate) use producer::{Producer, Slot};
pub(crate) use regions::Regions;

/// The largest frame's share of a ring: one quarter, so that a skip and a frame fit into half.
const LARGEST_FRAME_SHARE: u64 = 4;

/// The largest frame in any ring, in bytes: the peer reads one part of a longer message while the next one is
/// written. With parts of 512 KiB, 1 MiB there and back took a quarter longer, with parts of 4 KiB three times
/// as long.
const LARGEST_FRAME: u64 = 32 << 10;

/// The longest payload of one frame in a ring of `capacity` bytes.
pub(crate) fn max_payload(capacity: u64) -> u32 {
    LARGEST_FRAME.min(capacity / LARGEST_FRAME_SHARE) as u32 - crate::frame::HEADER as u32
}
