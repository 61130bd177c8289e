//! Reaching the daemon of a directory, and starting it where none lives.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::retry::Origin;
use super::{Client, ClientBuilder};
use crate::error::{Error, ErrorKind};
use crate::lock::{DaemonLock, SpawnLock};
use crate::protocol::{Message, Protocol};
use crate::wait::Deadline;

/// How long to wait before looking again whether somebody else's daemon is there; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl<P: Protocol> ClientBuilder<P> {
    /// Connects to the daemon of `directory`; starts it with `command` if none lives.
    ///
    /// Of all that try at once, one starts a daemon and the others wait for it. The daemon takes
    /// [`DaemonLock::acquire`] on the same directory and tells its [`Readiness`](crate::Readiness).
    ///
    /// ```no_run
    /// use std::process::Command;
    /// use libgrite_ipc::IpcClient;
    ///
    /// let client = IpcClient::builder().connect_or_spawn("/run/user/1000/grite", || {
    ///     let mut command = Command::new("grite");
    ///     command.args(["daemon", "run"]);
    ///     command
    /// })?;
    /// # Ok::<(), libgrite_ipc::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and
    /// - [`ErrorKind::NotRunning`]: the daemon did not start; the reason is its own.
    /// - [`ErrorKind::Unresponsive`]: it was not ready within the builder's spawn timeout, or the
    ///   daemon that lives does not listen.
    pub fn connect_or_spawn(
        &self,
        directory: impl AsRef<Path>,
        command: impl FnMut() -> Command + Send + 'static,
    ) -> Result<Client<P>, Error> {
        let directory = directory.as_ref().to_path_buf();
        let mut command = Box::new(command);
        let mut client = self.reach_or_spawn(&directory, &mut command)?;
        client.origin = Origin::Directory { directory, command };
        Ok(client)
    }

    /// As [`connect_or_spawn`](Self::connect_or_spawn), for a client that is to be connected again.
    pub(super) fn reach_or_spawn(
        &self,
        directory: &Path,
        command: impl FnMut() -> Command,
    ) -> Result<Client<P>, Error> {
        self.reach(directory, command, |socket| match self.connect(socket) {
            // A daemon that went away in the handshake has done nothing yet.
            Err(error) if error.kind() == ErrorKind::PeerDied => {
                Err(Error::new(ErrorKind::NotRunning, "connect to the daemon").at(socket).because(error))
            }
            result => result,
        })
    }

    /// Asks the daemon of `directory` one question, as [`ask`](Self::ask) does, and starts it if none
    /// lives, as [`connect_or_spawn`](Self::connect_or_spawn) does.
    ///
    /// # Errors
    /// As both.
    pub fn ask_or_spawn(
        &self,
        directory: impl AsRef<Path>,
        command: impl FnMut() -> Command,
        request: &P::Request,
    ) -> Result<Message<P::Response>, Error> {
        self.reach(directory.as_ref(), command, |socket| self.ask(socket, request))
    }

    /// Tries until somebody listens, and sees to it that somebody does.
    fn reach<T>(
        &self,
        directory: &Path,
        mut command: impl FnMut() -> Command,
        mut attempt: impl FnMut(&Path) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut deadline = Deadline::starting_now(self.spawn_timeout);
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(result) = reached(directory, &mut attempt)? {
                return result;
            }
            let mut waits_for = "a daemon holds the lock but does not listen";
            if let Some(lock) = SpawnLock::try_take(directory)? {
                if DaemonLock::read(directory)?.is_none() {
                    // Whoever held the lock before may have started one that is ready by now.
                    if let Some(result) = reached(directory, &mut attempt)? {
                        return result;
                    }
                    let started = lock.start(command(), deadline.end());
                    // Somebody may have started one by hand meanwhile: then ours does not matter.
                    match (reached(directory, &mut attempt)?, started) {
                        (Some(result), _) => return result,
                        (None, started) => started?,
                    }
                }
            } else {
                waits_for = "somebody else is starting a daemon, which is not ready";
            }
            if deadline.is_over() {
                let reason = format!("{waits_for} after {:?}", self.spawn_timeout);
                return Err(Error::new(ErrorKind::Unresponsive, "reach the daemon")
                    .at(directory)
                    .saying(reason));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// What comes of an attempt on the daemon of `directory`; nothing if none is there, or one that has
/// turned the attempt away before it began.
fn reached<T>(
    directory: &Path,
    attempt: &mut impl FnMut(&Path) -> Result<T, Error>,
) -> Result<Option<Result<T, Error>>, Error> {
    let absent = |result: &Result<T, Error>| {
        result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotRunning || error.is_retryable())
    };
    let expected = DaemonLock::socket_path_in(directory)?;
    let result = attempt(&expected);
    if !absent(&result) {
        return Ok(Some(result));
    }
    // A daemon whose folder for long paths is another one says in its record where it listens.
    match DaemonLock::read(directory)? {
        Some(daemon) if daemon.socket_path() != expected => {
            Ok(Some(attempt(daemon.socket_path())).filter(|result| !absent(result)))
        }
        _ => Ok(None),
    }
}
