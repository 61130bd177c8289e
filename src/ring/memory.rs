//! What a ring asks of its memory ([`Memory`]): words that both sides know the meaning of, and bytes at positions.

use crate::frame::HeaderWords;
use crate::payload::Bytes;

/// A word of a region; each position has a 128-byte line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Word {
    /// How far the region's owner has filled its ring, in bytes since the start.
    ///
    /// Written by the owner (release), read by the peer (acquire): seeing a position means that
    /// all frames before it can be read. The peer's consumer sleeps on its low 32 bits.
    Published = 0,
    /// How far the region's owner has read the other ring, in bytes since the start.
    ///
    /// Written by the owner (release), read by the peer (acquire): seeing a position means that
    /// the space before it may be written again. The peer's producer sleeps on its low 32 bits.
    Consumed = 128,
    /// Odd while the region's owner sleeps, or is about to, until the other ring has frames past the
    /// position in the other bits; the second lowest is set if it listens for its bell instead.
    ///
    /// Written by the owner before a fence and its last look; read by the peer behind a fence once all was published,
    /// which decides. What it reads before, without one, is a guess.
    AwaitData = 256,
    /// Odd while the region's owner sleeps, or is about to, until its own ring was read past the
    /// position in the other bits; the second lowest is set if it listens for its bell instead.
    ///
    /// Written as `AwaitData` is; read by the peer behind a fence where it gives space back, and by nobody else.
    AwaitSpace = 264,
    /// On which CPU the region's owner ran when it last waited, plus one; zero if it never did.
    ///
    /// Written by the owner, read by the peer to decide whether to spin; no order matters.
    Cpu = 272,
}

/// What a side may sleep for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Await {
    /// Frames in the ring that it reads.
    Data,
    /// Space in the ring that it writes.
    Space,
}

impl Await {
    pub(super) fn word(self) -> Word {
        match self {
            Await::Data => Word::AwaitData,
            Await::Space => Word::AwaitSpace,
        }
    }
}

/// One side's view of a connection's memory: its own words and ring to write, the peer's to read.
///
/// What is read from the peer is whatever the peer wrote, at any time; callers check it. Bytes lie at positions,
/// from which a ring's end follows: they end at or before it. What is read, and headers, begin at multiples of 16.
pub(crate) trait Memory {
    /// Whether there are two ways into the outgoing ring, and out of the incoming one.
    const HAS_WAYS: bool = false;

    /// The capacity of the ring that this side writes: a power of two.
    fn outgoing_capacity(&self) -> u64;
    /// The capacity of the ring that this side reads: a power of two.
    fn incoming_capacity(&self) -> u64;

    /// Tells the peer how far its incoming ring is filled. Release.
    fn publish(&self, position: u64);
    /// Tells the peer how far its outgoing ring was read. Release.
    fn consume(&self, position: u64);
    /// Tells the peer whether this side sleeps, and where. Relaxed: a `fence(SeqCst)` follows one that says yes.
    fn set_await(&self, what: Await, mark: u64);

    /// Tells the peer on which CPU this side waits. Relaxed.
    fn set_cpu(&self, cpu: u64);

    /// How far the incoming ring is filled. Acquire.
    fn peer_published(&self) -> u64;
    /// How far the outgoing ring was read. Acquire.
    fn peer_consumed(&self) -> u64;
    /// Whether the peer sleeps, and where. Relaxed: certain behind a `fence(SeqCst)` alone.
    fn peer_await(&self, what: Await) -> u64;

    /// On which CPU the peer has last waited. Relaxed.
    fn peer_cpu(&self) -> u64;

    /// Writes a header into the outgoing ring.
    fn write_header(&self, position: u64, header: HeaderWords);
    /// Writes into the outgoing ring.
    fn write(&self, position: u64, bytes: &[u8]);
    /// The same past this CPU's cache, if it [has ways](Self::HAS_WAYS).
    fn write_past(&self, position: u64, bytes: &[u8]) {
        self.write(position, bytes);
    }
    /// Writes zeros into the outgoing ring.
    fn write_zeros(&self, position: u64, length: usize);
    /// Appends bytes of the outgoing ring to `into`.
    fn read_back(&self, position: u64, length: usize, into: &mut Bytes);

    /// Fetches `length` bytes at `position` of the incoming ring. Reads nothing.
    fn fetch(&self, position: u64, length: u64);

    /// Reads a header of the incoming ring.
    fn read_header(&self, position: u64) -> HeaderWords;
    /// Appends bytes of the incoming ring to `into`.
    fn read(&self, position: u64, length: usize, into: &mut Bytes);
    /// The same by one instruction, if it [has ways](Self::HAS_WAYS).
    fn read_at_once(&self, position: u64, length: usize, into: &mut Bytes) {
        self.read(position, length, into);
    }
}
