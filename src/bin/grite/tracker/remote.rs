//! The daemon of a state folder: reached, and started where none lives.

use std::path::Path;
use std::process::Command;

use libgrite_ipc::{ClientBuilder, DaemonLock, Error, ErrorKind, Grite, IpcClient, IpcCommand, IpcResponse};
use rkyv::rancor;

use super::{Questions, Tracker, Wishes};
use crate::error::{CliError, Code};
use crate::runtime::Place;

/// Why the daemon gave no answer.
#[derive(Debug)]
pub enum Failure {
    /// The system does not let this process reach it; the store may be within reach.
    Forbidden(CliError),
    /// Anything else.
    Other(CliError),
}

/// The daemon of a state folder.
pub struct Remote {
    place: Place,
    builder: ClientBuilder<Grite>,
    spawn: bool,
    questions: Questions,
    client: Option<IpcClient>,
}

impl Remote {
    /// The daemon of `place`, over `transport`. It is not reached before it is asked.
    pub fn new(
        place: Place,
        transport: libgrite_ipc::Transport,
        wishes: &Wishes,
        questions: Questions,
    ) -> Self {
        let builder = IpcClient::builder().transport(transport).timeout(wishes.timeout);
        Remote { place, builder, spawn: wishes.spawn, questions, client: None }
    }

    /// The folder of the store.
    pub fn state(&self) -> &Path {
        &self.place.state
    }

    /// Asks, and once more if the daemon ended meanwhile: reads can be repeated, and a write's key makes
    /// its repeat harmless.
    pub fn try_ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, Failure> {
        self.place.prepare().map_err(Failure::Forbidden)?;
        let asked = match self.attempt(command) {
            Err(error) if self.may_repeat(error.kind()) => {
                self.client = None;
                self.attempt(command)
            }
            asked => asked,
        };
        match asked {
            Ok(answer) => answer.ok_or_else(|| Failure::Other(CliError::mismatched())),
            Err(error) => Err(self.judge(error)),
        }
    }

    fn may_repeat(&self, kind: ErrorKind) -> bool {
        kind == ErrorKind::PeerDied || kind == ErrorKind::NotRunning && self.spawn
    }

    /// The answer; nothing where it is no value of its type, which no checked archive is.
    fn attempt(&mut self, command: &IpcCommand) -> Result<Option<IpcResponse>, Error> {
        if self.questions == Questions::One {
            let message = if self.spawn {
                self.builder.ask_or_spawn(&self.place.runtime, || daemon_command(&self.place), command)?
            } else {
                self.builder.ask(DaemonLock::socket_path_in(&self.place.runtime)?, command)?
            };
            return Ok(rkyv::deserialize::<IpcResponse, rancor::Error>(&*message).ok());
        }
        let client = match &mut self.client {
            Some(client) => client,
            empty => empty.insert(connect(&self.place, &self.builder, self.spawn)?),
        };
        client.send(command)?.to_value().map(Some)
    }

    fn judge(&self, error: Error) -> Failure {
        if is_forbidden(&error) {
            return Failure::Forbidden(error.into());
        }
        Failure::Other(match error.kind() {
            ErrorKind::NotRunning if !self.spawn => {
                let message = format!("no daemon runs for {}", self.place.state.display());
                CliError::new(Code::NotRunning, message, "run `grite daemon start`, or let commands start it")
            }
            _ => error.into(),
        })
    }
}

impl Tracker for Remote {
    fn ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError> {
        self.try_ask(command).map_err(|failure| match failure {
            Failure::Forbidden(error) | Failure::Other(error) => error,
        })
    }
}

/// Connects to the daemon of `place`, and starts it first where it may and must.
pub fn connect(place: &Place, builder: &ClientBuilder<Grite>, spawn: bool) -> Result<IpcClient, Error> {
    if spawn {
        let place = place.clone();
        builder.connect_or_spawn(place.runtime.clone(), move || daemon_command(&place))
    } else {
        builder.connect(DaemonLock::socket_path_in(&place.runtime)?)
    }
}

/// This program, as the daemon of `place`.
pub fn daemon_command(place: &Place) -> Command {
    // Without its own path a program can still be found by its name.
    let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| "grite".into()));
    command.args(["daemon", "run"]).env("GRITE_DIR", &place.state).current_dir("/");
    command
}

/// Whether the system keeps this process from the daemon, as sandboxes do.
fn is_forbidden(error: &Error) -> bool {
    use std::io::ErrorKind as Io;
    let system = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    let refused =
        system.is_some_and(|system| matches!(system.kind(), Io::PermissionDenied | Io::ReadOnlyFilesystem));
    error.kind() == ErrorKind::Sandboxed || error.kind() == ErrorKind::Io && refused
}
