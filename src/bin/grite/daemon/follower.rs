//! Notices what other processes write to the store while somebody subscribes: [`Follower`].
//!
//! Whoever asks the daemon gets what they have written anyhow; whoever only listens would not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::Duration;

use libgrite_ipc::{Grite, Publisher, ServerHandle};

use crate::engine::Engine;
use crate::error::CliError;

/// A thread that sleeps while nobody subscribes, and then until a process writes. It ends when this is dropped.
pub struct Follower<'a> {
    engine: &'a Engine,
    publisher: Publisher<Grite>,
    ending: &'a AtomicBool,
}

/// How long a write is unknown whose process was killed between its commit and its word.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// How long to wait before a store is looked at again that could not be read.
const PAUSE: Duration = Duration::from_millis(100);

impl<'a> Follower<'a> {
    /// Starts the thread, which looks at `ending`, and ends `server` once the store is gone from its place.
    ///
    /// # Errors
    /// A [`CliError`] when the system gives none.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        engine: &'a Engine,
        publisher: Publisher<Grite>,
        server: ServerHandle,
        ending: &'a AtomicBool,
    ) -> Result<Self, CliError> {
        let follower = Follower { engine, publisher: publisher.clone(), ending };
        let follow = move || {
            while publisher.wait_for_subscribers() && !ending.load(Ordering::Acquire) {
                if engine.follow(LONGEST_SLEEP).is_err() {
                    // Whoever asks is told.
                    thread::sleep(PAUSE);
                }
                if !engine.is_in_place() {
                    // Whoever listens is told, and finds the daemon of the store that is there now.
                    server.stop();
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("grite-follower".to_owned())
            .spawn_scoped(scope, follow)
            .map_err(|error| CliError::io("start a thread of", "this process".as_ref(), &error))?;
        Ok(follower)
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.publisher.end_waits();
        self.engine.rouse();
    }
}
