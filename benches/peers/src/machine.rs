//! Where it is measured: CPU, kernel, compiler and source, and nothing that names a person or a host.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Instant;

use crate::results::Machine;

/// Looks around.
pub fn look() -> Machine {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    Machine {
        cpu: cpu(&text("/proc/cpuinfo")),
        cpus: available_parallelism().map_or(1, usize::from),
        kernel: kernel(&text("/proc/sys/kernel/osrelease")),
        compiler: env!("PEERS_COMPILER").to_owned(),
        version: env!("PEERS_LIBRARY").to_owned(),
        commit: commit(),
        clock_ns: clock(),
    }
}

/// The name of the first CPU, with its family and model: a virtual machine's name often tells no more than the maker.
fn cpu(cpuinfo: &str) -> String {
    let find = |key| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| name.trim() == key).map_or("unknown", |(_, value)| value.trim())
    };
    format!("{} (family {}, model {})", find("model name"), find("cpu family"), find("model"))
}

/// The kernel's version, without what its builder has put behind it.
fn kernel(release: &str) -> String {
    release.trim().split('-').next().unwrap_or_default().to_owned()
}

/// The source's commit, with a plus where the tree has changes.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--", "../../src", "src", "Cargo.lock"]);
    if changed.is_none_or(|changes| !changes.is_empty()) { commit + "+" } else { commit }
}

/// The median of what two readings of the clock, one behind the other, are apart.
fn clock() -> u64 {
    let mut apart: Vec<u64> = (0..10_001)
        .map(|_| {
            let start = Instant::now();
            start.elapsed().as_nanos() as u64
        })
        .collect();
    apart.sort_unstable();
    apart[apart.len() / 2]
}
