//! How often a test does what it repeats, and how strict it is about times: the ordinary suite shares its
//! machine and is soon done, a longer run is asked for by `GRITE_TEST_ROUNDS`.

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

/// `few` times, or as often as the environment says.
pub fn rounds(few: u64) -> u64 {
    whole().unwrap_or(few)
}

/// The number of rounds of a longer run, in which the times of the list of faults hold, too; nothing if this is
/// none.
pub fn whole() -> Option<u64> {
    std::env::var("GRITE_TEST_ROUNDS").ok()?.parse().ok()
}

/// Whether something took no longer than the list of faults says: in a longer run.
pub fn is_in_time(elapsed: Duration, most: Duration) -> bool {
    println!("took {elapsed:?} of {most:?}");
    elapsed <= if whole().is_some() { most } else { Duration::from_secs(10) }
}

/// Whether something that was to end at a deadline has: within a tenth of it in a longer run.
pub fn is_at_the_deadline(elapsed: Duration, deadline: Duration) -> bool {
    println!("ended after {elapsed:?} of {deadline:?}");
    let late = if whole().is_some() { deadline * 11 / 10 } else { Duration::from_secs(30) };
    (deadline * 9 / 10..late).contains(&elapsed)
}
