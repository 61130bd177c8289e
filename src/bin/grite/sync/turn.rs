//! One at a time: [`Turn`], for what several processes of one clone must not do at once.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::git::GitError;

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(2);

/// Held while a clone talks to its remote; the kernel gives it back if the process ends.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "its lock is what counts")] File);

impl Turn {
    /// Waits until `end` for the turn that the file `name` in the folder `state` stands for.
    ///
    /// # Errors
    /// [`GitError::Busy`] when it did not come, [`GitError::File`] when the file cannot be used.
    pub fn take(state: &Path, name: &str, end: Instant) -> Result<Self, GitError> {
        let path = state.join(name);
        let unusable = |error: std::io::Error| {
            GitError::File(format!("the file {} cannot be locked: {error}", path.display()))
        };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(unusable)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Turn(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(GitError::Busy),
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_turn_until_it_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let take = || Turn::take(dir.path(), "turn", Instant::now());
        let turn = take().unwrap();
        assert_eq!(take().unwrap_err(), GitError::Busy);
        drop(turn);
        assert!(take().is_ok());
        assert!(matches!(
            Turn::take(&dir.path().join("none"), "turn", Instant::now()),
            Err(GitError::File(_))
        ));
    }
}
