//! Points at which a process stops, for a test that kills it there: [`point`].
//!
//! Without `--cfg grite_faults` a point is nothing, and no code is made for it. With it, a process stops itself
//! (`SIGSTOP`) where the environment says: `GRITE_FAULT="ring.commit 3"` at the third passage of that point,
//! and `GRITE_FAULT="* 7"` wherever the seed 7 has it, at each passage of a point with smaller odds than at the
//! one before. Whoever has started the process sees it stopped, and kills it in this very place.

#[cfg(grite_faults)]
pub use armed::{POINTS, point};

/// A step after which a crash makes a difference.
#[cfg(not(grite_faults))]
#[inline(always)]
pub(crate) const fn point(_: &str) {}

#[cfg(grite_faults)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    /// All points: of a client, of a daemon that starts, of one that welcomes, of both on the way, of the store.
    #[rustfmt::skip]
    pub const POINTS: [&str; 49] = [
        "client.dialled", "client.hello", "client.received", "client.half-mapped", "client.mapped",
        "client.telling", "spawn.directory", "spawn.locked", "spawn.started",
        "lock.directory", "lock.taken", "lock.half-written", "lock.written",
        "bind.socket", "bind.bound", "bind.listening", "bind.renamed", "ready.saying", "ready.said",
        "daemon.accepted", "daemon.heard", "daemon.half-made", "daemon.made", "daemon.arrived",
        "daemon.welcomed", "daemon.asleep", "memory.unsealed",
        "ring.reserve", "ring.write", "ring.skipped", "ring.commit", "ring.publish", "ring.published",
        "ring.copied", "ring.consumed", "channel.part", "channel.fragment", "channel.asleep", "channel.wake",
        "store.begun", "store.appended", "store.committing", "store.committed", "store.written-back",
        "renew.kept", "renew.replacing", "renew.replaced", "sync.published", "sync.renamed",
    ];

    /// How seldom a seed stops at the first passage of a point.
    const ODDS: u64 = 16;

    static FAULT: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSAGES: [AtomicU64; POINTS.len()] = [const { AtomicU64::new(0) }; POINTS.len()];

    /// A step after which a crash makes a difference.
    pub fn point(name: &str) {
        let Some((wanted, number)) = FAULT.get_or_init(read) else { return };
        if wanted != "*" && wanted != name {
            return;
        }
        let index = POINTS.iter().position(|known| *known == name).expect("each point is among all");
        let passage = PASSAGES[index].fetch_add(1, Ordering::Relaxed) + 1;
        let by_lot = || mix(mix(*number) ^ (index as u64) << 32 ^ passage).is_multiple_of(ODDS * passage);
        let is_here = if wanted == "*" { by_lot() } else { passage == *number };
        if is_here {
            let _ = kill_process(getpid(), Signal::STOP);
            // The other threads stop a moment later, and this one goes no further.
            loop {
                std::thread::park();
            }
        }
    }

    fn read() -> Option<(String, u64)> {
        let fault = std::env::var("GRITE_FAULT").ok()?;
        let (name, number) = fault.split_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    }

    /// A step of splitmix64.
    fn mix(state: u64) -> u64 {
        let mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
