//! The sending half of a channel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(any(feature = "tokio", loom))]
use super::listening_at;
use super::{AWAKE, Bell, Fault, Sleep, Stop, Waits, Woken, asleep_at, call};
use crate::fault;
use crate::frame::{Header, Kind};
use crate::payload::{Bytes, Sink, TooLong, trim};
use crate::ring::{Await, Producer, Slot, Word};
use crate::sync::fence_before_look;
use crate::wait::{Deadline, Spin};

/// The sending half of a channel.
///
/// [`send`](Sender::send) never blocks: what has no space in the ring waits in the backlog, and
/// [`flush`](Sender::flush) moves it on. Whoever calls `send` bounds the backlog by not calling it
/// again before `flush` has answered yes, or as often as its own limits allow.
#[derive(Debug)]
pub(crate) struct Sender<M> {
    producer: Producer<M>,
    /// The most bytes in one message.
    max_message: usize,
    /// Messages that wait for space, oldest first. Only the first may be under way.
    backlog: VecDeque<Waiting>,
    /// How far the peer had read when the backlog last found no space.
    stuck_at: u64,
    /// Memory of an earlier message, for the next one that does not fit in place.
    spare: Bytes,
    woken: Woken,
    /// The peer was told of something, but it is not certain that it is awake.
    hinted: bool,
    bell: Option<Arc<dyn Bell>>,
}

#[derive(Debug)]
struct Waiting {
    kind: Kind,
    id: u64,
    payload: Bytes,
    /// How much of the payload is in the ring.
    sent: usize,
}

impl<M: Sleep> Sender<M> {
    pub(crate) fn new(memory: M, position: u64, max_message: usize) -> Self {
        Sender {
            producer: Producer::new(memory, position),
            max_message,
            backlog: VecDeque::new(),
            stuck_at: position,
            spare: Bytes::new(),
            woken: Woken::default(),
            hinted: false,
            bell: None,
        }
    }

    /// The same, with a bell for a peer that listens.
    pub(crate) fn with_bell(mut self, bell: Option<Arc<dyn Bell>>) -> Self {
        self.bell = bell;
        self
    }

    /// Takes a message, straight into the ring where it fits in place, else into the backlog.
    ///
    /// The peer does not see it before [`announce`](Self::announce). When `write` fails, nothing is
    /// sent and its error comes back.
    pub(crate) fn send<E>(
        &mut self,
        kind: Kind,
        id: u64,
        write: impl FnOnce(&mut dyn Sink) -> Result<(), E>,
    ) -> Result<Result<(), E>, Fault> {
        let mut sink = InPlace {
            slot: if self.backlog.is_empty() { Some(self.producer.slot(self.max_message)?) } else { None },
            spilled: &mut self.spare,
            limit: self.max_message,
        };
        sink.spilled.clear();
        if let Err(error) = write(&mut sink) {
            return Ok(Err(error));
        }
        if !sink.slot.is_some_and(|slot| slot.commit(kind, id)) {
            let payload = std::mem::take(&mut self.spare);
            self.backlog.push_back(Waiting { kind, id, payload, sent: 0 });
            self.flush()?;
        }
        Ok(Ok(()))
    }

    /// Moves the backlog into the ring as far as there is space; says whether none is left.
    pub(crate) fn flush(&mut self) -> Result<bool, Fault> {
        let full = self.producer.max_payload() as usize;
        while let Some(waiting) = self.backlog.front_mut() {
            let rest = &waiting.payload[waiting.sent..];
            let part = &rest[..rest.len().min(full)];
            let more = part.len() < rest.len();
            let header = Header::new(waiting.kind, waiting.id, part.len() as u32, more);
            if !self.producer.push(header, part)? {
                self.stuck_at = self.producer.consumed();
                return Ok(false);
            }
            waiting.sent += part.len();
            if more {
                // The peer reads this part while the next one is written.
                self.announce();
                fault::point("channel.fragment");
            } else {
                self.recycle();
            }
        }
        Ok(true)
    }

    /// Gives up the newest message in the backlog; the peer drops what it got of it.
    ///
    /// An older one stays: it may be an abort itself, which the peer must see.
    pub(crate) fn abort(&mut self) {
        if let Some(waiting) = self.backlog.back_mut() {
            if waiting.kind == Kind::Abort {
                // It is on its way already.
            } else if waiting.sent == 0 {
                self.backlog.pop_back();
            } else {
                waiting.kind = Kind::Abort;
                waiting.payload.clear();
                waiting.sent = 0;
            }
        }
    }

    /// Whether messages wait for space.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Tells the peer of all that was sent, and wakes it if it sleeps.
    #[inline]
    pub(crate) fn announce(&mut self) {
        if self.producer.publish() || self.hinted {
            self.hinted = false;
            fence_before_look();
            self.wake();
        }
    }

    /// Tells the peer of all that was sent; one that goes to sleep in this moment is woken only by the
    /// [`announce`](Self::announce) that must follow. It spares the fence, which waits until the peer's
    /// CPU has given its lines away.
    #[inline]
    pub(crate) fn hint(&mut self) {
        if self.producer.publish() {
            self.hinted = true;
            self.wake();
        }
    }

    fn wake(&mut self) {
        let memory = self.producer.memory();
        let mark = memory.peer_await(Await::Data);
        if self.woken.is_due(mark, self.producer.published()) {
            call(memory, self.bell.as_deref(), mark, Word::Published);
        }
    }

    /// Gives memory back that only a longer message needed.
    pub(crate) fn trim(&mut self) {
        trim(&mut self.spare);
    }

    /// Blocks until the backlog is in the ring.
    pub(crate) fn drain(
        &mut self,
        spin: &mut Spin,
        until: &mut Deadline,
        slice: Duration,
        severed: &mut dyn FnMut() -> bool,
    ) -> Result<(), Stop> {
        while !self.flush()? {
            // A peer that knows of nothing frees no space.
            self.announce();
            super::wait(self, spin, until, slice, severed)?;
        }
        Ok(())
    }

    /// Takes the first message out of the backlog and keeps its memory for another one.
    fn recycle(&mut self) {
        if let Some(done) = self.backlog.pop_front() {
            self.spare = done.payload;
        }
    }
}

/// Waits for space: for the peer to have read on since the backlog found none.
impl<M: Sleep> Waits for Sender<M> {
    fn look(&mut self) -> Result<bool, Fault> {
        self.producer.look()?;
        Ok(self.producer.consumed() != self.stuck_at)
    }

    fn mark_asleep(&self) {
        self.producer.memory().set_await(Await::Space, asleep_at(self.producer.consumed()));
        fence_before_look();
    }

    #[cfg(any(feature = "tokio", loom))]
    fn mark_listening(&self) {
        self.producer.memory().set_await(Await::Space, listening_at(self.producer.consumed()));
        fence_before_look();
    }

    fn mark_awake(&self) {
        self.producer.memory().set_await(Await::Space, AWAKE);
    }

    fn awaited(&self) -> (Word, u64) {
        (Word::Consumed, self.producer.consumed())
    }

    fn sleep(&self, until: Instant) {
        let (word, seen) = self.awaited();
        self.producer.memory().sleep(word, seen, Some(until));
    }

    fn shares_cpu(&self, cpu: u64) -> bool {
        super::shares_cpu(self.producer.memory(), cpu)
    }

    fn peer_sleeps(&self) -> bool {
        super::peer_sleeps(self.producer.memory())
    }
}

/// Writes into the ring's slot for as long as the message fits there, then into private memory.
struct InPlace<'a, M> {
    slot: Option<Slot<'a, M>>,
    spilled: &'a mut Bytes,
    limit: usize,
}

impl<M: Sleep> InPlace<'_, M> {
    /// Appends what does not fit in place, if it is not too long altogether.
    #[cold]
    fn append_elsewhere(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if bytes.len() > self.limit - self.len() {
            return Err(TooLong { limit: self.limit });
        }
        if let Some(slot) = &mut self.slot {
            slot.spill(self.spilled);
            self.slot = None;
        }
        self.spilled.extend_from_slice(bytes);
        Ok(())
    }
}

impl<M: Sleep> Sink for InPlace<'_, M> {
    #[inline]
    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.slot.as_mut().is_some_and(|slot| slot.append(bytes)) {
            return Ok(());
        }
        self.append_elsewhere(bytes)
    }

    #[inline]
    fn len(&self) -> usize {
        self.slot.as_ref().map_or(self.spilled.len(), Slot::len)
    }

    fn limit(&self) -> usize {
        self.limit
    }
}
