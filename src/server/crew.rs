//! Who of a server still has work when it stops: [`Crew`].
//!
//! A thread that takes requests and has none left goes on turning away what comes until all others are done, too: a
//! client that asks meanwhile is told so at once, however long somebody else's request takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts those at work: threads that take requests, and requests that a worker has or waits for.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    at_work: AtomicUsize,
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
}

/// One of a [`Crew`] at work. A panic ends that, too.
#[derive(Debug)]
pub(crate) struct AtWork(Arc<Crew>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Release);
    }
}
