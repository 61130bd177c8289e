//! What was measured on: [`Machine`].

use std::fs;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Instant;

use serde::Serialize;

use super::Histogram;

/// Facts without which a number means little.
#[derive(Serialize)]
pub struct Machine {
    /// How many CPUs this process may use.
    pub cpus: usize,
    /// What the CPU calls itself, where the system tells.
    pub cpu: Option<String>,
    /// The kernel's release, where the system tells.
    pub kernel: Option<String>,
    /// The version of this program.
    pub version: &'static str,
    /// Whether this program was built with optimisation.
    pub optimised: bool,
    /// What reading the clock takes: each latency has one such reading in it.
    pub clock_ns: u64,
}

impl Machine {
    /// Looks around.
    pub fn look() -> Self {
        let text = |path| fs::read_to_string(path).ok();
        let cpu = text("/proc/cpuinfo").and_then(|info| {
            let line = info.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        Machine {
            cpus: available_parallelism().map_or(1, NonZeroUsize::get),
            cpu,
            kernel: text("/proc/sys/kernel/osrelease").map(|release| release.trim().to_owned()),
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            clock_ns: clock(),
        }
    }
}

fn clock() -> u64 {
    let mut histogram = Histogram::default();
    for _ in 0..10_000 {
        let start = Instant::now();
        histogram.record(start.elapsed().as_nanos() as u64);
    }
    histogram.quantile(0.5).unwrap_or(0)
}
