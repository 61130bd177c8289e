//! Who of a server still has work when it stops, and for how long it answers: [`Crew`].
//!
//! A thread that takes requests and has none left goes on turning away what comes until all others are done, too: a
//! client that asks meanwhile is told so at once, however long somebody else's request takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::wait::coarse_now;

/// How long a server that stops goes on answering what had come before.
const DRAIN: Duration = Duration::from_secs(5);

/// Those at work: threads that take requests, and requests that a worker has or waits for.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    at_work: AtomicUsize,
    /// Until when the server answers, as [`coarse_now`] tells it; zero while nobody has stopped it.
    until: AtomicU64,
}

impl Crew {
    /// Counts one more, until what is returned is dropped.
    pub(crate) fn join(self: &Arc<Self>) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(Arc::clone(self))
    }

    /// Whether nobody is at work any more.
    pub(super) fn is_done(&self) -> bool {
        self.at_work.load(Ordering::Acquire) == 0
    }

    /// Until when the server answers, which is settled by who is the first to stop.
    pub(super) fn stop(&self) -> u64 {
        let end = coarse_now() + DRAIN.as_nanos() as u64;
        self.until
            .compare_exchange(0, end, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|until| until, |_| end)
    }

    /// Whether the server has stopped, and that time is over: nobody waits for an answer any more.
    #[inline]
    pub(super) fn is_late(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && coarse_now() >= until
    }
}

/// One of a [`Crew`] at work. A panic ends that, too.
#[derive(Debug)]
pub(crate) struct AtWork(Arc<Crew>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Release);
    }
}
