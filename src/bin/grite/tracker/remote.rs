//! The daemon of a state folder: reached, and started where none lives.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libgrite_ipc::grite::Progress;
use libgrite_ipc::{ClientBuilder, DaemonLock, Error, ErrorKind, Grite, IpcClient, IpcCommand, IpcResponse};
use rkyv::rancor;

use super::{Answered, Direct, Questions, Tracker, Wishes};
use crate::daemon::Manner;
use crate::engine::{Engine, OpenCause};
use crate::error::{CliError, Code};
use crate::release;
use crate::runtime::Place;
use crate::store::StoreError;

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
    timeout: Duration,
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
        let builder = builder_for(wishes).transport(transport);
        let Wishes { spawn, timeout, .. } = *wishes;
        Remote { place, builder, spawn, timeout, questions, client: None }
    }

    /// The folder of the store.
    pub fn state(&self) -> &Path {
        &self.place.state
    }

    /// For how long to wait for an answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks, and again if the daemon ended meanwhile, perhaps for a newer one: reads can be repeated, and a
    /// write's key makes its repeat harmless.
    pub fn try_ask(
        &mut self,
        command: &IpcCommand,
        part: &mut dyn FnMut(&Progress),
    ) -> Result<IpcResponse, Failure> {
        self.place.prepare().map_err(Failure::Forbidden)?;
        let mut asked = self.attempt(command, part);
        for _ in 0..MOST_REPEATS {
            if !self.may_repeat(&asked) {
                break;
            }
            self.client = None;
            asked = self.attempt(command, part);
        }
        match asked {
            Ok(answer) => answer.ok_or_else(|| Failure::Other(CliError::mismatched())),
            Err(error) if error.kind() == ErrorKind::TooLarge => self.ask_directly(command, part, error),
            Err(error) => Err(self.judge(error)),
        }
    }

    /// Asks the engine in this process, whose answer no message has to hold: clones that were apart can make an
    /// issue together that is larger than one. Where the store is out of reach, that is the daemon's failure.
    fn ask_directly(
        &mut self,
        command: &IpcCommand,
        part: &mut dyn FnMut(&Progress),
        too_large: Error,
    ) -> Result<IpcResponse, Failure> {
        match Direct::open(self.state(), self.timeout) {
            Ok(mut direct) => direct.ask_in_parts(command, part).map_err(Failure::Other),
            Err(_) => Err(self.judge(too_large)),
        }
    }

    fn may_repeat(&self, asked: &Result<Option<IpcResponse>, Error>) -> bool {
        let error = match asked {
            // Its store is gone, and it has done nothing.
            Ok(answer) => return *answer == Some(IpcResponse::Stopping),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::PeerDied => true,
            // It was on its way out. Whoever may start one has tried for as long as may be before he has a client.
            ErrorKind::Refused => error.is_retryable() && !(self.spawn && self.client.is_none()),
            ErrorKind::NotRunning => self.spawn,
            _ => false,
        }
    }

    /// The answer; nothing where it is no value of its type.
    fn attempt(
        &mut self,
        command: &IpcCommand,
        part: &mut dyn FnMut(&Progress),
    ) -> Result<Option<IpcResponse>, Error> {
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
        if !in_parts(command) {
            return client.send(command)?.to_value().map(Some);
        }
        let mut parts = client.stream(command)?;
        while let Some(reply) = parts.next()? {
            match reply.to_value()? {
                IpcResponse::Progress(progress) => part(&progress),
                last => return Ok(Some(last)),
            }
        }
        Ok(None)
    }

    /// Whether a connection is kept, though its daemon may have ended.
    pub fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// Asks all of `commands` at once; says how many of them, from the first on, were answered. The others can
    /// be asked again.
    fn ask_together(&self, commands: &[IpcCommand], answered: &mut Answered<'_>) -> usize {
        let Some(client) = &self.client else { return 0 };
        let most = commands.len().min(client.max_open());
        let Ok(pending) = client.start_all(&commands[..most]) else { return 0 };
        let mut done = 0;
        for pending in pending {
            let Ok(message) = pending.wait() else { break };
            let answer = rkyv::deserialize::<IpcResponse, rancor::Error>(&*message);
            if matches!(answer, Ok(IpcResponse::Stopping)) {
                break;
            }
            answered(answer.map_err(|_| CliError::mismatched()));
            done += 1;
        }
        done
    }

    fn judge(&self, error: Error) -> Failure {
        if is_forbidden(&error) {
            return Failure::Forbidden(error.into());
        }
        Failure::Other(unreached(&self.place, self.spawn, error))
    }
}

impl Tracker for Remote {
    fn ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError> {
        self.ask_in_parts(command, &mut |_| {})
    }

    fn ask_in_parts(
        &mut self,
        command: &IpcCommand,
        part: &mut dyn FnMut(&Progress),
    ) -> Result<IpcResponse, CliError> {
        self.try_ask(command, part).map_err(CliError::from)
    }

    fn ask_all(&mut self, commands: &[IpcCommand], answered: &mut Answered<'_>) {
        let mut rest = commands;
        while let [first, behind @ ..] = rest {
            let done = if behind.is_empty() { 0 } else { self.ask_together(rest, answered) };
            rest = &rest[done..];
            if done == 0 {
                // Alone it has its whole time, and a daemon that ended meanwhile is started again.
                answered(self.ask(first));
                rest = behind;
            }
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Forbidden(error) | Failure::Other(error) => error,
        }
    }
}

/// How often a command is repeated whose daemon ended.
const MOST_REPEATS: u32 = 3;

/// How long connecting may take where more time is given.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A client of this release, which replaces the daemons of earlier ones where it may start its own. It waits until
/// `timeout` for an answer, and no longer for a daemon that does not even say hello.
pub fn builder(timeout: Duration) -> ClientBuilder<Grite> {
    let builder = IpcClient::builder().release(release::own());
    builder.timeout(timeout).handshake_timeout(timeout.min(HANDSHAKE))
}

/// A builder of clients that wait for as long as is wished.
pub fn builder_for(wishes: &Wishes) -> ClientBuilder<Grite> {
    builder(wishes.timeout).spawn_timeout(wishes.spawn_timeout)
}

/// Why the daemon of `place` gave no answer, where `spawn` says whether it may be started.
pub fn unreached(place: &Place, spawn: bool, error: Error) -> CliError {
    match error.kind() {
        ErrorKind::NotRunning if !spawn => {
            let message = format!("no daemon runs for {}", place.state.display());
            CliError::new(Code::NotRunning, message, "run `grite daemon start`, or let commands start it")
        }
        // What keeps a daemon from its store keeps others from it, too, and they are told in the same words. It
        // has had the environment of this process.
        ErrorKind::NotRunning => Manner::of(None, None)
            .err()
            .or_else(|| broken_store(&place.state))
            .unwrap_or_else(|| error.into()),
        _ => error.into(),
    }
}

/// Why the store in the folder `dir` cannot be used by anybody, if that is so.
fn broken_store(dir: &Path) -> Option<CliError> {
    let error = Engine::open(dir).err()?;
    // One that is busy may be free again by now.
    (!matches!(error.cause(), OpenCause::Store(StoreError::Busy))).then(|| error.into())
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
    let program =
        std::env::current_exe().map_or_else(|_| "grite".into(), |path| installed(path, Path::exists));
    let mut command = Command::new(program);
    command.args(["daemon", "run"]).env("GRITE_DIR", &place.state).current_dir("/");
    command
}

/// The program at `path`, or, where an upgrade has put another file there since this process began, that
/// one: the system marks the path then.
fn installed(path: PathBuf, exists: impl Fn(&Path) -> bool) -> PathBuf {
    let unmarked = path.as_os_str().as_bytes().strip_suffix(b" (deleted)");
    match unmarked.map(|bytes| PathBuf::from(OsStr::from_bytes(bytes))) {
        Some(unmarked) if !exists(&path) && exists(&unmarked) => unmarked,
        _ => path,
    }
}

/// Whether the answer to `command` may come in parts.
fn in_parts(command: &IpcCommand) -> bool {
    match command {
        IpcCommand::Sync { exchange }
        | IpcCommand::SyncPull { exchange }
        | IpcCommand::SyncPush { exchange } => exchange.progress,
        _ => false,
    }
}

/// Whether the system keeps this process from the daemon, as sandboxes do.
fn is_forbidden(error: &Error) -> bool {
    use std::io::ErrorKind as Io;
    let system = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    let refused =
        system.is_some_and(|system| matches!(system.kind(), Io::PermissionDenied | Io::ReadOnlyFilesystem));
    error.kind() == ErrorKind::Sandboxed || error.kind() == ErrorKind::Io && refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_starts_what_has_replaced_it() {
        let found = |path: &str, there: &[&str]| {
            installed(PathBuf::from(path), |path| there.iter().any(|there| path == Path::new(there)))
        };
        assert_eq!(found("/bin/grite", &["/bin/grite"]), Path::new("/bin/grite"));
        assert_eq!(found("/bin/grite (deleted)", &["/bin/grite"]), Path::new("/bin/grite"));
        let odd = "/bin/grite (deleted)";
        assert_eq!(found(odd, &["/bin/grite", odd]), Path::new(odd), "it may be called so");
        assert_eq!(found(odd, &[]), Path::new(odd));
    }
}
