//! Why git did not do what was asked: [`GitError`].

use std::path::PathBuf;
use std::time::Duration;

use super::Finished;

/// How many lines of git's words are passed on.
const LINES: usize = 6;

/// Why git did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The state folder lies in no repository.
    #[error("the state folder {} lies in no git repository", .0.display())]
    NoRepository(PathBuf),
    /// There is no such program.
    #[error("the program `git` is not on the path")]
    Missing,
    /// The system did not start it.
    #[error("`git` cannot be started: {0}")]
    Start(String),
    /// A file of the state folder, which whoever runs it needs, cannot be used; which, and why.
    #[error("{0}")]
    File(String),
    /// It did not end in time, and was ended.
    #[error("`git {what}` has not ended within {after:?}")]
    Late {
        /// The git command.
        what: String,
        /// How long all commands together were given.
        after: Duration,
    },
    /// It ended with a failure.
    #[error("`git {what}` failed: {said}")]
    Failed {
        /// The git command.
        what: String,
        /// Its own words.
        said: String,
    },
    /// It printed something else than was expected of it.
    #[error("what `git {what}` printed cannot be understood: {problem}")]
    Broken {
        /// The git command.
        what: String,
        /// What was wrong.
        problem: String,
    },
    /// No remote has that name.
    #[error("the repository has no remote {0:?}")]
    NoRemote(String),
    /// A remote has a name that cannot be used.
    #[error("the remote {0:?} has a name that cannot stand in the name of a ref, or is too long")]
    OddRemote(String),
    /// The repository names no remote at all.
    #[error("the repository has no remote")]
    NoRemotes,
    /// Another process of this clone talks to the remote, and did not end in time.
    #[error("another command of this clone has been syncing for too long")]
    Busy,
}

impl GitError {
    /// The failure of the command `what`, with its last words, on one line.
    pub fn failed(what: String, finished: &Finished) -> Self {
        let lines: Vec<&str> = finished.said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let kept = &lines[lines.len().saturating_sub(LINES)..];
        let said = if kept.is_empty() { finished.status.to_string() } else { kept.join("; ") };
        GitError::Failed { what, said }
    }
}
