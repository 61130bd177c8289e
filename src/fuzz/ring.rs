//! Both ends of a ring, honest, near the wraps of positions at 32 and 64 bits: what comes is what was sent,
//! in order, and all of it.

use std::collections::VecDeque;

use super::lane::{CAPACITY, payload, with_lane};
use super::script::Script;
use crate::channel::{Receiver, Sender, Waits};
use crate::frame::Kind;
use crate::payload::TooLong;

/// How many bytes may wait in the queue.
const MOST_WAITING: usize = 4 * CAPACITY;

/// Sends and receives what the script says, then the rest.
pub fn ring(input: &[u8]) {
    let mut script = Script::new(input);
    let base = script.position();
    let limit = [4096, 1008, 5000, 3 * CAPACITY][usize::from(script.byte() % 4)];
    with_lane(base, |lane| {
        let mut sender = Sender::new(lane.near.clone(), base, limit).with_bell(Some(lane.bell.clone()));
        let mut receiver = Receiver::new(lane.far.clone(), base, limit).with_bell(Some(lane.bell.clone()));
        let mut queue = Queue::default();
        while !script.is_over() {
            match script.byte() % 12 {
                0 | 1 => {
                    let length = usize::from(script.byte());
                    queue.send(&mut sender, length, limit, script.byte());
                }
                2 | 3 => {
                    let length = usize::from(script.u16()) % (limit + 16);
                    queue.send(&mut sender, length, limit, script.byte());
                }
                4 => sender.announce(),
                5 => sender.hint(),
                6 => drop(sender.flush().expect("honest")),
                7 | 8 => drop(queue.receive(&mut receiver)),
                9 => {
                    sender.trim();
                    receiver.trim();
                }
                10 => {
                    receiver.mark_asleep();
                    receiver.look().expect("honest");
                    receiver.mark_awake();
                }
                _ => {
                    sender.mark_asleep();
                    sender.look().expect("honest");
                    sender.mark_awake();
                }
            }
        }
        while !queue.waiting.is_empty() || sender.has_backlog() {
            sender.flush().expect("honest");
            sender.announce();
            let before = receiver.position();
            let received = queue.receive(&mut receiver);
            assert!(received || receiver.position() != before, "what was sent comes");
        }
    });
}

/// What was sent and has not come.
#[derive(Default)]
struct Queue {
    /// Kind, id and length of each message.
    waiting: VecDeque<(Kind, u64, usize)>,
    bytes: usize,
    sent: u64,
}

impl Queue {
    fn send<M: crate::channel::Sleep>(
        &mut self,
        sender: &mut Sender<M>,
        length: usize,
        limit: usize,
        piece: u8,
    ) {
        if self.bytes + length > MOST_WAITING {
            return;
        }
        let kind = [Kind::Request, Kind::Reply, Kind::Notice, Kind::Part][self.sent as usize % 4];
        let bytes = payload(self.sent, length);
        let sent = sender.send(kind, self.sent, |sink| {
            bytes.chunks(usize::from(piece) * 4 + 8).try_for_each(|piece| sink.append(piece))
        });
        match sent.expect("honest") {
            Ok(()) => {
                assert!(length <= limit);
                self.waiting.push_back((kind, self.sent, length));
                self.bytes += length;
            }
            Err(TooLong { limit: told }) => assert!(length > limit && told == limit),
        }
        self.sent += 1;
    }

    /// Receives a message if one has come; says so.
    fn receive<M: crate::channel::Sleep>(&mut self, receiver: &mut Receiver<M>) -> bool {
        let Some((kind, id)) = receiver.poll().expect("honest") else { return false };
        let (sent_kind, sent_id, length) = self.waiting.pop_front().expect("only what was sent comes");
        assert_eq!((kind, id), (sent_kind, sent_id));
        assert_eq!(receiver.message()[..], *payload(id, length));
        self.bytes -= length;
        true
    }
}
