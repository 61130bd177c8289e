//! By which of two ways long pieces go into a ring, or come out of it ([`Ways`]): by the usual one, until the other
//! proves quicker by so much that it pays.
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
//! **Out of a ring** they are copied in turns, or by one instruction. On Zen 4 the instruction reads no quicker out of a
//! wide ring, and the peer then takes twice as long to write there again; what has gone past the cache it reads quicker:
//! 1 MiB there and back through 64 KiB takes 160 µs in place of 210. On Zen 5 it makes 64 KiB through 2 MiB take 3.8 µs
//! in place of 4.1, but 1 MiB is read quicker in turns.

use std::time::{Duration, Instant};

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
    /// A register or four in each turn of a loop.
    InTurns,
    /// By one instruction.
    AtOnce,
}

/// How many bytes a piece has at least that has two ways. On Zen 4, near, 4 KiB take 2.0 µs there and back past the
/// cache in place of 0.9, and 8 KiB as long as through it.
pub(super) const FEWEST: usize = 8 << 10;

/// The widest narrow ring, in bytes: while a lap is written, all of the one before lies in the peer's own cache.
const NARROW: u64 = 512 << 10;

/// How many pieces go by the way that is taken between two trials.
const PERIOD: u32 = 8192;

/// How many pieces come out of a ring before their first trial: while the peer tries its ways in, what one takes to
/// come out depends on that.
const PEER_FIRST: u32 = PERIOD / 16;

/// How many pieces of either way are timed in a trial; the quickest of them counts.
const TRIES: u32 = 4;

/// The longest lap of a trial, in bytes: what is further back lies in no cache.
const LONGEST_LAP: u64 = 4 << 20;

/// Two ways, and which of them is taken.
#[derive(Debug)]
pub(super) struct Ways<W> {
    /// The usual one, and the other.
    ways: [W; 2],
    /// How many eighths of the other way's time the usual one may take and is still preferred.
    allowed: u64,
    /// How many bytes go by a way in a trial before it is timed: what a piece takes depends on the way of the piece
    /// that lay there a lap ago.
    lap: u64,
    /// The place in `ways` of the one that is taken.
    taken: usize,
    /// Whether the trial before spoke against it.
    doubted: bool,
    /// How many pieces go by it before the next trial.
    left: u32,
    trial: Trial,
}

/// Pieces by the usual way, and then as many by the other.
#[derive(Debug)]
struct Trial {
    /// The place of the way whose turn it is.
    way: usize,
    /// How many bytes of it were not timed.
    untimed: u64,
    /// How many pieces of it were.
    timed: u32,
    /// What the quickest of either way took, in nanoseconds for 64 KiB.
    least: [u64; 2],
}

impl Ways<In> {
    /// Into a ring of `capacity` bytes.
    ///
    /// What goes past the cache takes the peer as long to read or longer, which is not seen on this side. In all it
    /// pays for a wide ring where a piece takes 5 to 10 times as long through the cache, and not where it takes 1.7
    /// times (Zen 4, far and near), and for a narrow one at 1.7 times and not at 1.5 (Zen 5, far and near). Of a wide
    /// ring the lap before has left the caches: it needs none to be tried.
    pub(super) fn into_ring(capacity: u64) -> Self {
        let (allowed, lap) = if capacity <= NARROW { (13, capacity) } else { (3 * 8, 0) };
        Ways::new([In::Through, In::Past], allowed, lap, 0)
    }
}

impl Ways<Out> {
    /// Out of a ring of `capacity` bytes. The instruction must save a fifth: what it costs the peer is not seen on this
    /// side. It is as quick as it can be only where it has read the lap before, too.
    pub(super) fn out_of_ring(capacity: u64) -> Self {
        Ways::new([Out::InTurns, Out::AtOnce], 10, capacity.min(LONGEST_LAP), PEER_FIRST)
    }
}

impl<W: Copy> Ways<W> {
    fn new(ways: [W; 2], allowed: u64, lap: u64, left: u32) -> Self {
        Ways { ways, allowed, lap, taken: 0, doubted: false, left, trial: Trial::new() }
    }

    /// Has a long piece of `length` bytes go.
    pub(super) fn take(&mut self, length: usize, go: impl FnOnce(W)) {
        if self.left > 0 {
            self.left -= 1;
            return go(self.ways[self.taken]);
        }
        let start = Instant::now();
        go(self.ways[self.trial.way]);
        if let Some(least) = self.trial.add(length, start.elapsed(), self.lap) {
            self.judge(least);
        }
    }

    /// Learns what the quickest piece of either way took in a trial. One trial alone changes nothing: it may have been
    /// disturbed.
    fn judge(&mut self, [usual, other]: [u64; 2]) {
        let preferred = usize::from(usual * 8 > other * self.allowed);
        let speaks_against = preferred != self.taken;
        if speaks_against && self.doubted {
            self.taken = preferred;
        }
        self.doubted = speaks_against && !self.doubted;
        self.left = if self.doubted { 0 } else { PERIOD };
        self.trial = Trial::new();
    }
}

impl Trial {
    fn new() -> Self {
        Trial { way: 0, untimed: 0, timed: 0, least: [u64::MAX; 2] }
    }

    /// Counts a piece of `length` bytes that took so long, behind a `lap` that does not count. What the quickest pieces
    /// took, once both ways were timed.
    fn add(&mut self, length: usize, time: Duration, lap: u64) -> Option<[u64; 2]> {
        if self.untimed < lap {
            self.untimed += length as u64;
            return None;
        }
        let cost = ((time.as_nanos() << 16) / length as u128) as u64;
        self.least[self.way] = self.least[self.way].min(cost);
        self.timed += 1;
        if self.timed < TRIES {
            return None;
        }
        (self.untimed, self.timed) = (0, 0);
        self.way += 1;
        (self.way == self.least.len()).then_some(self.least)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// By which ways `pieces` go.
    fn taken<W: Copy>(ways: &mut Ways<W>, pieces: u32) -> Vec<W> {
        let mut taken = Vec::new();
        (0..pieces).for_each(|_| ways.take(FEWEST, |way| taken.push(way)));
        taken
    }

    #[test]
    fn both_ways_are_tried_before_one_is_taken_for_a_period() {
        let mut ways = Ways::into_ring(2 * NARROW);
        let trial = [[In::Through; TRIES as usize], [In::Past; TRIES as usize]].concat();
        assert_eq!(taken(&mut ways, 2 * TRIES), trial);
        for least in [[400, 100], [400, 100]] {
            ways.doubted = true;
            ways.judge(least);
            assert_eq!(taken(&mut ways, PERIOD), [In::Past; PERIOD as usize]);
            assert_eq!(taken(&mut ways, 2 * TRIES), trial, "whatever is taken, the usual way first");
        }
    }

    #[test]
    fn a_lap_goes_by_a_way_before_it_is_timed() {
        for (mut trial, lap) in [(Trial::new(), 3 * FEWEST as u64), (Trial::new(), 0)] {
            let mut add = |nanos| trial.add(FEWEST, Duration::from_nanos(nanos), lap);
            for nanos in [100, 200] {
                (0..lap / FEWEST as u64).for_each(|_| assert_eq!(add(1), None));
                for nanos in [nanos + 2, nanos, nanos + 1] {
                    assert_eq!(add(nanos), None);
                }
                let least = add(nanos + 3);
                assert_eq!(least, (nanos == 200).then_some([800, 1600]), "the quickest, and for 64 KiB");
            }
        }
        assert_eq!([NARROW, NARROW + 1].map(|capacity| Ways::into_ring(capacity).lap), [NARROW, 0]);
        let laps = [4096, LONGEST_LAP, 1 << 30].map(|capacity| Ways::out_of_ring(capacity).lap);
        assert_eq!(laps, [4096, LONGEST_LAP, LONGEST_LAP]);
    }

    #[test]
    fn the_other_way_is_taken_once_two_trials_in_a_row_speak_for_it() {
        let ways = [NARROW, 2 * NARROW].map(Ways::into_ring);
        for (mut ways, limit) in ways.into_iter().zip([162, 300]) {
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
                ways.judge([usual, 100]);
                assert_eq!((ways.taken, ways.doubted), (taken, doubted), "after {usual}");
                assert_eq!(ways.left, if doubted { 0 } else { PERIOD }, "a doubt is settled at once");
            }
        }
    }

    #[test]
    fn pieces_come_out_in_turns_where_the_instruction_saves_little() {
        let mut ways = Ways::out_of_ring(2 * NARROW);
        assert_eq!(taken(&mut ways, PEER_FIRST), [Out::InTurns; PEER_FIRST as usize]);
        for (usual, way) in [(125, Out::InTurns), (126, Out::AtOnce)] {
            ways.judge([usual, 100]);
            ways.judge([usual, 100]);
            assert_eq!(taken(&mut ways, 1), [way], "{usual}");
        }
    }
}
