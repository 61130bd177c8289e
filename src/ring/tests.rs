//! Both ends of a ring over memory whose peer writes what it likes.

use super::*;
use crate::frame::{BadHeader, Header, HeaderWords, Kind};
use crate::payload::Bytes;
use crate::shm::{MIN_CAPACITY, Region};

const CAPACITY: u64 = MIN_CAPACITY as u64;

/// Positions at which a ring may start: the wrap of 32 bits and of 64 bits among them.
const STARTS: [u64; 4] = [0, CAPACITY - 16, u32::MAX as u64 - 15, u64::MAX - 15];

/// Both sides' views of a new ring in each direction, at `position`.
fn views(position: u64) -> [Regions; 2] {
    let (near, far) = (Region::on_heap(MIN_CAPACITY), Region::on_heap(MIN_CAPACITY));
    let views = [Regions { ours: near.clone(), theirs: far.clone() }, Regions { ours: far, theirs: near }];
    for view in &views {
        view.publish(position);
        view.consume(position);
    }
    views
}

fn words(length: u32, kind: Kind) -> HeaderWords {
    Header::new(kind, 7, length, false).to_words()
}

/// What a consumer that starts at zero makes of a header at its start and a position.
fn judged(header: HeaderWords, published: u64) -> Result<Option<Header>, Violation> {
    let [near, peer] = views(0);
    peer.write_header(0, header);
    peer.publish(published);
    let mut consumer = Consumer::new(near, 0);
    let found = consumer.peek();
    assert_eq!(consumer.consumed(), 0, "nothing is given back that was not used");
    found
}

/// Faults 1, 2, 4 and 5. Each breach has a name of its own, at the limit and one past it.
#[test]
fn each_breach_of_a_producer_is_named() {
    let request = |length| words(length, Kind::Request);
    let published = |position: u64| judged(request(0), position);
    let moved = |moved: u64| Err(Violation::Published { moved, unread: moved, capacity: CAPACITY });
    assert!(published(CAPACITY).is_ok());
    for position in [CAPACITY + 1, CAPACITY + 16, 8, u32::MAX.into(), 0u64.wrapping_sub(8), u64::MAX] {
        assert_eq!(published(position), moved(position), "{position}");
    }

    let limit = max_payload(CAPACITY);
    assert_eq!(limit, 1008, "a quarter of the ring, with its header");
    assert_eq!(judged(request(limit), 1024).unwrap().map(Header::length), Some(limit));
    for length in [limit + 1, 1 << 31, u32::MAX] {
        assert_eq!(judged(request(length), CAPACITY), Err(Violation::Length { length, limit }));
    }
    for (length, extent) in [(1, 32), (7, 32), (16, 32), (17, 48), (1008, 1024)] {
        assert!(judged(request(length), extent).is_ok());
        let short = Violation::Extent { extent, unread: extent - 16, contiguous: CAPACITY };
        assert_eq!(judged(request(length), extent - 16), Err(short), "{length} bytes");
    }
    let unknown = BadHeader::Kind(12);
    assert_eq!(judged([(12u64 << 32).to_le(), 0], 16), Err(unknown.into()));
    let flags = BadHeader::Flags(2);
    assert_eq!(judged([(1u64 << 32 | 2 << 48).to_le(), 0], 16), Err(flags.into()));
    assert_eq!(judged(words(0, Kind::Skip), 16), Err(Violation::Skip { short: 48 }));
}

/// Fault 5. A skip may end a line, and one behind it the ring. Whoever sends more of them keeps nobody there.
#[test]
fn skips_without_end_are_a_breach() {
    for (skips, found) in [(1, Ok(None)), (2, Ok(None)), (3, Err(Violation::Skips))] {
        let [near, peer] = views(0);
        for line in 0..skips {
            peer.write_header(line * 64, words(48, Kind::Skip));
        }
        peer.publish(skips * 64);
        assert_eq!(Consumer::new(near, 0).peek(), found, "{skips} in a row");
    }
}

/// Fault 5. A skip that ends amid a line is one, behind whatever it lies: it does not go with the frame before it.
#[test]
fn a_skip_that_ends_amid_a_line_is_a_breach() {
    for (first, skip) in [(words(48, Kind::Skip), 64), (words(0, Kind::Cancel), 16)] {
        let [near, peer] = views(0);
        peer.write_header(0, first);
        peer.write_header(skip, words(0, Kind::Skip));
        peer.publish(skip + 16);
        let mut consumer = Consumer::new(near, 0);
        if let Ok(Some(header)) = consumer.peek() {
            consumer.release(header);
            assert_eq!(consumer.consumed(), skip);
        }
        let short = CAPACITY - (skip + 16);
        assert_eq!(consumer.peek(), Err(Violation::Skip { short: short % 64 }));
    }
}

/// Fault 2. A position that goes back after progress, and one that goes back to where it has been.
#[test]
fn a_published_position_never_goes_back() {
    for start in STARTS {
        let [near, peer] = views(start);
        let mut consumer = Consumer::new(near, start);
        peer.write_header(start % CAPACITY, words(0, Kind::Cancel));
        peer.publish(start.wrapping_add(16));
        let header = consumer.peek().unwrap().unwrap();
        consumer.release(header);
        assert_eq!(consumer.peek(), Ok(None));
        for back in [8, 16, 32] {
            peer.publish(start.wrapping_add(16).wrapping_sub(back));
            let moved = 0u64.wrapping_sub(back);
            let breach = Violation::Published { moved, unread: moved, capacity: CAPACITY };
            assert_eq!(consumer.peek(), Err(breach), "back by {back} from {start}");
        }
    }
}

/// Fault 6. A producer that needs space believes no position beyond what it has published, and none before
/// what it has heard; what the peer has not read stays as it is.
#[test]
fn a_consumed_position_is_believed_between_the_last_one_and_what_was_published() {
    for start in STARTS {
        let [near, peer] = views(start);
        let mut producer = Producer::new(near, start);
        let cancel = Header::new(Kind::Cancel, 1, 0, false);
        while producer.push(cancel, &[]).unwrap() {
            producer.publish();
        }
        assert_eq!(producer.published(), start.wrapping_add(CAPACITY), "full");
        for (lie, moved) in [(CAPACITY + 16, CAPACITY + 16), (8, 8), (u64::MAX - 15, u64::MAX - 15)] {
            peer.consume(start.wrapping_add(lie));
            let breach = Violation::Consumed { moved, unread: CAPACITY };
            assert_eq!(producer.push(cancel, &[]), Err(breach), "{lie} past {start}");
            assert_eq!(producer.look(), Err(breach));
            assert!(producer.slot(usize::MAX).is_err_and(|found| found == breach));
            assert_eq!(producer.published(), start.wrapping_add(CAPACITY), "nothing was written over");
        }
        peer.consume(start.wrapping_add(32));
        assert_eq!(producer.look(), Ok(()));
        assert_eq!(producer.consumed(), start.wrapping_add(32));
        for back in [16, 32] {
            peer.consume(start.wrapping_add(32).wrapping_sub(back));
            let moved = 0u64.wrapping_sub(back);
            assert_eq!(producer.look(), Err(Violation::Consumed { moved, unread: CAPACITY - 32 }));
        }
    }
}

/// Fault 3. Random positions over random frames: what is read lies within the ring, and what is given back
/// within what was published. `GRITE_TEST_ROUNDS=1000000` tries a million; a byte past the ring would end the test.
#[test]
fn random_positions_over_random_frames_are_breaches_or_benign() {
    let rounds = std::env::var("GRITE_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let [near, peer] = views(0);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut breaches, mut benign, mut frames) = (0, 0, 0);
    for _ in 0..rounds.unwrap_or(20_000) {
        let start = STARTS[random() as usize % STARTS.len()];
        // Positions of all sizes, most of them with a chance to pass the first check.
        let moved = random() >> (random() % 64);
        let moved = if random().is_multiple_of(4) { moved } else { (moved % (CAPACITY + 32)) & !15 };
        for offset in (0..CAPACITY).step_by(16) {
            let length = random() >> (random() % 32 + 32);
            let flags = random() % 8 / 7 * 2;
            let kind = 1 + random() % 12;
            peer.write_header(offset, [(length | kind << 32 | flags << 48).to_le(), random()]);
        }
        peer.publish(start.wrapping_add(moved));
        let mut consumer = Consumer::new(near.clone(), start);
        let mut bytes = Bytes::new();
        loop {
            match consumer.peek() {
                Err(_) => break breaches += 1,
                Ok(None) => break benign += 1,
                Ok(Some(header)) => {
                    bytes.clear();
                    consumer.copy(header, &mut bytes);
                    assert_eq!(bytes.len(), header.length() as usize);
                    consumer.release(header);
                    frames += 1;
                }
            }
        }
        let read = consumer.consumed().wrapping_sub(start);
        assert!(read <= moved && read <= CAPACITY, "{read} of {moved} bytes from {start}");
    }
    println!("{breaches} breaches, {benign} benign, {frames} frames");
    assert!(breaches > 0 && frames > 0);
}

/// Behind what was told of, the rest of the line is skipped, and given back with the frame before it.
#[test]
fn what_is_told_of_ends_with_its_line() {
    let [near, far] = views(0);
    let peer = far.clone();
    let (mut producer, mut consumer) = (Producer::new(near.clone(), 0), Consumer::new(far, 0));
    let mut push = |lengths: &[u32]| {
        for length in lengths {
            let header = Header::new(Kind::Reply, 1, *length, false);
            assert!(producer.push(header, &vec![1; *length as usize]).unwrap());
        }
        producer.publish();
        producer.published()
    };
    for (lengths, published) in [(&[0][..], 64), (&[48], 128), (&[49], 256), (&[0, 16, 17], 384)] {
        assert_eq!(push(lengths), published, "{lengths:?}");
        for length in lengths {
            let header = consumer.peek().unwrap().unwrap();
            assert_eq!(header.length(), *length);
            consumer.release(header);
        }
        assert_eq!((consumer.consumed(), peer.peer_published()), (published, published));
        assert!(!consumer.has_moved(), "the skip is no news");
    }
}

/// Where there is no space for the skip, the next frame follows at once.
#[test]
fn what_is_told_of_ends_amid_its_line_where_the_ring_is_full() {
    let [near, far] = views(0);
    let (mut producer, mut consumer) = (Producer::new(near, 0), Consumer::new(far, 0));
    let push = |producer: &mut Producer<Regions>, length: u32| {
        let header = Header::new(Kind::Reply, 1, length, false);
        assert!(producer.push(header, &vec![1; length as usize]).unwrap());
    };
    push(&mut producer, 0);
    for length in [0, 1008, 1008, 1008, 944] {
        push(&mut producer, length);
        producer.publish();
    }
    assert_eq!(producer.published(), CAPACITY);
    let first = consumer.peek().unwrap().unwrap();
    consumer.release(first);
    push(&mut producer, 0);
    producer.publish();
    assert_eq!(producer.published(), CAPACITY + 16, "as much as was given back");
}

/// A ring that goes round many times, with frames of every length: each arrives as it was sent, behind skips
/// where it would cross the end, and with zeros behind its payload.
#[test]
fn frames_of_every_length_go_round_and_arrive_whole() {
    for start in STARTS {
        let [near, far] = views(start);
        let peer = far.clone();
        let (mut producer, mut consumer) = (Producer::new(near, start), Consumer::new(far, start));
        for round in 0..3 * u64::from(max_payload(CAPACITY)) {
            let length = (round * 7 % u64::from(max_payload(CAPACITY) + 1)) as usize;
            let payload = vec![round as u8 | 1; length];
            let header = Header::new(Kind::Reply, round, length as u32, round % 2 == 0);
            assert!(producer.push(header, &payload).unwrap(), "an empty ring has space");
            assert_eq!(consumer.peek(), Ok(None), "what is not published is not seen");
            assert!(producer.publish());
            assert!(!producer.publish(), "once");
            assert!(consumer.has_moved());
            assert_eq!(consumer.peek(), Ok(Some(header)));
            let mut bytes = Bytes::new();
            consumer.copy(header, &mut bytes);
            assert_eq!(bytes[..], payload);
            let padding = crate::frame::padding(length);
            let end = position::offset(consumer.consumed().wrapping_add(header.extent()), CAPACITY);
            let end = if end == 0 { CAPACITY } else { end };
            peer.read(end - 16, 16, &mut bytes);
            assert!(bytes[length + 16 - padding..].iter().all(|&byte| byte == 0), "the padding is zeros");
            consumer.release(header);
            assert!(!consumer.has_moved());
        }
    }
}

/// Long pieces have two ways into the ring and two out of it: all that are tried, and taken, leave the same bytes.
#[test]
fn long_payloads_arrive_whole_by_every_way() {
    const CAPACITY: u32 = 64 << 10;
    let (near, far) = (Region::on_heap(CAPACITY), Region::on_heap(CAPACITY));
    let views = [Regions { ours: near.clone(), theirs: far.clone() }, Regions { ours: far, theirs: near }];
    let [peer, here] = views;
    let (mut producer, mut consumer) = (Producer::new(peer.clone(), 0), Consumer::new(here.clone(), 0));
    let bytes: Vec<u8> = (0u32..).map(|byte| (byte ^ byte >> 8) as u8).take(20_000).collect();
    let mut into = Bytes::new();
    for round in 0..2000 {
        // Some are written by the CPU that reads them.
        let cpu = if round % 500 < 20 { crate::cpu::current() } else { 0 };
        here.set_cpu(cpu);
        let length = ways::FEWEST - 16 + round * 7 % (max_payload(CAPACITY.into()) as usize - ways::FEWEST);
        let payload = &bytes[round % 1000..][..length];
        let header = Header::new(Kind::Reply, round as u64, length as u32, false);
        assert!(producer.push(header, payload).unwrap() && producer.publish());
        assert_eq!(consumer.peek(), Ok(Some(header)));
        into.clear();
        consumer.copy(header, &mut into);
        assert!(into[..] == *payload, "{length} bytes, round {round}");
        consumer.release(header);
    }
}

/// A producer fills the ring to the last byte and not beyond it, and goes on as space is given back.
#[test]
fn a_full_ring_takes_nothing_until_it_is_read() {
    for start in STARTS {
        let [near, far] = views(start);
        let (mut producer, mut consumer) = (Producer::new(near, start), Consumer::new(far, start));
        let header = Header::new(Kind::Reply, 1, 48, false);
        let mut count = 0;
        while producer.push(header, &[1; 48]).unwrap() {
            count += 1;
        }
        // 16 bytes before the end, a skip goes first, and as much as it left over of a frame is left.
        let (expected, expected_left) = if start == 0 { (CAPACITY / 64, 0) } else { (CAPACITY / 64 - 1, 48) };
        assert_eq!(count, expected, "frames from {start}");
        let cancel = Header::new(Kind::Cancel, 1, 0, false);
        let mut left = 0;
        while producer.slot(usize::MAX).unwrap().commit(Kind::Cancel, 1) {
            left += 16;
        }
        assert_eq!(left, expected_left, "bytes from {start}");
        assert!(!producer.push(cancel, &[]).unwrap());
        producer.publish();
        let first = consumer.peek().unwrap().unwrap();
        consumer.release(first);
        assert!(consumer.has_moved(), "there are more");
        // As much as was given back, to the byte.
        assert_eq!(producer.push(header, &[1; 48]), Ok(true));
        assert_eq!(producer.push(cancel, &[]), Ok(false));
    }
}

/// Amid messages that the peer is not told of one by one, the lines of the next ones are written to ahead, as far
/// as they are free.
#[test]
fn free_lines_are_claimed_ahead_of_messages_that_are_told_of_together() {
    const LINE: usize = crate::frame::LINE as usize;
    for start in [0, CAPACITY - LINE as u64, 0u64.wrapping_sub(CAPACITY)] {
        let [near, far] = views(start);
        near.write(0, &[1; CAPACITY as usize]);
        let (mut producer, peer) = (Producer::new(near, start), far.clone());
        let mut add = || assert!(producer.slot(usize::MAX).unwrap().commit(Kind::Cancel, 1));
        let claimed = || {
            let mut ring = Bytes::new();
            peer.read(0, CAPACITY as usize, &mut ring);
            ring.chunks(LINE).filter(|line| line[..8] == [0; 8] && line[8..] == [1; LINE - 8]).count()
        };
        add();
        assert_eq!(claimed(), 0, "the first one is told of alone, perhaps");
        add();
        assert_eq!(claimed(), 8, "512 bytes");
        for _ in 2..CAPACITY / 16 {
            add();
        }
        assert_eq!(claimed(), 0, "all of it is written");
        producer.publish();
        let mut consumer = Consumer::new(far, start);
        for _ in 0..CAPACITY / 16 {
            let header = consumer.peek().unwrap().unwrap();
            assert_eq!((header.kind(), header.length()), (Kind::Cancel, 0), "nothing was written over");
            consumer.release(header);
        }
    }
}

/// Behind a long frame as many lines are claimed for another one, and only where that many are free.
#[test]
fn as_many_lines_are_claimed_behind_a_long_frame_as_it_has() {
    let [near, far] = views(0);
    near.write(0, &[1; CAPACITY as usize]);
    let mut producer = Producer::new(near, 0);
    let mut push = |length: u32| {
        let header = Header::new(Kind::Reply, 1, length, false);
        assert!(producer.push(header, &vec![1; length as usize]).unwrap());
        producer.publish();
        producer.claim_as_much();
        let mut ring = Bytes::new();
        far.read(0, CAPACITY as usize, &mut ring);
        let claimed = |line: &usize| ring[line * 64..][..8] == [0; 8];
        (0..CAPACITY as usize / 64).filter(claimed).collect::<Vec<_>>()
    };
    assert_eq!(push(496 - 16), (8..16).collect::<Vec<_>>(), "it is short: 512 bytes");
    assert_eq!(push(48), (9..16).collect::<Vec<_>>(), "enough are left of them");
    assert_eq!(push(528 - 16), (18..27).collect::<Vec<_>>(), "each line that such a frame has a part in");
    assert_eq!(push(1024 - 16), (34..50).collect::<Vec<_>>(), "1,024 bytes");
    assert_eq!(push(1024 - 16), [0; 0], "there is no space for as many");
}

/// A producer to which half of the ring is free does not look at what its peer says; one to which less is free
/// does, and finds what was given back.
#[test]
fn a_producer_looks_at_its_peer_when_less_than_half_of_the_ring_is_free() {
    let [near, peer] = views(0);
    let mut producer = Producer::new(near, 0);
    let cancel = Header::new(Kind::Cancel, 1, 0, false);
    for _ in 0..CAPACITY / 32 {
        assert!(producer.push(cancel, &[]).unwrap());
    }
    producer.publish();
    peer.consume(8);
    assert!(producer.slot(usize::MAX).is_ok(), "half is free");
    assert!(producer.push(cancel, &[]).unwrap());
    assert!(producer.slot(usize::MAX).is_err(), "less than half is free");
    peer.consume(CAPACITY / 2);
    assert!(producer.slot(usize::MAX).unwrap().append(&[1; 1008]));
    assert_eq!(producer.consumed(), CAPACITY / 2);
}

/// Each word has a place of its own, and the kernel is shown the half of it that changes.
#[test]
fn every_word_is_seen_by_the_peer_and_by_the_kernel() {
    use std::sync::atomic::Ordering::Relaxed;
    let [near, peer] = views(0);
    let slept_on = |word| Regions::futex(&near.theirs, word).load(Relaxed);
    peer.publish(16 + (9 << 32));
    peer.consume(32 + (9 << 32));
    peer.set_await(Await::Data, 3);
    peer.set_await(Await::Space, 5);
    peer.set_cpu(7);
    assert_eq!([near.peer_published(), near.peer_consumed()], [16 + (9 << 32), 32 + (9 << 32)]);
    assert_eq!([near.peer_await(Await::Data), near.peer_await(Await::Space), near.peer_cpu()], [3, 5, 7]);
    assert_eq!([slept_on(Word::Published), slept_on(Word::Consumed)], [16, 32]);
}

/// A slot takes as much as lies free in one piece, and no frame more than a quarter of the ring.
#[test]
fn a_slot_takes_as_much_as_lies_free_in_one_piece() {
    let [near, far] = views(0);
    let (mut producer, mut consumer) = (Producer::new(near, 0), Consumer::new(far, 0));
    let limit = max_payload(CAPACITY) as usize;
    let mut slot = producer.slot(usize::MAX).unwrap();
    assert!(slot.append(&vec![1; limit - 1]) && slot.append(&[2]) && !slot.append(&[3]));
    assert_eq!(slot.len(), limit);
    assert!(slot.commit(Kind::Reply, 9));
    producer.publish();
    let header = consumer.peek().unwrap().unwrap();
    assert_eq!((header.kind(), header.id(), header.length()), (Kind::Reply, 9, limit as u32));
    let mut bytes = Bytes::new();
    consumer.copy(header, &mut bytes);
    assert_eq!((bytes[0], bytes[limit - 1]), (1, 2));
    consumer.release(header);

    // What was spilled is in private memory, and the slot is of no more use.
    {
        let mut slot = producer.slot(usize::MAX).unwrap();
        assert!(slot.append(b"spilled"));
        let mut bytes = Bytes::new();
        slot.spill(&mut bytes);
        assert_eq!((&bytes[..], slot.len()), (&b"spilled"[..], 0));
        assert!(!slot.append(b"more"));
    }
    assert!(!producer.publish(), "a slot that was not committed leaves no trace");

    // 64 bytes before the end there is room for 48.
    let cancel = Header::new(Kind::Cancel, 1, 0, false);
    while producer.published() % CAPACITY != CAPACITY - 64 {
        assert!(producer.push(cancel, &[]).unwrap());
        producer.publish();
        let header = consumer.peek().unwrap().unwrap();
        consumer.release(header);
    }
    let mut slot = producer.slot(usize::MAX).unwrap();
    assert!(!slot.append(&[1; 49]) && slot.append(&[1; 48]));
}
