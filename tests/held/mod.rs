//! What a process holds and uses, as the kernel tells.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::time::{Duration, Instant};

use crate::common::process::PATIENCE;

/// What a process must give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Open files and sockets.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Mappings of memory for rings.
    pub mappings: usize,
}

/// What the process `pid` holds now.
pub fn held(pid: u32) -> Held {
    let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mappings = maps.lines().filter(|line| line.contains("memfd:libgrite-ipc")).count();
    Held { descriptors: count("fd"), threads: count("task"), mappings }
}

/// Waits until the process `pid` holds no more than `before`; says how long that took.
///
/// Less than before is no leak: what was just handed over is still open for a moment.
pub fn until_no_more_than(before: Held, pid: u32) -> Duration {
    let start = Instant::now();
    let is_more = |now: Held| {
        now.descriptors > before.descriptors || now.threads > before.threads || now.mappings > before.mappings
    };
    while is_more(held(pid)) {
        assert!(start.elapsed() < PATIENCE, "{before:?} before, {:?} after", held(pid));
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

/// The memory of the process `pid` that is really there, in KiB.
pub fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// How much of that is its own, in KiB.
pub fn private(pid: u32) -> u64 {
    status(pid, "RssAnon:")
}

/// How much address space it uses, in KiB.
pub fn address_space(pid: u32) -> u64 {
    status(pid, "VmSize:")
}

/// How many processes it waits for the end of.
pub fn watched(pid: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let names = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    names.filter(|name| name.to_string_lossy().contains("pidfd")).count()
}

fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Its threads.
pub fn threads(pid: u32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The CPU time of its threads so far.
pub fn cpu(pid: u32) -> Duration {
    let nanos = threads(pid).into_iter().map(|thread| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}

/// Whether a signal has stopped it.
pub fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}
