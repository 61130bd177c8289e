//! A daemon that writes into its ring what no honest daemon writes: its client says so from then on, and
//! lives.

use std::os::fd::AsFd;

use libgrite_ipc::ErrorKind;
use rustix::fs::FallocateFlags;

use crate::client::*;
use crate::common::{Done, Order, Running, Way, pattern};
use crate::daemon::{Impostor, against_impostor};

/// What an impostor does once it has the request of this id.
type Misdeed = fn(&Impostor, u64);

/// How many mappings of memfds with this name this process has.
fn mapped(name: &str) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(&format!("/memfd:{name} "))).count()
}

/// Faults 1 to 6, the other way round. Whatever a daemon does to its ring, its client's request ends with
/// [`ErrorKind::PeerMisbehaved`], and so does each after it; the client keeps nothing once it is dropped.
#[test]
fn a_daemon_that_breaks_the_rules_of_its_ring_is_found_out() {
    let misdeeds: &[(&str, Misdeed)] = &[
        ("published past the capacity", |evil, id| evil.publish(0, REPLY, 0, id, u64::from(CAPACITY) + 16)),
        ("published backwards", |evil, id| evil.publish(0, REPLY, 0, id, 0u64.wrapping_sub(16))),
        ("published at no multiple of 16", |evil, id| evil.publish(0, REPLY, 0, id, 8)),
        ("a frame longer than what is published", |evil, id| evil.publish(1, REPLY, 0, id, 16)),
        ("a frame longer than a quarter of the ring", |evil, id| {
            evil.publish(CAPACITY / 4 - 15, REPLY, 0, id, u64::from(CAPACITY));
        }),
        ("a frame of 4 GiB", |evil, id| evil.publish(u32::MAX, REPLY, 0, id, u64::from(CAPACITY))),
        ("no kind at all", |evil, id| evil.publish(0, 0, 0, id, 16)),
        ("an unknown kind", |evil, id| evil.publish(0, 12, 0, id, 16)),
        ("unknown flags", |evil, id| evil.publish(0, REPLY, 2, id, 16)),
        ("a request from a daemon", |evil, id| evil.publish(0, REQUEST, 0, id, 16)),
        ("an answer to nobody", |evil, id| evil.publish(0, REPLY, 0, id + 1, 16)),
        ("a notification that nobody asked for", |evil, _| evil.publish(0, NOTICE, 0, 1, 16)),
        ("a failure without a code", |evil, id| evil.publish(0, FAILURE, 0, id, 16)),
        ("a skip in the middle", |evil, _| evil.publish(0, SKIP, 0, 0, 16)),
        ("an abort of nothing", |evil, id| evil.publish(0, ABORT, 0, id, 16)),
        ("a fragment that is not full", |evil, id| evil.publish(16, REPLY, 1, id, 32)),
        ("another message within a message", |evil, id| {
            const FULL: u32 = CAPACITY / 4 - 16;
            evil.store(DATA + 16 + FULL as usize, header(0, REPLY, 0));
            evil.store(DATA + 24 + FULL as usize, id + 1);
            evil.publish(FULL, REPLY, 1, id, u64::from(FULL) + 32);
        }),
        ("an empty archive", |evil, id| evil.publish(0, REPLY, 0, id, 16)),
        ("an archive of one byte", |evil, id| evil.publish(1, REPLY, 0, id, 32)),
        ("an archive of seven bytes", |evil, id| evil.publish(7, REPLY, 0, id, 32)),
        ("an archive that is none", |evil, id| {
            (16..80).step_by(8).for_each(|at| evil.store(DATA + at, u64::MAX));
            evil.publish(64, REPLY, 0, id, 80);
        }),
    ];
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    for (name, misdeed) in misdeeds {
        println!("{name}");
        let play = |evil: &Impostor| {
            misdeed(evil, evil.hear_request().unwrap());
            // The client leaves, and the memory is the impostor's alone.
            evil.wait_until(|| false);
            assert_eq!(mapped("liar"), 2, "after {name}");
        };
        against_impostor("liar", play, |mut client| {
            for _ in 0..3 {
                let error = client.send(&Order::Make(1)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{name}: {error}");
            }
        });
        assert!(answers(&mut polite), "after {name}");
        assert_eq!(mapped("liar"), 0, "after {name}");
    }
}

/// Fault 6, the other way round. A client that needs space believes no daemon that has read more than was
/// written, or less than before.
#[test]
fn a_daemon_that_lies_about_what_it_has_read_is_found_out() {
    type Lie = fn(&Impostor) -> u64;
    let lies: &[(&str, Lie)] = &[
        ("more than was written", |_| u64::from(CAPACITY) * 4),
        ("all there is", |_| u64::MAX - 15),
        ("half a frame", |_| 8),
        ("less than before", |evil| {
            // The client has filled its ring, and looks for space from now on.
            let written = u64::from(CAPACITY);
            assert!(evil.wait_until(|| evil.seen(PUBLISHED) == written));
            evil.store(CONSUMED, written);
            wake(&evil.ours, CONSUMED, 64);
            assert!(evil.wait_until(|| evil.seen(PUBLISHED) > written));
            written - 16
        }),
    ];
    for (name, lie) in lies {
        println!("{name}");
        let play = |evil: &Impostor| {
            evil.hear_request().unwrap();
            evil.store(CONSUMED, lie(evil));
            wake(&evil.ours, CONSUMED, 64);
            evil.wait_until(|| false);
        };
        against_impostor("reader", play, |mut client| {
            for _ in 0..2 {
                let error = client.send(&Order::Echo(pattern(4 * CAPACITY as usize))).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{name}: {error}");
            }
        });
    }
}

/// Fault 9, the other way round: the whole region, positions and all.
#[test]
fn a_daemon_that_floods_its_whole_region_is_found_out() {
    let mut random = crate::random::Random::new(9);
    for round in 0..10 {
        let noise: Vec<u64> =
            (0..LENGTH / 8).map(|_| if round % 2 == 0 { u64::MAX } else { random.next() }).collect();
        let play = |evil: &Impostor| {
            evil.hear_request().unwrap();
            noise.iter().enumerate().for_each(|(index, &value)| evil.store(index * 8, value));
            wake(&evil.ours, PUBLISHED, 64);
            evil.wait_until(|| false);
        };
        let error = against_impostor("flood", play, |mut client| client.send(&Order::Make(1)).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{error}");
    }
}

/// Fault 17, the other way round. A daemon keeps a descriptor of the client's region and may punch holes into
/// it: the client's own words become zeros under its hands, which costs it answers and nothing else.
#[test]
fn a_daemon_that_punches_holes_into_the_clients_region_kills_no_client() {
    let play = |evil: &Impostor| {
        let (mut heard, mut answered) = (0, 0);
        while evil.wait_until(|| evil.seen(PUBLISHED) > heard) {
            let (at, published) = (DATA + heard as usize, evil.seen(PUBLISHED));
            let id = evil.seen(at + 8);
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(evil.client.as_fd(), punch, 0, LENGTH as u64).unwrap();
            assert_eq!([evil.seen(PUBLISHED), evil.seen(at)], [0, 0], "a hole reads as zeros");
            heard = published;
            answered = evil.reply(answered, id, &Done { bytes: pattern(100), session: 1 });
        }
    };
    against_impostor("punched", play, |mut client| {
        for _ in 0..100 {
            assert!(answers(&mut client));
        }
    });
}
