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
    /// What the CPU calls itself, with its family and model, where the system tells.
    pub cpu: Option<String>,
    /// The kernel's version, where the system tells, without what its builder has put behind it.
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
        Machine {
            cpus: available_parallelism().map_or(1, NonZeroUsize::get),
            cpu: text("/proc/cpuinfo").as_deref().and_then(cpu),
            kernel: text("/proc/sys/kernel/osrelease")
                .and_then(|release| Some(release.trim().split('-').next()?.to_owned())),
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            clock_ns: clock(),
        }
    }
}

/// The name of the first CPU. A virtual machine's often tells no more than the maker; family and model, where there are
/// such, tell more.
fn cpu(info: &str) -> Option<String> {
    let find = |key| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(name, value)| (name.trim() == key).then(|| value.trim()))
    };
    let name = find("model name")?;
    Some(match (find("cpu family"), find("model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name.to_owned(),
    })
}

fn clock() -> u64 {
    let mut histogram = Histogram::default();
    for _ in 0..10_000 {
        let start = Instant::now();
        histogram.record(start.elapsed().as_nanos() as u64);
    }
    histogram.quantile(0.5).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::cpu;

    #[test]
    fn a_cpu_is_named_with_its_family_and_model_where_there_are_such() {
        let two = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel\t\t: 3\n";
        assert_eq!(cpu(two).as_deref(), Some("AMD EPYC (family 26, model 2)"));
        assert_eq!(cpu("model name\t: ARMv8\n").as_deref(), Some("ARMv8"));
        assert_eq!(cpu("processor\t: 0\n"), None);
    }
}
