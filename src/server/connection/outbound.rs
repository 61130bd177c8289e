//! The way out of a connection, where one thread at a time writes: [`Outbound`].
//!
//! A writer is soon done, and the attendant writes most: so others wait for it without the system's help, and it
//! releases the lock without waiting until what it has written has left its CPU.

use std::fmt;
use std::panic::RefUnwindSafe;
use std::time::Duration;

use rkyv::ser::allocator::Arena;
use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::transport::Outgoing;

/// How many times a thread gives the CPU to whoever writes, before it sleeps.
const YIELDS: u32 = 200;

/// How long it sleeps before it looks again.
const SLICE: Duration = Duration::from_millis(1);

/// The lock.
#[derive(Debug)]
pub(super) struct Outbound(SpinMutex<WayOut>);

/// What is written to, and with what.
pub(super) struct WayOut {
    /// Nothing once the client is gone and all of it was given back.
    pub(super) outgoing: Option<Outgoing>,
    pub(super) arena: Arena,
    /// Somebody works on it, or has failed or panicked at that: a type whose encoding panics may leave half a message
    /// behind. Whoever comes before the connection is closed sends nothing.
    pub(super) half_written: bool,
}

/// What a panic leaves half done is marked as such.
impl RefUnwindSafe for Outbound {}

impl fmt::Debug for WayOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outgoing.fmt(f)
    }
}

impl Outbound {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        let way_out = WayOut { outgoing: Some(outgoing), arena: Arena::new(), half_written: false };
        Outbound(SpinMutex::new(way_out))
    }

    /// Nothing if another thread writes.
    #[inline]
    pub(super) fn try_lock(&self) -> Option<SpinMutexGuard<'_, WayOut>> {
        self.0.try_lock()
    }

    #[inline]
    pub(super) fn lock(&self) -> SpinMutexGuard<'_, WayOut> {
        self.try_lock().unwrap_or_else(|| self.lock_later())
    }

    /// Waits until another thread has written its answer.
    #[cold]
    fn lock_later(&self) -> SpinMutexGuard<'_, WayOut> {
        let mut tries = 0;
        loop {
            // One that was interrupted meanwhile needs a CPU, which may be this one.
            match tries {
                0..YIELDS => std::thread::yield_now(),
                _ => std::thread::sleep(SLICE),
            }
            tries += 1;
            if let Some(way_out) = self.try_lock() {
                return way_out;
            }
        }
    }
}
