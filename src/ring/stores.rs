//! Which way long pieces go into a ring: through this CPU's cache, or past it ([`Stores`]).
//!
//! The peer has read each line of the ring a lap ago. A store through the cache takes the line back first, and the
//! peer's CPU fetches it again: two ways between the CPUs, as long as they are apart. A store past the cache waits
//! for nothing: the line goes to memory, and comes from there. Of 64 KiB and of 1 MiB there and back, in
//! microseconds, on two CPUs of one machine that lie near each other at one time and far apart at another:
//!
//! | | ring | through | past |
//! |---|---|---|---|
//! | near | 64 KiB | 18.6, 284 | 13, 158 |
//! | near | 2 MiB | 7.8, 104 | 13, 140 |
//! | far | 64 KiB | 65, 1,050 | 14, 181 |
//! | far | 2 MiB | 57, 770 | 13, 133 |
//!
//! So what goes into a narrow ring goes past the cache, and what goes into a wide one does where the CPUs are seen to
//! be far apart.

use std::time::Instant;

/// A way to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Through,
    Past,
}

/// From which length on a piece may go past the cache, in bytes. With 4 KiB, near, it takes 2.0 µs there and back in
/// place of 0.9, with 8 KiB as long as through the cache.
pub(super) const LONG: usize = 8 << 10;

/// The widest narrow ring, in bytes: while a lap is written, all of the one before lies in the peer's own cache.
pub(super) const NARROW: u64 = 512 << 10;

/// Of how many long pieces for a wide ring one goes either way to see what it takes.
const PERIOD: u32 = 512;

/// How many times as long as past the cache a piece takes through it where the CPUs are far apart: five to ten times
/// there, up to 1.7 times where they are near.
const FAR: u64 = 3;

/// How long pieces go into one ring.
#[derive(Debug)]
pub(super) struct Stores {
    narrow: bool,
    way: Way,
    pieces: u32,
    /// What the latest piece that was looked at took through the cache, in nanoseconds a KiB.
    through: u64,
    /// Which way was quicker when both were last looked at.
    quicker: Way,
}

impl Stores {
    pub(super) fn new(capacity: u64) -> Self {
        let narrow = capacity <= NARROW;
        let way = if narrow { Way::Past } else { Way::Through };
        Stores { narrow, way, pieces: 0, through: 0, quicker: Way::Through }
    }

    /// Has a long piece of `length` bytes written.
    pub(super) fn write(&mut self, length: usize, write: impl FnOnce(Way)) {
        if self.narrow {
            return write(self.way);
        }
        let piece = self.pieces;
        self.pieces = (piece + 1) % PERIOD;
        match piece {
            0 => self.through = cost(length, || write(Way::Through)),
            1 => self.compare(cost(length, || write(Way::Past))),
            _ => write(self.way),
        }
    }

    /// Learns what a piece took past the cache. One that something else held up says little, two in a row hardly ever.
    fn compare(&mut self, past: u64) {
        let quicker = if self.through > FAR * past { Way::Past } else { Way::Through };
        if std::mem::replace(&mut self.quicker, quicker) == quicker {
            self.way = quicker;
        }
    }
}

/// What a piece of `length` bytes takes, in nanoseconds a KiB.
fn cost(length: usize, write: impl FnOnce()) -> u64 {
    let start = Instant::now();
    write();
    start.elapsed().as_nanos() as u64 * 1024 / length as u64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Which way the pieces of a period go.
    fn ways(stores: &mut Stores) -> Vec<Way> {
        let mut ways = Vec::new();
        (0..PERIOD).for_each(|_| stores.write(LONG, |way| ways.push(way)));
        ways
    }

    #[test]
    fn what_goes_into_a_narrow_ring_goes_past_the_cache() {
        assert_eq!(ways(&mut Stores::new(NARROW)), [Way::Past; PERIOD as usize]);
    }

    #[test]
    fn both_ways_into_a_wide_ring_are_looked_at_in_turn() {
        assert_eq!(ways(&mut Stores::new(2 * NARROW))[..2], [Way::Through, Way::Past]);
    }

    #[test]
    fn what_goes_into_a_wide_ring_goes_past_the_cache_where_that_was_much_quicker_twice() {
        let mut stores = Stores::new(2 * NARROW);
        assert_eq!(stores.way, Way::Through);
        let far = FAR * 50 + 1;
        for (through, way) in [
            (far, Way::Through),
            (50, Way::Through),
            (far, Way::Through),
            (far, Way::Past),
            (50, Way::Past),
            (far, Way::Past),
            (50, Way::Past),
            (FAR * 50, Way::Through),
        ] {
            stores.through = through;
            stores.compare(50);
            assert_eq!(stores.way, way, "after {through}");
        }
    }
}
