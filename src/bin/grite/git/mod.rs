//! The `git` program, as a child process: [`Git`] runs it on one repository, with a deadline.
//!
//! It never asks anybody anything, reads the user's own configuration, and what it says when it fails is
//! in the [`GitError`]. What is stored in the repository, and what that means, is `sync`'s and `locks`'s
//! business.

mod child;
mod error;
mod mend;
mod objects;
mod pipe;
mod refs;
mod remote;
mod running;

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::folder;

pub use error::GitError;
pub use objects::{Object, ObjectId};
pub use refs::Ref;
pub use remote::{Pushed, Remote};
pub use running::{end_all, ends_in_order};

/// `git`, on one repository, until a deadline.
#[derive(Clone, Debug)]
pub struct Git {
    dir: PathBuf,
    /// Where it runs: remotes may have paths that start at the top of the user's files.
    top: PathBuf,
    /// Where it keeps objects, if that is elsewhere.
    objects: Option<PathBuf>,
    /// Whether the user's configuration says how ssh is run, once that was asked.
    ssh: OnceLock<bool>,
    timeout: Duration,
    end: Instant,
}

/// What a run left.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said on stderr, cut to the last part where that is long.
    pub said: String,
}

impl Git {
    /// The repository in which the state folder `state` lies; all runs together end within `timeout`.
    ///
    /// # Errors
    /// [`GitError::NoRepository`] when it lies in none.
    pub fn around(state: &Path, timeout: Duration) -> Result<Self, GitError> {
        let dir = folder::repository(state).ok_or_else(|| GitError::NoRepository(state.to_owned()))?;
        let top = dir.parent().filter(|_| dir.ends_with(".git")).unwrap_or(&dir).to_owned();
        Ok(Git { dir, top, objects: None, ssh: OnceLock::new(), timeout, end: Instant::now() + timeout })
    }

    /// The repository's git folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// When all runs must have ended.
    pub fn end(&self) -> Instant {
        self.end
    }

    /// The version of the program, as it says itself.
    ///
    /// # Errors
    /// [`GitError`] when there is none.
    pub fn version(&self) -> Result<String, GitError> {
        let text = self.run(&["version"])?;
        Ok(text.trim().trim_start_matches("git version ").to_owned())
    }

    /// Runs a command that must succeed, and gives back what it printed.
    ///
    /// # Errors
    /// [`GitError`] with git's own words.
    pub fn run(&self, arguments: &[&str]) -> Result<String, GitError> {
        self.run_with_input(arguments, b"")
    }

    /// As [`run`](Git::run), with `input` on stdin.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<String, GitError> {
        let (text, finished) = self.try_run(arguments, input)?;
        self.must_succeed(arguments, &finished)?;
        Ok(text)
    }

    /// Runs a command that may fail.
    ///
    /// # Errors
    /// [`GitError`] when it could not be run to its end.
    pub fn try_run(&self, arguments: &[&str], input: &[u8]) -> Result<(String, Finished), GitError> {
        self.stream(
            arguments,
            |stdin| stdin.write_all(input),
            |stdout| {
                let mut bytes = Vec::new();
                stdout.read_to_end(&mut bytes)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            },
        )
    }

    /// Runs a command that `feed` writes to and `read` reads from, both at once.
    ///
    /// # Errors
    /// [`GitError`] when it could not be run to its end.
    pub fn stream<T>(
        &self,
        arguments: &[&str],
        feed: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
        read: impl FnOnce(&mut dyn BufRead) -> std::io::Result<T>,
    ) -> Result<(T, Finished), GitError> {
        let mut command = self.command(arguments);
        child::run(&mut command, self.end, feed, read).map_err(|failure| self.failure(arguments, failure))
    }

    fn failure(&self, arguments: &[&str], failure: child::Failure) -> GitError {
        match failure {
            child::Failure::Start(error) if error.kind() == std::io::ErrorKind::NotFound => GitError::Missing,
            child::Failure::Start(error) => GitError::Start(error.to_string()),
            child::Failure::Late => GitError::Late { what: name(arguments), after: self.timeout },
            child::Failure::Read(error) => {
                GitError::Broken { what: name(arguments), problem: error.to_string() }
            }
        }
    }

    /// Takes a bad end for the failure that it is.
    fn must_succeed(&self, arguments: &[&str], finished: &Finished) -> Result<(), GitError> {
        if finished.status.success() {
            return Ok(());
        }
        Err(GitError::failed(name(arguments), finished))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&self.dir).args(arguments).current_dir(&self.top);
        // What a hook or another git command has set is about another repository or command.
        for name in LOCAL {
            command.env_remove(name);
        }
        if let Some(objects) = &self.objects {
            command.env("GIT_OBJECT_DIRECTORY", objects);
        }
        // Its words are read where a push is refused.
        command.env("LC_ALL", "C").env_remove("LANGUAGE");
        command.env("GIT_TERMINAL_PROMPT", "0");
        // Whatever ssh the user has chosen asks a program that fails, and no terminal.
        command.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
        command
    }

    /// Lets ssh fail where it would ask, unless the user has said how ssh is run.
    fn quiet_ssh(&self, command: &mut Command) {
        let by_environment =
            ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|name| std::env::var_os(name).is_some());
        // Asked once, since it costs a run of git, and not for longer: the next exchange of a daemon heeds what
        // was configured since.
        let configured = || {
            let found = self.run(&["config", "--get", "core.sshCommand"]);
            found.is_ok_and(|command| !command.trim().is_empty())
        };
        if !by_environment && !*self.ssh.get_or_init(configured) {
            command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
        }
    }
}

/// Variables that tie a git command to one repository.
const LOCAL: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_WORK_TREE",
];

/// The git command that `arguments` run: the first that is neither an option nor an option's value.
fn name(arguments: &[&str]) -> String {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "-c" => {
                rest.next();
            }
            name => return name.to_owned(),
        }
    }
    String::new()
}
