//! Reaching the daemon of a directory, and starting it where none lives. What is to be done when is decided
//! by [`reach()`]; how, on this system, stands here.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::reach::{Found, System, reach};
use super::retry::Origin;
use super::{Client, ClientBuilder};
use crate::error::{Error, ErrorKind, NothingDone};
use crate::handshake::Stance;
use crate::lock::{Daemon, DaemonLock, SpawnLock};
use crate::protocol::{Message, Protocol};
use crate::wait::Deadline;

impl<P: Protocol> ClientBuilder<P> {
    /// Connects to the daemon of `directory`; starts it with `command` if none lives.
    ///
    /// Of all that try at once, one starts a daemon and the others wait for it. A live daemon of an older
    /// [`release`](Self::release) is asked to end first. The daemon takes
    /// [`DaemonLock::acquire`] on the same directory and tells its [`Readiness`](crate::Readiness).
    ///
    /// Whatever was set in the command, the daemon's standard input and standard error are the null device, its
    /// standard output is the way to its starter, and it leads a process group of its own: a daemon that logs opens
    /// its log itself, and has its panics go there. One that says that it has failed, or is not ready in time, is
    /// killed with its group.
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
    /// - [`ErrorKind::NotRunning`]: the daemon did not start; the reason is its own. Or it has ended as soon as it was
    ///   ready, twice.
    /// - [`ErrorKind::Unresponsive`]: it was not ready within the builder's spawn timeout, or the
    ///   daemon that lives does not listen, or one of an older release has not ended by then.
    /// - [`ErrorKind::Io`]: the command cannot be started, for there is no such program, say.
    /// - [`ErrorKind::Refused`]: one that lives has turned each attempt away until then; the reason is its own.
    pub fn connect_or_spawn(
        &self,
        directory: impl AsRef<Path>,
        command: impl FnMut() -> Command + Send + 'static,
    ) -> Result<Client<P>, Error> {
        let directory = DaemonLock::vet(directory.as_ref())?;
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

    /// Has [`reach()`] decide what is to be done until an attempt succeeds.
    fn reach<T>(
        &self,
        directory: &Path,
        command: impl FnMut() -> Command,
        attempt: impl FnMut(&Path, Stance) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let directory = &DaemonLock::vet(directory)?;
        let deadline = Deadline::starting_now(self.spawn_timeout);
        reach(&mut Here { builder: self, directory, command, attempt, deadline, turned_away: None })
    }
}

/// A directory of this system, the way to start its daemon, and what to attempt on it.
struct Here<'a, P: Protocol, C, A> {
    builder: &'a ClientBuilder<P>,
    directory: &'a Path,
    command: C,
    attempt: A,
    deadline: Deadline,
    /// What a daemon said that has turned the latest attempt away.
    turned_away: Option<Error>,
}

impl<P, T, C, A> System for Here<'_, P, C, A>
where
    P: Protocol,
    C: FnMut() -> Command,
    A: FnMut(&Path, Stance) -> Result<T, Error>,
{
    type Answer = T;
    type Holder = Daemon;
    type Right = SpawnLock;

    fn look(&mut self, stance: Stance) -> Result<Found<T>, Error> {
        self.turned_away = None;
        let mut attempt = |socket: &Path| match (self.attempt)(socket, stance) {
            Err(error) if error.kind() == ErrorKind::NotRunning => Found::Nobody,
            Err(error) => match error.nothing_done() {
                None | Some(NothingDone::Late) => Found::Done(Err(error)),
                Some(NothingDone::Busy | NothingDone::Stopping) => {
                    self.turned_away = Some(error);
                    Found::Nobody
                }
                Some(NothingDone::Older) => Found::Older(socket.to_path_buf()),
            },
            done => Found::Done(done),
        };
        let expected = DaemonLock::socket_path_in(self.directory);
        let found = expected.as_deref().map_or(Found::Nobody, &mut attempt);
        if !matches!(found, Found::Nobody) {
            return Ok(found);
        }
        // A daemon whose folder for long paths is another one says in its record where it listens.
        match DaemonLock::read(self.directory)? {
            Some(daemon) if expected.as_deref().ok() != Some(daemon.socket_path()) => {
                Ok(attempt(daemon.socket_path()))
            }
            _ => expected.map(|_| found),
        }
    }

    fn holder(&mut self) -> Result<Option<Daemon>, Error> {
        DaemonLock::read(self.directory)
    }

    fn try_take(&mut self) -> Result<Option<SpawnLock>, Error> {
        SpawnLock::try_take(self.directory)
    }

    fn start(&mut self, right: &SpawnLock) -> Result<(), Error> {
        right.start((self.command)(), &mut self.deadline)
    }

    fn retire(&mut self, socket: &Path) -> bool {
        self.builder.retire(socket, &mut self.deadline)
    }

    fn pause(&mut self, pause: Duration) {
        std::thread::sleep(pause);
    }

    fn is_late(&mut self) -> bool {
        self.deadline.is_over()
    }

    fn give_up(&mut self, waits_for: &str) -> Error {
        // One that answers is not silent: its own words say more.
        self.turned_away.take().unwrap_or_else(|| {
            let reason = format!("{waits_for} after {:?}", self.builder.spawn_timeout);
            Error::new(ErrorKind::Unresponsive, "reach the daemon").at(self.directory).saying(reason)
        })
    }

    fn give_up_starting(&mut self) -> Error {
        let reason = "it has said twice that it is ready, and ended each time";
        Error::new(ErrorKind::NotRunning, "start the daemon").at(self.directory).saying(reason)
    }
}
