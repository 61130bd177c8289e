//! The CPU that a thread runs on: which it is, and how to get away from it, or to another one.

/// The CPU that this thread runs on, as a number that is not zero; zero where nobody knows.
#[cfg(target_os = "linux")]
pub(crate) fn current() -> u64 {
    rustix::thread::sched_getcpu() as u64 + 1
}

/// The CPU that this thread runs on: nobody knows.
#[cfg(not(target_os = "linux"))]
pub(crate) fn current() -> u64 {
    0
}

/// Moves this thread to another CPU that it may use, if there is one.
///
/// What it may use stays as it is, but for the moment between two calls.
#[cfg(target_os = "linux")]
pub(crate) fn change() {
    use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};

    let Ok(all) = sched_getaffinity(None) else { return };
    let mut others = all;
    others.unset(sched_getcpu());
    // Where the system forbids it, the thread stays, and its scheduler may move it later.
    if others.count() > 0 && sched_setaffinity(None, &others).is_ok() {
        let _ = sched_setaffinity(None, &all);
    }
}

/// Moves this thread to another CPU: the scheduler's business alone.
#[cfg(not(target_os = "linux"))]
pub(crate) fn change() {}

/// Moves this thread to a CPU that [`current`] has told, if it may use that.
///
/// What it may use stays as it is, but for the moment between two calls.
#[cfg(target_os = "linux")]
pub(crate) fn join(cpu: u64) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let Some(cpu) = usize::try_from(cpu).ok().and_then(|cpu| cpu.checked_sub(1)) else { return };
    let Ok(all) = sched_getaffinity(None) else { return };
    // It may be a peer's word.
    if cpu < CpuSet::MAX_CPU && all.is_set(cpu) {
        let mut one = CpuSet::new();
        one.set(cpu);
        if sched_setaffinity(None, &one).is_ok() {
            let _ = sched_setaffinity(None, &all);
        }
    }
}

/// Moves this thread to a CPU: the scheduler's business alone.
#[cfg(not(target_os = "linux"))]
pub(crate) fn join(_cpu: u64) {}

#[cfg(all(test, target_os = "linux", not(loom)))]
mod tests {
    use rustix::thread::sched_getaffinity;

    use super::*;

    #[test]
    fn a_move_leaves_what_a_thread_may_use_as_it_is() {
        let may_use = || sched_getaffinity(None).unwrap();
        let before = may_use();
        change();
        assert_eq!(may_use(), before);
        for cpu in [0, 1, current(), 2, 1024, 1025, u64::MAX] {
            join(cpu);
            assert_eq!(may_use(), before, "after a move to {cpu}");
        }
    }
}
