//! The writing end of a ring: reserve, write in place, commit, publish.

use super::position::{check_consumed, offset, rest_of_line};
use super::ways::{self, In, Ways};
use super::{Memory, Violation, max_payload};
use crate::cpu;
use crate::fault;
use crate::frame::{self, HEADER, Header, Kind, LINE};
use crate::payload::Bytes;

/// The writing end of a ring.
#[derive(Debug)]
pub(crate) struct Producer<M> {
    memory: M,
    capacity: u64,
    max_payload: u32,
    /// Up to here frames are written. `published <= written <= consumed + capacity`.
    written: u64,
    /// Up to here the peer was told. Kept here: what lies in shared memory is never read back.
    published: u64,
    /// The peer's last checked word. Only ever grows; the peer may have read further.
    consumed: u64,
    /// Up to here lines were claimed; may lie behind `written`.
    claimed: u64,
    /// How long the latest frame is.
    latest: u64,
    /// By which way long pieces go in.
    ways: Ways<In>,
}

/// How many bytes are claimed amid short messages, and how few must be left of them for the next ones.
const CLAIM: u64 = 512;
const CLAIM_AGAIN: u64 = 128;

/// From which length on a frame has as many bytes claimed for the next one, and how many at most.
const LONG: u64 = 512;
const LONGEST_CLAIM: u64 = 8192;

impl<M: Memory> Producer<M> {
    /// Starts at `position`, at which both sides must start.
    pub(crate) fn new(memory: M, position: u64) -> Self {
        let capacity = memory.outgoing_capacity();
        let max_payload = max_payload(capacity);
        Producer {
            memory,
            capacity,
            max_payload,
            written: position,
            published: position,
            consumed: position,
            claimed: position,
            latest: 0,
            ways: Ways::into_ring(capacity),
        }
    }

    pub(crate) fn memory(&self) -> &M {
        &self.memory
    }

    /// The longest payload that one frame of this ring carries, in bytes.
    pub(crate) fn max_payload(&self) -> u32 {
        self.max_payload
    }

    /// Of how many bytes the peer was not told yet.
    #[inline]
    pub(crate) fn untold(&self) -> u64 {
        self.written.wrapping_sub(self.published)
    }

    /// How far the peer was told to read.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// The peer's consumed position as last seen: what a sleep for space waits to change.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Opens a frame whose length is not known yet, with as much room as lies free in one piece, `limit` bytes
    /// at most.
    ///
    /// The room may be zero. There is no frame until the slot is committed.
    #[inline]
    pub(crate) fn slot(&mut self, limit: usize) -> Result<Slot<'_, M>, Violation> {
        if self.free() < self.capacity / 2 {
            self.look()?;
        }
        if self.untold() > 0 {
            self.claim_ahead();
        }
        fault::point("ring.reserve");
        let contiguous = (self.capacity - offset(self.written, self.capacity)).min(self.free());
        let room = contiguous.saturating_sub(HEADER as u64).min(u64::from(self.max_payload)) as usize;
        Ok(Slot { start: self.payload(), room: room.min(limit), length: 0, producer: self })
    }

    /// Sees to it that the lines of the next messages are this CPU's by the time they are written.
    ///
    /// The peer has read them, a lap ago, and a store waits in its CPU until the line has come from there, with all
    /// later stores behind it. Messages that are put together one by one wait for their lines one by one; lines
    /// that are stored to in a row come together. Fetching them ahead for writing has no such effect.
    #[inline]
    fn claim_ahead(&mut self) {
        if (self.claimed.wrapping_sub(self.written) as i64) < CLAIM_AGAIN as i64 {
            self.claim(CLAIM);
        }
    }

    /// The same while an answer is waited for, or the next request: behind a long frame as many lines as it has, since
    /// the next one is as long, maybe.
    #[inline]
    pub(crate) fn claim_as_much(&mut self) {
        if self.latest >= LONG {
            self.claim(self.latest.min(LONGEST_CLAIM));
        } else {
            self.claim_ahead();
        }
    }

    /// Stores to each line of `length` free bytes behind what is written. No other store comes between them: lines
    /// would come one by one again.
    #[inline(never)]
    fn claim(&mut self, length: u64) {
        if self.free() < length.next_multiple_of(LINE) {
            return;
        }
        let mut line = self.written.wrapping_add(rest_of_line(self.written));
        for _ in 0..length.div_ceil(LINE) {
            self.memory.write_zeros(line, size_of::<u64>());
            line = line.wrapping_add(LINE);
        }
        self.claimed = line;
    }

    /// Writes a whole frame if there is space for it, behind a skip where it would cross the end.
    ///
    /// Says whether there was.
    ///
    /// # Panics
    /// When the payload is longer than [`max_payload`](Self::max_payload): the caller splits it.
    pub(crate) fn push(&mut self, header: Header, payload: &[u8]) -> Result<bool, Violation> {
        assert!(header.length() <= self.max_payload() && header.length() as usize == payload.len());
        let room = self.make_room(header.extent())?;
        if room {
            self.write(self.payload(), payload);
            self.commit(header);
        }
        Ok(room)
    }

    /// Writes a piece of a payload.
    #[inline]
    fn write(&mut self, position: u64, bytes: &[u8]) {
        if M::HAS_WAYS && bytes.len() >= ways::FEWEST {
            self.write_long(position, bytes);
        } else {
            self.memory.write(position, bytes);
        }
    }

    #[inline(never)]
    fn write_long(&mut self, position: u64, bytes: &[u8]) {
        let memory = &self.memory;
        let cpu = cpu::current();
        if cpu != 0 && memory.peer_cpu() == cpu {
            // It reads from this cache.
            return memory.write(position, bytes);
        }
        self.ways.take(bytes.len(), |way| match way {
            In::Through => memory.write(position, bytes),
            In::Past => memory.write_past(position, bytes),
        });
    }

    /// Skips to the ring's start where a frame of `extent` bytes would cross the end. Says whether there is
    /// space for both; if not, nothing was done.
    fn make_room(&mut self, extent: u64) -> Result<bool, Violation> {
        let contiguous = self.capacity - offset(self.written, self.capacity);
        let skip = if extent > contiguous { contiguous } else { 0 };
        if self.free() < skip + extent {
            self.look()?;
            if self.free() < skip + extent {
                return Ok(false);
            }
        }
        if skip > 0 {
            self.skip(skip);
            fault::point("ring.skipped");
        }
        Ok(true)
    }

    /// Tells the peer of all committed frames; says whether there were any.
    #[inline]
    pub(crate) fn publish(&mut self) -> bool {
        let news = self.published != self.written;
        if news {
            self.leave_line();
            fault::point("ring.publish");
            self.memory.publish(self.written);
            fault::point("ring.published");
            self.published = self.written;
        }
        news
    }

    /// Skips the rest of the last line, if there is space: while the peer reads there, the next frame is written to
    /// lines that it does not have.
    #[inline]
    fn leave_line(&mut self) {
        let rest = rest_of_line(self.written);
        if (1..=self.free()).contains(&rest) {
            self.skip(rest);
        }
    }

    /// Writes a skip of `extent` bytes.
    #[inline]
    fn skip(&mut self, extent: u64) {
        let header = Header::new(Kind::Skip, 0, (extent - HEADER as u64) as u32, false);
        self.memory.write_header(self.written, header.to_words());
        self.written = self.written.wrapping_add(extent);
    }

    /// Loads how far the peer has read.
    pub(crate) fn look(&mut self) -> Result<(), Violation> {
        self.consumed = check_consumed(self.memory.peer_consumed(), self.consumed, self.published)?;
        Ok(())
    }

    /// Where the payload of the next frame starts.
    fn payload(&self) -> u64 {
        self.written.wrapping_add(HEADER as u64)
    }

    fn free(&self) -> u64 {
        self.capacity - self.written.wrapping_sub(self.consumed)
    }

    /// Completes the frame whose payload lies in place: padding, header, position.
    #[inline]
    fn commit(&mut self, header: Header) {
        let padding = frame::padding(header.length() as usize);
        if padding > 0 {
            self.memory.write_zeros(self.payload().wrapping_add(u64::from(header.length())), padding);
        }
        fault::point("ring.commit");
        self.memory.write_header(self.written, header.to_words());
        self.latest = header.extent();
        self.written = self.written.wrapping_add(self.latest);
    }
}

/// A frame being written in place. Dropped without [`commit`](Slot::commit), it leaves no trace.
pub(crate) struct Slot<'a, M> {
    producer: &'a mut Producer<M>,
    /// The position at which the payload starts.
    start: u64,
    /// How many bytes of payload fit.
    room: usize,
    /// How many are written. `length <= room`.
    length: usize,
}

impl<M: Memory> Slot<'_, M> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Appends to the payload if it fits; says whether it did.
    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room - self.length {
            return false;
        }
        self.producer.write(self.start.wrapping_add(self.length as u64), bytes);
        fault::point("ring.write");
        self.length += bytes.len();
        true
    }

    /// How many more bytes of payload fit.
    pub(crate) fn room(&self) -> usize {
        self.room - self.length
    }

    /// Whether the payload may become as long as that of any frame, as a part must that others follow.
    pub(crate) fn is_whole(&self) -> bool {
        self.room == self.producer.max_payload() as usize
    }

    /// Opens the frame anew with all the room that a frame can have, `limit` bytes at most, behind a skip where
    /// it would cross the end. Says whether there is space; if not, it has no room. What was written is lost.
    pub(crate) fn open_whole(&mut self, limit: usize) -> Result<bool, Violation> {
        let longest = self.producer.max_payload();
        let whole = self.producer.make_room(u64::from(longest) + HEADER as u64)?;
        self.start = self.producer.payload();
        self.room = if whole { limit.min(longest as usize) } else { 0 };
        self.length = 0;
        Ok(whole)
    }

    /// Completes the frame as a part of a message, shows it to the peer, and opens the frame of the next part.
    /// Says whether there is space for that one, which gets room for `limit` bytes at most.
    #[cold]
    pub(crate) fn go_on(&mut self, kind: Kind, id: u64, limit: usize) -> Result<bool, Violation> {
        self.producer.commit(Header::new(kind, id, self.length as u32, true));
        self.producer.publish();
        self.open_whole(limit)
    }

    /// The ring that the frame is in.
    pub(crate) fn producer(&self) -> &Producer<M> {
        self.producer
    }

    /// Gives up the frame and appends what was written of it to `into`.
    pub(crate) fn spill(&mut self, into: &mut Bytes) {
        self.producer.memory.read_back(self.start, self.length, into);
        self.length = 0;
        self.room = 0;
    }

    /// Completes the frame. Says whether there was space at all; if not, nothing was written.
    #[inline]
    pub(crate) fn commit(self, kind: Kind, id: u64) -> bool {
        if self.producer.free() < HEADER as u64 {
            return false;
        }
        self.producer.commit(Header::new(kind, id, self.length as u32, false));
        true
    }
}
