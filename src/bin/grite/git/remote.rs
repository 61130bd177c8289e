//! A remote: fetching and pushing refs by exactly one run of git each.

use std::io::{BufRead, Write};

use super::{Finished, Git, GitError, ObjectId, Ref, child, name};

/// Where no remote is named: what git itself calls the one that a repository was cloned from.
const DEFAULT: &str = "origin";

/// The longest name of a remote, in bytes.
const MAX_NAME: usize = 100;

/// What every fetch has in common: no hooks or upkeep of other work, no submodules; and nothing left out, as a
/// partial clone would, since all of it is read at once.
const FETCH: &[&str] = &[
    "fetch",
    "--porcelain",
    "--verbose",
    "--prune",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--no-recurse-submodules",
    "--no-filter",
    "--refmap=",
];

/// A remote of the repository, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote(String);

/// How a push of one ref ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The remote has it.
    Done,
    /// The remote's ref has gone another way.
    Diverged,
    /// The remote's ref is not what was expected, or others push it now; its own words.
    Contended(String),
}

impl Remote {
    /// Checks a name.
    ///
    /// # Errors
    /// [`GitError::OddRemote`] when the name cannot stand in a ref, by git's rules or because of its length.
    pub fn named(name: &str) -> Result<Self, GitError> {
        let fits = |character: char| {
            !character.is_control()
                && !character.is_whitespace()
                && !"~^:?*[\\".contains(character)
                && character != char::REPLACEMENT_CHARACTER
        };
        let component = |part: &str| {
            !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !part.ends_with(".lock")
        };
        let good = name.len() <= MAX_NAME
            && name.chars().all(fits)
            && name.split('/').all(component)
            && !name.starts_with('-')
            && !name.contains("..")
            && !name.contains("@{");
        if good { Ok(Remote(name.to_owned())) } else { Err(GitError::OddRemote(name.to_owned())) }
    }

    /// What git itself calls the remote that a repository was cloned from.
    pub fn usual() -> Self {
        Remote(DEFAULT.to_owned())
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// The folder of our tracking refs of this remote, with the stroke at its end.
    pub fn tracking(&self) -> String {
        format!("refs/grite/remotes/{}/", self.0)
    }

    /// Whether the ref `name` is a tracking ref of this remote's events. Another remote may have a name that goes on
    /// behind a stroke.
    pub fn tracks(&self, name: &str) -> bool {
        name.strip_prefix(&self.tracking()).is_some_and(|rest| rest.starts_with("events/"))
    }
}

impl Git {
    /// The remotes that the repository knows and whose names can be used.
    ///
    /// # Errors
    /// [`GitError`] when git could not be run.
    pub fn remotes(&self) -> Result<Vec<Remote>, GitError> {
        let text = self.run(&["remote"])?;
        Ok(text.lines().filter_map(|name| Remote::named(name).ok()).collect())
    }

    /// The remote `name`; without a name `origin`, or else the only one.
    ///
    /// # Errors
    /// [`GitError::NoRemote`], [`GitError::NoRemotes`], [`GitError::OddRemote`], or that git could not be run.
    pub fn remote(&self, name: Option<&str>) -> Result<Remote, GitError> {
        let text = self.run(&["remote"])?;
        let known: Vec<&str> = text.lines().collect();
        let wanted = name.unwrap_or(DEFAULT);
        match known.as_slice() {
            [] => Err(GitError::NoRemotes),
            known if known.contains(&wanted) => Remote::named(wanted),
            [only] if name.is_none() => Remote::named(only),
            _ => Err(GitError::NoRemote(wanted.to_owned())),
        }
    }

    /// Fetches what `pattern` fits on the remote, such as `events/*`, into our tracking refs, and drops
    /// those of them that are gone there. Gives back all that it fits, changed or not, as they are now.
    ///
    /// # Errors
    /// [`GitError`] with git's own words.
    pub fn fetch(&self, remote: &Remote, pattern: &str) -> Result<Vec<Ref>, GitError> {
        let spec = format!("+refs/grite/{pattern}:{}{pattern}", remote.tracking());
        let mut arguments = FETCH.to_vec();
        arguments.extend(["--", remote.name(), &spec]);
        let (text, finished) = self.talk(&arguments)?;
        if !finished.status.success() {
            return Err(self.explain(remote, GitError::failed(name(&arguments), &finished)));
        }
        Ok(text.lines().filter_map(updated).collect())
    }

    /// Pushes `spec`, such as `<source>:<target>`. With `expected`, only if the remote's ref is that, or
    /// is not there where it is `None`; without, only forward.
    ///
    /// # Errors
    /// [`GitError`] with git's own words, unless the remote's ref was the reason.
    pub fn push(
        &self,
        remote: &Remote,
        spec: &str,
        expected: Option<Option<&ObjectId>>,
    ) -> Result<Pushed, GitError> {
        let target = spec.rsplit(':').next().unwrap_or_default();
        let lease = expected
            .map(|expected| format!("--force-with-lease={target}:{}", expected.map_or("", ObjectId::as_str)));
        // So that our tracking ref follows, as those of branches do.
        let tracking =
            format!("remote.{}.fetch=+refs/grite/events/*:{}events/*", remote.name(), remote.tracking());
        // A mirror of the user's takes no refs by name.
        let by_name = format!("remote.{}.mirror=false", remote.name());
        let mut arguments = vec!["-c", tracking.as_str(), "-c", by_name.as_str(), "push", "--porcelain"];
        arguments.extend(["--no-verify", "--no-signed", "--recurse-submodules=no"]);
        arguments.extend(lease.as_deref());
        arguments.extend(["--", remote.name(), spec]);
        let (text, finished) = self.talk(&arguments)?;
        // `<flag> TAB <from>:<to> TAB <summary>`, and `!` for what was refused.
        let refused = text.lines().find_map(|line| line.strip_prefix("!\t"));
        if finished.status.success() {
            return Ok(Pushed::Done);
        }
        refused.and_then(by_the_ref).ok_or_else(|| {
            let failed = GitError::failed(name(&arguments), &finished);
            self.explain(remote, failed)
        })
    }

    /// Runs a command that talks to a remote.
    fn talk(&self, arguments: &[&str]) -> Result<(String, Finished), GitError> {
        let mut command = self.command(arguments);
        self.quiet_ssh(&mut command);
        let read = |stdout: &mut dyn BufRead| {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        child::run(&mut command, self.end, |stdin: &mut dyn Write| stdin.flush(), read)
            .map_err(|failure| self.failure(arguments, failure))
    }

    /// A remote that is not there is a better reason than what git says then.
    fn explain(&self, remote: &Remote, error: GitError) -> GitError {
        match self.remote(Some(remote.name())) {
            Err(missing @ (GitError::NoRemotes | GitError::NoRemote(_))) => missing,
            _ => error,
        }
    }
}

/// What git says where the remote's ref is no ancestor of what was pushed.
const DIVERGED: &[&str] = &["non-fast-forward", "fetch first", "needs force", "already exists"];

/// What git says where the remote's ref has moved, or others push it now.
const CONTENDED: &[&str] = &[
    "stale info",
    "failed to update ref",
    "cannot lock ref",
    "incorrect old value provided",
    "reference does not exist",
];

/// How a push has ended that was `refused` in these words, if the remote's ref was the reason.
fn by_the_ref(refused: &str) -> Option<Pushed> {
    let holds_one_of = |reasons: &[&str]| reasons.iter().any(|reason| refused.contains(reason));
    if holds_one_of(DIVERGED) {
        Some(Pushed::Diverged)
    } else if holds_one_of(CONTENDED) {
        Some(Pushed::Contended(refused.rsplit('\t').next().unwrap_or_default().to_owned()))
    } else {
        None
    }
}

/// A line of `git fetch --porcelain`: `<flag> <old> <new> <ref>`, where a ref that is gone has no new value.
fn updated(line: &str) -> Option<Ref> {
    let mut fields = line.get(1..)?.split_whitespace();
    let (_, id, name) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Ref { name: name.to_owned(), id: ObjectId::parse_present(id)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_fetch_is_a_ref_or_one_that_is_gone() {
        let (none, one) = ("0".repeat(40), "1".repeat(40));
        let name = "refs/grite/remotes/origin/events/a";
        for flag in [' ', '*', '+', '=', 't'] {
            let found = updated(&format!("{flag} {none} {one} {name}")).unwrap();
            assert_eq!((found.name.as_str(), found.id.as_str()), (name, one.as_str()));
        }
        assert_eq!(updated(&format!("- {one} {none} {name}")), None);
        assert_eq!(updated(""), None);
        assert_eq!(updated("é"), None);
    }

    #[test]
    fn whoever_loses_a_race_for_a_ref_is_told_so_in_the_words_of_any_git() {
        let ended = |summary: &str| by_the_ref(&format!(":refs/grite/locks/a\t{summary}"));
        for lost in [
            "[rejected] (stale info)",
            "[remote rejected] (failed to update ref)",
            "[remote rejected] (incorrect old value provided)",
            "[remote rejected] (reference does not exist)",
        ] {
            assert_eq!(ended(lost), Some(Pushed::Contended(lost.to_owned())));
        }
        assert_eq!(ended("[rejected] (fetch first)"), Some(Pushed::Diverged));
        assert_eq!(ended("[remote rejected] (pre-receive hook declined)"), None);
    }

    #[test]
    fn a_remote_has_a_name_that_can_stand_in_a_ref() {
        for good in ["origin", "up-stream", "a.b_c", "9", "team/origin", "größe", "@", "a+b"] {
            assert!(Remote::named(good).is_ok(), "{good}");
        }
        let long = "x".repeat(101);
        for wrong in [
            "", "-x", "a b", "a..b", ".a", "a.", "a.lock", "ext::sh", "/tmp/x", "a//b", "a/", "a/.b",
            "a/../b", "a@{b", "a\\b", "a\tb", "a\u{a0}b", "\u{fffd}", &long,
        ] {
            assert!(Remote::named(wrong).is_err(), "{wrong}");
        }
    }
}
