//! Syncing now and then while the daemon runs: [`Background`]. It is off unless somebody asks for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use libgrite_ipc::IpcCommand;
use libgrite_ipc::grite::Exchange;

use crate::engine::Engine;
use crate::git;

/// For how long one sync may take, in milliseconds.
const TIMEOUT: u64 = 120_000;

/// For how long the daemon's end waits for a sync that is under way. One that is cut off, and its git with it, is
/// made good by the next.
const PATIENCE: Duration = Duration::from_secs(5);

/// A thread that syncs, until this is dropped.
pub struct Background {
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
}

impl Background {
    /// Syncs `engine` with the usual remote, and again each time that `every` has passed.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(engine: Arc<Engine>, every: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let (end, ended) = channel::<()>();
        let work = move || {
            // What is there otherwise has a daemon of its own, once somebody asks.
            while engine.is_in_place() {
                let exchange = Exchange { remote: None, timeout_ms: TIMEOUT, progress: false };
                // A remote that is out of reach now may be within reach the next time.
                let _ = engine.execute(&IpcCommand::Sync { exchange });
                engine.write_back();
                if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            drop(engine);
            drop(end);
        };
        thread::Builder::new().name("grite-sync".to_owned()).spawn(work)?;
        Ok(Background { stop: Some(stop), ended })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop = None;
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            git::end_all();
        }
    }
}
