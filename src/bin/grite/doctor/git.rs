//! The program `git`, and the repository around the state folder.

use std::time::Duration;

use super::checkup::Checkup;
use crate::git::{Git, GitError};

/// For how long all runs of git on this machine alone together.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The oldest version that has what we use: `git fetch --porcelain`.
const OLDEST: (u32, u32) = (2, 41);

/// Git, where there is a program and a repository.
pub fn check(checkup: &mut Checkup<'_>) -> Option<Git> {
    let git = match Git::around(&checkup.place.state, TIMEOUT) {
        Ok(git) => git,
        Err(GitError::NoRepository(_)) => {
            checkup.good(
                "git",
                "the state folder lies in no repository: nothing is synced, and locks are local",
            );
            return None;
        }
        Err(error) => {
            checkup.bad("git", error, "see what git says");
            return None;
        }
    };
    match git.version() {
        Ok(version) if parse(&version).is_none_or(|found| found >= OLDEST) => {
            checkup.good("git", format!("version {version}, in {}", git.dir().display()));
            Some(git)
        }
        Ok(version) => {
            let detail = format!("version {version} is too old to sync");
            checkup.bad("git", detail, &format!("install git {}.{} or later", OLDEST.0, OLDEST.1));
            None
        }
        Err(GitError::Missing) => {
            let fix = "install git, for example by `apt install git`; issues can be used without it, but not synced";
            checkup.bad("git", GitError::Missing, fix);
            None
        }
        Err(error) => {
            checkup.bad("git", error, "see what git says");
            None
        }
    }
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(parse("2.47.3").unwrap() > OLDEST);
        assert!(parse("2.9.5").unwrap() < OLDEST);
        assert!(parse("2.41.GIT").unwrap() >= OLDEST);
        assert_eq!(parse("unknown"), None);
    }
}
