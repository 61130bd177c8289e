//! The receiving half of a channel.

use std::sync::Arc;
use std::time::Instant;

#[cfg(any(feature = "tokio", loom))]
use super::listening_at;
use super::{AWAKE, Bell, Fault, LIFELINE_SLICE, Lifeline, Sleep, Stop, Waits, Woken, asleep_at, call};
use crate::frame::{Header, Kind};
use crate::payload::{Bytes, fit, trim, trim_longest};
use crate::ring::{Await, Consumer, Word};
use crate::sync::fence_before_look;
use crate::wait::{Deadline, Spin};

/// The receiving half of a channel.
#[derive(Debug)]
pub(crate) struct Receiver<M> {
    consumer: Consumer<M>,
    /// The most bytes in one message.
    max_message: usize,
    /// The message received last, or as much of one as has come.
    message: Bytes,
    held: Held,
    /// Where this side had read to when it last looked for a sleeping sender.
    looked_at: u64,
    woken: Woken,
    bell: Option<Arc<dyn Bell>>,
}

/// What lies in the receiver's buffer.
#[derive(Debug)]
enum Held {
    /// The last message.
    Whole,
    /// The same, in more memory perhaps than is kept for the next one. It is told apart so that short messages
    /// are received without a look at that.
    WholeOfParts,
    /// A message that goes on in the next frame.
    Unfinished(Kind, u64),
}

impl<M: Sleep> Receiver<M> {
    pub(crate) fn new(memory: M, position: u64, max_message: usize) -> Self {
        Receiver {
            consumer: Consumer::new(memory, position),
            max_message,
            message: Bytes::new(),
            held: Held::Whole,
            looked_at: position,
            woken: Woken::default(),
            bell: None,
        }
    }

    /// The same, with a bell for a peer that listens.
    pub(crate) fn with_bell(mut self, bell: Option<Arc<dyn Bell>>) -> Self {
        self.bell = bell;
        self
    }

    /// The kind and id of the next whole message, if it has come: [`message`](Self::message) holds
    /// its payload then.
    ///
    /// Reads at most a ring full of frames: a peer that sends parts without end, each honest, keeps
    /// nobody here. The next look says that there is more.
    pub(crate) fn poll(&mut self) -> Result<Option<(Kind, u64)>, Fault> {
        let start = self.consumer.consumed();
        while self.consumer.consumed().wrapping_sub(start) < self.consumer.capacity()
            && let Some(header) = self.consumer.peek()?
        {
            let done = self.take(header)?;
            self.consumer.release(header);
            self.wake_for_space();
            if done {
                return Ok(Some((header.kind(), header.id())));
            }
        }
        Ok(None)
    }

    /// The kind of the next frame, if one has come: it is still to be received.
    #[cold]
    pub(crate) fn next_kind(&mut self) -> Result<Option<Kind>, Fault> {
        Ok(self.consumer.peek()?.map(|header| header.kind()))
    }

    /// How far this side has read.
    pub(crate) fn position(&self) -> u64 {
        self.consumer.consumed()
    }

    /// Whether a look is worth while; costs less, and fetches nothing.
    #[inline]
    pub(crate) fn has_moved(&self) -> bool {
        self.consumer.has_moved()
    }

    /// Whether frames have come that were not read yet, as far as the last look has told.
    pub(crate) fn knows_of_more(&self) -> bool {
        self.consumer.published() != self.consumer.consumed()
    }

    /// Whether a message has come in part.
    pub(crate) fn is_amid_message(&self) -> bool {
        matches!(self.held, Held::Unfinished(..))
    }

    /// Gives memory back that only a longer message needed.
    pub(crate) fn trim(&mut self) {
        if !self.is_amid_message() {
            trim(&mut self.message);
        }
    }

    /// The payload that [`poll`](Self::poll) received last.
    pub(crate) fn message(&self) -> &Bytes {
        &self.message
    }

    /// Gives the payload away for other memory.
    pub(crate) fn swap_message(&mut self, other: &mut Bytes) {
        std::mem::swap(&mut self.message, other);
    }

    /// Blocks until frames have come.
    pub(crate) fn wait(
        &mut self,
        spin: &mut Spin,
        until: &mut Deadline,
        lifeline: &mut dyn Lifeline,
    ) -> Result<(), Stop> {
        super::wait(self, spin, until, LIFELINE_SLICE, lifeline)
    }

    /// Takes a frame; says whether that completes a message.
    #[inline]
    fn take(&mut self, header: Header) -> Result<bool, Fault> {
        if !matches!(self.held, Held::Whole) || header.more() || header.kind() == Kind::Abort {
            return self.take_part(header);
        }
        self.message.clear();
        self.append(header)?;
        Ok(true)
    }

    /// Takes a frame of a message that has several, or comes after one.
    #[cold]
    fn take_part(&mut self, header: Header) -> Result<bool, Fault> {
        match self.held {
            Held::Unfinished(_, id) if header.kind() == Kind::Abort && header.id() == id => {
                self.held = Held::WholeOfParts;
                return Ok(false);
            }
            _ if header.kind() == Kind::Abort => return Err(Fault::StrayAbort(header.id())),
            Held::Unfinished(kind, id) if (kind, id) != (header.kind(), header.id()) => {
                return Err(Fault::Interleaved { found: header.id(), within: id });
            }
            Held::Unfinished(..) => {}
            Held::Whole | Held::WholeOfParts => {
                self.message.clear();
                // The next long one is welcome to the memory of the last.
                if !header.more() {
                    trim_longest(&mut self.message);
                }
                self.held = Held::Whole;
            }
        }
        let full = self.consumer.max_payload();
        if header.more() && header.length() != full {
            return Err(Fault::ShortFragment { length: header.length(), full });
        }
        self.append(header)?;
        self.held = match self.held {
            _ if header.more() => Held::Unfinished(header.kind(), header.id()),
            Held::Unfinished(..) => {
                fit(&mut self.message);
                Held::WholeOfParts
            }
            _ => Held::Whole,
        };
        Ok(!header.more())
    }

    /// Adds a frame's payload to the message.
    #[inline]
    fn append(&mut self, header: Header) -> Result<(), Fault> {
        if header.length() as usize > self.max_message - self.message.len() {
            return Err(Fault::TooLong { limit: self.max_message });
        }
        self.consumer.copy(header, &mut self.message);
        Ok(())
    }

    /// Wakes the peer if it sleeps for space, but looks only when it can.
    ///
    /// A frame and the skip before it take at most half of the ring, so a sender sleeps only while
    /// more than half is unread: while `published - consumed > capacity / 2` for the `consumed`
    /// that it saw after its fence. That is at least where this side last looked, or the look
    /// would have seen the sender's mark. So as long as `published - looked_at` is at most half of
    /// the ring, nobody sleeps, and the fence and the look can be spared. A sender that sleeps has
    /// published all it has, so this side learns of that much before it runs out of frames, and
    /// looks at the first of them that it gives back.
    fn wake_for_space(&mut self) {
        let consumer = &self.consumer;
        if consumer.published().wrapping_sub(self.looked_at) <= consumer.capacity() / 2 {
            return;
        }
        self.looked_at = consumer.consumed();
        fence_before_look();
        let memory = consumer.memory();
        let mark = memory.peer_await(Await::Space);
        if self.woken.is_due(mark, self.looked_at) {
            call(memory, self.bell.as_deref(), mark, Word::Consumed);
        }
    }
}

/// Waits for frames.
impl<M: Sleep> Waits for Receiver<M> {
    #[inline]
    fn look(&mut self) -> Result<bool, Fault> {
        Ok(self.consumer.has_news()?)
    }

    fn mark_asleep(&self) {
        self.consumer.memory().set_await(Await::Data, asleep_at(self.consumer.published()));
        fence_before_look();
    }

    #[cfg(any(feature = "tokio", loom))]
    fn mark_listening(&self) {
        self.consumer.memory().set_await(Await::Data, listening_at(self.consumer.published()));
        fence_before_look();
    }

    fn mark_awake(&self) {
        self.consumer.memory().set_await(Await::Data, AWAKE);
    }

    fn awaited(&self) -> (Word, u64) {
        (Word::Published, self.consumer.published())
    }

    fn sleep(&self, until: Option<Instant>) {
        let (word, seen) = self.awaited();
        self.consumer.memory().sleep(word, seen, until);
    }

    fn shares_cpu(&self, cpu: u64) -> bool {
        super::shares_cpu(self.consumer.memory(), cpu)
    }

    fn peer_sleeps(&self) -> bool {
        super::peer_sleeps(self.consumer.memory())
    }

    fn peer_cpu(&self) -> u64 {
        self.consumer.memory().peer_cpu()
    }
}
