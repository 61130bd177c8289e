//! The lifeline of a pair in one process, where no socket tells of an end.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Severed by whichever side ends first.
pub(crate) struct LocalLine {
    severed: AtomicBool,
    /// Tells the server's thread, which sleeps on words.
    tell: Box<dyn Fn() + Send + Sync>,
}

impl LocalLine {
    pub(crate) fn new(tell: impl Fn() + Send + Sync + 'static) -> Self {
        LocalLine { severed: AtomicBool::new(false), tell: Box::new(tell) }
    }

    pub(crate) fn is_severed(&self) -> bool {
        self.severed.load(Ordering::Acquire)
    }

    pub(crate) fn sever(&self) {
        self.severed.store(true, Ordering::Release);
        (self.tell)();
    }
}

impl fmt::Debug for LocalLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLine").field("severed", &self.is_severed()).finish_non_exhaustive()
    }
}
