//! The synchronisation that loom must see: the standard library's, or loom's under `--cfg loom`.
//!
//! Words in shared memory are atomics by pointer and belong to the ring's memory file; a loom
//! model brings its own memory. What both share are the fences, and flags of one process.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

/// Stands between a store that the peer will look at and a look at what the peer stored.
///
/// Both sides of a channel do this: the sleeper marks itself, **fences** and looks for data; the
/// waker publishes data, **fences** and looks for a mark. Of the two looks at least one sees the
/// other side's store, since the fences are in one total order: the side whose fence comes second
/// sees all that was stored before the first. Without either fence both stores may still be in
/// their writers' store buffers while both looks are done, and a sleeper is never woken. A loom
/// model shows that (`without_the_fence_a_wake_is_lost`).
pub(crate) fn fence_before_look() {
    #[cfg(loom)]
    if without_fence::is_on() {
        return;
    }
    fence(Ordering::SeqCst);
}

/// Lets a model show what the fence is for.
#[cfg(loom)]
pub(crate) mod without_fence {
    use std::cell::Cell;

    thread_local! {
        /// Set for the whole of one model: loom runs all of a model's threads on one thread.
        static WITHOUT: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn turn_on() {
        WITHOUT.set(true);
    }

    pub(super) fn is_on() -> bool {
        WITHOUT.get()
    }
}
