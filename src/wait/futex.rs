//! Sleeping until a word in shared memory changes, and waking who sleeps on it.
//!
//! On Linux these are futexes of other processes too, so never private ones. Elsewhere, where only
//! the in-process pair sleeps on words, a sleep is a short nap and a wake does nothing.

use std::sync::atomic::AtomicU32;
use std::time::Instant;

/// On how many words one sleep can be: the kernel's limit for `futex_waitv`.
pub(crate) const MAX_WORDS: usize = 128;

/// A word, and the value at which a sleep on it is right.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(all(target_os = "linux", not(grite_portable))),
    allow(dead_code, reason = "only a kernel compares them")
)]
pub(crate) struct Expected<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) value: u32,
}

#[cfg(all(target_os = "linux", not(grite_portable)))]
pub(crate) use linux::{can_sleep_on_many, sleep, sleep_any, wake, wake_all};
#[cfg(not(all(target_os = "linux", not(grite_portable))))]
pub(crate) use portable::{sleep, sleep_any, wake, wake_all};

#[cfg(all(target_os = "linux", not(grite_portable)))]
mod linux {
    use std::num::NonZeroU32;
    use std::sync::OnceLock;
    use std::time::Duration;

    use arrayvec::ArrayVec;
    use rustix::io::Errno;
    use rustix::thread::{ClockId, futex};
    use rustix::time::{Timespec, clock_gettime};

    use super::*;

    /// Sleeps while the word has the expected value, until it is woken, or `until` at most.
    ///
    /// May return early for no reason: the caller looks again.
    pub(crate) fn sleep(on: Expected<'_>, until: Option<Instant>) {
        let until = until.map(monotonic);
        let any_waker = NonZeroU32::MAX;
        // Every outcome means the same to the caller: look again. A value that has changed, a
        // signal and the deadline are the ones that happen.
        let _ = futex::wait_bitset(on.word, futex::Flags::empty(), on.value, until.as_ref(), any_waker);
    }

    /// As [`sleep`], on at most [`MAX_WORDS`] words at once: any of them ends it.
    ///
    /// # Panics
    /// When there are more words than that, or none.
    pub(crate) fn sleep_any(on: &[Expected<'_>], until: Option<Instant>) {
        /// How long a sleep lasts that only one of the words can end.
        const NAP: Duration = Duration::from_millis(1);
        assert!((1..=MAX_WORDS).contains(&on.len()));
        if on.len() == 1 || !can_sleep_on_many() {
            let nap = Instant::now() + NAP;
            let until = if on.len() == 1 { until } else { Some(until.map_or(nap, |until| until.min(nap))) };
            return sleep(on[on.len() - 1], until);
        }
        let waits: ArrayVec<futex::Wait, MAX_WORDS> =
            on.iter().map(|on| wait_on(on.word, on.value)).collect();
        let until = until.map(monotonic);
        // As in `sleep`: whatever happened, the caller looks again.
        let _ = futex::waitv(&waits, futex::WaitvFlags::empty(), until.as_ref(), ClockId::Monotonic);
    }

    fn wait_on(word: &AtomicU32, value: u32) -> futex::Wait {
        let mut wait = futex::Wait::new();
        wait.val = u64::from(value);
        wait.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
        wait.flags = futex::WaitFlags::SIZE_U32;
        wait
    }

    /// Wakes who sleeps on the word: a side has one sleeper a direction, and for a moment one more, which then looks.
    pub(crate) fn wake(word: &AtomicU32) {
        let _ = futex::wake(word, futex::Flags::empty(), 1);
    }

    /// Wakes all who sleep on the word.
    pub(crate) fn wake_all(word: &AtomicU32) {
        let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
    }

    /// Whether this kernel and sandbox have `futex_waitv` (Linux 5.16).
    pub(crate) fn can_sleep_on_many() -> bool {
        static ANSWER: OnceLock<bool> = OnceLock::new();
        *ANSWER.get_or_init(|| {
            let word = AtomicU32::new(0);
            // The value differs, so a kernel that has the call says "again" at once.
            let answer =
                futex::waitv(&[wait_on(&word, 1)], futex::WaitvFlags::empty(), None, ClockId::Monotonic);
            answer == Err(Errno::AGAIN)
        })
    }

    /// `until` as an absolute time of the clock that futexes use.
    fn monotonic(until: Instant) -> Timespec {
        let now = clock_gettime(ClockId::Monotonic);
        let left = until.saturating_duration_since(Instant::now());
        let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        let then = now.saturating_add(left);
        Timespec { tv_sec: then.as_secs() as i64, tv_nsec: i64::from(then.subsec_nanos()) }
    }
}

#[cfg(not(all(target_os = "linux", not(grite_portable))))]
mod portable {
    use std::time::Duration;

    use super::*;

    /// How long a sleeper that cannot be woken sleeps before it looks again.
    const NAP: Duration = Duration::from_micros(200);

    pub(crate) fn sleep(on: Expected<'_>, until: Option<Instant>) {
        sleep_any(&[on], until);
    }

    /// The words are not looked at: those who sleep have looked, and some words are halves of what others store.
    pub(crate) fn sleep_any(_on: &[Expected<'_>], until: Option<Instant>) {
        let left = until.map_or(NAP, |until| until.saturating_duration_since(Instant::now()));
        std::thread::sleep(left.min(NAP));
    }

    pub(crate) fn wake(_word: &AtomicU32) {}

    pub(crate) fn wake_all(_word: &AtomicU32) {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_changed_word_ends_the_sleep_at_once() {
        let word = AtomicU32::new(1);
        sleep(Expected { word: &word, value: 0 }, None);
        sleep_any(&[Expected { word: &word, value: 0 }], None);
    }

    #[test]
    fn the_deadline_ends_the_sleep() {
        let word = AtomicU32::new(0);
        let until = Instant::now() + Duration::from_millis(5);
        while Instant::now() < until {
            sleep(Expected { word: &word, value: 0 }, Some(until));
        }
        let other = AtomicU32::new(0);
        let until = Instant::now() + Duration::from_millis(5);
        while Instant::now() < until {
            sleep_any(&[&word, &other].map(|word| Expected { word, value: 0 }), Some(until));
        }
    }

    #[test]
    fn a_wake_ends_the_sleep() {
        let (word, other) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(5));
                word.store(1, Ordering::SeqCst);
                wake(&word);
            });
            while word.load(Ordering::SeqCst) == 0 {
                sleep_any(&[&other, &word].map(|word| Expected { word, value: 0 }), None);
            }
        });
    }
}
