//! For how long to look before sleeping.
//!
//! Going to sleep and being woken costs tens of microseconds; looking costs a core. A spin pays
//! when what it waits for comes within about the price of a sleep. Nobody knows that beforehand,
//! so the budget learns, as KVM's halt polling does: it is doubled when a sleep turned out to be so short
//! that a longer spin would have caught it, and quartered when one was long.
//!
//! Where both sides share a CPU, as they do when there is one only, or others keep the rest busy, or the
//! kernel puts one that it wakes beside its waker, a spin keeps the peer from running: each sleep looks
//! short then, and each spin is in vain. So a spin that does not succeed at once asks whether that is so,
//! and gives way to the peer if it is. Two who meet so again and again would be quicker on two CPUs, and the
//! kernel leaves them together for tens of milliseconds: one of them moves, where it can. Two who sleep at once
//! are quicker on one CPU: see [`meeting`](super::meeting).
//!
//! A socket does not tell where the peer runs. It is looked at for about as long as a sleep takes, and not at
//! all after a long one.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::meeting::Meeting;

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
    /// Spin for as long as that has lately paid, 200 µs at most, then sleep. Where both sides share a
    /// CPU, let the other one run instead. A side that is asked every 100 µs hardly sleeps: ten thousand questions a
    /// second cost a daemon nearly a whole core, and a fifth of one with `Park`. Where both share a CPU for longer,
    /// one of them moves to another that its thread may use; that is changed and changed back for it, as with `Park`.
    #[default]
    Adaptive,
    /// Never sleep. The quickest answers, for a whole core, where each side has one. Where both share a CPU, each answer
    /// waits for the scheduler: 8 ms in place of the 3 µs of `Adaptive`. Over the socket, where each look is a system
    /// call, the same as `Adaptive`.
    Spin,
    /// Sleep at once. The least CPU time. A client that does nothing but ask goes to the CPU where its daemon sleeps,
    /// if that one sleeps then, too: two who run by turns wake each other there in a fraction of the time. What CPUs the
    /// client's thread may use (`sched_setaffinity`) is changed for that, and at once changed back: what somebody else
    /// sets in between is lost.
    Park,
}

/// Where a budget starts, and starts again after long sleeps: there is no shorter one.
const FIRST: Duration = Duration::from_micros(10);

/// That of a socket: the price of a sleep. A peer that sleeps until it is asked, on another CPU, has answered after
/// 20 µs.
const OF_SOCKET: Duration = Duration::from_micros(30);

/// No spin is longer: some times the price of a sleep and a wake across two cores (25 µs to 50 µs),
/// so that a peer which an interrupt or the hypervisor held up for a moment is still met awake. With
/// 50 µs, twenty million requests in a row made two to eight times as many system calls.
const MOST: Duration = Duration::from_micros(200);

/// A peer that sleeps so long after it was awake has others work for it, who may take longer.
const BUSY: Duration = Duration::from_micros(50);

/// Looks between two looks at the clock: a microsecond or two.
const ROUND: u32 = 64;

/// How long a side shares its peer's CPU before it moves: one or two requests. A scheduler with more to run than
/// CPUs puts clients beside their poller every few milliseconds, and as long nobody else is answered.
const PATIENCE: Duration = Duration::from_micros(20);

/// Longer than a peer takes for its turn on a CPU that two share; shorter than anybody else takes for one.
const TURN: Duration = Duration::from_micros(200);

/// How many times as long as somebody else's turn it takes until this side gives way again.
const CAUTION: u32 = 100;

/// How often a side that shares its peer's CPU is told to move: an idle CPU is found soon, and one that
/// is busy is not tried all the time.
const MOVE_AGAIN: Duration = Duration::from_millis(1);

/// Two who meet on one CPU less often than this have time for a switch: to part them costs more than it
/// gains, and the kernel puts them together again.
const RARE: Duration = Duration::from_micros(500);

/// A sleep that no spin would have caught, were it twice as long.
const LONG: Duration = MOST.saturating_mul(2);

/// The learned budget of one waiter.
#[derive(Debug)]
pub(crate) struct Spin {
    strategy: WaitStrategy,
    budget: Duration,
    /// Whether this process may run on one CPU only; asked by the first wait, since it takes as long as a sleep.
    one_cpu: Option<bool>,
    /// Since when spins have found the peer on this side's CPU, and when last; nothing if the last one did not.
    shared: Option<(Instant, Instant)>,
    /// For how long it may be found there until this side moves: two sides that moved at once would meet again.
    patience: Duration,
    /// When this side was last told to move.
    moved: Option<Instant>,
    /// Until when this side gives way to nobody, since it had to wait too long for its next turn.
    crowded: Option<Instant>,
    /// Where this side met its peer, if it sleeps at once.
    meeting: Meeting,
}

impl Spin {
    pub(crate) fn new(strategy: WaitStrategy) -> Self {
        let budget = if strategy == WaitStrategy::Adaptive { FIRST } else { Duration::ZERO };
        Spin {
            strategy,
            budget,
            one_cpu: None,
            shared: None,
            patience: PATIENCE,
            moved: None,
            crowded: None,
            meeting: Meeting::new(),
        }
    }

    /// The same for a side that waits for a socket, which does not tell where the peer runs.
    pub(crate) fn of_socket(strategy: WaitStrategy) -> Self {
        match strategy {
            WaitStrategy::Park => Spin::new(strategy),
            WaitStrategy::Adaptive | WaitStrategy::Spin => {
                Spin { budget: OF_SOCKET, ..Spin::new(WaitStrategy::Adaptive) }
            }
        }
    }

    /// The same for a side that would rather have the others move.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Spin { patience, ..self }
    }

    /// Whether this waiter never sleeps.
    pub(crate) fn is_endless(&self) -> bool {
        self.strategy == WaitStrategy::Spin
    }

    /// Whether this waiter sleeps at once.
    pub(crate) fn sleeps_at_once(&self) -> bool {
        self.strategy == WaitStrategy::Park
    }

    /// Looks until `look` answers something or the budget is used up.
    ///
    /// Where both sides `share_a_cpu` it lets the other one run instead: that is asked once, behind the first round of
    /// looks, or before it of a peer that `sleeps`. One that sleeps on another CPU is not looked for at all.
    #[inline]
    pub(crate) fn until<S, T>(
        &mut self,
        state: &mut S,
        mut look: impl FnMut(&mut S) -> Option<T>,
        share_a_cpu: impl FnOnce(&mut S) -> bool,
        sleeps: impl Fn(&S) -> bool,
    ) -> Option<T> {
        let mut round = |state: &mut S| {
            (0..ROUND).find_map(|_| {
                std::hint::spin_loop();
                look(state)
            })
        };
        if self.is_endless() {
            return round(state);
        }
        if !self.pays() {
            self.shared = None;
            // The peer is to know where this side sleeps, even if this side does not care.
            return if share_a_cpu(state) { self.give_way(state, look) } else { None };
        }
        // A sleeper does nothing in the next microseconds.
        if !sleeps(state)
            && let Some(found) = round(state)
        {
            return Some(found);
        }
        let shared = share_a_cpu(state);
        let now = Instant::now();
        if shared {
            let since = self.shared.filter(|(_, last)| now - *last <= RARE).map_or(now, |(since, _)| since);
            self.shared = Some((since, now));
            return if self.is_to_move(now) { None } else { self.give_way(state, look) };
        }
        self.shared = None;
        // Until another CPU has come to a peer that was just woken, and back, this side can as well sleep.
        if sleeps(state) {
            return None;
        }
        loop {
            if let Some(found) = round(state) {
                return Some(found);
            }
            let time = now.elapsed();
            if time >= self.budget || time >= BUSY && sleeps(state) {
                return None;
            }
        }
    }

    /// Whether spins have lately paid.
    #[inline]
    fn pays(&mut self) -> bool {
        !self.budget.is_zero() && !*self.one_cpu.get_or_insert_with(one_cpu)
    }

    /// Looks for a microsecond or two, if spins have lately paid: for those who share their thread with
    /// others, and cannot keep it for a whole spin.
    #[cfg(feature = "tokio")]
    pub(crate) fn glance<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        if !self.is_endless() && !self.pays() {
            return None;
        }
        (0..ROUND).find_map(|_| {
            std::hint::spin_loop();
            look()
        })
    }

    /// Whether it pays to go on looking, `time` after the first look.
    #[cfg(feature = "tokio")]
    pub(crate) fn pays_after(&mut self, time: Duration) -> bool {
        self.is_endless() || self.pays() && time < self.budget
    }

    /// Looks for about a millisecond, or until `look` says that it is enough: for those who never
    /// sleep, between two looks at the clock and the lifeline.
    pub(crate) fn round(&self, mut look: impl FnMut() -> bool) {
        const MILLISECOND: u32 = 50_000;
        for _ in 0..MILLISECOND {
            if look() {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// Lets a peer on this CPU run, then looks once.
    ///
    /// Two who give way to each other need no sleeps and no wakes. Where others want the CPU, too, it may be
    /// one of them who runs, for milliseconds, while one who sleeps and is woken would be let in before it.
    fn give_way<S, T>(&mut self, state: &mut S, mut look: impl FnMut(&mut S) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        if self.strategy != WaitStrategy::Adaptive || self.crowded.is_some_and(|until| start < until) {
            return None;
        }
        std::thread::yield_now();
        let time = start.elapsed();
        self.crowded = (time > TURN).then(|| start + CAUTION * time);
        look(state)
    }

    /// Whether this side should move to another CPU; says so once.
    pub(crate) fn should_move(&mut self, now: Instant) -> bool {
        let due = self.is_to_move(now);
        if due {
            self.shared = None;
            self.moved = Some(now);
        }
        due
    }

    /// Whether this side, which sleeps at once on its `own` CPU, should go to the `peer`'s, which sleeps, too.
    pub(crate) fn should_join(&mut self, now: Instant, own: u64, peer: u64) -> bool {
        own != 0 && peer != 0 && self.meeting.is_due(now, own == peer)
    }

    fn is_to_move(&self, now: Instant) -> bool {
        let past = |since: Instant, time: Duration| now.saturating_duration_since(since) >= time;
        self.shared.is_some_and(|(since, _)| past(since, self.patience))
            && self.moved.is_none_or(|moved| past(moved, MOVE_AGAIN))
    }

    /// Learns from a sleep that took so long.
    pub(crate) fn slept(&mut self, time: Duration) {
        match self.strategy {
            WaitStrategy::Adaptive => self.learn(time),
            WaitStrategy::Park => self.meeting.woke(Instant::now()),
            WaitStrategy::Spin => {}
        }
    }

    /// Learns from a sleep on a socket: looks, each of them a system call, pay before short sleeps.
    pub(crate) fn slept_on_socket(&mut self, time: Duration) {
        if self.strategy == WaitStrategy::Adaptive {
            self.budget = if time > LONG { Duration::ZERO } else { OF_SOCKET };
        }
    }

    fn learn(&mut self, time: Duration) {
        let quarter = self.budget / 4;
        self.budget = if time <= LONG {
            (self.budget * 2).clamp(FIRST, MOST)
        } else if quarter >= FIRST {
            // A peer that was held up once is back, and without spins each of the next messages would take a sleep.
            quarter
        } else {
            Duration::ZERO
        };
    }
}

/// Whether this process may run on one CPU only, where a spin keeps the other side from running.
fn one_cpu() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get) == 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// On a machine with more than one CPU.
    fn adaptive(budget: Duration) -> Spin {
        Spin { budget, one_cpu: Some(false), ..Spin::new(WaitStrategy::Adaptive) }
    }

    #[test]
    fn the_budget_is_doubled_by_short_sleeps_and_quartered_by_long_ones() {
        let micros = Duration::from_micros;
        let mut spin = adaptive(FIRST);
        let long = 5_000_000;
        for (slept, budget) in [
            (30, 20),
            (400, 40),
            (401, 10),
            (401, 0),
            (long, 0),
            (30, 10),
            (long, 0),
            (30, 10),
            (30, 20),
            (long, 0),
            (100, 10),
        ] {
            spin.learn(micros(slept));
            assert_eq!(spin.budget, micros(budget), "after {slept}");
        }
        (0..10).for_each(|_| spin.learn(micros(30)));
        assert_eq!(spin.budget, MOST);
    }

    #[test]
    fn a_socket_is_looked_at_for_as_long_as_a_sleep_takes_unless_the_last_one_was_long() {
        for strategy in [WaitStrategy::Adaptive, WaitStrategy::Spin] {
            let mut spin = Spin::of_socket(strategy);
            assert!(!spin.is_endless());
            for (slept, budget) in [(0, OF_SOCKET), (401, Duration::ZERO), (400, OF_SOCKET)] {
                spin.slept_on_socket(Duration::from_micros(slept));
                assert_eq!(spin.budget, budget, "after {slept}");
            }
        }
        let mut park = Spin::of_socket(WaitStrategy::Park);
        park.slept_on_socket(Duration::ZERO);
        assert_eq!(park.budget, Duration::ZERO);
    }

    #[test]
    fn nobody_looks_at_all_on_one_cpu() {
        let mut spin = Spin { one_cpu: Some(true), ..adaptive(FIRST) };
        let looked = spin.until(&mut (), |()| Some(()), |()| false, |()| false);
        assert_eq!(looked, None);
    }

    #[test]
    fn a_side_that_shares_a_cpu_is_told_to_move_now_and_then() {
        let mut spin = adaptive(FIRST);
        let share = |spin: &mut Spin, shared| spin.until(&mut (), |()| None::<()>, |()| shared, |()| false);
        let start = Instant::now() + Duration::from_secs(1);
        let moves = |spin: &mut Spin, millis, patience| {
            spin.patience = Duration::from_secs(patience);
            spin.should_move(start + Duration::from_millis(millis))
        };
        assert!(!moves(&mut spin, 0, 0), "nobody was met");
        for (millis, moved) in [(0, true), (0, false), (1, true), (1, false), (2, true)] {
            share(&mut spin, true);
            assert_eq!(moves(&mut spin, millis, 0), moved, "after {millis} ms");
        }
        share(&mut spin, true);
        assert!(!moves(&mut spin, 100, 3600), "the peer may move first");
        share(&mut spin, false);
        assert!(!moves(&mut spin, 100, 0), "it has moved");
    }

    #[test]
    fn a_spin_ends_with_its_budget_or_what_it_looked_for() {
        let mut spin = adaptive(FIRST);
        assert_eq!(spin.until(&mut (), |()| None::<()>, |()| false, |()| false), None);
        let look_until = |last: u32| {
            move |looks: &mut u32| {
                *looks += 1;
                (*looks == last).then_some(last)
            }
        };
        assert_eq!(spin.until(&mut 0, look_until(10), |_| true, |_| false), Some(10));
        assert_eq!(spin.until(&mut 0, look_until(100), |_| false, |_| false), Some(100));
        assert_eq!(spin.until(&mut 0, look_until(100), |_| true, |_| false), None, "in vain");
        let park = &mut Spin::new(WaitStrategy::Park);
        assert_eq!(park.until(&mut (), |()| Some(()), |()| false, |()| false), None);
        assert_eq!(park.until(&mut (), |()| Some(()), |()| true, |()| false), None, "gives way to nobody");
    }

    #[test]
    fn a_side_gives_way_to_a_peer_on_its_cpu_once_and_looks() {
        let mut looks = 0;
        let mut look_once = |spin: &mut Spin| {
            looks = 0;
            let count = |looks: &mut u32| {
                *looks += 1;
                Some(*looks)
            };
            spin.until(&mut looks, count, |_| true, |_| true)
        };
        let patient = Spin::new(WaitStrategy::Adaptive).with_patience(Duration::from_secs(3600));
        let mut spin = Spin { budget: Duration::ZERO, ..patient };
        assert_eq!(look_once(&mut spin), Some(1), "without a budget");
        // Others may have had the CPU just now, as they do where tests run.
        (spin.budget, spin.crowded) = (FIRST, None);
        assert_eq!(look_once(&mut spin), Some(1), "with one, a peer that sleeps gets the CPU at once");
        spin.crowded = Some(Instant::now() + Duration::from_secs(3600));
        assert_eq!(look_once(&mut spin), None, "others had the CPU for too long");
        spin.crowded = Some(Instant::now());
        assert!(look_once(&mut spin).is_some(), "that was long ago");
    }

    #[test]
    fn a_peer_that_sleeps_is_not_waited_for_with_the_whole_budget() {
        let mut spin = adaptive(Duration::from_secs(3600));
        let look = |looks: &mut u32| {
            *looks += 1;
            None::<()>
        };
        let mut looks = 0;
        assert_eq!(spin.until(&mut looks, look, |_| false, |_| true), None);
        assert_eq!(looks, 0, "one that sleeps on another CPU is slept for at once");
        let start = Instant::now();
        assert_eq!(spin.until(&mut looks, look, |_| false, |looks| *looks > 2 * ROUND), None);
        assert!(start.elapsed() >= BUSY, "one that goes to sleep meanwhile");
    }
}
