//! The CPU that a thread runs on: which it is, and how to get away from it.

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
