//! The CPU that a thread runs on: which it is, and how to get away from it, or to another one.

#[cfg(target_os = "linux")]
use std::sync::LazyLock;

#[cfg(target_os = "linux")]
use rustix::thread::CpuSet;

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
/// What it may use stays as it is, but for the moment between the calls.
#[cfg(target_os = "linux")]
pub(crate) fn change() {
    use rustix::thread::{sched_getaffinity, sched_getcpu};

    let Ok(all) = sched_getaffinity(None) else { return };
    let mut others = all;
    others.unset(sched_getcpu());
    if others.count() > 0 {
        go_where(&others, &all);
    }
}

/// Moves this thread to another CPU: the scheduler's business alone.
#[cfg(not(target_os = "linux"))]
pub(crate) fn change() {}

/// Moves this thread to a CPU that [`current`] has told, if it may use that.
///
/// What it may use stays as it is, but for the moment between the calls.
#[cfg(target_os = "linux")]
pub(crate) fn join(cpu: u64) {
    use rustix::thread::sched_getaffinity;

    let Some(cpu) = usize::try_from(cpu).ok().and_then(|cpu| cpu.checked_sub(1)) else { return };
    let Ok(all) = sched_getaffinity(None) else { return };
    // It may be a peer's word.
    if cpu < CpuSet::MAX_CPU && all.is_set(cpu) {
        let mut one = CpuSet::new();
        one.set(cpu);
        go_where(&one, &all);
    }
}

/// Moves this thread, which may use `all`, to one of `some`. Where the system forbids it, the thread stays, and its
/// scheduler may move it later.
///
/// The kernel tells what a thread may use of the CPUs that are there now. Told to use those, it would use no others that
/// come later. So it is told to use any, unless that turns out to be more than before: then somebody has said so.
#[cfg(target_os = "linux")]
fn go_where(some: &CpuSet, all: &CpuSet) {
    use rustix::thread::{sched_getaffinity, sched_setaffinity};

    static ANY: LazyLock<CpuSet> = LazyLock::new(|| {
        let mut any = CpuSet::new();
        (0..CpuSet::MAX_CPU).for_each(|cpu| any.set(cpu));
        any
    });
    if sched_setaffinity(None, some).is_ok() {
        let freed = sched_setaffinity(None, &ANY).is_ok();
        if !freed || sched_getaffinity(None).as_ref() != Ok(all) {
            let _ = sched_setaffinity(None, all);
        }
    }
}

/// Moves this thread to a CPU: the scheduler's business alone.
#[cfg(not(target_os = "linux"))]
pub(crate) fn join(_cpu: u64) {}

#[cfg(all(test, target_os = "linux", not(loom)))]
mod tests {
    use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};

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

    #[test]
    fn a_move_leaves_what_somebody_has_chosen_for_a_thread_as_it_is() {
        let mut chosen = CpuSet::new();
        chosen.set(sched_getcpu());
        sched_setaffinity(None, &chosen).unwrap();
        change();
        join(current());
        assert_eq!(sched_getaffinity(None), Ok(chosen));
    }
}
