//! Whether a side that sleeps at once goes to the CPU where its peer sleeps.
//!
//! Two who ask and answer by turns, and sleep in between, never run at the same time. On one CPU each wakes
//! the other by a switch; on two, each has to fetch a CPU out of its idle state, which takes both of them several times
//! as long. The kernel leaves two where they are, most of the time, and so does this: a side goes to its peer,
//! and where the kernel parts them again soon, it goes again after longer and longer times.
//!
//! A side that has work of its own between two sleeps stays where it is: that work would keep others, who sleep
//! there, too, from theirs.

use std::time::{Duration, Instant};

/// What a side does between two sleeps takes no longer, if it does nothing but ask: less than a wake across CPUs.
const NOTHING: Duration = Duration::from_micros(10);

/// After how many sleeps on one CPU the way there has paid: it costs as much as two wakes across CPUs.
const PAID: u32 = 8;

/// How long a side stays where it is after it went to its peer, if that has paid, and if it never does.
const STAY: Duration = Duration::from_millis(1);
const STAY_AT_MOST: Duration = Duration::from_secs(1);

/// What one side knows of where it met its peer.
#[derive(Clone, Debug)]
pub(super) struct Meeting {
    /// When the last sleep was over.
    woke: Option<Instant>,
    /// When this side last went to its peer.
    went: Option<Instant>,
    /// How long it stays where it is after that.
    stay: Duration,
    /// How many sleeps have begun on the peer's CPU since.
    together: u32,
}

impl Meeting {
    pub(super) const fn new() -> Self {
        Meeting { woke: None, went: None, stay: STAY, together: 0 }
    }

    /// Notes that a sleep is over.
    pub(super) fn woke(&mut self, now: Instant) {
        self.woke = Some(now);
    }

    /// Whether a sleep that begins now is to begin on the peer's CPU. `together` says whether it does anyway.
    pub(super) fn is_due(&mut self, now: Instant, together: bool) -> bool {
        let within = |since: Option<Instant>, time| {
            since.is_some_and(|since| now.saturating_duration_since(since) <= time)
        };
        if together {
            self.together = self.together.saturating_add(1);
            return false;
        }
        if !within(self.woke, NOTHING) || within(self.went, self.stay) {
            return false;
        }
        self.stay = if self.together >= PAID { STAY } else { (self.stay * 2).min(STAY_AT_MOST) };
        self.together = 0;
        self.went = Some(now);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// Sleeps that begin a microsecond after the last one, so many at the peer's; then one elsewhere.
    fn sleeps(meeting: &mut Meeting, now: Instant, together: u32) -> bool {
        meeting.woke(now - MICROSECOND);
        for _ in 0..together {
            assert!(!meeting.is_due(now, true), "it is there");
        }
        meeting.is_due(now, false)
    }

    #[test]
    fn a_side_goes_to_its_peer_more_seldom_where_that_does_not_pay() {
        let (mut meeting, mut now) = (Meeting::new(), Instant::now() + MICROSECOND);
        assert!(sleeps(&mut meeting, now, 0));
        for millis in [2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000] {
            let due = now + Duration::from_millis(millis);
            assert!(!sleeps(&mut meeting, due, PAID - 1), "{millis} ms are not over");
            now = due + MICROSECOND;
            assert!(sleeps(&mut meeting, now, 0), "after {millis} ms");
        }
        now += 2 * STAY_AT_MOST;
        assert!(sleeps(&mut meeting, now, PAID), "it has paid");
        assert!(!sleeps(&mut meeting, now + STAY, 0));
        assert!(sleeps(&mut meeting, now + STAY + MICROSECOND, 0));
    }

    #[test]
    fn a_side_with_work_of_its_own_stays() {
        let (mut meeting, now) = (Meeting::new(), Instant::now());
        assert!(!meeting.is_due(now, false), "it has not slept yet");
        meeting.woke(now);
        assert!(!meeting.is_due(now + NOTHING + MICROSECOND, false));
        assert!(meeting.is_due(now + NOTHING, false));
    }
}
