//! Whether somebody else slows this machine's CPUs: [`Neighbours`].
//!
//! A virtual CPU is often one thread of a core whose other thread is another machine's. While that one computes, ours
//! gets about half of the core, which no count of stolen time shows: a fixed computation took 16 µs, and 29 for a
//! part of a second, and so did what a peer computes, but not what waits for memory. Whose turn it hits then loses.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::peer::Failure;

/// How many times as long as at its best a computation takes on a CPU that somebody slows.
const SLOWED: f64 = 1.2;

/// How many times a CPU computes for one look: about a millisecond in all.
const PIECES: usize = 64;

/// How long to wait for quiet, and for how long between two looks.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// What is known of them.
pub struct Neighbours {
    /// The quickest computation so far.
    best: Duration,
}

impl Neighbours {
    pub fn new() -> Self {
        Neighbours { best: Duration::MAX }
    }

    /// Waits until they are quiet, or for a second. Returns whether they are.
    pub fn wait(&mut self) -> Result<bool, Failure> {
        let start = Instant::now();
        loop {
            let quiet = self.are_quiet()?;
            if quiet || start.elapsed() >= PATIENCE {
                return Ok(quiet);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Whether no CPU that we may use is slowed now.
    pub fn are_quiet(&mut self) -> Result<bool, Failure> {
        let mut slowest = Duration::ZERO;
        for cpu in cpus()? {
            let mut pieces = pieces_on(cpu)?;
            pieces.sort_unstable();
            self.best = self.best.min(pieces[0]);
            slowest = slowest.max(pieces[PIECES / 2]);
        }
        Ok(slowest.as_secs_f64() < SLOWED * self.best.as_secs_f64())
    }
}

/// The CPUs that we may use.
pub fn cpus() -> Result<Vec<usize>, Failure> {
    let ours = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| ours.is_set(*cpu)).collect())
}

/// Has the calling thread run on one CPU alone.
pub fn stay_on(cpu: usize) -> Result<(), Failure> {
    let mut only = CpuSet::new();
    only.set(cpu);
    Ok(sched_setaffinity(None, &only)?)
}

/// What each piece takes on a CPU.
fn pieces_on(cpu: usize) -> Result<[Duration; PIECES], Failure> {
    let look = move || {
        stay_on(cpu).map_err(|error| error.to_string())?;
        Ok::<_, String>(std::array::from_fn(|_| {
            let start = Instant::now();
            compute();
            start.elapsed()
        }))
    };
    // A thread of its own: ours, and the children that it starts, may go where they like.
    Ok(thread::spawn(look).join().map_err(|_| "a computation panicked")??)
}

/// Keeps all units of a core that add and shift at work for some 11 µs.
fn compute() {
    let mut sums = black_box([1u64, 2, 3, 4, 5, 6, 7, 8]);
    for step in 0..5_000 {
        for sum in &mut sums {
            *sum = (sum.rotate_left(7) ^ step).wrapping_add(*sum >> 3);
        }
    }
    black_box(sums);
}
