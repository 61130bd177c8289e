//! The reading end of a ring: peek, copy out once, release.

use super::position::{check_frame, check_published, rest_of_line};
use super::regions::SHORT;
use super::ways::{self, Out, Ways};
use super::{Memory, Violation, max_payload};
use crate::fault;
use crate::frame::{HEADER, Header, Kind, LINE};
use crate::payload::Bytes;

/// How many skips follow each other at most.
const MAX_SKIPS: u32 = 2;

/// How many bytes are fetched at most once the peer has told of them. With three lines, on Zen 5, 4 KiB there and back
/// take 0.65 µs in place of 0.60, and 1 KiB 0.34 in place of 0.32.
const FETCHED: u64 = 64 * LINE;

/// How many bytes of the next frame are fetched at most while another one is used.
const FETCHED_AHEAD: u64 = 3 * LINE;

/// The reading end of a ring.
#[derive(Debug)]
pub(crate) struct Consumer<M> {
    memory: M,
    capacity: u64,
    max_payload: u32,
    /// Up to here frames were read, and the peer was told.
    consumed: u64,
    /// The peer's last checked word. Only ever grows; the peer may have written more.
    published: u64,
    /// By which way long pieces come out.
    ways: Ways<Out>,
}

impl<M: Memory> Consumer<M> {
    /// Starts at `position`, at which both sides must start.
    pub(crate) fn new(memory: M, position: u64) -> Self {
        let capacity = memory.incoming_capacity();
        let max_payload = max_payload(capacity);
        Consumer {
            memory,
            capacity,
            max_payload,
            consumed: position,
            published: position,
            ways: Ways::out_of_ring(capacity),
        }
    }

    pub(crate) fn memory(&self) -> &M {
        &self.memory
    }

    /// The peer's published position as last seen: what a sleep for data waits to change.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// How far this side has read.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The longest payload of one frame of this ring, in bytes.
    pub(crate) fn max_payload(&self) -> u32 {
        self.max_payload
    }

    /// Whether the peer's position is not the one last seen, or frames are left from before: one load, and no
    /// judgement of what it says.
    #[inline]
    pub(crate) fn has_moved(&self) -> bool {
        self.consumed != self.published || self.memory.peer_published() != self.published
    }

    /// Whether there is something to read; loads the peer's word if nothing is known of.
    #[inline]
    pub(crate) fn has_news(&mut self) -> Result<bool, Violation> {
        if self.consumed != self.published {
            return Ok(true);
        }
        let seen = self.memory.peer_published();
        self.published = check_published(seen, self.published, self.consumed, self.capacity)?;
        let has_news = self.consumed != self.published;
        if has_news {
            self.fetch(self.published, FETCHED);
        }
        Ok(has_news)
    }

    /// The header of the next frame, if one is published. Passes over skips.
    ///
    /// Left to itself the compiler calls it, for 10 instructions more a message.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> Result<Option<Header>, Violation> {
        let mut skips = 0;
        while self.has_news()? {
            let words = self.memory.read_header(self.consumed);
            let header = Header::parse(words)?;
            check_frame(header, self.consumed, self.published, self.capacity, self.max_payload)?;
            if header.kind() != Kind::Skip {
                return Ok(Some(header));
            }
            // One ends a line, and one the ring. Skips without end would keep this side here.
            skips += 1;
            if skips > MAX_SKIPS {
                return Err(Violation::Skips);
            }
            self.release(header);
        }
        Ok(None)
    }

    /// Appends the payload of the frame that [`peek`](Self::peek) found to `into`: the one copy.
    #[inline]
    pub(crate) fn copy(&mut self, header: Header, into: &mut Bytes) {
        let payload = self.consumed.wrapping_add(HEADER as u64);
        let length = header.length() as usize;
        if length < SHORT {
            self.memory.read(payload, length, into);
        } else {
            self.copy_long(payload, length, into);
        }
        fault::point("ring.copied");
    }

    /// Appends a payload that is not short: by the quicker way if it is long enough for two.
    #[inline(never)]
    fn copy_long(&mut self, payload: u64, length: usize, into: &mut Bytes) {
        let memory = &self.memory;
        if !M::HAS_WAYS || length < ways::FEWEST {
            return memory.read(payload, length, into);
        }
        self.ways.take(length, |way| match way {
            Out::InTurns => memory.read(payload, length, into),
            Out::AtOnce => memory.read_at_once(payload, length, into),
        });
    }

    /// Gives the space of the frame that [`peek`](Self::peek) found back to the peer.
    #[inline]
    pub(crate) fn release(&mut self, header: Header) {
        self.consumed = self.consumed.wrapping_add(header.extent());
        self.pass_over_rest_of_line();
        self.memory.consume(self.consumed);
        fault::point("ring.consumed");
        if self.consumed != self.published {
            // The next frame comes while this one is used.
            self.fetch(self.published, FETCHED_AHEAD);
        }
    }

    /// Passes over the skip that ends what the peer has told of, if the rest of the line is one: nothing is left then.
    #[inline]
    fn pass_over_rest_of_line(&mut self) {
        let left = self.published.wrapping_sub(self.consumed);
        if left > 0
            && left == rest_of_line(self.consumed)
            && let Ok(header) = Header::parse(self.memory.read_header(self.consumed))
            && header.kind() == Kind::Skip
            && header.extent() == left
        {
            self.consumed = self.published;
        }
    }

    /// Has what lies before `end` come from the peer's CPU, `limit` bytes at most: lines that are asked for together come
    /// in hardly more than the time of one. Not before the peer has told of it: it would have to take them back, in the
    /// midst of writing.
    #[inline]
    fn fetch(&self, end: u64, limit: u64) {
        self.memory.fetch(self.consumed, end.wrapping_sub(self.consumed).min(limit));
    }
}
