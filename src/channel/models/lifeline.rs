//! A peer that goes at any moment: who waits for it gets what it did before, then learns that it is gone.

use super::*;
use crate::frame::{HEADER, LINE};

impl Handle {
    /// One side is gone; whoever sleeps for it finds out at the end of its slice.
    fn sever(&self) {
        *self.0.kernel.lock().unwrap() = true;
        self.0.on_published.notify_all();
        self.0.on_consumed.notify_all();
    }

    fn is_severed(&self) -> bool {
        *self.0.kernel.lock().unwrap()
    }
}

/// Where a second message lies: the line of the first one is skipped to its end when that is told of.
const SECOND: u64 = LINE;

/// How far a sender comes with its second message before it is killed.
#[derive(Clone, Copy, Debug)]
enum Killed {
    /// It lies in the ring, and nobody was told.
    BeforePublishing,
    /// Its position is published, and nobody was woken.
    BeforeWaking,
    /// All is done.
    Afterwards,
}

/// Receives until the peer is gone; says how many messages came.
fn receive_until_the_end(memory: Handle) -> u64 {
    let line = memory.clone();
    let mut receiver = Receiver::new(memory, 0, 0);
    let mut spin = Spin::new(WaitStrategy::Park);
    let mut count = 0;
    loop {
        if let Some((_, id)) = receiver.poll().unwrap() {
            count += 1;
            assert_eq!(id, count);
            continue;
        }
        match receiver.wait(&mut spin, &mut forever(), &mut || line.is_severed()) {
            Ok(()) => {}
            Err(stop) => {
                assert_eq!(stop, Stop::Severed);
                return count;
            }
        }
    }
}

#[test]
fn what_a_killed_sender_has_published_arrives_before_its_end() {
    for killed in [Killed::BeforePublishing, Killed::BeforeWaking, Killed::Afterwards] {
        explore(3, move || {
            let memory = Handle::new(0);
            let sending = {
                let memory = memory.clone();
                thread::spawn(move || {
                    let mut sender = Sender::new(memory.clone(), 0, 0);
                    for id in 1..=2 {
                        sender.send(Kind::Reply, id, |_| Ok::<(), ()>(())).unwrap().unwrap();
                        match killed {
                            _ if id == 1 => sender.announce(),
                            Killed::BeforePublishing => {}
                            Killed::BeforeWaking => memory.publish(SECOND + HEADER as u64),
                            Killed::Afterwards => sender.announce(),
                        }
                    }
                    memory.sever();
                })
            };
            let count = receive_until_the_end(memory);
            sending.join().unwrap();
            assert_eq!(count, if matches!(killed, Killed::BeforePublishing) { 1 } else { 2 }, "{killed:?}");
        });
    }
}

#[test]
fn a_sender_that_waits_for_space_learns_that_its_receiver_is_gone() {
    for read in [0, 1] {
        explore(2, move || {
            let memory = Handle::new(0);
            let receiving = {
                let memory = memory.clone();
                thread::spawn(move || {
                    let mut receiver = Receiver::new(memory.clone(), 0, 0);
                    for _ in 0..read {
                        let _ = receiver.poll().unwrap();
                    }
                    memory.sever();
                })
            };
            let mut sender = Sender::new(memory.clone(), 0, 0);
            let mut spin = Spin::new(WaitStrategy::Park);
            let ended = (1..=CELLS as u64 + 2).find_map(|id| {
                sender.send(Kind::Request, id, |_| Ok::<(), ()>(())).unwrap().unwrap();
                let severed = &mut || memory.is_severed();
                sender.drain(&mut spin, &mut forever(), LIFELINE_SLICE, severed).err()
            });
            receiving.join().unwrap();
            assert_eq!(ended, Some(Stop::Severed));
        });
    }
}
