//! What other threads do to a connection between two steps of the attendant.

use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::channel::Sender;
use crate::ring::Regions;
use crate::shm::{MIN_CAPACITY, Region};
use crate::stream::{Peer, own_uid};

/// A client over rings, attended to by nobody.
fn connection() -> Arc<Connection> {
    let [ours, theirs] = [MIN_CAPACITY; 2].map(Region::on_heap);
    Connection::new(
        Context { session: 1, peer: Peer { uid: own_uid(), pid: None }, ring: true },
        Lifeline::Local(Arc::new(LocalLine::new(|| {}))),
        Outgoing::Ring(Box::new(Sender::new(Regions { ours, theirs }, 0, 1024))),
        8,
        Arc::default(),
        Arc::default(),
        Attendant::Poller(Arc::default()),
    )
}

/// An answer is counted, and before the notes are looked through a request is begun and given up.
#[test]
fn a_request_that_is_given_up_while_another_one_is_settled_learns_of_it() {
    let connection = connection();
    connection.begin(Turn::Over);
    connection.cancel(1);
    let mut notes = connection.cancelled.lock();
    let settling = {
        let connection = Arc::clone(&connection);
        thread::spawn(move || connection.settle(1))
    };
    let end = Instant::now() + Duration::from_secs(60);
    while connection.tally.unanswered() > 0 {
        assert!(Instant::now() < end, "it is not settled");
        thread::yield_now();
    }
    // By now it waits for the lock, or is about to.
    thread::sleep(Duration::from_millis(50));
    connection.begin(Turn::Over);
    notes.push(2);
    drop(notes);
    settling.join().unwrap();
    assert!(connection.is_cancelled(2));
    assert!(!connection.is_cancelled(1), "it is answered");
    connection.settle(2);
    assert!(connection.cancelled.is_empty(), "no notes are left");
}

/// Texts need memory of their own while they are archived, four bytes each.
#[test]
fn the_memory_that_one_long_answer_was_archived_with_is_given_back() {
    let connection = connection();
    let texts = vec![String::new(); 10_000];
    let kept = || connection.outbound.lock().arena.shrink();
    {
        let mut bytes = crate::payload::Bytes::new();
        let mut sink = crate::payload::Limited { bytes: &mut bytes, limit: 1 << 20 };
        crate::protocol::encode(&texts, &mut sink, &mut connection.outbound.lock().arena).unwrap();
    }
    assert!(kept() >= 40_000);
    connection.trim();
    assert!(kept() <= 16 << 10, "{}", kept());
}
