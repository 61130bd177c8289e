//! The ring alone, without any sleep: every schedule, with no bound on preemptions.

use super::*;
use crate::frame::Header;
use crate::ring::{Consumer, Producer};

/// A producer pushes as long as there is space, a consumer looks a few times meanwhile: what was sent arrives
/// in order, and nothing else, and space is not taken before it is given back.
fn model_of_the_ring(position: u64, pushes: u64, looks: u64) {
    loom::model(move || {
        let memory = Handle::new(position);
        let producing = {
            let memory = memory.clone();
            thread::spawn(move || {
                let mut producer = Producer::new(memory, position);
                let mut sent = 0;
                while sent < pushes
                    && producer.push(Header::new(Kind::Request, sent + 1, 0, false), &[]).unwrap()
                {
                    producer.publish();
                    sent += 1;
                }
                sent
            })
        };
        let mut consumer = Consumer::new(memory, position);
        let mut read = 0;
        let mut look = || {
            let Some(header) = consumer.peek().unwrap() else { return false };
            read += 1;
            assert_eq!(header.id(), read);
            consumer.release(header);
            true
        };
        for _ in 0..looks {
            look();
        }
        let sent = producing.join().unwrap();
        while look() {}
        assert_eq!(read, sent);
        assert!(sent >= pushes.min(CELLS as u64));
    });
}

#[test]
fn three_messages_arrive_in_order_across_every_wrap() {
    for position in [0, CAPACITY - 16, u64::from(u32::MAX) - 15, u64::MAX - 15] {
        model_of_the_ring(position, 3, 3);
    }
}

#[test]
fn a_full_ring_is_written_over_only_where_it_was_read() {
    for position in [0, u64::MAX - 31] {
        model_of_the_ring(position, CELLS as u64 + 2, 2);
    }
}
