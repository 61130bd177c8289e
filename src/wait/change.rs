//! Sleeping until a [`ChangeCounter`] moves, in whatever process that happens.
//!
//! The kernel compares the number with what the sleeper saw before it lets it sleep, so a move that
//! comes first is never missed. There is no list of sleepers: who moves the counter says so with a
//! system call of its own, where somebody may sleep.

use std::time::{Duration, Instant};

use super::futex::{Expected, sleep, wake_all};
use crate::shm::ChangeCounter;

impl ChangeCounter {
    /// Sleeps until the number is another one than `seen`, but for `timeout` at most, and returns it.
    ///
    /// Moves end the sleep when [`wake`](Self::wake) follows them. After 2³² moves in one sleep the
    /// number looks as before, and the sleep goes on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use libgrite_ipc::ChangeCounter;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let counter = ChangeCounter::open(folder.path().join("changes"))?;
    /// let seen = counter.load();
    /// let other = ChangeCounter::open(folder.path().join("changes"))?;
    /// let writer = std::thread::spawn(move || {
    ///     other.bump();
    ///     other.wake();
    /// });
    /// assert_ne!(counter.park(seen, Duration::from_secs(10)), seen);
    /// # writer.join().unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn park(&self, seen: u64, timeout: Duration) -> u64 {
        let end = Instant::now().checked_add(timeout);
        loop {
            let now = self.load();
            if now != seen || end.is_some_and(|end| Instant::now() >= end) {
                return now;
            }
            sleep(Expected { word: self.low_half(), value: seen as u32 }, end);
        }
    }

    /// Wakes all who [`park`](Self::park) on this counter, in any process. They look at the number.
    pub fn wake(&self) {
        wake_all(self.low_half());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn counter(folder: &tempfile::TempDir) -> ChangeCounter {
        ChangeCounter::open(folder.path().join("changes")).unwrap()
    }

    #[test]
    fn a_number_that_has_moved_already_ends_the_sleep_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let counter = counter(&folder);
        let seen = counter.load();
        counter.bump();
        assert_eq!(counter.park(seen, Duration::MAX), seen + 1);
    }

    #[test]
    fn the_timeout_ends_the_sleep() {
        let folder = tempfile::tempdir().unwrap();
        let counter = counter(&folder);
        assert_eq!(counter.park(counter.load(), Duration::from_millis(5)), counter.load());
    }

    #[test]
    fn a_move_wakes_every_sleeper() {
        let folder = tempfile::tempdir().unwrap();
        let seen = counter(&folder).load();
        std::thread::scope(|scope| {
            let sleepers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| counter(&folder).park(seen, Duration::from_secs(20))))
                .collect();
            let counter = counter(&folder);
            std::thread::sleep(Duration::from_millis(20));
            counter.bump();
            counter.wake();
            assert!(sleepers.into_iter().all(|sleeper| sleeper.join().unwrap() == seen + 1));
        });
    }
}
