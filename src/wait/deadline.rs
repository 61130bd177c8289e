//! When a wait ends at the latest.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A time limit that looks at the clock only once somebody asks: a request that is answered at once
/// never does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    limit: Limit,
    end: Option<Instant>,
}

/// What is known of the end before somebody asks.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// So long from the first time that somebody asks.
    After(Duration),
    /// When [`coarse_now`] says this.
    At(u64),
}

impl Deadline {
    /// `limit` from the first time that somebody asks.
    pub(crate) fn after(limit: Duration) -> Self {
        Deadline { limit: Limit::After(limit), end: None }
    }

    /// When [`coarse_now`] says `nanos`.
    pub(crate) fn at(nanos: u64) -> Self {
        Deadline { limit: Limit::At(nanos), end: None }
    }

    /// `limit` from now.
    pub(crate) fn starting_now(limit: Duration) -> Self {
        let mut deadline = Deadline::after(limit);
        deadline.end();
        deadline
    }

    /// How long it is from its beginning, where that was said.
    pub(crate) fn limit(&self) -> Option<Duration> {
        match self.limit {
            Limit::After(limit) => Some(limit),
            Limit::At(_) => None,
        }
    }

    /// When the time is up.
    pub(crate) fn end(&mut self) -> Instant {
        /// Stands for a limit that the clock cannot express.
        const LONG: Duration = Duration::from_secs(60 * 60 * 24 * 365);
        let left = || match self.limit {
            Limit::After(limit) => limit,
            Limit::At(nanos) => Duration::from_nanos(nanos.saturating_sub(coarse_now())),
        };
        *self.end.get_or_insert_with(|| Instant::now() + left().min(LONG))
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&mut self) -> bool {
        Instant::now() >= self.end()
    }

    /// How much of the time is left.
    pub(crate) fn left(&mut self) -> Duration {
        self.end().saturating_duration_since(Instant::now())
    }

    /// The end of the time, or of the next `slice` of it.
    pub(crate) fn slice(&mut self, slice: Duration) -> Instant {
        self.end().min(Instant::now() + slice)
    }
}

/// The machine's monotonic clock in nanoseconds, the same in all processes, a few milliseconds late at
/// most: a tenth of the price of the exact one.
pub(crate) fn coarse_now() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
