//! Whether a side that sleeps at once goes to the CPU where its peer sleeps.
//!
//! Two who ask and answer by turns, and sleep in between, never run at the same time. On one CPU each wakes
//! the other by a switch; on two, each has to fetch a CPU out of its idle state, which takes several times as long.
//! The kernel leaves two there who have met on one, for some milliseconds, if the other CPUs rest so deeply that
//! they are no better place; else it parts them with the next wake. On a virtual machine a CPU rests so once the
//! host has given it to somebody else, and about every second meeting lasts: so a side goes to its peer again and
//! again, and seldom once that was in vain very many times.
//!
//! A side that has work of its own between two sleeps stays where it is: that work would keep others, who sleep
//! there, too, from theirs.

use std::time::{Duration, Instant};

/// What a side does between two sleeps takes no longer, if it does nothing but ask: less than a wake across CPUs.
const NOTHING: Duration = Duration::from_micros(10);

/// After how many sleeps on one CPU the way there has paid: it costs as much as two wakes across CPUs.
const PAID: u32 = 8;

/// How long a side stays where it is after it went to its peer.
///
/// On two virtual cores that was quicker than a millisecond, and as quick as 100 µs.
const STAY: Duration = Duration::from_micros(500);

/// The same once that was in vain [`MANY`] times in a row: forty were seen where every second one lasts.
const STAY_LONG: Duration = Duration::from_millis(100);
const MANY: u32 = 200;

/// What one side knows of where it met its peer.
#[derive(Clone, Debug)]
pub(super) struct Meeting {
    /// When the last sleep was over.
    woke: Option<Instant>,
    /// When this side last went to its peer.
    went: Option<Instant>,
    /// How many sleeps have begun on the peer's CPU since.
    together: u32,
    /// How many times in a row it went in vain.
    in_vain: u32,
}

impl Meeting {
    pub(super) const fn new() -> Self {
        Meeting { woke: None, went: None, together: 0, in_vain: 0 }
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
        let stay = if self.in_vain < MANY { STAY } else { STAY_LONG };
        if !within(self.woke, NOTHING) || within(self.went, stay) {
            return false;
        }
        if self.went.is_some() {
            self.in_vain = if self.together >= PAID { 0 } else { self.in_vain.saturating_add(1) };
        }
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
    fn a_side_goes_to_its_peer_more_seldom_where_that_was_in_vain_many_times() {
        let (mut meeting, mut now) = (Meeting::new(), Instant::now() + MICROSECOND);
        // As often as it pays, and so many times beyond that.
        let paid = [(PAID, STAY); 2 * MANY as usize];
        let in_vain = [(PAID - 1, STAY); MANY as usize];
        let often_in_vain = [(0, STAY_LONG), (PAID - 1, STAY_LONG), (PAID, STAY_LONG), (0, STAY)];
        assert!(sleeps(&mut meeting, now, 0), "nothing is known yet");
        for (together, stay) in paid.into_iter().chain(in_vain).chain(often_in_vain) {
            assert!(!sleeps(&mut meeting, now + stay, together), "{meeting:?}");
            now += stay + MICROSECOND;
            assert!(sleeps(&mut meeting, now, 0), "{meeting:?}");
        }
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
