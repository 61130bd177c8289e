//! How much CPU time a process or a thread has used, to the nanosecond as the scheduler counts it.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, getpid};
use rustix::time::{ClockId, clock_gettime};

/// Of the process that asks.
pub fn of_this_process() -> io::Result<Duration> {
    of(getpid())
}

/// Of all threads of `process` that live now.
pub fn of(process: Pid) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()))? {
        // A thread may end while we look.
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Longer than [`of_this_thread`] takes.
pub const LOOK: Duration = Duration::from_micros(1);

/// Of the thread that asks for it.
pub fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
