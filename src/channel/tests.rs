//! Both halves of a channel over memory in this process: what arrives, and what no honest peer sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::frame::{Header, Kind};
use crate::payload::{Sink, TooLong};
use crate::ring::{Await, Memory, Producer};
use crate::shm::{MIN_CAPACITY, Region};
use crate::wait::WaitStrategy;

const CAPACITY: u64 = MIN_CAPACITY as u64;
/// The most payload in one frame.
const FULL: usize = 1008;
const MAX_MESSAGE: usize = 8 * FULL;

/// Both sides' views of a new connection at `position`.
fn views(position: u64) -> [Regions; 2] {
    let (near, far) = (Region::on_heap(MIN_CAPACITY), Region::on_heap(MIN_CAPACITY));
    let views = [Regions { ours: near.clone(), theirs: far.clone() }, Regions { ours: far, theirs: near }];
    for view in &views {
        view.publish(position);
        view.consume(position);
    }
    views
}

/// No test waits that long, but on a machine that is busy with other things.
fn patience() -> Deadline {
    Deadline::after(Duration::from_secs(300))
}

fn write(sender: &mut Sender<Regions>, id: u64, bytes: &[u8]) -> Result<(), TooLong> {
    sender.send(Kind::Request, id, |sink| sink.append(bytes)).unwrap()
}

/// Fault 18. Messages of all lengths through a small ring whose positions begin just below the wrap of 32 bits,
/// which a sleep compares, and of 64 bits: all arrive, whole and in order. `GRITE_TEST_ROUNDS=1000000` sends a
/// million through each.
#[test]
fn messages_through_the_wrap_of_positions_arrive_whole_and_in_order() {
    let rounds =
        std::env::var("GRITE_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5000);
    let starts = [
        u64::from(u32::MAX) - 15,
        u64::from(u32::MAX) + 1 - CAPACITY,
        u64::MAX - 15,
        u64::MAX - CAPACITY + 1,
    ];
    for start in starts {
        let [near, far] = views(start);
        let length = |id: u64| (id * id % if id.is_multiple_of(64) { 3000 } else { 200 }) as usize;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut sender = Sender::new(near, start, MAX_MESSAGE);
                let mut spin = Spin::new(WaitStrategy::Adaptive);
                for id in 1..=rounds {
                    write(&mut sender, id, &vec![id as u8; length(id)]).unwrap();
                    sender.drain(&mut spin, &mut patience(), LIFELINE_SLICE, &mut || false).unwrap();
                    sender.announce();
                }
            });
            let mut receiver = Receiver::new(far, start, MAX_MESSAGE);
            let mut spin = Spin::new(WaitStrategy::Adaptive);
            for id in 1..=rounds {
                let found = loop {
                    if let Some(found) = receiver.poll().unwrap() {
                        break found;
                    }
                    receiver.wait(&mut spin, &mut patience(), &mut || false).unwrap();
                };
                assert_eq!(found, (Kind::Request, id), "from {start}");
                let message = receiver.message();
                assert!(message.len() == length(id) && message.iter().all(|&byte| byte == id as u8));
            }
            assert_eq!(receiver.poll(), Ok(None));
        });
    }
}

/// What a receiver makes of these frames, all published at once: the ids of its messages, then the end.
fn received(frames: &[(Kind, u64, usize, bool)]) -> (Vec<u64>, Result<(), Fault>) {
    let [near, far] = views(0);
    let mut producer = Producer::new(near, 0);
    for &(kind, id, length, more) in frames {
        assert!(producer.push(Header::new(kind, id, length as u32, more), &vec![1; length]).unwrap());
        producer.publish();
    }
    let mut receiver = Receiver::new(far, 0, 2 * FULL);
    let mut ids = Vec::new();
    loop {
        match receiver.poll() {
            Ok(Some((_, id))) => ids.push(id),
            Ok(None) => return (ids, Ok(())),
            Err(fault) => return (ids, Err(fault)),
        }
    }
}

/// Faults 4 and 5. Frames that are honest each and make no message together are breaches with a name.
#[test]
fn frames_that_make_no_message_are_named() {
    use Kind::{Abort, Reply, Request};
    let (limit, full) = (2 * FULL, FULL as u32);
    assert_eq!(received(&[(Reply, 1, FULL, true), (Reply, 1, FULL, false)]), (vec![1], Ok(())));
    assert_eq!(received(&[(Reply, 1, FULL, true), (Reply, 1, 0, false)]), (vec![1], Ok(())));
    for (name, frames, end) in [
        (
            "one byte too long",
            &[(Reply, 1, FULL, true), (Reply, 1, FULL, true), (Reply, 1, 1, false)][..],
            Err(Fault::TooLong { limit }),
        ),
        ("a short fragment", &[(Reply, 1, 992, true)], Err(Fault::ShortFragment { length: 992, full })),
        (
            "another id",
            &[(Reply, 1, FULL, true), (Reply, 2, 0, false)],
            Err(Fault::Interleaved { found: 2, within: 1 }),
        ),
        (
            "another kind",
            &[(Reply, 1, FULL, true), (Request, 1, 0, false)],
            Err(Fault::Interleaved { found: 1, within: 1 }),
        ),
        ("an abort of nothing", &[(Abort, 1, 0, false)], Err(Fault::StrayAbort(1))),
        ("an abort of another", &[(Reply, 1, FULL, true), (Abort, 2, 0, false)], Err(Fault::StrayAbort(2))),
    ] {
        assert_eq!(received(frames), (vec![], end), "{name}");
    }
    let aborted = [(Reply, 1, FULL, true), (Abort, 1, 0, false), (Reply, 2, 5, false)];
    assert_eq!(received(&aborted), (vec![2], Ok(())), "an abort leaves the channel as good as before");
}

/// A message of the greatest length goes through a ring a quarter as large; one byte more is not sent.
#[test]
fn a_message_at_the_limit_is_sent_and_one_byte_more_is_not() {
    let [near, far] = views(0);
    let mut sender = Sender::new(near, 0, MAX_MESSAGE);
    let mut receiver = Receiver::new(far, 0, MAX_MESSAGE);
    assert_eq!(write(&mut sender, 1, &[1; MAX_MESSAGE + 1]).unwrap_err().limit, MAX_MESSAGE);
    assert!(!sender.has_backlog(), "nothing was sent");
    write(&mut sender, 2, &[2; MAX_MESSAGE]).unwrap();
    assert!(sender.has_backlog(), "it is larger than the ring");
    let mut looks = 0;
    let found = loop {
        if let Some(found) = receiver.poll().unwrap() {
            break found;
        }
        sender.flush().unwrap();
        sender.announce();
        looks += 1;
        assert!(looks < 100, "each look moves it on");
    };
    assert_eq!(found, (Kind::Request, 2));
    assert_eq!(receiver.message().len(), MAX_MESSAGE);
    assert!(sender.flush().unwrap() && !sender.has_backlog());
    assert!(!receiver.knows_of_more());
}

/// A message that is longer than a frame goes into the ring part by part, wherever it begins and in whatever
/// pieces it is written; nothing of it waits in other memory.
#[test]
fn a_message_of_several_frames_is_written_into_the_ring_itself() {
    let bytes: Vec<u8> = (0..2 * FULL + 100).map(|index| (index % 251) as u8).collect();
    for piece in [16, 500, FULL, FULL + 1, bytes.len()] {
        let [near, far] = views(0);
        let mut sender = Sender::new(near, 0, MAX_MESSAGE);
        let mut receiver = Receiver::new(far, 0, MAX_MESSAGE);
        for id in 1..=30 {
            // The next one begins elsewhere.
            write(&mut sender, 1000 + id, &bytes[..id as usize * 7]).unwrap();
            sender.announce();
            assert_eq!(receiver.poll(), Ok(Some((Kind::Request, 1000 + id))));
            let written = |sink: &mut dyn Sink| bytes.chunks(piece).try_for_each(|piece| sink.append(piece));
            sender.send(Kind::Request, id, written).unwrap().unwrap();
            assert!(!sender.has_backlog(), "message {id} in pieces of {piece}");
            assert_eq!(receiver.poll(), Ok(None), "its end was not announced");
            sender.announce();
            assert_eq!(receiver.poll(), Ok(Some((Kind::Request, id))));
            assert!(receiver.message()[..] == bytes, "message {id} in pieces of {piece}");
        }
    }
}

/// Sends `length` bytes, so many at a time.
fn write_in_pieces(sender: &mut Sender<Regions>, length: usize, piece: usize) {
    let bytes = vec![7; length];
    let sent =
        sender.send(Kind::Request, 1, |sink| bytes.chunks(piece).try_for_each(|piece| sink.append(piece)));
    sent.unwrap().unwrap();
}

#[test]
fn a_message_that_is_longer_than_its_ring_waits_in_place_for_a_peer_that_reads() {
    for piece in [MAX_MESSAGE, 100] {
        let [near, far] = views(0);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut receiver = Receiver::new(far, 0, MAX_MESSAGE);
                while receiver.poll().unwrap().is_none() {
                    std::thread::yield_now();
                }
                assert_eq!(receiver.message()[..], [7; MAX_MESSAGE]);
            });
            // Even if somebody else has the reader's CPU.
            let mut sender = Sender::new(near, 0, MAX_MESSAGE).with_stall(Duration::from_secs(300));
            write_in_pieces(&mut sender, MAX_MESSAGE, piece);
            assert!(!sender.has_backlog(), "{piece} bytes at a time");
            sender.announce();
            reading.join().unwrap();
        });
    }
}

#[test]
fn a_message_that_is_longer_than_its_ring_waits_for_no_peer_that_stands_still_or_sleeps() {
    let stall = Duration::from_millis(20);
    for (stall, asleep) in [(stall, false), (Duration::from_secs(300), true)] {
        let [near, far] = views(0);
        if asleep {
            far.set_await(Await::Data, asleep_at(0));
        }
        let mut sender = Sender::new(near, 0, MAX_MESSAGE).with_stall(stall);
        let start = Instant::now();
        write_in_pieces(&mut sender, MAX_MESSAGE, MAX_MESSAGE);
        assert!(sender.has_backlog(), "nobody has read");
        assert!(asleep || start.elapsed() >= stall, "it was waited for");
        assert!(start.elapsed() < Duration::from_secs(300));
    }
}

/// Faults 36 and 39. One that was killed is noticed within milliseconds, and one that stands still is waited for as long
/// as the list says.
#[test]
fn a_peer_that_does_nothing_is_given_little_time() {
    assert_eq!((LIFELINE_SLICE, sender::STALL), (Duration::from_millis(3), Duration::from_micros(50)));
}

/// Parts of it are with the peer by then.
#[test]
fn a_message_whose_writing_fails_is_dropped_by_the_peer() {
    for space in [true, false] {
        let [near, far] = views(0);
        let mut sender = Sender::new(near, 0, MAX_MESSAGE);
        let mut receiver = Receiver::new(far, 0, MAX_MESSAGE);
        let begun = if space { 2 * FULL } else { 5 * FULL };
        let failing = |sink: &mut dyn Sink| {
            sink.append(&[1; MAX_MESSAGE][..begun])?;
            sink.append(&[1; MAX_MESSAGE])
        };
        assert_eq!(sender.send(Kind::Request, 1, failing).unwrap().unwrap_err().limit, MAX_MESSAGE);
        assert_eq!(receiver.poll(), Ok(None));
        assert!(sender.flush().unwrap(), "an abort is all that is left of it");
        write(&mut sender, 2, b"whole").unwrap();
        sender.announce();
        assert_eq!(receiver.poll(), Ok(Some((Kind::Request, 2))));
        assert_eq!(&receiver.message()[..], b"whole");
        assert_eq!(receiver.poll(), Ok(None));
    }
}

/// The limit holds for what comes after the first part, too, in whatever pieces.
#[test]
fn a_message_of_several_frames_above_the_limit_is_not_sent() {
    for piece in [16, 500, FULL] {
        let [near, far] = views(0);
        let limit = 2 * FULL + 100;
        let mut sender = Sender::new(near, 0, limit);
        let mut receiver = Receiver::new(far, 0, limit);
        for (id, length, sent) in [(1, limit, true), (2, limit + 1, false), (3, limit, true)] {
            let bytes = vec![id as u8; length];
            let written = sender
                .send(Kind::Reply, id, |sink| bytes.chunks(piece).try_for_each(|piece| sink.append(piece)));
            assert_eq!(written.unwrap().is_ok(), sent, "{length} bytes in pieces of {piece}");
            sender.announce();
            assert_eq!(receiver.poll(), Ok(sent.then_some((Kind::Reply, id))));
        }
    }
}

/// The parts of a message are shown without a fence: a peer that went to sleep meanwhile, and has not seen them,
/// is called when the message is announced, though there is nothing new by then.
#[test]
fn a_peer_that_sleeps_amid_a_message_is_called_at_its_end() {
    #[derive(Debug, Default)]
    struct Counter(AtomicU32);
    impl Bell for Counter {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let [near, far] = views(0);
    let bell = Arc::new(Counter::default());
    let mut sender = Sender::new(near, 0, MAX_MESSAGE).with_bell(Some(Arc::clone(&bell) as _));
    let seen = 3 * CAPACITY / 4;
    let sleeping = |sink: &mut dyn Sink| {
        sink.append(&[1; MAX_MESSAGE])?;
        far.set_await(Await::Data, asleep_at(seen) | LISTENING);
        Ok::<_, TooLong>(())
    };
    sender.send(Kind::Request, 1, sleeping).unwrap().unwrap();
    assert_eq!(far.peer_published(), CAPACITY, "four parts were shown");
    assert_eq!(bell.0.load(Ordering::Relaxed), 0, "it was awake then");
    sender.announce();
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
}

/// What a peer that breaks the rules has done shows while a message is written.
#[test]
fn a_breach_amid_a_message_is_the_end_of_the_connection() {
    for piece in [100, MAX_MESSAGE] {
        let [near, far] = views(0);
        let mut sender = Sender::new(near, 0, MAX_MESSAGE);
        far.consume(8);
        let sent = sender.send(Kind::Request, 1, |sink| {
            // A writer that does not stop at an error, either.
            for piece in [1; MAX_MESSAGE].chunks(piece) {
                let _ = sink.append(piece);
            }
            Ok::<_, TooLong>(())
        });
        assert!(matches!(sent, Err(Fault::Ring(Violation::Consumed { .. }))), "{sent:?}");
    }
}

/// The limit holds where the ring has room for more.
#[test]
fn a_short_message_above_the_limit_is_not_sent() {
    let mut sender = Sender::new(views(0)[0].clone(), 0, 100);
    for parts in [[101, 0], [0, 101], [60, 41]] {
        let sent = sender
            .send(Kind::Request, 1, |sink| parts.iter().try_for_each(|&part| sink.append(&[1; 101][..part])));
        assert_eq!(sent.unwrap().unwrap_err().limit, 100, "{parts:?}");
    }
    assert!(!sender.has_backlog(), "nothing was sent");
    write(&mut sender, 2, &[2; 100]).unwrap();
    assert!(!sender.has_backlog(), "it is in the ring");
}

/// A connection that once took a very long message does not keep its memory for all the short ones after it.
#[test]
fn the_memory_of_the_longest_messages_is_given_back() {
    const LONG: usize = 5 << 20;
    const KEPT: usize = 4 << 20;
    for next in [100, 2 * FULL] {
        let [near, far] = views(0);
        let mut sender = Sender::new(near, 0, LONG).with_stall(Duration::ZERO);
        let mut receiver = Receiver::new(far, 0, LONG);
        for length in [LONG, next] {
            write(&mut sender, 1, &vec![7; length]).unwrap();
            sender.announce();
            while receiver.poll().unwrap().is_none() {
                sender.flush().unwrap();
                sender.announce();
            }
            assert_eq!(receiver.message().len(), length);
            assert!(sender.spare.capacity() <= KEPT, "after {length} bytes");
        }
        assert!(receiver.message().capacity() <= KEPT, "after {next} bytes");
    }
    // Nor that of one that turned out to be too long for the peer.
    let mut sender = Sender::new(views(0)[0].clone(), 0, LONG).with_stall(Duration::ZERO);
    let failing = |sink: &mut dyn Sink| (0..2).try_for_each(|_| sink.append(&[7; LONG][..LONG - 100]));
    sender.send(Kind::Request, 1, failing).unwrap().unwrap_err();
    assert!(sender.spare.capacity() <= KEPT);
}

/// A peer that frees a little space again and again puts the end of a wait off no more than one that frees none.
#[test]
fn a_peer_that_creeps_holds_nobody_beyond_the_deadline() {
    let [near, far] = views(0);
    let mut sender = Sender::new(near, 0, MAX_MESSAGE);
    write(&mut sender, 1, &[1; MAX_MESSAGE]).unwrap();
    let mut consumed = 0;
    // It creeps whenever a wait is about to end without news.
    let creeping = &mut || {
        std::thread::sleep(Duration::from_millis(10));
        consumed += 16;
        far.consume(consumed);
        true
    };
    let mut soon = Deadline::after(Duration::from_millis(50));
    let mut spin = Spin::new(WaitStrategy::Park);
    assert_eq!(sender.drain(&mut spin, &mut soon, LIFELINE_SLICE, creeping), Err(Stop::Deadline));
    assert!(sender.has_backlog(), "the rest of it is to be sent or given up");
    assert!(consumed < CAPACITY);
}

/// What is given up before it has begun leaves no trace; what is under way is aborted, and others go on.
#[test]
fn a_message_that_is_given_up_is_dropped_by_both_sides() {
    let [near, far] = views(0);
    let mut sender = Sender::new(near, 0, MAX_MESSAGE);
    let mut receiver = Receiver::new(far, 0, MAX_MESSAGE);
    write(&mut sender, 1, &[1; MAX_MESSAGE]).unwrap();
    sender.abort();
    assert!(sender.has_backlog(), "the peer is to hear of it");
    sender.abort();
    write(&mut sender, 2, b"whole").unwrap();
    write(&mut sender, 3, b"given up").unwrap();
    sender.abort();
    let found = loop {
        if let Some(found) = receiver.poll().unwrap() {
            break found;
        }
        sender.flush().unwrap();
        sender.announce();
    };
    assert_eq!((found, &receiver.message()[..]), ((Kind::Request, 2), &b"whole"[..]));
    assert!(sender.flush().unwrap());
    assert_eq!(receiver.poll(), Ok(None));
}

/// Bells and wakes are for a side that said where it sleeps, and each sleep is ended once.
#[test]
fn a_sleep_is_ended_once_and_only_by_news() {
    let mut woken = Woken::default();
    assert!(!woken.is_due(AWAKE, 16), "nobody sleeps");
    assert!(!woken.is_due(asleep_at(16), 16), "it has seen that");
    assert!(woken.is_due(asleep_at(16), 32));
    assert!(!woken.is_due(asleep_at(16), 48), "that sleep was ended");
    assert!(woken.is_due(asleep_at(48), 64), "the next one");
    assert!(!woken.is_due(asleep_at(64) | LISTENING, 64), "it has heard of that");
    assert!(woken.is_due(asleep_at(64) | LISTENING, 80));
}

/// A wait ends with what it waits for, with its time, or with the peer; what the peer did last still counts.
#[test]
fn a_wait_ends_with_news_with_its_time_or_with_the_peer() {
    let [near, far] = views(0);
    let mut receiver = Receiver::new(near, 0, MAX_MESSAGE);
    for strategy in [WaitStrategy::Park, WaitStrategy::Spin, WaitStrategy::Adaptive] {
        let mut spin = Spin::new(strategy);
        let mut soon = Deadline::after(Duration::from_millis(5));
        assert_eq!(receiver.wait(&mut spin, &mut soon, &mut || false), Err(Stop::Deadline));
        assert_eq!(receiver.wait(&mut spin, &mut patience(), &mut || true), Err(Stop::Severed));
    }
    let mut spin = Spin::new(WaitStrategy::Park);
    let mut last_words = Producer::new(far.clone(), 0);
    let severed = &mut || {
        last_words.push(Header::new(Kind::Reply, 1, 0, false), &[]).unwrap();
        last_words.publish()
    };
    assert_eq!(receiver.wait(&mut spin, &mut patience(), severed), Ok(()));
    assert_eq!(receiver.poll(), Ok(Some((Kind::Reply, 1))));
    assert_eq!(far.peer_await(Await::Data), AWAKE);
    far.publish(8);
    let breach = receiver.wait(&mut spin, &mut patience(), &mut || false);
    assert!(matches!(breach, Err(Stop::Fault(Fault::Ring(Violation::Published { .. })))), "{breach:?}");
}
