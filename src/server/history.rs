//! What was published last, for subscribers that have yet to see it: [`History`].
//!
//! Each notification is archived once and kept for a while, bounded in number and bytes; each subscriber
//! has a place in it. One that falls so far behind that its place is gone is told of the gap.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::frame::{FROM_NOW, Gap};
use crate::payload::Bytes;

/// The notifications that were published last.
#[derive(Debug)]
pub(crate) struct History {
    /// The sequence number of the first notification ever.
    first: u64,
    /// The sequence number of the next one.
    next: AtomicU64,
    kept: Mutex<Kept>,
    subscribers: AtomicUsize,
    /// Whether nobody is to wait for subscribers any more.
    closed: Mutex<bool>,
    /// There is a first subscriber, or nobody is to wait for one.
    arrival: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    /// The last ones before `next`, oldest first.
    archives: VecDeque<Arc<Bytes>>,
    bytes: usize,
}

/// How many notifications are kept.
const MAX_KEPT: usize = 64 << 10;

/// How many bytes of them are kept.
const MAX_BYTES: usize = 16 << 20;

/// What lies at a subscriber's place.
#[derive(Debug)]
pub(super) enum Found {
    /// These notifications, from there on; none at the end.
    Archives(Vec<Arc<Bytes>>),
    /// Its place is gone: what is kept starts at `next`.
    Gap { next: u64, lost: u64 },
}

impl Default for History {
    /// Numbers from the time of day in microseconds, so that a later daemon's numbers are higher than
    /// all of an earlier one's, which publishes less than a million a second.
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        History::starting_at(u64::try_from(now.as_micros()).unwrap_or(u64::MAX / 2).max(1))
    }
}

impl History {
    fn starting_at(first: u64) -> Self {
        History {
            first,
            next: AtomicU64::new(first),
            kept: Mutex::default(),
            subscribers: AtomicUsize::new(0),
            closed: Mutex::new(false),
            arrival: Condvar::new(),
        }
    }

    /// The sequence number of the next notification.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Counts a subscriber more.
    pub(super) fn admit_subscriber(&self) {
        if self.subscribers.fetch_add(1, Ordering::SeqCst) == 0 {
            // Whoever looked before the count has the lock until it sleeps.
            drop(self.closed());
            self.arrival.notify_all();
        }
    }

    /// Counts one less.
    pub(super) fn dismiss_subscriber(&self) {
        self.subscribers.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn has_subscribers(&self) -> bool {
        self.subscribers.load(Ordering::SeqCst) > 0
    }

    /// Sleeps until there is a subscriber, and says `true`, or until [`close`](Self::close), and says `false`.
    pub(super) fn wait_for_subscribers(&self) -> bool {
        let waits = |closed: &mut bool| !*closed && !self.has_subscribers();
        let closed = self.arrival.wait_while(self.closed(), waits).unwrap_or_else(PoisonError::into_inner);
        !*closed
    }

    /// Ends all waits for subscribers, those to come included.
    pub(super) fn close(&self) {
        *self.closed() = true;
        self.arrival.notify_all();
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a notification; says which sequence number it has.
    pub(super) fn publish(&self, archive: Bytes) -> u64 {
        let mut kept = self.lock();
        kept.bytes += archive.len();
        kept.archives.push_back(Arc::new(archive));
        while kept.archives.len() > MAX_KEPT || kept.bytes > MAX_BYTES && kept.archives.len() > 1 {
            if let Some(gone) = kept.archives.pop_front() {
                kept.bytes -= gone.len();
            }
        }
        // SeqCst: whoever subscribes looks at it after it was counted, and whoever publishes looks at
        // the count after this.
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// Where a subscriber that wants `first` starts, and what it has lost before that.
    pub(super) fn start(&self, first: u64) -> (u64, u64) {
        let kept = self.lock();
        let next = self.next();
        let oldest = next - kept.archives.len() as u64;
        match first {
            FROM_NOW => (next, 0),
            _ if first < self.first || first > next => (oldest, Gap::UNKNOWN),
            _ if first < oldest => (oldest, oldest - first),
            _ => (first, 0),
        }
    }

    /// At most `limit` notifications from `place` on.
    pub(super) fn read(&self, place: u64, limit: usize) -> Found {
        let kept = self.lock();
        let oldest = self.next() - kept.archives.len() as u64;
        if place < oldest {
            return Found::Gap { next: oldest, lost: oldest - place };
        }
        Found::Archives(kept.archives.iter().skip((place - oldest) as usize).take(limit).cloned().collect())
    }

    /// Nothing panics with the lock held.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(length: usize) -> Bytes {
        let mut bytes = Bytes::new();
        bytes.resize(length, 7);
        bytes
    }

    #[test]
    fn a_wait_for_subscribers_ends_with_the_first_one_or_with_the_history() {
        let history = History::starting_at(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| history.wait_for_subscribers());
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!waiting.is_finished());
            history.admit_subscriber();
            assert!(waiting.join().unwrap());
            history.dismiss_subscriber();

            let waiting = scope.spawn(|| history.wait_for_subscribers());
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!waiting.is_finished());
            history.close();
            assert!(!waiting.join().unwrap());
        });
        history.admit_subscriber();
        assert!(!history.wait_for_subscribers());
    }

    fn lengths(found: Found) -> Vec<usize> {
        match found {
            Found::Archives(archives) => archives.iter().map(|archive| archive.len()).collect(),
            Found::Gap { .. } => panic!("a gap"),
        }
    }

    #[test]
    fn what_was_published_is_read_in_order_from_any_place() {
        let history = History::starting_at(100);
        for (length, sequence) in (0..5).zip(100..) {
            assert_eq!(history.publish(archive(length)), sequence);
        }
        assert_eq!(lengths(history.read(100, 9)), [0, 1, 2, 3, 4]);
        assert_eq!(lengths(history.read(102, 2)), [2, 3]);
        assert_eq!(lengths(history.read(105, 9)), [0; 0]);
    }

    #[test]
    fn count_and_bytes_are_bounded_and_who_is_too_late_is_told() {
        let history = History::starting_at(1);
        for _ in 0..=MAX_KEPT {
            history.publish(archive(1));
        }
        assert!(matches!(history.read(1, 9), Found::Gap { next: 2, lost: 1 }));
        history.publish(archive(MAX_BYTES));
        let next = history.next();
        assert!(matches!(history.read(2, 9), Found::Gap { next: oldest, .. } if oldest == next - 1));
        history.publish(archive(MAX_BYTES + 1));
        assert_eq!(lengths(history.read(next, 9)), [MAX_BYTES + 1], "the last one is always kept");
    }

    #[test]
    fn a_subscriber_learns_where_it_stands() {
        let history = History::starting_at(100);
        for _ in 0..10 {
            history.publish(archive(MAX_BYTES / 4));
        }
        let oldest = 110 - 4;
        let cases = [
            (FROM_NOW, (110, 0)),
            (110, (110, 0)),
            (oldest, (oldest, 0)),
            (oldest - 1, (oldest, 1)),
            (100, (oldest, oldest - 100)),
            (99, (oldest, Gap::UNKNOWN)),
            (111, (oldest, Gap::UNKNOWN)),
        ];
        for (first, expected) in cases {
            assert_eq!(history.start(first), expected, "from {first}");
        }
    }
}
