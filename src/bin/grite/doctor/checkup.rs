//! A [`Checkup`]: what was found so far, and what is held while something is mended.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use libgrite_ipc::grite::Finding;
use libgrite_ipc::{DaemonLock, Error, IpcClient, IpcCommand, Transport};
use rustix::process::Signal;

use crate::daemon::terminate;
use crate::git::GitError;
use crate::runtime::Place;
use crate::sync::{SYNCING, Turn};
use crate::tracker::builder;

/// For how long a daemon may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long to wait for the end of a sync.
const SYNC_PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What was found so far.
pub struct Checkup<'a> {
    pub place: &'a Place,
    fix: bool,
    findings: Vec<Finding>,
    /// Held from when no daemon may run until the end.
    lock: Option<DaemonLock>,
    /// Held while store and refs are compared, or why it is not: amid a sync, each holds what the other does not yet.
    pub turn: Option<Result<Turn, GitError>>,
}

impl<'a> Checkup<'a> {
    pub fn new(place: &'a Place, fix: bool) -> Self {
        Checkup { place, fix, findings: Vec::new(), lock: None, turn: None }
    }

    /// What was found.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// All is well.
    pub fn good(&mut self, check: &str, detail: impl Display) {
        self.find(check, true, detail.to_string(), None, false);
    }

    /// Something is wrong that we cannot mend, or must not; `fix` says who can, and how.
    pub fn bad(&mut self, check: &str, detail: impl Display, fix: &str) {
        self.find(check, false, detail.to_string(), Some(fix), false);
    }

    /// Something is wrong that `work` mends, which says what it did. `fix` says what can be done otherwise.
    pub fn mend<E: Display>(
        &mut self,
        check: &str,
        detail: impl Display,
        fix: &str,
        work: impl FnOnce(&mut Self) -> Result<String, E>,
    ) {
        if !self.fix {
            return self.find(check, false, detail.to_string(), Some(fix), false);
        }
        match work(self) {
            Ok(done) => self.find(check, true, format!("{detail}; {done}"), None, true),
            Err(error) => self.find(
                check,
                false,
                format!("{detail}; it could not be mended: {error}"),
                Some(fix),
                false,
            ),
        }
    }

    /// Waits for the end of a sync, and keeps others from starting one.
    pub fn take_turn(&mut self) {
        self.turn = Some(Turn::take(&self.place.state, SYNCING, Instant::now() + SYNC_PATIENCE));
    }

    /// Ends the daemon, and keeps others from running until this is dropped. Lets go of the turn meanwhile.
    ///
    /// # Errors
    /// Why that is not possible, in words.
    pub fn quiesce(&mut self) -> Result<(), String> {
        if self.lock.is_some() {
            return Ok(());
        }
        // The daemon does not end while a sync of its own waits for it.
        let held = self.turn.take().is_some();
        let ended = self.end();
        if held {
            self.take_turn();
        }
        self.lock = Some(ended?);
        Ok(())
    }

    /// Ends the daemon.
    fn end(&self) -> Result<DaemonLock, String> {
        self.place.prepare().map_err(|error| error.message)?;
        if self.ask_to_stop().is_err() || !self.is_gone()? {
            self.end_by_signal()?;
        }
        DaemonLock::acquire(&self.place.runtime).map_err(|error| error.to_string())
    }

    /// Ends the daemon, if one lives, by a signal that asks it, and if it does not listen by force.
    ///
    /// # Errors
    /// Why it lives on, in words.
    pub fn end_by_signal(&self) -> Result<(), String> {
        for signal in [Signal::TERM, Signal::KILL] {
            terminate(&self.place.runtime, signal).map_err(|error| error.message)?;
            if self.is_gone()? {
                return Ok(());
            }
        }
        Err("the daemon does not end".to_owned())
    }

    fn ask_to_stop(&self) -> Result<(), Error> {
        self.connect()?.send(&IpcCommand::Stop).map(drop)
    }

    /// Connects to the daemon, with little patience.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`](libgrite_ipc::ClientBuilder::connect).
    pub fn connect(&self) -> Result<IpcClient, Error> {
        let builder = builder(PATIENCE).transport(Transport::Socket);
        builder.connect(DaemonLock::socket_path_in(&self.place.runtime)?)
    }

    /// Waits a while for the daemon's end, and says whether it came.
    fn is_gone(&self) -> Result<bool, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            match DaemonLock::read(&self.place.runtime) {
                Ok(None) => return Ok(true),
                Ok(Some(_)) if Instant::now() > end => return Ok(false),
                Ok(Some(_)) => thread::sleep(LOOK_AGAIN),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn find(&mut self, check: &str, ok: bool, detail: String, fix: Option<&str>, fixed: bool) {
        let (check, fix) = (check.to_owned(), fix.map(str::to_owned));
        self.findings.push(Finding { check, ok, detail, fix, fixed });
    }
}

#[cfg(test)]
mod tests {
    use libgrite_ipc::{IpcResponse, IpcServer};

    use super::*;

    #[test]
    fn a_daemon_whose_sync_waits_for_its_turn_ends_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::within(dir.path(), dir.path()).unwrap();
        place.prepare().unwrap();
        let lock = DaemonLock::acquire(&place.runtime).unwrap();
        let server = IpcServer::bind(lock.socket_path()).unwrap();
        let mut checkup = Checkup::new(&place, true);
        checkup.take_turn();
        thread::scope(|scope| {
            let daemon = scope.spawn(|| {
                let stop = server.handle();
                let served = server.serve(|_, _| {
                    stop.stop();
                    IpcResponse::Stopping
                });
                served.unwrap();
                let turn = Turn::take(&place.state, SYNCING, Instant::now() + PATIENCE / 2);
                drop(lock);
                turn.map(drop)
            });
            checkup.quiesce().unwrap();
            assert_eq!(daemon.join().unwrap(), Ok(()));
        });
        assert!(matches!(checkup.turn, Some(Ok(_))));
    }
}
