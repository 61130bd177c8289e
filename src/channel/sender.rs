//! The sending half of a channel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(any(feature = "tokio", loom))]
use super::listening_at;
use super::{AWAKE, Bell, Fault, Sleep, Stop, Waits, Woken, asleep_at, call};
use crate::cpu;
use crate::fault;
use crate::frame::{Header, Kind};
use crate::payload::{Bytes, Sink, TooLong, trim, trim_longest};
use crate::ring::{Await, Producer, Slot, Violation, Word};
use crate::sync::fence_before_look;
use crate::wait::{Deadline, Spin};

/// The sending half of a channel.
///
/// What has no space in the ring waits in the backlog, and [`flush`](Sender::flush) moves it on:
/// [`send`](Sender::send) waits for space no longer than it takes to put a message there. Whoever calls `send` bounds
/// the backlog by not calling it again before `flush` has answered yes, or as often as its own limits allow.
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
    pub(super) spare: Bytes,
    peer: Peer,
}

/// How long a message that does not fit into the ring waits for a peer that reads nothing. One that reads takes a few
/// microseconds for a part.
pub(super) const STALL: Duration = Duration::from_micros(50);

/// How many bytes of short messages the peer is told of at once.
const TOGETHER: u64 = 2048;

#[derive(Debug)]
struct Waiting {
    kind: Kind,
    id: u64,
    payload: Bytes,
    /// How much of the payload is in the ring.
    sent: usize,
    /// Whether parts of the message came before the payload, or have gone since.
    begun: bool,
}

/// The peer, as somebody who may sleep.
#[derive(Debug)]
struct Peer {
    woken: Woken,
    /// It was told of something, but it is not certain that it is awake.
    hinted: bool,
    bell: Option<Arc<dyn Bell>>,
    /// How long a message waits for it while it reads nothing: [`STALL`].
    stall: Duration,
}

impl Peer {
    /// Wakes it if it sleeps, as far as can be seen without a fence.
    fn wake<M: Sleep>(&mut self, producer: &Producer<M>) {
        let memory = producer.memory();
        let mark = memory.peer_await(Await::Data);
        if self.woken.is_due(mark, producer.published()) {
            call(memory, self.bell.as_deref(), mark, Word::Published);
        }
    }
}

impl<M: Sleep> Sender<M> {
    pub(crate) fn new(memory: M, position: u64, max_message: usize) -> Self {
        Sender {
            producer: Producer::new(memory, position),
            max_message,
            backlog: VecDeque::new(),
            stuck_at: position,
            spare: Bytes::new(),
            peer: Peer { woken: Woken::default(), hinted: false, bell: None, stall: STALL },
        }
    }

    /// The same, for a peer that may take longer to read.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn with_stall(mut self, stall: Duration) -> Self {
        self.peer.stall = stall;
        self
    }

    /// The same, with a bell for a peer that listens.
    pub(crate) fn with_bell(mut self, bell: Option<Arc<dyn Bell>>) -> Self {
        self.peer.bell = bell;
        self
    }

    /// Takes a message, straight into the ring as far as there is space, the rest into the backlog.
    ///
    /// Of one that takes several frames the peer sees the first ones while the others are written; for the
    /// last, or the only one, [`announce`](Self::announce) must follow. When `write` fails, its error comes
    /// back, nothing is sent, and the peer drops what it got.
    pub(crate) fn send<E>(
        &mut self,
        kind: Kind,
        id: u64,
        write: impl FnOnce(&mut dyn Sink) -> Result<(), E>,
    ) -> Result<Result<(), E>, Fault> {
        let mut sink = InPlace {
            slot: if self.backlog.is_empty() { Some(self.producer.slot(self.max_message)?) } else { None },
            kind,
            id,
            sent: 0,
            peer: &mut self.peer,
            spilled: &mut self.spare,
            limit: self.max_message,
            waited: Duration::ZERO,
            violation: None,
        };
        sink.spilled.clear();
        let written = write(&mut sink);
        let begun = sink.sent > 0;
        if let Some(violation) = sink.violation {
            return Err(violation.into());
        }
        if written.is_ok() {
            if !sink.slot.is_some_and(|slot| slot.commit(kind, id)) {
                let payload = std::mem::take(&mut self.spare);
                self.backlog.push_back(Waiting { kind, id, payload, sent: 0, begun });
                self.flush()?;
            }
        } else {
            trim_longest(&mut self.spare);
            if begun {
                let payload = Bytes::new();
                self.backlog.push_back(Waiting { kind: Kind::Abort, id, payload, sent: 0, begun });
                self.flush()?;
                self.announce();
            }
        }
        Ok(written)
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
            waiting.begun = true;
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
            } else if !waiting.begun {
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
        if self.producer.publish() || self.peer.hinted {
            self.peer.hinted = false;
            fence_before_look();
            self.peer.wake(&self.producer);
            self.producer.claim_as_much();
        }
    }

    /// Tells the peer of all that was sent; one that goes to sleep in this moment is woken only by the
    /// [`announce`](Self::announce) that must follow. It spares the fence, which waits until the peer's
    /// CPU has given its lines away.
    #[inline]
    pub(crate) fn hint(&mut self) {
        if self.producer.publish() {
            self.peer.hinted = true;
            self.peer.wake(&self.producer);
        }
    }

    /// As [`hint`](Self::hint), but tells of several short messages at once: each time that the peer reads the
    /// word which says how far to read takes both sides as long as a short message.
    #[inline]
    pub(crate) fn hint_together(&mut self) {
        if self.producer.untold() >= TOGETHER {
            self.hint();
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
        let mut waited = false;
        while !self.flush()? {
            // A peer that knows of nothing frees no space.
            self.announce();
            // A wait that ends with a little space does not tell whether its time is up.
            if waited && until.is_over() {
                return Err(Stop::Deadline);
            }
            waited = true;
            super::wait(self, spin, until, slice, &mut || severed())?;
        }
        Ok(())
    }

    /// Takes the first message out of the backlog and keeps its memory for another one.
    fn recycle(&mut self) {
        if let Some(done) = self.backlog.pop_front() {
            self.spare = done.payload;
            trim_longest(&mut self.spare);
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

    fn sleep(&self, until: Option<Instant>) {
        let (word, seen) = self.awaited();
        self.producer.memory().sleep(word, seen, until);
    }

    fn shares_cpu(&self, cpu: u64) -> bool {
        super::shares_cpu(self.producer.memory(), cpu)
    }

    fn peer_sleeps(&self) -> bool {
        super::peer_sleeps(self.producer.memory())
    }

    fn peer_cpu(&self) -> u64 {
        self.producer.memory().peer_cpu()
    }
}

/// Writes into the ring, frame by frame, for as long as there is space, then into private memory.
struct InPlace<'a, M> {
    /// The frame that is written; nothing once there was no space.
    slot: Option<Slot<'a, M>>,
    kind: Kind,
    id: u64,
    /// How many bytes lie in the frames before it.
    sent: usize,
    peer: &'a mut Peer,
    spilled: &'a mut Bytes,
    limit: usize,
    /// How long the message has waited for space.
    waited: Duration,
    /// How the peer broke the rules meanwhile.
    violation: Option<Violation>,
}

impl<M: Sleep> InPlace<'_, M> {
    /// How many bytes were appended.
    fn len(&self) -> usize {
        self.sent + self.slot.as_ref().map_or(self.spilled.len(), Slot::len)
    }

    /// Appends what does not fit into the frame, if it is not too long altogether.
    #[cold]
    fn append_further(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if bytes.len() > self.limit - self.len() {
            return Err(TooLong { limit: self.limit });
        }
        match self.append_in_parts(bytes) {
            Ok(rest) => {
                self.spilled.extend_from_slice(rest);
                Ok(())
            }
            // The writer stops here; what it is told is not what the sender says.
            Err(violation) => {
                (self.violation, self.slot) = (Some(violation), None);
                Err(TooLong { limit: self.limit })
            }
        }
    }

    /// Appends to this frame and to those that follow; gives back for what there was no space.
    #[cold]
    fn append_in_parts<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Violation> {
        let mut rest = bytes;
        let Some(slot) = &mut self.slot else { return Ok(rest) };
        if !slot.is_whole() {
            slot.spill(self.spilled);
            if !slot.open_whole(self.limit)? {
                self.slot = None;
                return Ok(rest);
            }
            slot.append(self.spilled);
            self.spilled.clear();
        }
        while let Some(slot) = &mut self.slot {
            let (part, later) = rest.split_at(rest.len().min(slot.room()));
            slot.append(part);
            rest = later;
            if rest.is_empty() {
                break;
            }
            self.sent += slot.len();
            let goes_on = slot.go_on(self.kind, self.id, self.limit - self.sent)?;
            // The peer reads this part while the next one is written.
            self.peer.hinted = true;
            self.peer.wake(slot.producer());
            fault::point("channel.part");
            if !goes_on && !self.wait_for_space(rest.len())? {
                self.slot = None;
            }
        }
        Ok(rest)
    }

    /// Waits until the peer has made space for the next part, for as long as that pays with `left` bytes to come at
    /// least; says whether it has.
    #[cold]
    fn wait_for_space(&mut self, left: usize) -> Result<bool, Violation> {
        let Some(slot) = &mut self.slot else { return Ok(false) };
        // One that goes to sleep in this moment would sleep for as long as this side waits.
        fence_before_look();
        self.peer.wake(slot.producer());
        let memory = slot.producer().memory();
        // One that sleeps takes its time to wake up, and one on this CPU reads nothing before this side lets it run.
        if super::peer_sleeps(memory) || super::shares_cpu(memory, cpu::current()) {
            return Ok(false);
        }
        let end = detour(self.sent + left).max(self.peer.stall).saturating_sub(self.waited);
        let start = Instant::now();
        let (mut seen, mut moved) = (slot.producer().consumed(), start);
        let room = loop {
            std::hint::spin_loop();
            if slot.open_whole(self.limit - self.sent)? {
                break true;
            }
            let (now, consumed) = (Instant::now(), slot.producer().consumed());
            if consumed != seen {
                (seen, moved) = (consumed, now);
            }
            if now - start >= end || now - moved >= self.peer.stall {
                break false;
            }
        };
        self.waited += start.elapsed();
        Ok(room)
    }
}

/// How long it takes, at 16 GB/s, to copy so many bytes to private memory and from there into the ring, which is what
/// a message does that finds no space. As long it waits for some at most, all in all.
fn detour(length: usize) -> Duration {
    Duration::from_nanos(length as u64 / 8)
}

impl<M: Sleep> Sink for InPlace<'_, M> {
    #[inline]
    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.slot.as_mut().is_some_and(|slot| slot.append(bytes)) {
            return Ok(());
        }
        self.append_further(bytes)
    }

    fn limit(&self) -> usize {
        self.limit
    }
}
