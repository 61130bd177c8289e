//! The requests of one client whose answers nobody has claimed yet: [`Open`].
//!
//! This file is bookkeeping: it sends nothing and waits for nothing. A request's id is its sequence
//! number and, in the low 16 bits, its place in the table, so an answer finds its place whatever
//! order answers come in, and a late one finds that its place has another id by now.

use std::task::Waker;

use crate::frame::{Expiry, Kind};
use crate::payload::{Bytes, trim};

/// The id of a request: its sequence number from 1 on, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(u64);

impl RequestId {
    /// The place of a request that is claimed as soon as it is sent.
    pub(super) const NO_PLACE: u16 = u16::MAX;

    /// No request: sequence numbers start at 1.
    const NONE: Self = RequestId(0);

    pub(super) fn new(sequence: u64, place: u16) -> Self {
        RequestId(sequence << 16 | u64::from(place))
    }

    /// The id in a frame that a peer sent.
    pub(super) fn of_frame(id: u64) -> Self {
        RequestId(id)
    }

    pub(super) fn to_frame(self) -> u64 {
        self.0
    }

    pub(super) fn sequence(self) -> u64 {
        self.0 >> 16
    }

    fn place(self) -> usize {
        usize::from(self.0 as u16)
    }
}

/// An answer, kept until it is claimed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) payload: Bytes,
}

#[derive(Debug)]
struct Slot {
    /// [`RequestId::NONE`] while the place is free: then nothing else is here.
    id: RequestId,
    expiry: Expiry,
    answer: Option<Answer>,
    /// Who is to be told when the answer comes; a thread that blocks needs no telling.
    waker: Option<Waker>,
}

/// The table: a place for each request that may be unclaimed.
#[derive(Debug)]
pub(super) struct Open {
    slots: Vec<Slot>,
    free: Vec<u16>,
    limit: u16,
    /// Of those whose answers have come since they were last taken.
    due: Vec<Waker>,
    /// Memory of answers that were claimed, [`SPARES`] at most, for those to come.
    spare: Vec<Bytes>,
}

/// Of how many claimed answers the memory is kept: as many as are received before the next are sent, mostly.
const SPARES: usize = 16;

impl Open {
    /// A table for `limit` requests; the memory comes with the first of them.
    pub(super) fn new(limit: u32) -> Self {
        let limit = limit.min(u32::from(RequestId::NO_PLACE)) as u16;
        Open { slots: Vec::new(), free: Vec::new(), limit, due: Vec::new(), spare: Vec::new() }
    }

    /// How many requests may be unclaimed.
    pub(super) fn limit(&self) -> u16 {
        self.limit
    }

    /// A place for one more request, if there is one.
    #[inline]
    pub(super) fn place(&mut self) -> Option<u16> {
        self.free.last().copied().or_else(|| {
            let next = self.slots.len() as u16;
            (next < self.limit).then_some(next)
        })
    }

    /// Takes the place that [`place`](Self::place) has just told.
    ///
    /// A free place is filled where it is: moved there as a whole, a slot would be loaded from where it was just
    /// put together, and that load waits until the request, stored before it, has reached the ring.
    #[inline]
    pub(super) fn occupy(&mut self, id: RequestId, expiry: Expiry) {
        if self.free.pop().is_some() {
            let slot = &mut self.slots[id.place()];
            slot.id = id;
            slot.expiry = expiry;
        } else {
            self.slots.push(Slot { id, expiry, answer: None, waker: None });
        }
    }

    /// Whether an answer to this request is waited for.
    #[inline]
    pub(super) fn awaits(&self, id: RequestId) -> bool {
        self.slot(id).is_some_and(|slot| slot.answer.is_none())
    }

    /// Keeps an answer that is waited for.
    pub(super) fn keep(&mut self, id: RequestId, answer: Answer) {
        if let Some(slot) = self.slot_mut(id) {
            slot.answer = Some(answer);
            let waker = slot.waker.take();
            self.due.extend(waker);
        }
    }

    /// Whether the answer has come.
    #[inline]
    pub(super) fn has_answer(&self, id: RequestId) -> bool {
        self.slot(id).is_some_and(|slot| slot.answer.is_some())
    }

    /// Claims the answer, if it has come.
    pub(super) fn take_answer(&mut self, id: RequestId) -> Option<Answer> {
        if self.has_answer(id) { self.close(id) } else { None }
    }

    /// When nobody waits for the answer any more.
    pub(super) fn expiry(&self, id: RequestId) -> Expiry {
        self.slot(id).map_or(Expiry::NEVER, |slot| slot.expiry)
    }

    /// Frees the place of a request; its answer, if it has come.
    #[inline]
    pub(super) fn close(&mut self, id: RequestId) -> Option<Answer> {
        let slot = self.slot_mut(id)?;
        slot.id = RequestId::NONE;
        slot.waker = None;
        let answer = slot.answer.take();
        self.free.push(id.place() as u16);
        answer
    }

    /// Memory for an answer.
    #[inline]
    pub(super) fn memory(&mut self) -> Bytes {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes the memory of a claimed answer back, unless that is more than answers mostly need.
    #[inline]
    pub(super) fn give_back(&mut self, mut bytes: Bytes) {
        trim(&mut bytes);
        if bytes.capacity() > 0 && self.spare.len() < SPARES {
            self.spare.push(bytes);
        }
    }

    /// How many requests are unclaimed.
    pub(super) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Has `waker` told when the answer comes.
    #[cfg(feature = "tokio")]
    pub(super) fn tell(&mut self, id: RequestId, waker: &Waker) {
        if let Some(slot) = self.slot_mut(id) {
            match &mut slot.waker {
                Some(told) => told.clone_from(waker),
                None => slot.waker = Some(waker.clone()),
            }
        }
    }

    /// Those who are to be told now that the connection is lost: all.
    #[cfg(feature = "tokio")]
    pub(super) fn tell_all(&mut self) {
        self.due.extend(self.slots.iter_mut().filter_map(|slot| slot.waker.take()));
    }

    /// Takes those who are to be told that their answers have come.
    #[cfg(feature = "tokio")]
    pub(super) fn take_due(&mut self, into: &mut Vec<Waker>) {
        into.append(&mut self.due);
    }

    /// The place of an open request. A peer may write any id, that of a free place too, which is none.
    #[inline]
    fn slot(&self, id: RequestId) -> Option<&Slot> {
        self.slots.get(id.place()).filter(|slot| slot.id == id && id != RequestId::NONE)
    }

    #[inline]
    fn slot_mut(&mut self, id: RequestId) -> Option<&mut Slot> {
        self.slots.get_mut(id.place()).filter(|slot| slot.id == id && id != RequestId::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(table: &mut Open, sequence: u64) -> RequestId {
        let id = RequestId::new(sequence, table.place().expect("there is a place"));
        table.occupy(id, Expiry::NEVER);
        id
    }

    fn answer() -> Answer {
        Answer { kind: Kind::Reply, payload: Bytes::new() }
    }

    #[test]
    fn the_limit_is_reached_and_not_passed() {
        let mut table = Open::new(2);
        let first = open(&mut table, 1);
        open(&mut table, 2);
        assert_eq!(table.place(), None);
        assert!(table.close(first).is_none());
        assert_eq!(open(&mut table, 3).place(), first.place());
        assert_eq!(table.place(), None);
    }

    #[test]
    fn answers_are_claimed_in_any_order() {
        let mut table = Open::new(8);
        let ids: Vec<_> = (1..=8).map(|sequence| open(&mut table, sequence)).collect();
        for &id in ids.iter().rev() {
            assert!(table.awaits(id) && !table.has_answer(id));
            table.keep(id, answer());
            assert!(!table.awaits(id) && table.has_answer(id));
        }
        for &id in &[3, 0, 7, 1, 2, 4, 6, 5].map(|place: usize| ids[place]) {
            assert!(table.close(id).is_some());
            assert!(table.close(id).is_none());
        }
    }

    #[test]
    fn a_late_answer_finds_another_id_in_its_place() {
        let mut table = Open::new(1);
        let gone = open(&mut table, 1);
        table.close(gone);
        let next = open(&mut table, 2);
        assert!(!table.awaits(gone));
        table.keep(gone, answer());
        assert!(!table.has_answer(next) && table.awaits(next));
        assert!(!table.awaits(RequestId::new(9, RequestId::NO_PLACE)));
    }

    #[test]
    fn an_answer_under_the_id_of_a_free_place_is_nobodys() {
        let mut table = Open::new(1);
        let gone = open(&mut table, 1);
        table.close(gone);
        let none = RequestId::of_frame(0);
        assert!(!table.awaits(none));
        table.keep(none, answer());
        assert!(table.close(none).is_none());
        let next = open(&mut table, 2);
        assert!(table.awaits(next) && !table.has_answer(next));
        assert_eq!(table.place(), None);
    }
}
