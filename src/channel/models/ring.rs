//! The ring alone, without any sleep: every schedule, with no bound on preemptions.

use super::*;
use crate::frame::{Header, LINE};
use crate::ring::{Consumer, Producer};

/// A producer pushes as long as there is space, and tells of so many frames `together`; a consumer looks a few times
/// meanwhile. What was sent arrives in order, and nothing else, and space is not taken before it is given back.
fn model_of_the_ring(position: u64, pushes: u64, together: u64, looks: u64) {
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
                    sent += 1;
                    if sent.is_multiple_of(together) {
                        producer.publish();
                    }
                }
                producer.publish();
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
        // Behind what is told of, a line is skipped to its end.
        let fit = if together == 1 { CAPACITY / LINE } else { CELLS as u64 };
        assert!(sent >= pushes.min(fit));
    });
}

#[test]
fn three_messages_arrive_in_order_across_every_wrap() {
    for position in [0, CAPACITY - 16, u64::from(u32::MAX) - 15, u64::MAX - 15] {
        model_of_the_ring(position, 3, 1, 3);
        model_of_the_ring(position, 3, 2, 3);
    }
}

#[test]
fn a_full_ring_is_written_over_only_where_it_was_read() {
    for position in [0, u64::MAX - 31] {
        model_of_the_ring(position, CAPACITY / LINE + 2, 1, 2);
        model_of_the_ring(position, CELLS as u64 + 2, 2, 2);
    }
}
