//! What went wrong, for people and for programs: [`CliError`], and the exit code of each kind.
//!
//! This is the one place that gives errors of the library, refusals of the tracker and mistakes of the
//! command line their codes.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use libgrite_ipc::grite::{Refusal, RefusalCode};
use libgrite_ipc::{Error, ErrorKind};

use crate::engine::{OpenCause, OpenError};
use crate::store::StoreError;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// What kind of failure it is.
    pub code: Code,
    /// What was tried, where, and why it failed, in one line.
    pub message: String,
    /// What to do now, in one line; may be empty.
    pub hint: String,
    /// Whether the same command can succeed later.
    pub retryable: bool,
    /// With which idempotency key to repeat it, where it is a write that may have been carried out.
    pub key: Option<String>,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The command line makes no sense.
    Usage,
    /// An argument or an input file cannot be right.
    Invalid,
    /// No such issue.
    NotFound,
    /// The id prefix fits several issues.
    Ambiguous,
    /// Something else stands in the way.
    Conflict,
    /// The folder, the terminal, the sandbox or the versions do not allow it.
    Environment,
    /// The deadline passed.
    Timeout,
    /// No daemon runs, and none may be started.
    NotRunning,
    /// The daemon went away or does not answer.
    DaemonGone,
    /// Git or a remote did not do what was asked of it.
    Git,
    /// The store is damaged.
    Integrity,
    /// The store cannot be used just now.
    Storage,
    /// Anything else.
    Failure,
    /// A command that looks for faults has found some, and said so; or one that answers lines has lost its reader.
    Reported,
    /// Whoever read our output has stopped reading: no failure of ours, and nobody to tell.
    ClosedPipe,
}

impl Code {
    /// The word for it in `error.code`.
    pub fn name(self) -> &'static str {
        match self {
            Code::Usage => "usage",
            Code::Invalid => "invalid",
            Code::NotFound => "not_found",
            Code::Ambiguous => "ambiguous",
            Code::Conflict => "conflict",
            Code::Environment => "environment",
            Code::Timeout => "timeout",
            Code::NotRunning => "not_running",
            Code::DaemonGone => "daemon_gone",
            Code::Git => "git",
            Code::Integrity => "integrity",
            Code::Storage => "storage",
            Code::Failure => "failure",
            Code::Reported => "reported",
            Code::ClosedPipe => "closed_pipe",
        }
    }

    /// The number of the exit code, as `grite --help` lists them.
    pub fn exit(self) -> u8 {
        match self {
            Code::ClosedPipe => 0,
            Code::Failure | Code::Storage | Code::Reported => 1,
            Code::Usage | Code::Invalid => 2,
            Code::NotFound => 3,
            Code::Ambiguous | Code::Conflict => 4,
            Code::Environment => 5,
            Code::Timeout | Code::NotRunning | Code::DaemonGone => 6,
            Code::Git => 7,
            Code::Integrity => 8,
        }
    }
}

impl CliError {
    /// A failure that repeating does not mend.
    pub fn new(code: Code, message: impl Display, hint: &str) -> Self {
        CliError { code, message: message.to_string(), hint: hint.to_owned(), retryable: false, key: None }
    }

    /// An argument or an input file that cannot be right.
    pub fn invalid(message: impl Display, hint: &str) -> Self {
        CliError::new(Code::Invalid, message, hint)
    }

    /// The system did not let us do what `tried` says with `path`.
    pub fn io(tried: &str, path: &Path, error: &io::Error) -> Self {
        let message = format!("cannot {tried} {}: {error}", path.display());
        CliError::new(Code::Environment, message, "look whether it is there and who may use it")
    }

    /// Our own output could not be written.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            CliError::new(Code::ClosedPipe, "nobody reads the output", "")
        } else {
            let message = format!("cannot write the output: {error}");
            CliError::new(Code::Environment, message, "look whether there is room where the output goes")
        }
    }

    /// The daemon answered another question than the one that was asked.
    pub fn mismatched() -> Self {
        let message = "the answer does not fit the command";
        CliError::new(Code::Failure, message, "restart the daemon with the same version as this program")
    }

    /// A fault of this program ended the command.
    pub fn panicked() -> Self {
        CliError::new(Code::Failure, "the command panicked, by a fault of this program", "report it")
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code.exit())
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, message, hint, retryable } = refusal;
        let code = match code {
            RefusalCode::NotFound => Code::NotFound,
            RefusalCode::Ambiguous => Code::Ambiguous,
            RefusalCode::Invalid => Code::Invalid,
            RefusalCode::Conflict => Code::Conflict,
            RefusalCode::Integrity => Code::Integrity,
            RefusalCode::Storage => Code::Storage,
            RefusalCode::Unsupported => Code::Environment,
            RefusalCode::Git => Code::Git,
            RefusalCode::Timeout => Code::Timeout,
        };
        CliError { code, message, hint, retryable, key: None }
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        let (code, retryable) = match error.kind() {
            ErrorKind::NotRunning => (Code::NotRunning, false),
            ErrorKind::Unresponsive | ErrorKind::PeerDied => (Code::DaemonGone, true),
            ErrorKind::Timeout => (Code::Timeout, true),
            ErrorKind::Sandboxed | ErrorKind::VersionMismatch | ErrorKind::Io => (Code::Environment, false),
            _ => (Code::Failure, error.is_retryable()),
        };
        // What the library advises a program to do, in terms of commands where there is one.
        let hint = match error.kind() {
            ErrorKind::NotRunning => "run `grite daemon run` to see why it does not start, or use --direct",
            ErrorKind::Unresponsive => "see `grite daemon status`, or use --direct",
            ErrorKind::VersionMismatch => {
                "upgrade this program if it is the older one; else run `grite daemon stop`, and the next command \
                 starts this version"
            }
            ErrorKind::PeerDied => "repeat the command; a new daemon starts by itself",
            ErrorKind::Timeout => "repeat the command with a longer --timeout",
            ErrorKind::TooLarge => "ask for less at a time",
            ErrorKind::Sandboxed => "let the sandbox reach the socket, or use --direct",
            _ => error.advice(),
        };
        CliError { code, message: error.to_string(), hint: hint.to_owned(), retryable, key: None }
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let (code, hint, retryable) = match error.cause() {
            OpenCause::Missing | OpenCause::NoState => (Code::Environment, "run `grite init`", false),
            OpenCause::Lost => (Code::Integrity, StoreError::Missing.hint(), false),
            OpenCause::Store(cause) => {
                let code = match cause {
                    StoreError::Missing | StoreError::Damaged(_) => Code::Integrity,
                    StoreError::Newer { .. } | StoreError::Forbidden(_) | StoreError::System(_) => {
                        Code::Environment
                    }
                    StoreError::Replaced | StoreError::Busy => Code::Storage,
                };
                (code, cause.hint(), cause.is_retryable())
            }
        };
        CliError { code, message: error.to_string(), hint: hint.to_owned(), retryable, key: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = CliError::output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((closed.code, closed.code.exit()), (Code::ClosedPipe, 0));
        assert_eq!(CliError::output(&io::ErrorKind::StorageFull.into()).code.exit(), 5);
    }

    #[test]
    fn a_refusal_keeps_its_words() {
        let refusal = Refusal {
            code: RefusalCode::NotFound,
            message: "m".to_owned(),
            hint: "h".to_owned(),
            retryable: true,
        };
        let error = CliError::from(refusal);
        assert_eq!((error.code.exit(), error.message.as_str(), error.hint.as_str()), (3, "m", "h"));
        assert!(error.retryable);
    }
}
