//! A side of a connection over rings whose peer writes any word that it may, between any two steps of ours.
//!
//! What our receiver makes of it is what a plain receiver makes of the same bytes. Our sender refuses where
//! the peer's position is none, never writes over what the peer has not given back, and what it publishes
//! are the messages that it was given.

use std::collections::VecDeque;

use super::lane::{CAPACITY, Lane, payload, with_lane};
use super::model::{Event, Model};
use super::script::Script;
use crate::channel::{Receiver, Sender, Stop, Waits};
use crate::frame::{Header, Kind};
use crate::payload::{Bytes, TooLong};
use crate::ring::{Await, Memory, Regions, Word};
use crate::wait::{Deadline, Spin, WaitStrategy};

/// How many bytes may wait for the peer.
const MOST_WAITING: usize = 4 * CAPACITY;

/// How many steps of a script are taken.
const MOST_STEPS: u32 = 4096;

/// Takes the steps of both sides, until one of ours finds that the peer has broken the rules.
pub fn peer(input: &[u8]) {
    let mut script = Script::new(input);
    let base = script.position();
    let limit = [4096, 1008, 5000, 3 * CAPACITY][usize::from(script.byte() % 4)];
    with_lane(base, |lane| {
        let mut own = Own::new(lane, base, limit);
        let mut evil =
            Evil { far: &lane.far, ring: [0; CAPACITY], published: base, consumed: base, cursor: base };
        let mut waited = false;
        for _ in 0..MOST_STEPS {
            if script.is_over() {
                break;
            }
            let honest = match script.byte() % 32 {
                step @ 0..14 => own.step(step, &mut script, &evil),
                14 if !waited => {
                    waited = true;
                    own.wait(&evil)
                }
                step => {
                    evil.step(step, &mut script);
                    true
                }
            };
            if !honest {
                return;
            }
        }
    });
}

/// Our side, and what is known of it.
struct Own<'a> {
    lane: &'a Lane,
    limit: usize,
    sender: Sender<Regions>,
    receiver: Receiver<Regions>,
    /// What the receiver must make of the peer's ring.
    incoming: Model,
    /// What an honest receiver makes of ours.
    outgoing: Model,
    /// Messages that the peer has not been told of whole: kind, id, length.
    expected: VecDeque<(Kind, u64, usize)>,
    waiting: usize,
    sent: u64,
    /// Whether the peer has given back what it had not been told of yet: what our sender has written over
    /// since then, nobody has read.
    is_blind: bool,
    /// Our ring, as it was when it was last published.
    ring: [u8; CAPACITY],
    /// Memory for a look at it.
    spare: Bytes,
}

impl<'a> Own<'a> {
    fn new(lane: &'a Lane, base: u64, limit: usize) -> Self {
        let bell = || Some(lane.bell.clone());
        Own {
            lane,
            limit,
            sender: Sender::new(lane.near.clone(), base, limit).with_bell(bell()),
            receiver: Receiver::new(lane.near.clone(), base, limit).with_bell(bell()),
            incoming: Model::new(base, limit),
            outgoing: Model::of_ours(base, limit),
            expected: VecDeque::new(),
            waiting: 0,
            sent: 0,
            is_blind: false,
            ring: [0; CAPACITY],
            spare: Bytes::with_capacity(CAPACITY),
        }
    }

    /// One step of ours; says whether the peer still counts as honest.
    fn step(&mut self, step: u8, script: &mut Script<'_>, evil: &Evil<'_>) -> bool {
        let known = self.sender.awaited().1;
        let outcome = match step {
            0 | 1 => {
                let length = usize::from(script.byte());
                self.send(length)
            }
            2 | 3 => {
                let length = usize::from(script.u16()) % (self.limit + 16);
                self.send(length)
            }
            4 => self.sender.flush().map(drop),
            5 => {
                self.sender.announce();
                Ok(())
            }
            6 => {
                self.sender.hint();
                Ok(())
            }
            7 => {
                self.abort();
                Ok(())
            }
            8 => {
                self.sender.mark_asleep();
                let seen = self.sender.look().map(drop);
                self.sender.mark_awake();
                seen
            }
            9 => {
                self.sender.trim();
                self.receiver.trim();
                return true;
            }
            10 => {
                self.receiver.mark_asleep();
                let looked = self.receiver.look();
                self.receiver.mark_awake();
                assert_eq!(looked.ok(), self.incoming.look(evil.published));
                return looked.is_ok();
            }
            _ => return self.poll(evil),
        };
        self.judge(outcome, known, evil)
    }

    /// Whether the sender was right about the peer's position.
    fn judge(&mut self, outcome: Result<(), crate::channel::Fault>, known: u64, evil: &Evil<'_>) -> bool {
        if let Err(fault) = outcome {
            let published = self.lane.far.peer_published();
            let moved = evil.consumed.wrapping_sub(known);
            let honest = moved.is_multiple_of(16) && moved <= published.wrapping_sub(known);
            assert!(!honest, "{fault} of an honest peer");
            return false;
        }
        self.observe();
        true
    }

    fn send(&mut self, length: usize) -> Result<(), crate::channel::Fault> {
        if self.waiting + length > MOST_WAITING {
            return Ok(());
        }
        let (id, kind) = (self.sent, [Kind::Request, Kind::Reply, Kind::Gap][self.sent as usize % 3]);
        self.sent += 1;
        let bytes = payload(id, length);
        let pieces = |sink: &mut dyn crate::payload::Sink| {
            bytes.chunks(64 + length / 2).try_for_each(|piece| sink.append(piece))
        };
        let shown = self.lane.far.peer_published();
        match self.sender.send(kind, id, pieces)? {
            Ok(()) => {
                assert!(length <= self.limit);
                self.expected.push_back((kind, id, length));
                self.waiting += length;
            }
            Err(TooLong { limit }) => {
                assert!(length > self.limit && limit == self.limit);
                // Parts of it were shown.
                if self.lane.far.peer_published() != shown {
                    self.expected.push_back((Kind::Abort, id, 0));
                }
            }
        }
        Ok(())
    }

    fn abort(&mut self) {
        if self.is_blind {
            return self.sender.abort();
        }
        let had_backlog = self.sender.has_backlog();
        self.sender.abort();
        let is_under_way = self.outgoing.partial.is_some() && self.expected.len() == 1;
        match self.expected.back_mut() {
            Some((kind, _, _)) if !had_backlog || *kind == Kind::Abort => {}
            Some((kind, _, _)) if is_under_way => *kind = Kind::Abort,
            _ => {
                if let Some((_, _, length)) = self.expected.pop_back() {
                    self.waiting -= length;
                }
            }
        }
    }

    fn poll(&mut self, evil: &Evil<'_>) -> bool {
        let is_news = self.incoming.consumed != self.incoming.published;
        let has_moved = is_news || evil.published != self.incoming.published;
        assert_eq!(self.receiver.has_moved(), has_moved);
        let received = self.receiver.poll();
        match (received, self.incoming.poll(&evil.ring, evil.published)) {
            (Err(_), Event::Violation) => return false,
            (Ok(None), Event::Nothing) => {}
            (Ok(Some((kind, id))), Event::Message { kind: number, id: other, payload }) => {
                assert_eq!((kind as u16, id), (number, other));
                assert_eq!(self.receiver.message()[..], payload);
            }
            (received, expected) => panic!("{received:?} where {expected:?} has come"),
        }
        let position = self.receiver.position();
        assert_eq!((position, self.lane.far.peer_consumed()), (self.incoming.consumed, position));
        true
    }

    /// A wait that ends at once, whatever the peer says.
    fn wait(&mut self, evil: &Evil<'_>) -> bool {
        let mut spin = Spin::new(WaitStrategy::Park);
        let mut deadline = Deadline::after(std::time::Duration::ZERO);
        let waited = self.receiver.wait(&mut spin, &mut deadline, &mut || true);
        match (waited, self.incoming.look(evil.published)) {
            (Ok(()), Some(true)) | (Err(Stop::Severed), Some(false)) => true,
            (Err(Stop::Fault(_)), None) => false,
            (waited, expected) => panic!("{waited:?} where {expected:?} has come"),
        }
    }

    /// Holds what the sender has done to its ring against what it may do.
    fn observe(&mut self) {
        let published = self.lane.far.peer_published();
        let (word, given_back) = self.sender.awaited();
        assert_eq!(word, Word::Consumed);
        assert!(published.wrapping_sub(given_back) <= CAPACITY as u64);
        let old = self.outgoing.consumed;
        let is_ahead = (1..=CAPACITY as u64).contains(&given_back.wrapping_sub(old));
        if is_ahead {
            self.is_blind = true;
            self.copy(given_back, published);
        } else {
            self.compare(given_back, old);
            self.copy(old, published);
        }
        if !self.is_blind {
            return self.receive(published);
        }
        self.outgoing.consumed = published;
        if !self.sender.has_backlog() {
            self.waiting = 0;
        }
    }

    /// What was published and not given back is as it was.
    fn compare(&mut self, from: u64, to: u64) {
        for (start, length) in pieces(from, to) {
            self.spare.clear();
            self.lane.far.read(start as u64, length, &mut self.spare);
            assert!(self.spare[..] == self.ring[start..start + length], "unread bytes stay");
        }
    }

    /// Remembers what our ring holds.
    fn copy(&mut self, from: u64, to: u64) {
        for (start, length) in pieces(from, to) {
            self.spare.clear();
            self.lane.far.read(start as u64, length, &mut self.spare);
            self.ring[start..start + length].copy_from_slice(&self.spare);
        }
    }

    /// Receives as an honest peer what was published.
    fn receive(&mut self, published: u64) {
        loop {
            match self.outgoing.next(&self.ring, published) {
                Event::Part => {}
                Event::Nothing => break,
                Event::Message { kind, id, payload: bytes } => {
                    let (sent, number, length) = self.expected.pop_front().expect("only what was sent");
                    assert_eq!((kind, id), (sent as u16, number));
                    assert_eq!(bytes, payload(id, length));
                    self.waiting -= length;
                }
                Event::Aborted(id) => {
                    let (kind, number, length) = self.expected.pop_front().expect("only what was sent");
                    assert_eq!((kind, number), (Kind::Abort, id));
                    self.waiting -= length;
                }
                Event::Violation => panic!("our sender breaks the rules"),
            }
        }
        assert_eq!(self.outgoing.consumed, published);
    }
}

/// Where in a ring the bytes between two positions lie: before its end, and from its start on.
fn pieces(from: u64, to: u64) -> [(usize, usize); 2] {
    let length = to.wrapping_sub(from) as usize;
    let start = (from % CAPACITY as u64) as usize;
    let first = length.min(CAPACITY - start);
    [(start, first), (0, length - first)]
}

/// The peer: what it has written.
struct Evil<'a> {
    far: &'a Regions,
    ring: [u8; CAPACITY],
    published: u64,
    consumed: u64,
    /// Where it writes frames.
    cursor: u64,
}

impl Evil<'_> {
    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step {
            15 | 16 => self.publish(self.cursor),
            17 => self.publish(self.published.wrapping_add_signed(i64::from(script.byte() as i8) * 16)),
            18 => self.publish(far_or_near(self.published, script)),
            19 | 20 => self.consume(self.far.peer_published()),
            21 => self.consume(self.consumed.wrapping_add_signed(i64::from(script.byte() as i8) * 16)),
            22 => self.consume(far_or_near(self.consumed, script)),
            23 => self.far.set_await(Await::Data, mark(self.far.peer_published(), script)),
            24 => self.far.set_await(Await::Space, mark(self.far.peer_consumed(), script)),
            25 => self.far.set_cpu(u64::from(script.byte())),
            26 | 27 => {
                let (kind, length) = (KINDS[usize::from(script.byte() % 10)], u32::from(script.byte()));
                self.frame(Header::new(kind, u64::from(script.byte() % 4), length, false), true);
            }
            28 => {
                let (kind, id) = (KINDS[usize::from(script.byte() % 10)], u64::from(script.byte() % 4));
                self.frame(Header::new(kind, id, CAPACITY as u32 / 4 - 16, true), true);
            }
            29 => {
                let at = usize::from(script.u16()) % (CAPACITY / 8) * 8;
                self.write(at, &script.u64().to_le_bytes());
            }
            30 => {
                let at = (self.cursor % CAPACITY as u64) as usize;
                self.write(at, &script.u64().to_le_bytes());
                self.cursor = self.cursor.wrapping_add(u64::from(script.byte()) * 16);
            }
            _ => {
                let byte = script.byte();
                let at = usize::from(script.u16()) % CAPACITY;
                self.write(at, &[byte; CAPACITY][at..]);
            }
        }
    }

    fn publish(&mut self, position: u64) {
        self.published = position;
        self.far.publish(position);
    }

    fn consume(&mut self, position: u64) {
        self.consumed = position;
        self.far.consume(position);
    }

    /// Writes a frame as an honest peer does, behind a skip where it would cross the end.
    fn frame(&mut self, header: Header, skip: bool) {
        let at = (self.cursor % CAPACITY as u64) as usize;
        let left = CAPACITY - at;
        if skip && header.extent() > left as u64 {
            self.header(at, Header::new(Kind::Skip, 0, left as u32 - 16, false));
            self.cursor = self.cursor.wrapping_add(left as u64);
            return self.frame(header, false);
        }
        self.header(at, header);
        self.write(at + 16, payload(header.id(), header.length() as usize));
        self.cursor = self.cursor.wrapping_add(header.extent());
    }

    fn header(&mut self, at: usize, header: Header) {
        self.write(at, &header.to_bytes());
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(CAPACITY - at)];
        self.ring[at..at + bytes.len()].copy_from_slice(bytes);
        self.far.write(at as u64, bytes);
    }
}

/// The kinds that a peer sends, the abort among them.
const KINDS: [Kind; 10] = [
    Kind::Request,
    Kind::Reply,
    Kind::Failure,
    Kind::Abort,
    Kind::Cancel,
    Kind::Part,
    Kind::Subscribe,
    Kind::Unsubscribe,
    Kind::Notice,
    Kind::Gap,
];

/// Any word, or one that is not far from what it was.
fn far_or_near(word: u64, script: &mut Script<'_>) -> u64 {
    match script.byte() {
        byte @ 0..128 => word.wrapping_add_signed(i64::from(byte) - 64),
        byte @ 128..192 => word ^ 1 << (byte - 128),
        _ => script.u64(),
    }
}

/// What a side may say of its sleep.
fn mark(position: u64, script: &mut Script<'_>) -> u64 {
    match script.byte() {
        byte @ 0..64 => position.wrapping_sub(u64::from(byte / 4) * 16) | u64::from(byte % 4),
        byte @ 64..128 => u64::from(byte - 64),
        _ => script.u64(),
    }
}
