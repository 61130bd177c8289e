//! The one public [`Error`]: what was tried, where, whose fault it was, and what to do now.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What kind of failure an [`Error`] is; decides what a caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No daemon listens there. Start one.
    NotRunning,
    /// A daemon is there, or was started, but does not answer in time. It may be stopped or overloaded.
    Unresponsive,
    /// The two sides were built from other protocol versions or other type layouts.
    VersionMismatch,
    /// The peer broke the rules. The connection is lost for good, unless it is [`Reply::to_value`](crate::Reply::to_value)
    /// that says so.
    PeerMisbehaved,
    /// The peer's process ended or closed the connection.
    PeerDied,
    /// The deadline passed first. The connection goes on working.
    Timeout,
    /// A message is larger than the connection's `max_message`. The connection goes on working.
    TooLarge,
    /// Whoever asked has given the request up. Only a daemon sees this.
    Cancelled,
    /// The daemon declined: a limit is reached, it is stopping, or the request's handler failed.
    Refused,
    /// The system forbids this process to reach the daemon's socket or its folder: a sandbox, a
    /// read-only file system, or wrong permissions.
    Sandboxed,
    /// The handle was made by the parent of this forked process. Connect anew.
    Forked,
    /// The operating system failed a call.
    Io,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::NotRunning => "no daemon is running",
            ErrorKind::Unresponsive => "the daemon does not answer",
            ErrorKind::VersionMismatch => "the daemon speaks another version",
            ErrorKind::PeerMisbehaved => "the peer broke the protocol",
            ErrorKind::PeerDied => "the peer is gone",
            ErrorKind::Timeout => "the deadline passed",
            ErrorKind::TooLarge => "the message is too large",
            ErrorKind::Cancelled => "nobody waits for it any more",
            ErrorKind::Refused => "the daemon refused",
            ErrorKind::Sandboxed => "a sandbox forbids it",
            ErrorKind::Forked => "the handle belongs to the parent process",
            ErrorKind::Io => "a system call failed",
        })
    }
}

/// Whose fault an [`Error`] is: where to look first. It follows from the error's [kind](ErrorKind).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// This process: no daemon was there for it, it was built from other types than the daemon, a message is longer
    /// than may be, or the handle is not its own.
    Us,
    /// The process on the other side: it ended, broke the rules, gave up, declined, or answers in another way than
    /// was asked. A limit that it has told beforehand declines for it, without its being asked again.
    Peer,
    /// The operating system or how it is set up.
    System,
    /// Nobody: it took too long.
    Time,
}

/// Why something failed, in one line, with the cause kept in [`source`](StdError::source).
///
/// ```no_run
/// use libgrite_ipc::{ErrorKind, IpcClient};
///
/// match IpcClient::connect("/run/user/1000/grite/daemon.sock") {
///     Ok(client) => drop(client),
///     Err(error) if error.kind() == ErrorKind::NotRunning => println!("starting a daemon"),
///     Err(error) => println!("{error}; {}", error.advice()),
/// }
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    tried: Cow<'static, str>,
    path: Option<PathBuf>,
    reason: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    nothing_done: Option<NothingDone>,
}

/// Why a daemon has not even begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NothingDone {
    /// It has too much to do, or too many clients.
    Busy,
    /// It is on its way out.
    Stopping,
    /// The time was up before it came to it.
    Late,
    /// Its release is older than the client would have it.
    Older,
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self.0.kind {
            ErrorKind::NotRunning | ErrorKind::TooLarge | ErrorKind::Forked | ErrorKind::VersionMismatch => {
                Blame::Us
            }
            ErrorKind::PeerMisbehaved | ErrorKind::PeerDied | ErrorKind::Cancelled | ErrorKind::Refused => {
                Blame::Peer
            }
            ErrorKind::Sandboxed | ErrorKind::Io => Blame::System,
            ErrorKind::Unresponsive | ErrorKind::Timeout => Blame::Time,
        }
    }

    /// The file or socket that was being used, where there was one.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// What the peer or the system said of it, where it said something.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Whether nothing of the request was done and the same call may succeed soon: the daemon turned
    /// it away because it was busy, had as many clients as it takes or was on its way out, or came to it only
    /// when its time was up.
    ///
    /// [`Client::start`](crate::Client::start) says so, too, when as many answers are unclaimed as may be: then
    /// waiting is of no use, and one of them is to be claimed or dropped first.
    pub fn is_retryable(&self) -> bool {
        self.0.nothing_done.is_some()
    }

    /// Why nothing was done, where that is known.
    pub(crate) fn nothing_done(&self) -> Option<NothingDone> {
        self.0.nothing_done
    }

    /// What to do now, as one imperative sentence without a full stop.
    pub fn advice(&self) -> &'static str {
        match self.0.kind {
            ErrorKind::NotRunning => "start the daemon, or fix what kept it from starting",
            ErrorKind::Unresponsive => {
                "give the daemon more time, or look whether it is stopped or busy, and end it if it is stuck"
            }
            ErrorKind::VersionMismatch => "upgrade the older side: the client, or the daemon by a restart",
            ErrorKind::PeerMisbehaved => "connect again, and report the peer's version if it happens twice",
            ErrorKind::PeerDied => "connect again, and repeat the request if it may be repeated",
            ErrorKind::Timeout => "ask again, with a longer timeout if the work is long",
            ErrorKind::TooLarge => "ask for less at a time, or raise max_message on both sides",
            ErrorKind::Cancelled => "stop the work on this request",
            ErrorKind::Refused => "do what the reason says, or try again later",
            ErrorKind::Sandboxed => "let the sandbox reach the socket, or work without the daemon",
            ErrorKind::Forked => "connect in the child after the fork",
            ErrorKind::Io => "fix what the system call's error names",
        }
    }

    pub(crate) fn new(kind: ErrorKind, tried: impl Into<Cow<'static, str>>) -> Self {
        Error(Box::new(Inner {
            kind,
            tried: tried.into(),
            path: None,
            reason: None,
            source: None,
            nothing_done: None,
        }))
    }

    /// An error of the system: `Sandboxed` where it forbids what our own user may do by right.
    pub(crate) fn io(tried: impl Into<Cow<'static, str>>, source: impl Into<std::io::Error>) -> Self {
        let source = source.into();
        let forbidden = [Errno::ACCESS, Errno::PERM, Errno::ROFS].map(Errno::raw_os_error);
        let kind = match source.raw_os_error() {
            Some(errno) if forbidden.contains(&errno) => ErrorKind::Sandboxed,
            _ => ErrorKind::Io,
        };
        Error::new(kind, tried).because(source)
    }

    pub(crate) fn with_nothing_done(mut self, why: NothingDone) -> Self {
        self.0.nothing_done = Some(why);
        self
    }

    pub(crate) fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path = Some(path.into());
        self
    }

    pub(crate) fn saying(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "cannot {}", inner.tried)?;
        if let Some(path) = &inner.path {
            write!(f, " ({})", path.display())?;
        }
        write!(f, ": {}", inner.kind)?;
        if let Some(reason) = &inner.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.0.kind).field("message", &self.to_string()).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_what_where_and_why() {
        let error = Error::io("connect to the daemon", std::io::Error::other("no route")).at("/run/x.sock");
        assert_eq!(
            error.to_string(),
            "cannot connect to the daemon (/run/x.sock): a system call failed: no route"
        );
        assert_eq!(error.blame(), Blame::System);
        assert!(StdError::source(&error).is_some());
    }

    #[test]
    fn an_error_tells_whose_fault_it_is() {
        for (kind, blame) in [
            (ErrorKind::TooLarge, Blame::Us),
            (ErrorKind::PeerMisbehaved, Blame::Peer),
            (ErrorKind::Sandboxed, Blame::System),
            (ErrorKind::Timeout, Blame::Time),
        ] {
            assert_eq!(Error::new(kind, "ask").blame(), blame, "{kind:?}");
        }
    }
}
