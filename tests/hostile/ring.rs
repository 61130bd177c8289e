//! A client that writes into its ring what no honest client writes: it loses its own connection, and
//! nobody else notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::apart::Apart;
use crate::client::*;
use crate::common::at_end::AtEnd;
use crate::common::{Order, Running, Way};
use crate::random::Random;
use crate::rounds::rounds;

type Misdeed = fn(&Hostile);

/// Has a client do each of these, and checks that it is cut off, that the server gives back what the
/// client cost although the client keeps its socket and its memory, and that others are answered.
fn each_is_cut_off_alone(misdeeds: &[(&str, Misdeed)]) {
    let server = Apart::start();
    let mut polite = server.client(Way::Ring);
    assert!(answers(&mut polite));
    let before = server.held();
    let mut longest = Duration::ZERO;
    for (name, misdeed) in misdeeds {
        println!("{name}");
        let mut evil = Hostile::join(&server.socket());
        misdeed(&evil);
        evil.wait_for_the_end();
        longest = longest.max(server.gives_back(before));
        assert!(answers(&mut polite), "after {name}");
    }
    println!("what they cost was given back within {longest:?}");
}

/// Faults 1, 2 and 4. Positions that leave the ring or go back, and frames whose length, kind or flags no
/// client may use, end their own connection and no other.
#[test]
fn a_client_that_breaks_the_rules_of_its_ring_is_cut_off_alone() {
    each_is_cut_off_alone(&[
        ("published past the capacity", |evil| evil.publish(0, CANCEL, 0, 1, u64::from(CAPACITY) + 16)),
        ("published one past the capacity", |evil| evil.publish(0, CANCEL, 0, 1, u64::from(CAPACITY) + 1)),
        ("published backwards", |evil| evil.publish(0, CANCEL, 0, 1, 0u64.wrapping_sub(16))),
        ("published backwards by half a frame", |evil| evil.publish(0, CANCEL, 0, 1, 0u64.wrapping_sub(8))),
        ("published backwards after progress", |evil| {
            let end = evil.request(0, 1, &Order::Make(1));
            assert!(evil.wait_until_read(end));
            evil.publish(0, CANCEL, 0, 1, end - 8);
        }),
        ("published at no multiple of 16", |evil| evil.publish(0, CANCEL, 0, 1, 8)),
        ("a frame longer than what is published", |evil| evil.publish(1, CANCEL, 0, 1, 16)),
        ("a frame one byte longer than a quarter of the ring", |evil| {
            evil.publish(CAPACITY / 4 - 15, CANCEL, 0, 1, u64::from(CAPACITY));
        }),
        ("a frame of 4 GiB", |evil| evil.publish(u32::MAX, CANCEL, 0, 1, u64::from(CAPACITY))),
        ("an unknown kind", |evil| evil.publish(0, 77, 0, 1, 16)),
        ("no kind at all", |evil| evil.publish(0, 0, 0, 0, 16)),
        ("unknown flags", |evil| evil.publish(0, CANCEL, 2, 1, 16)),
        ("a reply from a client", |evil| evil.publish(0, REPLY, 0, 1, 16)),
        ("a part of an answer from a client", |evil| evil.publish(0, PART, 0, 1, 16)),
        ("a notification from a client", |evil| evil.publish(0, NOTICE, 0, 1, 16)),
        ("a request of no byte", |evil| evil.publish(0, REQUEST, 0, 1, 16)),
        ("a request of one byte", |evil| evil.publish(1, REQUEST, 0, 1, 32)),
        ("a request without a deadline", |evil| evil.publish(7, REQUEST, 0, 1, 32)),
        ("a request that is a deadline alone", |evil| evil.publish(8, REQUEST, 0, 1, 32)),
        ("a skip in the middle", |evil| evil.publish(0, SKIP, 0, 0, 16)),
        ("an abort of nothing", |evil| evil.publish(0, ABORT, 0, 1, 16)),
        ("a fragment that is not full", |evil| evil.publish(16, REQUEST, 1, 1, 32)),
        ("an archive that is none", |evil| {
            (16..80).step_by(8).for_each(|at| evil.store(DATA + at, u64::MAX));
            evil.publish(64, REQUEST, 0, 1, 80);
        }),
    ]);
}

/// Fills the ring with honest frames up to `left` bytes before its end, and waits until they are read.
fn go_before_the_end(evil: &Hostile, left: u32) -> u64 {
    let position = u64::from(CAPACITY - left);
    for at in (0..position as usize).step_by(16) {
        evil.store(DATA + at, header(0, CANCEL, 0));
    }
    evil.store(PUBLISHED, position);
    evil.wake();
    assert!(evil.wait_until_read(position));
    position
}

/// Fault 5. A frame lies in one piece: one that goes on behind the end of the ring, however little, is not
/// read on at the start, nor past the mapping. Neither is a skip that ends before or behind the end.
#[test]
fn a_frame_across_the_end_of_the_ring_is_never_read() {
    fn publish_before_the_end(evil: &Hostile, left: u32, length: u32, kind: u16) {
        let position = go_before_the_end(evil, left);
        evil.store(DATA + position as usize, header(length, kind, 0));
        evil.store(PUBLISHED, position + u64::from(CAPACITY));
        evil.wake();
    }
    each_is_cut_off_alone(&[
        ("one byte behind the end", |evil| publish_before_the_end(evil, 32, 17, REQUEST)),
        ("a header at the end, its payload behind it", |evil| publish_before_the_end(evil, 16, 1, REQUEST)),
        ("a quarter of the ring behind the end", |evil| {
            publish_before_the_end(evil, 16, CAPACITY / 4 - 16, REQUEST);
        }),
        ("a skip to behind the end", |evil| publish_before_the_end(evil, 32, 17, SKIP)),
        ("a skip to before the end", |evil| publish_before_the_end(evil, 48, 16, SKIP)),
    ]);
}

/// Fault 3. Whatever number stands where the published position belongs, and whatever lies in the ring: the
/// client is cut off, or nothing comes of it. `GRITE_TEST_ROUNDS=1000000` tries a million.
#[test]
fn a_random_position_over_a_random_ring_hurts_nobody_else() {
    let server = Apart::start();
    let mut polite = server.client(Way::Ring);
    assert!(answers(&mut polite));
    let before = server.held();
    let mut random = Random::new(3);
    let (mut cut_off, mut benign) = (0, 0);
    for round in 0..rounds(500) {
        let evil = Hostile::join(&server.socket());
        let number = random.next();
        // Half of them look like positions: more than the first check is to be tried.
        let position = if random.next().is_multiple_of(2) { number >> 32 } else { number >> 44 & !15 };
        for frame in 0..8 {
            let (kind, length) = (random.next() % 13, random.next() >> (random.next() % 64));
            evil.store(DATA + frame * 16, header(length as u32, kind as u16, 0));
            evil.store(DATA + frame * 16 + 8, random.next());
        }
        evil.store(PUBLISHED, position);
        evil.wake();
        match evil.wait_until(|| evil.seen(CONSUMED) == position) {
            true => benign += 1,
            false => cut_off += 1,
        }
        if round.is_multiple_of(64) {
            assert!(answers(&mut polite), "after {position}");
        }
    }
    assert!(answers(&mut polite));
    server.gives_back(before);
    println!("{cut_off} were cut off, {benign} had written something honest");
    assert!(cut_off > benign);
}

/// Fault 9. A client that floods its whole region, positions and all, with one pattern or with noise, each
/// millisecond anew.
#[test]
fn a_client_that_floods_its_whole_region_is_cut_off_alone() {
    let server = Apart::start();
    let mut polite = server.client(Way::Ring);
    assert!(answers(&mut polite));
    let before = server.held();
    let mut random = Random::new(9);
    for round in 0..rounds(30) {
        let mut evil = Hostile::join(&server.socket());
        let flood = |value: &mut dyn FnMut() -> u64| {
            (0..LENGTH).step_by(8).for_each(|at| evil.store(at, value()));
            evil.wake();
            std::thread::sleep(Duration::from_millis(1));
        };
        for _ in 0..3 {
            match round % 3 {
                // Zeros are what the region is filled with at first: nothing has happened yet.
                0 => flood(&mut || 0),
                1 => flood(&mut || u64::MAX),
                _ => flood(&mut || random.next()),
            }
            assert!(answers(&mut polite), "in round {round}");
        }
        if round % 3 == 0 {
            assert!(!evil.has_ended());
            flood(&mut || u64::MAX);
        }
        evil.wait_for_the_end();
        server.gives_back(before);
    }
}

/// Fault 6. What a client says it has read decides what the daemon may write over. One that says more than
/// was written, or less than before, is cut off, and what it has not read is still there.
#[test]
fn a_client_that_lies_about_what_it_has_read_is_cut_off_alone() {
    let server = Apart::start();
    let mut polite = server.client(Way::Ring);
    assert!(answers(&mut polite));
    let before = server.held();
    // Only a daemon that needs space looks: requests for large answers make it need some.
    let ask = |evil: &Hostile, from: u64| {
        (0..8).fold(from, |position, id| evil.request(position, id + 1, &Order::Make(60_000)))
    };
    for lie in [u64::from(CAPACITY) * 4, 1 << 32, 8, 0u64.wrapping_sub(16), u64::MAX] {
        println!("consumed {lie} of nothing");
        let mut evil = Hostile::join(&server.socket());
        evil.store(CONSUMED, lie);
        ask(&evil, 0);
        evil.wait_for_the_end();
        assert!(evil.seen(PUBLISHED) <= u64::from(CAPACITY), "the daemon writes over nothing unread");
        server.gives_back(before);
        assert!(answers(&mut polite), "after consumed {lie}");
    }
    type Lie = fn(u64) -> u64;
    let lies: [(&str, Lie); 3] = [
        ("a frame beyond what was written", |written| written + 16),
        ("a frame back", |read| read - 16),
        ("back to the start", |_| 0),
    ];
    for (name, lie) in lies {
        println!("{name}");
        let mut evil = Hostile::join(&server.socket());
        let asked = ask(&evil, 0);
        assert!(evil.wait_until(|| evil.seen(PUBLISHED) > u64::from(CAPACITY) / 2));
        let read = evil.seen(PUBLISHED);
        evil.store(CONSUMED, read);
        wake(&evil.ours, CONSUMED, 1);
        // The daemon has looked: it could not have gone on otherwise.
        assert!(evil.wait_until(|| evil.seen(PUBLISHED) >= read + u64::from(CAPACITY) / 2));
        let honest = evil.seen(PUBLISHED);
        evil.store(CONSUMED, lie(if name.contains("written") { honest + u64::from(CAPACITY) } else { read }));
        wake(&evil.ours, CONSUMED, 1);
        ask(&evil, asked);
        evil.wait_for_the_end();
        assert!(evil.seen(PUBLISHED) <= read + u64::from(CAPACITY), "the daemon writes over nothing unread");
        server.gives_back(before);
        assert!(answers(&mut polite), "after {name}");
    }
}

/// Frames that are no requests, and that nothing comes of: each is taken, in its turn.
#[test]
fn a_flood_of_cancellations_and_subscriptions_keeps_nobody_waiting() {
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let evil = Hostile::join(&server.socket());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = AtEnd(|| stop.store(true, Ordering::Relaxed));
        scope.spawn(|| {
            let mut published = 0u64;
            while !stop.load(Ordering::Relaxed) {
                // The daemon's word of how far it has read.
                let consumed = evil.seen(CONSUMED);
                while published - consumed < u64::from(CAPACITY) {
                    let start = DATA + (published % u64::from(CAPACITY)) as usize;
                    let kind = if published.is_multiple_of(1024) { SUBSCRIBE } else { CANCEL };
                    evil.store(start, header(0, kind, 0));
                    evil.store(start + 8, published);
                    published += 16;
                }
                evil.store(PUBLISHED, published);
                evil.wake();
            }
        });
        for number in 0..2000 {
            assert!(answers(&mut polite), "request {number}");
        }
    });
}

/// Fragments that are aborted and begun again, round and round: legal frames, and never a message.
#[test]
fn a_client_that_never_finishes_a_message_keeps_nobody_waiting() {
    const FULL: u32 = CAPACITY / 4 - 16;
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let evil = Hostile::join(&server.socket());
    let mut at = DATA;
    for id in 0..3 {
        for (length, kind, flags) in [(FULL, REQUEST, 1), (0, ABORT, 0)] {
            evil.store(at, header(length, kind, flags));
            evil.store(at + 8, id);
            at += 16 + length as usize;
        }
    }
    let rest = LENGTH - at - 16;
    evil.store(at, header(rest as u32, SKIP, 0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = AtEnd(|| stop.store(true, Ordering::Relaxed));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                evil.store(PUBLISHED, evil.seen(CONSUMED) + u64::from(CAPACITY));
                evil.wake();
            }
        });
        for _ in 0..50 {
            assert!(answers(&mut polite));
        }
    });
}
