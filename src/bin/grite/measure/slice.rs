//! Measuring one thing for a while: [`slice()`].

use std::time::{Duration, Instant};

use super::{Histogram, Interrupts};
use crate::error::CliError;

/// How often something is done before it counts, at most: caches, branch predictors and spin budgets
/// have settled by then.
const WARM: u64 = 2000;

/// Warming up takes at most this share of the time.
const WARM_SHARE: u32 = 5;

/// Does `ask` again and again for some time, warming up included, and records how long each time took. Returns how
/// long all that was recorded took together.
///
/// # Errors
/// The first error of `ask`, or that somebody wants this process to end.
pub fn slice(
    time: Duration,
    histogram: &mut Histogram,
    interrupts: &Interrupts,
    mut ask: impl FnMut() -> Result<u64, CliError>,
) -> Result<Duration, CliError> {
    let begin = Instant::now();
    let (warm_until, end) = (begin + time / WARM_SHARE, begin + time);
    for _ in 0..WARM {
        interrupts.check()?;
        std::hint::black_box(ask()?);
        if Instant::now() >= warm_until {
            break;
        }
    }
    let first = Instant::now();
    loop {
        interrupts.check()?;
        let start = Instant::now();
        // What was read of the answer must have been read.
        std::hint::black_box(ask()?);
        let last = Instant::now();
        histogram.record(u64::try_from((last - start).as_nanos()).unwrap_or(u64::MAX));
        if last >= end {
            return Ok(last - first);
        }
    }
}
