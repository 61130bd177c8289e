//! The receiving end of a ring, on a snapshot of any bytes: what it receives, and whether it refuses, is
//! what a plain receiver makes of the same bytes.

use super::lane::{CAPACITY, with_lane_at};
use super::model::{Event, Model};
use super::script::Script;
use crate::channel::Receiver;
use crate::frame::{Expiry, Failure, Gap};
use crate::ring::{Memory, max_payload};

/// Receives all that the ring of the script holds.
pub fn frame(input: &[u8]) {
    let mut script = Script::new(input);
    let base = script.position();
    let limit = [4096, 1008, 2048, CAPACITY / 4][usize::from(script.byte() % 4)];
    let mut snapshot = Snapshot { base, cursor: 0, ring: [0; CAPACITY] };
    let published = match script.byte() {
        byte @ 0..32 => base.wrapping_add(script.u64().rotate_left(u32::from(byte))),
        _ => {
            snapshot.fill(&mut script);
            base.wrapping_add(snapshot.cursor)
        }
    };
    snapshot.fill(&mut script);
    let ring = &snapshot.ring;
    with_lane_at(base, |lane| {
        lane.far.write(0, ring);
        lane.far.publish(published);
        let mut receiver = Receiver::new(lane.near.clone(), base, limit);
        let mut model = Model::new(base, limit);
        loop {
            let received = receiver.poll();
            let expected = model.poll(ring, published);
            let whole = match (received, expected) {
                (Err(_), Event::Violation) => return,
                (Ok(None), Event::Nothing) => None,
                (Ok(Some((kind, id))), Event::Message { kind: number, id: other, payload }) => {
                    assert_eq!((kind as u16, id), (number, other));
                    assert_eq!(receiver.message()[..], payload);
                    Some(payload)
                }
                (received, expected) => panic!("{received:?} where {expected:?} has come"),
            };
            let position = receiver.position();
            assert_eq!((position, lane.far.peer_consumed()), (model.consumed, model.consumed));
            match whole {
                Some(payload) => read(&payload),
                None if !receiver.knows_of_more() => return,
                None => {}
            }
        }
    });
}

/// Payloads of a layout of their own: what is read of them is written as they were.
fn read(payload: &[u8]) {
    if let Some(gap) = Gap::from_bytes(payload) {
        assert_eq!(gap.to_bytes(), payload);
    }
    if let Some(failure) = Failure::from_bytes(payload) {
        assert_eq!(failure.to_bytes(), payload);
    }
    if let Some((archive, expiry)) = Expiry::split(payload) {
        assert_eq!([archive, &expiry.to_bytes()].concat(), payload);
    }
}

/// The bytes of a ring, as a script writes them from the base on.
struct Snapshot {
    base: u64,
    /// How far behind the base the script has come.
    cursor: u64,
    ring: [u8; CAPACITY],
}

impl Snapshot {
    fn fill(&mut self, script: &mut Script<'_>) {
        let full = max_payload(CAPACITY as u64);
        while !script.is_over() {
            match script.byte() % 8 {
                0 | 1 => {
                    let (kind, flags) = (script.byte(), script.byte());
                    let length = u32::from(script.u16() % 1056);
                    self.frame(
                        length,
                        u16::from(kind % 14),
                        u16::from(flags),
                        u64::from(script.byte()),
                        script,
                    );
                }
                2 => {
                    let kind = u16::from(script.byte() % 14);
                    self.frame(full, kind, 1, u64::from(script.byte()), script);
                }
                3 => {
                    let left = CAPACITY as u64 - self.base.wrapping_add(self.cursor) % CAPACITY as u64;
                    self.frame(left.saturating_sub(16) as u32, 4, 0, 0, script);
                }
                4 => {
                    let length = usize::from(script.byte()) % 64 + 1;
                    self.bytes(script.take(length));
                    self.cursor = self.cursor.next_multiple_of(16);
                }
                5 => self.cursor = self.cursor.wrapping_add(u64::from(script.byte()) * 16),
                6 => self.cursor = u64::from(script.u16() % 8192),
                _ => return,
            }
        }
    }

    /// A header and a few bytes of its payload.
    fn frame(&mut self, length: u32, kind: u16, flags: u16, id: u64, script: &mut Script<'_>) {
        let start = self.cursor;
        self.bytes(&(u64::from(length) | u64::from(kind) << 32 | u64::from(flags) << 48).to_le_bytes());
        self.bytes(&id.to_le_bytes());
        let some = (length as usize).min(usize::from(script.byte() % 32));
        self.bytes(script.take(some));
        self.cursor = start + crate::frame::extent(length);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.ring[(self.base.wrapping_add(self.cursor) % CAPACITY as u64) as usize] = byte;
            self.cursor = self.cursor.wrapping_add(1);
        }
    }
}
