//! How many requests of one client are under way: [`Tally`].

use crate::sync::{AtomicBool, AtomicU32, Ordering, fence_before_look};

/// Counts the requests of a client, modulo 2^32, and sees to it that its attendant learns of room for more.
#[derive(Debug)]
pub(super) struct Tally {
    /// How many were handed to the handler, how many of these were answered on the attendant's own thread, and
    /// how many on others. The first two are the attendant's to write, which spares it what waits until all
    /// that it has written is on its way.
    begun: AtomicU32,
    answered_here: AtomicU32,
    answered_elsewhere: AtomicU32,
    /// How many may be unanswered at once.
    max_unanswered: u32,
    /// Whether the attendant has found no room, and was not told since that there is some. It sets this before
    /// it looks a last time; whoever has counted an answer after that takes it back.
    is_full: AtomicBool,
}

/// Counts in a number that one thread writes.
fn add_one(count: &AtomicU32) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
}

impl Tally {
    pub(super) fn new(max_unanswered: u32) -> Self {
        Tally {
            begun: AtomicU32::new(0),
            answered_here: AtomicU32::new(0),
            answered_elsewhere: AtomicU32::new(0),
            max_unanswered,
            is_full: AtomicBool::new(false),
        }
    }

    pub(super) fn max_unanswered(&self) -> u32 {
        self.max_unanswered
    }

    /// How many requests were handed to the handler and not answered yet.
    pub(super) fn unanswered(&self) -> u32 {
        // The answers first: a request that is answered meanwhile counts as one that is not.
        let elsewhere = self.answered_elsewhere.load(Ordering::Acquire);
        let here = self.answered_here.load(Ordering::Acquire);
        self.begun.load(Ordering::Relaxed).wrapping_sub(here).wrapping_sub(elsewhere)
    }

    /// Whether one more may be taken before others are answered. Only the attendant asks.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.unanswered() < self.max_unanswered || {
            // Whoever answers one from now on sees that there was no room, and tells of it.
            self.is_full.store(true, Ordering::Relaxed);
            fence_before_look();
            self.unanswered() < self.max_unanswered
        }
    }

    /// Counts a request that was taken, on the attendant's thread.
    #[inline]
    pub(super) fn begin(&self) {
        add_one(&self.begun);
    }

    /// Counts an answer of the attendant's thread.
    #[inline]
    pub(super) fn count_answer_here(&self) {
        add_one(&self.answered_here);
    }

    /// Counts an answer of another thread.
    pub(super) fn count_answer_elsewhere(&self) {
        self.answered_elsewhere.fetch_add(1, Ordering::AcqRel);
        fence_before_look();
    }

    /// After an answer was counted: whether the attendant has found no room, and is to be told that there is some.
    /// One of those who have made some hears yes.
    pub(super) fn was_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed) && self.is_full.swap(false, Ordering::Relaxed)
    }
}

/// Loom models of an attendant that finds no room while its client's requests are answered.
#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;

    use loom::thread;

    use super::*;

    /// Two requests are all that the client may ask at once: one is answered elsewhere, and the other by the
    /// attendant for some other client's sake, or elsewhere, too.
    fn whoever_makes_room_is_noticed(both_elsewhere: bool) {
        let tally = Arc::new(Tally::new(2));
        (0..2).for_each(|_| tally.begin());
        let settle = || {
            let tally = Arc::clone(&tally);
            thread::spawn(move || {
                tally.count_answer_elsewhere();
                tally.was_full()
            })
        };
        let settling = settle();
        let other = both_elsewhere.then(settle);
        let mut noticed = tally.has_room();
        if !both_elsewhere {
            tally.count_answer_here();
            noticed |= tally.was_full();
        }
        for told in [Some(settling), other].into_iter().flatten() {
            noticed |= told.join().unwrap();
        }
        assert!(noticed, "a client that may ask is not heard");
        assert_eq!(tally.unanswered(), 0);
    }

    #[test]
    fn of_two_who_make_room_at_once_one_tells_the_attendant() {
        for both_elsewhere in [false, true] {
            loom::model(move || whoever_makes_room_is_noticed(both_elsewhere));
        }
    }

    #[test]
    #[should_panic(expected = "a client that may ask is not heard")]
    fn without_the_fence_nobody_tells_of_room() {
        loom::model(|| {
            crate::sync::without_fence::turn_on();
            whoever_makes_room_is_noticed(true);
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn of_two_who_have_both_counted_before_either_looks_one_tells_the_attendant() {
        let tally = Tally::new(2);
        (0..2).for_each(|_| tally.begin());
        assert!(!tally.was_full(), "nobody has asked for room");
        assert!(!tally.has_room());
        tally.count_answer_elsewhere();
        tally.count_answer_here();
        assert_eq!([tally.was_full(), tally.was_full()], [true, false]);
        assert!(tally.has_room());
    }
}
