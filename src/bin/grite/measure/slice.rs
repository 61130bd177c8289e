//! Measuring one thing for a while: [`slice()`].

use std::time::{Duration, Instant};

use super::{Histogram, Interrupts};
use crate::error::CliError;

/// How much is measured at a time.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    /// For so long, warming up included.
    Time(Duration),
    /// So many times, after as many to warm up as [`WARM`] says.
    Count(u64),
}

/// How often something is done before it counts, at most: caches, branch predictors and spin budgets
/// have settled by then.
const WARM: u64 = 2000;

/// Warming up takes at most this share of the time.
const WARM_SHARE: u32 = 5;

/// Does `ask` again and again, and records how long each time took. Returns how long all that was
/// recorded took together.
///
/// # Errors
/// The first error of `ask`, or that somebody wants this process to end.
pub fn slice(
    extent: Extent,
    histogram: &mut Histogram,
    interrupts: &Interrupts,
    mut ask: impl FnMut() -> Result<u64, CliError>,
) -> Result<Duration, CliError> {
    let begin = Instant::now();
    let (warm_until, end, count) = match extent {
        Extent::Time(time) => (Some(begin + time / WARM_SHARE), Some(begin + time), u64::MAX),
        Extent::Count(count) => (None, None, count),
    };
    for _ in 0..WARM {
        interrupts.check()?;
        std::hint::black_box(ask()?);
        if warm_until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
    }
    let first = Instant::now();
    let mut last = first;
    for _ in 0..count {
        interrupts.check()?;
        let start = Instant::now();
        // What was read of the answer must have been read.
        std::hint::black_box(ask()?);
        last = Instant::now();
        histogram.record(u64::try_from((last - start).as_nanos()).unwrap_or(u64::MAX));
        if end.is_some_and(|end| last >= end) {
            break;
        }
    }
    Ok(last - first)
}
