//! Asking by one way, and reading the answer to its last byte: [`Asker`].

use std::path::Path;

use libgrite_ipc::grite::ArchivedIpcResponse;
use libgrite_ipc::{ClientBuilder, Grite, IpcClient, IpcCommand, IpcResponse, Transport, WaitStrategy};

use super::touch::Touch;
use crate::engine::Engine;
use crate::error::{CliError, Code};

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through rings; the client waits so, the daemon adaptively.
    Ring(WaitStrategy),
    /// Over a socket that stays connected.
    Socket,
    /// The engine in this process.
    Direct,
}

impl Way {
    /// The ways, the quickest to another process first.
    pub const ALL: [Way; 5] = [
        Way::Ring(WaitStrategy::Adaptive),
        Way::Ring(WaitStrategy::Spin),
        Way::Ring(WaitStrategy::Park),
        Way::Socket,
        Way::Direct,
    ];

    /// Whether the daemon at `socket` can be asked in this way: rings are not everywhere.
    ///
    /// # Errors
    /// A [`CliError`] when no daemon is reached.
    pub fn is_there(self, socket: &Path) -> Result<bool, CliError> {
        Ok(!matches!(self, Way::Ring(_)) || IpcClient::connect(socket)?.uses_ring())
    }

    /// The word for the transport.
    pub fn transport(self) -> &'static str {
        match self {
            Way::Ring(_) => "ring",
            Way::Socket => "socket",
            Way::Direct => "direct",
        }
    }

    /// The word for how the client waits, where it can choose.
    pub fn wait(self) -> Option<&'static str> {
        match self {
            Way::Ring(WaitStrategy::Adaptive) => Some("adaptive"),
            Way::Ring(WaitStrategy::Spin) => Some("spin"),
            Way::Ring(WaitStrategy::Park) => Some("park"),
            Way::Socket | Way::Direct => None,
        }
    }

    /// What a client of this way is built with; nothing where there is no client.
    pub fn builder(self) -> Option<ClientBuilder<Grite>> {
        match self {
            Way::Ring(wait) => Some(IpcClient::builder().transport(Transport::Ring).wait(wait)),
            Way::Socket => Some(IpcClient::builder().transport(Transport::Socket)),
            Way::Direct => None,
        }
    }
}

/// Asks by one way.
pub enum Asker<'a> {
    /// A daemon.
    Remote(Box<IpcClient>),
    /// The engine in this process.
    Direct(&'a Engine),
}

impl Asker<'_> {
    /// Asks, and reads the answer to its last byte; returns the sum of what it read.
    ///
    /// # Errors
    /// A [`CliError`] when no answer came, or a refusal, or one to another question.
    #[inline]
    pub fn ask(&mut self, command: &IpcCommand) -> Result<u64, CliError> {
        match self {
            Asker::Remote(client) => match &*client.send(command)? {
                ArchivedIpcResponse::Pong => Ok(0),
                ArchivedIpcResponse::IssueShow(issue) => Ok(issue.touch()),
                ArchivedIpcResponse::IssueList(list) => Ok(list.touch()),
                other => Err(unexpected(other)),
            },
            Asker::Direct(engine) => match engine.execute(command) {
                IpcResponse::Pong => Ok(0),
                IpcResponse::IssueShow(issue) => Ok(issue.touch()),
                IpcResponse::IssueList(list) => Ok(list.touch()),
                IpcResponse::Refused(refusal) => Err(refusal.into()),
                other => Err(unexpected(&other)),
            },
        }
    }

    /// Asks for the whole answer, as a value.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), but any answer is taken that is no refusal.
    pub fn answer(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError> {
        let answer = match self {
            Asker::Remote(client) => client.send(command)?.to_value()?,
            Asker::Direct(engine) => engine.execute(command),
        };
        match answer {
            IpcResponse::Refused(refusal) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }
}

#[cold]
fn unexpected(answer: &impl std::fmt::Debug) -> CliError {
    let answer: String = format!("{answer:?}").chars().take(200).collect();
    CliError::new(Code::Failure, format!("an answer that was not asked for: {answer}"), "")
}
