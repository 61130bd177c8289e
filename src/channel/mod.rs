//! One direction of a connection: a ring, and the waiting for it.
//!
//! A [`Sender`] turns a message into frames, as many as its length needs, and wakes a sleeping
//! receiver. A [`Receiver`] puts frames together again, and wakes a sender that sleeps for space.
//! Neither knows what a message means. Messages of one direction do not interleave.
//!
//! A side sleeps on the low 32 bits of the word that the peer will change: they change with every
//! publish, so a sleep that begins too late does not begin at all. Before it sleeps it marks itself,
//! fences and looks again; see [`fence_before_look`](crate::sync::fence_before_look).
//!
//! A side that waits for other things, too, cannot sleep on a word: it marks itself as listening, and
//! the peer rings its [`Bell`] in place of the word. A bell that was rung stays so until it is heard, so
//! here, too, the order of ring and sleep does not matter.

#[cfg(all(test, loom))]
mod models;
mod receiver;
mod sender;
#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;
use std::time::{Duration, Instant};

use crate::cpu;
use crate::fault;
use crate::ring::{Await, Memory, Regions, Violation, Word};
use crate::stream::Stream;
use crate::wait::{self, Deadline, Spin};

pub(crate) use receiver::Receiver;
pub(crate) use sender::Sender;

/// How long a sleep that nobody guards lasts before it looks at the lifeline: a killed peer is noticed within
/// this time. Each look costs a few microseconds.
///
/// The kernel has the timer set anew for a sleep that is to end before its next tick (every 4 ms on most).
/// With 2 ms, one in ten sleeps of two on one CPU took 14 µs there and back in place of 5 µs; with 3 ms, one
/// in fifty.
pub(crate) const LIFELINE_SLICE: Duration = Duration::from_millis(3);

/// What no honest peer does to a channel. The connection is lost for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Ring(#[from] Violation),
    #[error("a frame of message {found} inside message {within}")]
    Interleaved { found: u64, within: u64 },
    #[error("a message of more than {limit} bytes")]
    TooLong { limit: usize },
    #[error("a fragment of {length} bytes where each but the last has {full}")]
    ShortFragment { length: u32, full: u32 },
    #[error("an abort of message {0}, which is not under way")]
    StrayAbort(u64),
}

/// Why a blocking wait ended without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The time is up.
    Deadline,
    /// The peer is gone.
    Severed,
    /// The peer broke the rules.
    Fault(Fault),
}

impl<F: Into<Fault>> From<F> for Stop {
    fn from(fault: F) -> Self {
        Stop::Fault(fault.into())
    }
}

/// Memory with words to sleep on.
pub(crate) trait Sleep: Memory {
    /// Sleeps while the low 32 bits of the peer's `word` are those of `seen`; may end early.
    fn sleep(&self, word: Word, seen: u64, until: Option<Instant>);
    /// Wakes the peer if it sleeps on our `word`.
    fn wake(&self, word: Word);
}

/// Calls a peer that listens, whatever else it waits for. Rung more often than heard, it has rung once.
pub(crate) trait Bell: fmt::Debug + Send + Sync {
    fn ring(&self);
}

/// The socket of the handshake, on which a connection over rings sends nothing else.
impl Bell for Stream {
    fn ring(&self) {
        // A socket that is full of rings that nobody has heard yet, or whose peer is gone, needs no other.
        let _ = self.write(&[1]);
    }
}

/// Whether the peer sleeps for frames, or was woken and has not begun to run.
fn peer_sleeps(memory: &impl Memory) -> bool {
    is_mark(memory.peer_await(Await::Data))
}

/// Tells the peer where this side waits; says whether the peer has last waited there, too.
fn shares_cpu(memory: &impl Memory, cpu: u64) -> bool {
    memory.set_cpu(cpu);
    cpu != 0 && memory.peer_cpu() == cpu
}

impl Sleep for Regions {
    fn sleep(&self, word: Word, seen: u64, until: Option<Instant>) {
        wait::sleep(wait::Expected { word: Regions::futex(&self.theirs, word), value: seen as u32 }, until);
    }

    fn wake(&self, word: Word) {
        wait::wake(Regions::futex(&self.ours, word));
    }
}

/// What tells a side that waits that its peer is gone.
pub(crate) trait Lifeline {
    /// Whether it is.
    fn is_severed(&mut self) -> bool;
    /// Whether somebody wakes this side when the peer goes, and before `left` has passed: the sleep that begins now
    /// needs no timer then, and [`release`](Self::release) must follow it.
    fn guard(&mut self, left: Duration) -> bool {
        let _ = left;
        false
    }
    /// The sleep is over.
    fn release(&mut self) {}
}

impl<F: FnMut() -> bool> Lifeline for F {
    fn is_severed(&mut self) -> bool {
        self()
    }
}

/// One half of a channel, as somebody who waits for the peer.
pub(crate) trait Waits {
    /// Looks whether the peer has done what is waited for. Says so again until that is used.
    fn look(&mut self) -> Result<bool, Fault>;
    /// Tells the peer that a sleep is about to begin; a look and then the sleep follow.
    fn mark_asleep(&self);
    /// The same, for a side that does not sleep on the word but listens for the bell.
    #[cfg(any(feature = "tokio", loom))]
    fn mark_listening(&self);
    /// Tells the peer that the sleep is over.
    fn mark_awake(&self);
    /// The peer's word that a sleep waits on, and the position that it waits to change.
    fn awaited(&self) -> (Word, u64);
    /// Sleeps on that word.
    fn sleep(&self, until: Option<Instant>);
    /// Tells the peer that this side waits on `cpu`; says whether the peer has last waited there.
    fn shares_cpu(&self, cpu: u64) -> bool;
    /// Whether the peer sleeps for frames, or was woken and has not begun to run.
    fn peer_sleeps(&self) -> bool;
    /// On which CPU the peer has last waited; zero where nobody knows.
    fn peer_cpu(&self) -> u64;
}

/// Waits until a look finds something: spins, then sleeps, and asks after each sleep whether the peer is gone.
/// A sleep that nobody guards lasts a `slice` at most.
fn wait<W: Waits>(
    half: &mut W,
    spin: &mut Spin,
    until: &mut Deadline,
    slice: Duration,
    lifeline: &mut dyn Lifeline,
) -> Result<(), Stop> {
    let look = |half: &mut W| half.look().map(|found| found.then_some(())).transpose();
    let share_a_cpu = |half: &mut W| half.shares_cpu(cpu::current());
    let sleeps = |half: &W| half.peer_sleeps();
    if let Some(found) = spin.until(half, look, share_a_cpu, sleeps) {
        return Ok(found?);
    }
    let start = Instant::now();
    // The peer can go on where it is then: it may have others to answer there.
    if spin.should_move(start) {
        cpu::change();
        if let Some(found) = spin.until(half, look, share_a_cpu, sleeps) {
            return Ok(found?);
        }
    }
    if spin.sleeps_at_once() && half.peer_sleeps() && spin.should_join(start, cpu::current(), half.peer_cpu())
    {
        cpu::join(half.peer_cpu());
    }
    loop {
        if half.look()? {
            return Ok(());
        }
        if spin.is_endless() {
            spin.round(|| half.look() != Ok(false));
        } else {
            half.mark_asleep();
            fault::point("channel.asleep");
            if half.look() == Ok(false) {
                let guarded = lifeline.guard(until.left());
                half.sleep((!guarded).then(|| until.slice(slice)));
                if guarded {
                    lifeline.release();
                }
            }
            half.mark_awake();
        }
        if half.look()? {
            spin.slept(start.elapsed());
            return Ok(());
        }
        if lifeline.is_severed() {
            // What the peer did before it went still counts.
            return if half.look()? { Ok(()) } else { Err(Stop::Severed) };
        }
        if until.is_over() {
            return Err(Stop::Deadline);
        }
    }
}

/// What a side tells the peer while it sleeps at `position`, or is about to: frames and space come in
/// multiples of 16, so a mark is odd, and [`AWAKE`] is not a mark.
fn asleep_at(position: u64) -> u64 {
    position | 1
}

/// The same while it listens for the bell.
#[cfg(any(feature = "tokio", loom))]
fn listening_at(position: u64) -> u64 {
    asleep_at(position) | LISTENING
}

/// Tells a mark of a side that listens from one that sleeps.
const LISTENING: u64 = 2;

/// Whether a side that tells this sleeps, or listens.
fn is_mark(told: u64) -> bool {
    told % 2 == 1
}

/// What a side tells the peer while it does not sleep.
const AWAKE: u64 = 0;

/// Ends the sleep of a peer that told `mark`, or its listening if it has a bell.
fn call(memory: &impl Sleep, bell: Option<&dyn Bell>, mark: u64, word: Word) {
    fault::point("channel.wake");
    match bell {
        Some(bell) if mark & LISTENING != 0 => bell.ring(),
        _ => memory.wake(word),
    }
}

/// Which of the peer's sleeps was already ended by a wake, so that each is ended once.
///
/// A sleep is named by the position at which the peer went to sleep, not by a count: a wake that was
/// meant for what the peer had already seen must not use up the one for what comes next.
#[derive(Debug, Default)]
struct Woken(u64);

impl Woken {
    /// Whether a peer that told `mark` is to be woken, now that it can see `position`.
    fn is_due(&mut self, mark: u64, position: u64) -> bool {
        let due = is_mark(mark) && mark & !LISTENING != asleep_at(position) && mark != self.0;
        if due {
            self.0 = mark;
        }
        due
    }
}
