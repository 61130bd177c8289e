//! A receiver as plain as can be: it reads a snapshot of a ring by slices, and knows nothing of the
//! library's.

use super::lane::CAPACITY;

/// What a ring's bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A message of several parts goes on.
    Part,
    /// What has come of this message is void.
    Aborted(u64),
    /// A whole message.
    Message { kind: u16, id: u64, payload: Vec<u8> },
    /// No more frames.
    Nothing,
    /// What no honest peer writes.
    Violation,
}

/// The state of a receiver.
#[derive(Debug)]
pub(super) struct Model {
    /// The longest message, in bytes.
    limit: usize,
    /// Up to here frames were read.
    pub(super) consumed: u64,
    /// Up to here they can be read, as far as was looked.
    pub(super) published: u64,
    /// The message that goes on: kind, id, and what has come of it.
    pub(super) partial: Option<(u16, u64, Vec<u8>)>,
    /// Whether the writer is ours: then the bytes behind a payload are zeros.
    honest: bool,
}

impl Model {
    pub(super) fn new(base: u64, limit: usize) -> Self {
        Model { limit, consumed: base, published: base, partial: None, honest: false }
    }

    /// A receiver of what we write ourselves.
    pub(super) fn of_ours(base: u64, limit: usize) -> Self {
        Model { honest: true, ..Model::new(base, limit) }
    }

    /// Looks at the writer's position where no frame is known of; nothing if it is none.
    pub(super) fn look(&mut self, word: u64) -> Option<bool> {
        if self.consumed == self.published {
            let moved = word.wrapping_sub(self.published);
            if moved > CAPACITY as u64 || !moved.is_multiple_of(16) {
                return None;
            }
            self.published = word;
        }
        Some(self.consumed != self.published)
    }

    /// The next whole message within a ring full of frames.
    pub(super) fn poll(&mut self, ring: &[u8; CAPACITY], word: u64) -> Event {
        let start = self.consumed;
        while self.consumed.wrapping_sub(start) < CAPACITY as u64 {
            match self.next(ring, word) {
                Event::Part | Event::Aborted(_) => {}
                event => return event,
            }
        }
        Event::Nothing
    }

    /// What the next frame that is not a skip amounts to.
    pub(super) fn next(&mut self, ring: &[u8; CAPACITY], word: u64) -> Event {
        let mut skips = 0;
        loop {
            match self.look(word) {
                None => return Event::Violation,
                Some(false) => return Event::Nothing,
                Some(true) => {}
            }
            let at = (self.consumed % CAPACITY as u64) as usize;
            let rest = &ring[at..];
            let [length, kind, flags, id] = header(rest);
            let extent = 16 + length.div_ceil(16) * 16;
            let unread = self.published.wrapping_sub(self.consumed);
            let full = CAPACITY as u64 / 4 - 16;
            if !(1..=11).contains(&kind) || flags > 1 || length > full || extent > unread {
                return Event::Violation;
            }
            let Some(frame) = rest.get(..extent as usize) else { return Event::Violation };
            let end = self.consumed.wrapping_add(extent);
            if kind == 4 {
                skips += 1;
                if end % 64 != 0 || skips > 2 {
                    return Event::Violation;
                }
                self.consumed = end;
                continue;
            }
            let payload = &frame[16..16 + length as usize];
            if self.honest {
                assert!(
                    frame[16 + length as usize..].iter().all(|&byte| byte == 0),
                    "zeros behind a payload"
                );
            }
            let event = self.take(kind as u16, id, payload, flags == 1, length == full);
            if event != Event::Violation {
                self.consumed = end;
                self.pass_over_rest_of_line(ring);
            }
            return event;
        }
    }

    /// A skip that ends what is published goes with the frame before it, if it is the rest of a line.
    fn pass_over_rest_of_line(&mut self, ring: &[u8; CAPACITY]) {
        let left = self.published.wrapping_sub(self.consumed);
        if left == 0 || left >= 64 || !self.published.is_multiple_of(64) {
            return;
        }
        let [length, kind, flags, _] = header(&ring[(self.consumed % CAPACITY as u64) as usize..]);
        if kind == 4 && flags <= 1 && 16 + length.div_ceil(16) * 16 == left {
            self.consumed = self.published;
        }
    }

    fn take(&mut self, kind: u16, id: u64, payload: &[u8], more: bool, is_full: bool) -> Event {
        if kind == 5 {
            return match self.partial.take() {
                Some((_, begun, _)) if begun == id => Event::Aborted(id),
                _ => Event::Violation,
            };
        }
        let (begun, number, mut whole) = self.partial.take().unwrap_or((kind, id, Vec::new()));
        if (begun, number) != (kind, id) || more && !is_full || whole.len() + payload.len() > self.limit {
            return Event::Violation;
        }
        whole.extend_from_slice(payload);
        if more {
            self.partial = Some((kind, id, whole));
            return Event::Part;
        }
        Event::Message { kind, id, payload: whole }
    }
}

/// Length, kind, flags and id of a frame.
fn header(frame: &[u8]) -> [u64; 4] {
    [(0, 4), (4, 6), (6, 8), (8, 16)].map(|(from, to)| {
        frame[from..to].iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
    })
}
