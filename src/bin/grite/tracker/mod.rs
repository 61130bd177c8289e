//! The way from a command to an engine: [`Tracker`], and [`open`] to choose one.
//!
//! What is printed is made from the answer alone, so it is the same by whatever way the answer came.

mod direct;
mod remote;

use std::io::{Write, stderr};
use std::time::Duration;

use clap::ValueEnum;
use libgrite_ipc::grite::Progress;
use libgrite_ipc::{IpcCommand, IpcResponse};

use crate::engine;
use crate::error::CliError;
use crate::folder;
use crate::output::line;
use crate::runtime::Place;

pub use direct::Direct;
pub use remote::{builder, builder_for, connect, daemon_command, unreached};

use remote::{Failure, Remote};

/// Answers commands.
pub trait Tracker {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// A [`CliError`] when no answer came. A refusal is an answer.
    fn ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError>;

    /// Asks for an answer that comes in parts, and gives all but the last one to `part`.
    ///
    /// # Errors
    /// As [`ask`](Tracker::ask).
    fn ask_in_parts(
        &mut self,
        command: &IpcCommand,
        part: &mut dyn FnMut(&Progress),
    ) -> Result<IpcResponse, CliError>;

    /// Asks all of `commands`, and gives `answered` what [`ask`](Tracker::ask) would give for each, in order.
    /// They may be under way together, so only reads may stand beside each other.
    fn ask_all(&mut self, commands: &[IpcCommand], answered: &mut Answered<'_>) {
        commands.iter().for_each(|command| answered(self.ask(command)));
    }
}

/// Takes one answer after the other.
pub type Answered<'a> = dyn FnMut(Result<IpcResponse, CliError>) + 'a;

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
    /// For how long to wait for one that starts.
    pub spawn_timeout: Duration,
    /// For how long to wait for an answer.
    pub timeout: Duration,
}

/// How much a caller will ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Questions {
    /// One question: connecting must be cheap.
    One,
    /// Several: one connection is kept for them.
    Several,
}

/// Opens the tracker of the state folder.
///
/// # Errors
/// A [`CliError`] when there is no state folder, or its store cannot be opened directly. A daemon is
/// reached by the first question.
pub fn open(wishes: &Wishes, questions: Questions) -> Result<Box<dyn Tracker>, CliError> {
    let place = Place::of(&folder::find()?)?;
    engine::check(&place.state)?;
    let remote = |transport, questions| Box::new(Remote::new(place.clone(), transport, wishes, questions));
    Ok(match wishes.transport {
        Transport::Direct => Box::new(Direct::open(&place.state, wishes.timeout)?),
        // Rings are made in a handshake of their own, whatever is asked afterwards.
        Transport::Ring => remote(libgrite_ipc::Transport::Ring, Questions::Several),
        Transport::Socket => remote(libgrite_ipc::Transport::Socket, questions),
        Transport::Auto => {
            let transport = match questions {
                Questions::One => libgrite_ipc::Transport::Socket,
                Questions::Several => libgrite_ipc::Transport::Auto,
            };
            Box::new(Auto::Remote(remote(transport, questions)))
        }
    })
}

/// Asks, and takes a refusal for the failure that it is to the command.
pub fn ask(tracker: &mut dyn Tracker, command: &IpcCommand) -> Result<IpcResponse, CliError> {
    tracker.ask(command).and_then(unless_refused)
}

/// Takes a refusal for the failure that it is to the command.
pub fn unless_refused(answer: IpcResponse) -> Result<IpcResponse, CliError> {
    match answer {
        IpcResponse::Refused(refusal) => Err(refusal.into()),
        answer => Ok(answer),
    }
}

/// The daemon, or the engine in this process where the system does not let us reach a daemon.
enum Auto {
    Remote(Box<Remote>),
    Direct(Box<Direct>),
}

impl Tracker for Auto {
    fn ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError> {
        self.ask_in_parts(command, &mut |_| {})
    }

    fn ask_in_parts(
        &mut self,
        command: &IpcCommand,
        part: &mut dyn FnMut(&Progress),
    ) -> Result<IpcResponse, CliError> {
        let remote = match self {
            Auto::Direct(direct) => return direct.ask_in_parts(command, part),
            Auto::Remote(remote) => remote,
        };
        match remote.try_ask(command, part) {
            Ok(answer) => Ok(answer),
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::Forbidden(error)) => {
                let mut direct = Box::new(Direct::open(remote.state(), remote.timeout())?);
                // Nobody reads it where stderr is closed, and the answer counts for more.
                let _ = writeln!(
                    stderr(),
                    "grite: working without the daemon, which is out of reach: {}",
                    line(&error.message)
                );
                let answer = direct.ask_in_parts(command, part);
                *self = Auto::Direct(direct);
                answer
            }
        }
    }

    fn ask_all(&mut self, commands: &[IpcCommand], answered: &mut Answered<'_>) {
        let mut rest = commands;
        while let [first, behind @ ..] = rest {
            match self {
                // Once it was reached, it is not out of reach.
                Auto::Remote(remote) if remote.is_connected() => return remote.ask_all(rest, answered),
                _ => answered(self.ask(first)),
            }
            rest = behind;
        }
    }
}
