//! For how long to look before sleeping.
//!
//! Going to sleep and being woken costs tens of microseconds; looking costs a core. A spin pays
//! when what it waits for comes within about the price of a sleep. Nobody knows that beforehand,
//! so the budget learns, as KVM's halt polling does: it grows when a sleep turned out to be so short
//! that a longer spin would have caught it, and goes to zero when a sleep was long.
//!
//! That lesson is wrong where both sides share a CPU, as they do when others keep the rest busy: the peer
//! comes to run only because this side sleeps at last, so each sleep looks short and each spin is in
//! vain. A waiter whose spins all fail therefore stops spinning for a while, and tries again ever more
//! seldom.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How a side waits for the other one.
///
/// ```
/// # use libgrite_ipc::{IpcClient, WaitStrategy};
/// # fn main() -> Result<(), libgrite_ipc::Error> {
/// # if false {
/// let client = IpcClient::builder().wait(WaitStrategy::Spin).connect("/run/user/1000/grite/daemon.sock")?;
/// # }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitStrategy {
    /// Spin for as long as that has lately paid, 50 µs at most, then sleep. Sleeps at once where
    /// the process may use one CPU only.
    #[default]
    Adaptive,
    /// Never sleep. The quickest answers, for a whole core.
    Spin,
    /// Sleep at once. The least CPU time.
    Park,
}

/// Where a budget starts, and starts again after long sleeps.
const FIRST: Duration = Duration::from_micros(10);

/// No spin is longer: about the price of a sleep and a wake across two cores.
const MOST: Duration = Duration::from_micros(50);

/// So many spins in a row that fail, each before a short sleep, are in vain.
const IN_VAIN: u32 = 4;

/// After how many waits without a spin the first trial comes, and the last one in a row of failures.
const RESTS: std::ops::RangeInclusive<u32> = 16..=1024;

/// The learned budget of one waiter.
#[derive(Debug)]
pub(crate) struct Spin {
    strategy: WaitStrategy,
    budget: Duration,
    /// How many spins have failed since the last one that found something.
    failed: u32,
    /// How many waits go without a spin from now on.
    resting: u32,
    /// How many did so after the last row of failures.
    rest: u32,
}

impl Spin {
    pub(crate) fn new(strategy: WaitStrategy) -> Self {
        let budget = match strategy {
            WaitStrategy::Adaptive if one_cpu() => Duration::ZERO,
            WaitStrategy::Adaptive => FIRST,
            WaitStrategy::Spin | WaitStrategy::Park => Duration::ZERO,
        };
        Spin { strategy, budget, failed: 0, resting: 0, rest: 0 }
    }

    /// Whether this waiter never sleeps.
    pub(crate) fn is_endless(&self) -> bool {
        self.strategy == WaitStrategy::Spin
    }

    /// Looks until `look` answers something or the budget is used up.
    #[inline]
    pub(crate) fn until<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        /// Looks between two looks at the clock: a microsecond or two.
        const ROUND: u32 = 64;
        if self.budget.is_zero() || self.resting > 0 {
            return None;
        }
        let mut end = None;
        loop {
            for _ in 0..ROUND {
                if let Some(found) = look() {
                    (self.failed, self.rest) = (0, 0);
                    return Some(found);
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            if now >= *end.get_or_insert(now + self.budget) {
                return None;
            }
        }
    }

    /// Looks for about a millisecond, or until `look` says that it is enough: for those who never
    /// sleep, between two looks at the clock and the lifeline.
    pub(crate) fn round(&self, mut look: impl FnMut() -> bool) {
        const ROUND: u32 = 50_000;
        for _ in 0..ROUND {
            if look() {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// Learns from a sleep that took so long.
    pub(crate) fn slept(&mut self, time: Duration) {
        if self.strategy != WaitStrategy::Adaptive || one_cpu() {
            return;
        }
        if self.resting > 0 {
            self.resting -= 1;
            return;
        }
        if !self.budget.is_zero() && time <= 2 * MOST {
            self.failed += 1;
            if self.failed >= IN_VAIN {
                self.rest = (self.rest * 2).clamp(*RESTS.start(), *RESTS.end());
                (self.resting, self.failed) = (self.rest, 0);
            }
        }
        self.budget = after_sleep(self.budget, time);
    }
}

/// The budget after a sleep of `time`.
fn after_sleep(budget: Duration, time: Duration) -> Duration {
    if time > 2 * MOST {
        Duration::ZERO
    } else if budget.is_zero() {
        FIRST
    } else {
        (budget * 2).min(MOST)
    }
}

/// Whether this process may run on one CPU only, where a spin keeps the other side from running.
pub(crate) fn one_cpu() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get) == 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_budget_grows_after_short_sleeps_and_vanishes_after_long_ones() {
        let micros = Duration::from_micros;
        for (budget, slept, expected) in
            [(0, 30, 10), (10, 30, 20), (40, 100, 50), (50, 100, 50), (50, 101, 0), (0, 5_000_000, 0)]
        {
            assert_eq!(
                after_sleep(micros(budget), micros(slept)),
                micros(expected),
                "{budget} after {slept}"
            );
        }
    }

    #[test]
    fn a_spin_ends_with_its_budget_or_what_it_looked_for() {
        let mut spin = Spin { budget: FIRST, ..Spin::new(WaitStrategy::Adaptive) };
        assert_eq!(spin.until(|| None::<()>), None);
        let mut looks = 0;
        let found = spin.until(|| {
            looks += 1;
            (looks == 10).then_some(looks)
        });
        assert_eq!(found, Some(10));
        assert_eq!(Spin::new(WaitStrategy::Park).until(|| Some(())), None);
    }

    #[test]
    fn spins_in_vain_stop_and_are_tried_ever_more_seldom() {
        if one_cpu() {
            return;
        }
        let mut spin = Spin { budget: FIRST, ..Spin::new(WaitStrategy::Adaptive) };
        let wait = |spin: &mut Spin| {
            let mut looked = false;
            spin.until(|| {
                looked = true;
                None::<()>
            });
            spin.slept(Duration::from_micros(20));
            looked
        };
        for rest in [16, 32, 64, 128, 256, 512, 1024, 1024] {
            assert!((0..IN_VAIN).all(|_| wait(&mut spin)));
            assert!((0..rest).all(|_| !wait(&mut spin)), "a rest of {rest} waits");
        }
        assert_eq!(spin.until(|| Some(())), Some(()));
        assert!((0..IN_VAIN).all(|_| wait(&mut spin)), "what pays is done again");
        assert!((0..16).all(|_| !wait(&mut spin)));
        assert!(wait(&mut spin));
    }
}
