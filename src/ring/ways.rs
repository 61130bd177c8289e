//! By which of two ways long pieces go into a ring, or come out of it ([`Ways`]): by the one that was quicker when both
//! were tried.
//!
//! **Into a ring** they go through this CPU's cache, or past it. The peer has read each line of the ring a lap ago. A
//! store through the cache takes the line back first, and the peer's CPU fetches it again: two ways between the CPUs,
//! as long as they are apart. A store past the cache waits for nothing: the line goes to memory, and comes from there.
//! What is quicker depends on the machine, on how far its CPUs are apart, which on some changes from one second to the
//! next, and on the ring: of a narrow one the lap before lies in the peer's own cache. There and back, in microseconds:
//!
//! | CPUs | ring | message | through | past |
//! |---|---|---|---|---|
//! | Zen 4, near | 64 KiB | 64 KiB, 1 MiB | 18.6, 284 | 13, 158 |
//! | | 2 MiB | 64 KiB, 1 MiB | 7.8, 104 | 13, 140 |
//! | Zen 4, far | 64 KiB | 64 KiB, 1 MiB | 65, 1,050 | 14, 181 |
//! | | 2 MiB | 64 KiB, 1 MiB | 57, 770 | 13, 133 |
//! | Zen 5, near | 64 KiB | 16 KiB, 1 MiB | 1.7, 82 | 3.3, 115 |
//! | Zen 5, far | 64 KiB | 16 KiB, 1 MiB | 4.1, 116 | 3.9, 104 |
//!
//! **Out of a ring** they are copied a line at a time, or by a string instruction. On Zen 4 lines are as quick for who
//! reads a wide ring, and who writes it a lap later takes half as long as after the instruction; but what comes from
//! memory comes quicker by the instruction. On Zen 5 the instruction reads a piece of 64 KiB in four fifths of the time
//! through a wide ring, and one of 1 MiB through a narrow one, and a piece of 1 MiB through a wide one takes it half as
//! long again.

use std::time::Instant;

/// Into a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum In {
    /// Through this CPU's cache.
    Through,
    /// Past it.
    Past,
}

/// Out of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// A line at a time.
    Lines,
    /// By one instruction.
    Whole,
}

/// From which length on a piece is long, in bytes. On Zen 4, near, 4 KiB take 2.0 µs there and back past the cache in
/// place of 0.9, and 8 KiB as long as through it.
pub(super) const LONG: usize = 8 << 10;

/// The widest narrow ring, in bytes: while a lap is written, all of the one before lies in the peer's own cache.
const NARROW: u64 = 512 << 10;

/// How many pieces go by the way that was found the quicker one, before both are tried again.
const PERIOD: u32 = 8192;

/// How many pieces of either way are timed in a trial; the quickest of them counts.
const TRIES: u32 = 4;

/// Two ways, and which of them is taken.
#[derive(Debug)]
pub(super) struct Ways<W> {
    /// The usual one, and the other.
    ways: [W; 2],
    /// How many eighths of the other way's time the usual one may take and is still taken.
    allowed: u64,
    /// How many bytes go by a way in a trial before it is timed: what a piece takes depends on the way of the piece
    /// that lay there a lap ago, where that still lies in a cache.
    lap: u64,
    taken: usize,
    /// Whether the trial before spoke against the way that is taken.
    doubted: bool,
    /// How many pieces go by that way before the next trial.
    left: u32,
    trial: Trial,
}

/// The usual way, and then the other.
#[derive(Debug)]
struct Trial {
    way: usize,
    /// How many bytes have gone by it untimed.
    untimed: u64,
    /// How many pieces were timed.
    timed: u32,
    /// What the quickest of either way took, in nanoseconds for 64 KiB.
    least: [u64; 2],
}

const BEGUN: Trial = Trial { way: 0, untimed: 0, timed: 0, least: [u64::MAX; 2] };

impl Ways<In> {
    /// Into a ring of `capacity` bytes.
    ///
    /// What goes past the cache takes the peer longer to read, or as long, which is not seen on this side. Where it pays
    /// in all, a piece takes 1.7 times as long through the cache and more into a narrow ring, where it does not at most
    /// 1.5 times; into a wide one five times and more, and at most 1.7.
    pub(super) fn into_ring(capacity: u64) -> Self {
        let (allowed, lap) = if capacity <= NARROW { (13, capacity) } else { (3 * 8, 0) };
        Ways::new([In::Through, In::Past], allowed, lap)
    }
}

impl Ways<Out> {
    /// Out of a ring of `capacity` bytes. The instruction must save a fifth: what it costs the peer is not seen on this
    /// side.
    pub(super) fn out_of_ring(capacity: u64) -> Self {
        Ways::new([Out::Lines, Out::Whole], 10, capacity)
    }
}

impl<W: Copy> Ways<W> {
    fn new(ways: [W; 2], allowed: u64, lap: u64) -> Self {
        Ways { ways, allowed, lap, taken: 0, doubted: false, left: 0, trial: BEGUN }
    }

    /// Has a long piece of `length` bytes go.
    pub(super) fn take(&mut self, length: usize, go: impl FnOnce(W)) {
        if self.left > 0 {
            self.left -= 1;
            return go(self.ways[self.taken]);
        }
        let trial = &mut self.trial;
        let way = self.ways[trial.way];
        if trial.untimed < self.lap {
            trial.untimed += length as u64;
            return go(way);
        }
        let least = &mut trial.least[trial.way];
        *least = cost(length, || go(way)).min(*least);
        trial.timed += 1;
        if trial.timed < TRIES {
            // The quickest is yet to come.
        } else if trial.way == 0 {
            *trial = Trial { way: 1, untimed: 0, timed: 0, ..*trial };
        } else {
            self.judge();
        }
    }

    /// Learns from a trial. One alone changes nothing: it may have been disturbed.
    fn judge(&mut self) {
        let [usual, other] = std::mem::replace(&mut self.trial, BEGUN).least;
        let quicker = usize::from(usual * 8 > other * self.allowed);
        let speaks_against = quicker != self.taken;
        if speaks_against && self.doubted {
            self.taken = quicker;
        }
        self.doubted = speaks_against && !self.doubted;
        self.left = if self.doubted { 0 } else { PERIOD };
    }
}

/// What a piece of `length` bytes takes, in nanoseconds for 64 KiB.
fn cost(length: usize, go: impl FnOnce()) -> u64 {
    let start = Instant::now();
    go();
    ((start.elapsed().as_nanos() << 16) / length as u128) as u64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// By which ways `pieces` go.
    fn taken<W: Copy>(ways: &mut Ways<W>, pieces: u32) -> Vec<W> {
        let mut taken = Vec::new();
        (0..pieces).for_each(|_| ways.take(LONG, |way| taken.push(way)));
        taken
    }

    /// Has a trial end in which the usual way and the other took so long.
    fn tell<W: Copy>(ways: &mut Ways<W>, usual: u64, other: u64) {
        ways.trial.least = [usual, other];
        ways.judge();
    }

    #[test]
    fn both_ways_are_tried_before_one_is_taken() {
        let mut ways = Ways::into_ring(2 * NARROW);
        let trial = [[In::Through; TRIES as usize], [In::Past; TRIES as usize]].concat();
        assert_eq!(taken(&mut ways, 2 * TRIES), trial);
        // Whatever came of the trial, this one leaves no doubt.
        tell(&mut ways, 100, 100);
        assert_eq!(taken(&mut ways, PERIOD), [In::Through; PERIOD as usize]);
        assert_eq!(taken(&mut ways, 2 * TRIES), trial);
    }

    #[test]
    fn a_lap_of_a_narrow_ring_goes_by_a_way_before_it_is_timed() {
        let mut ways = Ways::into_ring(NARROW);
        let lap = (NARROW / LONG as u64) as u32;
        for way in [In::Through, In::Past] {
            assert!(taken(&mut ways, lap).iter().all(|&taken| taken == way));
            assert_eq!(ways.trial.timed, 0);
            assert_eq!(taken(&mut ways, TRIES), [way; TRIES as usize]);
        }
    }

    #[test]
    fn the_quicker_way_is_taken_once_two_trials_in_a_row_have_found_it() {
        let (mut ways, limit) = (Ways::into_ring(2 * NARROW), 300);
        for (usual, taken, doubted) in [
            (limit, 0, false),
            (limit + 1, 0, true),
            (limit, 0, false),
            (limit + 1, 0, true),
            (limit + 1, 1, false),
            (limit + 1, 1, false),
            (limit, 1, true),
            (limit + 1, 1, false),
            (limit, 1, true),
            (limit, 0, false),
        ] {
            tell(&mut ways, usual, 100);
            assert_eq!((ways.taken, ways.doubted), (taken, doubted), "after {usual}");
            assert_eq!(ways.left, if doubted { 0 } else { PERIOD }, "a doubt is settled at once");
        }
    }

    #[test]
    fn pieces_come_out_by_lines_where_the_instruction_saves_little() {
        let mut ways = Ways::out_of_ring(2 * NARROW);
        for (usual, way) in [(125, Out::Lines), (126, Out::Whole)] {
            tell(&mut ways, usual, 100);
            tell(&mut ways, usual, 100);
            assert_eq!(taken(&mut ways, 1), [way], "{usual}");
        }
    }
}
