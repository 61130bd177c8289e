//! The way from a command to an engine: [`Tracker`], and [`open`] to choose one.
//!
//! What is printed is made from the answer alone, so it is the same by whatever way the answer came.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use libgrite_ipc::{IpcCommand, IpcResponse};

use crate::engine::Engine;
use crate::error::{CliError, Code};
use crate::folder;

/// Answers commands.
pub trait Tracker {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// A [`CliError`] when no answer came. A refusal is an answer.
    fn ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError>;
}

/// How a tracker is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// The socket for one command, the ring for many, directly where a sandbox refuses both.
    Auto,
    /// Shared-memory rings to the daemon.
    Ring,
    /// The daemon's socket.
    Socket,
    /// No daemon: this process works on the store.
    Direct,
}

/// What a caller wishes of the way to the tracker.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// How it is reached.
    pub transport: Transport,
    /// Whether a daemon may be started.
    pub spawn: bool,
    /// For how long to wait for an answer.
    pub timeout: Duration,
}

/// Opens the tracker of the state folder.
///
/// # Errors
/// A [`CliError`] when there is no state folder, or it cannot be reached in the wished way.
pub fn open(wishes: &Wishes) -> Result<Box<dyn Tracker>, CliError> {
    let dir = folder::find()?;
    match wishes.transport {
        Transport::Auto | Transport::Direct => Ok(Box::new(Direct::open(dir)?)),
        Transport::Ring | Transport::Socket => {
            let message = "this program cannot reach a daemon";
            Err(CliError::new(Code::Unsupported, message, "use --direct"))
        }
    }
}

/// Asks, and takes a refusal for the failure that it is to the command.
pub fn ask(tracker: &mut dyn Tracker, command: &IpcCommand) -> Result<IpcResponse, CliError> {
    match tracker.ask(command)? {
        IpcResponse::Refused(refusal) => Err(refusal.into()),
        answer => Ok(answer),
    }
}

/// The engine in this process.
pub struct Direct(Engine);

impl Direct {
    /// Opens the store in the folder `dir`.
    pub fn open(dir: PathBuf) -> Result<Self, CliError> {
        Ok(Direct(Engine::open(&dir)?))
    }
}

impl Tracker for Direct {
    fn ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError> {
        Ok(self.0.execute(command))
    }
}
