//! Reaching the daemon of a directory, and starting it where none lives.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::retry::Origin;
use super::{Client, ClientBuilder};
use crate::error::{Error, ErrorKind, NothingDone};
use crate::handshake::Stance;
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
    /// Of all that try at once, one starts a daemon and the others wait for it. A live daemon of an older
    /// [`release`](Self::release) is asked to end first. The daemon takes
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
    ///   daemon that lives does not listen, or one of an older release has not ended by then.
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
        self.reach(directory, command, |socket, stance| match self.shake_hands(socket, stance) {
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
        self.reach(directory.as_ref(), command, |socket, stance| self.ask_as(socket, stance, request))
    }

    /// Tries until somebody listens who is not older than this client, and sees to it that somebody does.
    fn reach<T>(
        &self,
        directory: &Path,
        mut command: impl FnMut() -> Command,
        mut attempt: impl FnMut(&Path, Stance) -> Result<T, Error>,
    ) -> Result<T, Error> {
        DaemonLock::vet(directory)?;
        let mut deadline = Deadline::starting_now(self.spawn_timeout);
        let mut pause = FIRST_PAUSE;
        let mut stance = Stance::Decline;
        loop {
            let older = match look(directory, stance, &mut attempt)? {
                Found::Done(result) => return result,
                Found::Nobody => None,
                Found::Older(socket) => Some(socket),
            };
            let mut waits_for = "a daemon holds the lock but does not listen";
            if let Some(lock) = SpawnLock::try_take(directory)? {
                if let Some(socket) = older {
                    waits_for = "the daemon of an older release has not ended";
                    // Nobody starts an older one again meanwhile: the right to start is ours.
                    self.replace(directory, &socket, &mut deadline)?;
                }
                if DaemonLock::read(directory)?.is_none() {
                    // Whoever held the lock before may have started one that is ready by now.
                    match look(directory, stance, &mut attempt)? {
                        Found::Done(result) => return result,
                        Found::Older(_) => {}
                        Found::Nobody => {
                            let started = lock.start(command(), deadline.end());
                            drop(lock);
                            if started.is_ok() {
                                // Should ours call itself older, another of it would be no better.
                                stance = Stance::Take;
                            }
                            // Somebody may have started one by hand meanwhile: then ours does not matter.
                            match (look(directory, stance, &mut attempt)?, started) {
                                (Found::Done(result), _) => return result,
                                (Found::Older(_), _) => {}
                                (Found::Nobody, started) => started?,
                            }
                        }
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

    /// Has the older daemon at `socket` end, and waits until it has.
    fn replace(&self, directory: &Path, socket: &Path, deadline: &mut Deadline) -> Result<(), Error> {
        let older = DaemonLock::read(directory)?;
        if self.retire(socket, deadline) {
            while older.is_some() && DaemonLock::read(directory)? == older && !deadline.is_over() {
                std::thread::sleep(FIRST_PAUSE);
            }
        }
        Ok(())
    }
}

/// What comes of an attempt on the daemon of a directory.
enum Found<T> {
    /// It was reached: this came of it.
    Done(Result<T, Error>),
    /// None is there, or one that has turned the attempt away before it began.
    Nobody,
    /// The one that listens here is of an older release, and has done nothing.
    Older(PathBuf),
}

/// Makes an attempt on the daemon of `directory`.
fn look<T>(
    directory: &Path,
    stance: Stance,
    attempt: &mut impl FnMut(&Path, Stance) -> Result<T, Error>,
) -> Result<Found<T>, Error> {
    let mut attempt = |socket: &Path| match attempt(socket, stance) {
        Err(error) if error.kind() == ErrorKind::NotRunning => Found::Nobody,
        Err(error) => match error.nothing_done() {
            None | Some(NothingDone::Late) => Found::Done(Err(error)),
            Some(NothingDone::Busy | NothingDone::Stopping) => Found::Nobody,
            Some(NothingDone::Older) => Found::Older(socket.to_path_buf()),
        },
        done => Found::Done(done),
    };
    let expected = DaemonLock::socket_path_in(directory)?;
    let found = attempt(&expected);
    if !matches!(found, Found::Nobody) {
        return Ok(found);
    }
    // A daemon whose folder for long paths is another one says in its record where it listens.
    match DaemonLock::read(directory)? {
        Some(daemon) if daemon.socket_path() != expected => Ok(attempt(daemon.socket_path())),
        _ => Ok(found),
    }
}
