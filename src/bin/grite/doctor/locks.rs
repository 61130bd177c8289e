//! The locks on the remote: whether each can be read, and whether one is left that nobody can hold.

use std::time::Duration;

use super::checkup::Checkup;
use crate::git::{Git, GitError, Ref};
use crate::locks::{LOCKS, LOCKS_PATTERN, Record, RemoteBoard};
use crate::model::Moment;

/// For how long the remote may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// For how long after its end a lock is left alone, in milliseconds: its holder may still renew it.
const KEPT: u64 = 60 * 60 * 1000;

pub fn check(checkup: &mut Checkup<'_>, git: &Git) {
    let remote = match git.remote(None) {
        Ok(remote) => remote,
        Err(GitError::NoRemotes) => return checkup.good("locks", "local ones: there is no remote"),
        Err(GitError::NoRemote(_)) => {
            return checkup
                .good("locks", "not looked at: of several remotes none is `origin`; choose one by --remote");
        }
        Err(error) => return checkup.bad("locks", error, "see `git remote`"),
    };
    let state = checkup.place.state.clone();
    let Ok(git) = Git::around(&state, TIMEOUT) else { return };
    let board = RemoteBoard { git: &git, remote: &remote, state: &state };
    let found = match board.look(LOCKS_PATTERN) {
        Ok(found) => found,
        Err(error) => {
            let fix = format!("see `git ls-remote {}`", remote.name());
            return checkup.bad("locks", format!("{} cannot be asked: {error}", remote.name()), &fix);
        }
    };
    let now = Moment::now().milliseconds();
    let total = found.len();
    let newer = found.iter().filter(|(_, record)| record.as_ref().is_some_and(Record::is_newer)).count();
    let dead = |record: &Option<Record>| match record {
        None => true,
        // When it ends is for that program to say.
        Some(record) if record.is_newer() => false,
        Some(record) => now.saturating_sub(record.until.saturating_add(record.margin)) > KEPT.cast_signed(),
    };
    let dead: Vec<Ref> =
        found.into_iter().filter(|(_, record)| dead(record)).map(|(found, _)| found).collect();
    if dead.is_empty() {
        let newer = if newer > 0 { format!(", {newer} of them of a newer program") } else { String::new() };
        return checkup.good("locks", format!("{total} on {}{newer}", remote.name()));
    }
    let on_remote = |found: &Ref| format!("{LOCKS}{}", found.name.rsplit('/').next().unwrap_or_default());
    let detail = format!(
        "{} on {} are nobody's: they are over for an hour, or cannot be read, such as {}",
        dead.len(),
        remote.name(),
        on_remote(&dead[0])
    );
    let fix = format!("git push {} :{}", remote.name(), on_remote(&dead[0]));
    checkup.mend("locks", detail, &fix, |_| {
        let mut gone = 0;
        for found in &dead {
            // One that somebody takes at this moment stays.
            gone += usize::from(board.take_away(&on_remote(found), &found.id)?);
        }
        Ok::<_, crate::locks::BoardError>(format!("took {gone} away"))
    });
}
