//! Whether clients still find the server: its socket's file may be taken away, or another put in its place.
//!
//! A socket that was unlinked cannot be linked again, and whoever put something in its place may serve there.
//! So a server that is not found any more ends, as it does when it is told to: its process gives the lock
//! back, and the next client starts another. Linux tells of a change of the file at once; that its folder's
//! folder was moved, and all of it elsewhere, shows when the server looks, now and then.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::events::{Events, Interest};
use super::listener::Listener;

/// How long until the next look where the system tells of changes.
const SLOW: Duration = Duration::from_secs(60);

/// How long where it does not: a client that waits for a daemon's end has time left for the next one's start.
const FAST: Duration = Duration::from_secs(4);

/// When to look for the socket's file.
#[derive(Debug)]
pub(super) struct Presence {
    changes: Option<OwnedFd>,
    due: Instant,
}

impl Presence {
    /// Has `events` tell by `token` when to [`heed`](Self::heed) the file of `listener`. A first look is due.
    pub(super) fn watch(listener: &Listener, events: &mut Events, token: u64) -> Self {
        // Where the user has no more watches, looking has to do.
        let changes = changes_of(listener).ok();
        let changes = changes.filter(|changes| events.add(changes, token, Interest::Read).is_ok());
        Presence { changes, due: Instant::now() }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The system says that the file has changed.
    pub(super) fn heed(&mut self) {
        if let Some(changes) = &self.changes {
            // What it was shows in the file itself.
            let mut buffer = [0; 1024];
            while rustix::io::read(changes, &mut buffer).is_ok_and(|read| read > 0) {}
        }
        self.due = Instant::now();
    }

    /// Looks, if that is due: whether the file is known to lead elsewhere or nowhere.
    pub(super) fn is_lost(&mut self, listener: &Listener, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + if self.changes.is_some() { SLOW } else { FAST };
        !listener.is_in_place()
    }

    /// Hears no more of the file.
    pub(super) fn forget(&mut self, events: &mut Events, token: u64) {
        if let Some(changes) = self.changes.take() {
            events.remove(changes, token);
        }
    }
}

/// Tells of each change of the file's links and names.
#[cfg(all(target_os = "linux", not(grite_portable)))]
fn changes_of(listener: &Listener) -> io::Result<OwnedFd> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

    let changes = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let what = WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DONT_FOLLOW;
    add_watch(&changes, listener.path(), what)?;
    Ok(changes)
}

#[cfg(not(all(target_os = "linux", not(grite_portable))))]
fn changes_of(_: &Listener) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}
