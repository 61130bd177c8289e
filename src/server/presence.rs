//! Whether clients still find the server: its socket's file may be taken away, or another put in its place.
//!
//! A socket that was unlinked cannot be linked again, and whoever put something in its place may serve there.
//! So a server that is not found any more ends, as it does when it is told to: its process gives the lock
//! back, and the next client starts another. The server looks now and then. Linux would tell of a change at
//! once, by inotify, but the kernel takes its time to let a killed process's watches go, and the process's lock
//! is held meanwhile: the next daemon could not start at once.

use std::time::{Duration, Instant};

use super::listener::Listener;

/// How long until the next look: a client that waits for a daemon's end has time left for the next one's start.
const PERIOD: Duration = Duration::from_secs(4);

/// When to look for the socket's file.
#[derive(Debug)]
pub(super) struct Presence {
    due: Instant,
}

impl Presence {
    /// A first look is due.
    pub(super) fn new() -> Self {
        Presence { due: Instant::now() }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Looks, if that is due: whether the file of `listener` is known to lead elsewhere or nowhere.
    pub(super) fn is_lost(&mut self, listener: &Listener, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + PERIOD;
        !listener.is_in_place()
    }
}
