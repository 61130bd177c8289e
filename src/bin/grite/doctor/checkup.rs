//! A [`Checkup`]: what was found so far, and what is held while something is mended.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use libgrite_ipc::grite::Finding;
use libgrite_ipc::{DaemonLock, Error, IpcClient, IpcCommand, Transport};
use rustix::process::Signal;

use crate::daemon::terminate;
use crate::runtime::Place;
use crate::tracker::builder;

/// For how long a daemon may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What was found so far.
pub struct Checkup<'a> {
    pub place: &'a Place,
    fix: bool,
    findings: Vec<Finding>,
    /// Held from when no daemon may run until the end.
    lock: Option<DaemonLock>,
}

impl<'a> Checkup<'a> {
    pub fn new(place: &'a Place, fix: bool) -> Self {
        Checkup { place, fix, findings: Vec::new(), lock: None }
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

    /// Ends the daemon, and keeps others from running until this is dropped.
    ///
    /// # Errors
    /// Why that is not possible, in words.
    pub fn quiesce(&mut self) -> Result<(), String> {
        if self.lock.is_some() {
            return Ok(());
        }
        self.place.prepare().map_err(|error| error.message)?;
        if self.ask_to_stop().is_err() || !self.is_gone()? {
            self.end_by_signal()?;
        }
        self.lock = Some(DaemonLock::acquire(&self.place.runtime).map_err(|error| error.to_string())?);
        Ok(())
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
