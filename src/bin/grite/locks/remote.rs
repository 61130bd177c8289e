//! Locks as refs of a remote: [`RemoteBoard`].
//!
//! Each is a ref `refs/grite/locks/<hash of the resource>` to a blob that holds the record. A push with an
//! expected old value is the swap. What we keep of them here are tracking refs, which each fetch makes
//! what the remote has: a lock that was given back there is gone here, and nothing pushes it again.

use super::record::name;
use super::{Board, BoardError, Held, Record};
use crate::git::{Git, Object, ObjectId, Pushed, Ref, Remote};
use crate::sync::Turn;

/// The folder of the refs that are locks, on a remote.
pub const LOCKS: &str = "refs/grite/locks/";

/// The same below `refs/grite/`, as a pattern for a fetch.
pub const LOCKS_PATTERN: &str = "locks/*";

/// The file whose lock is held while the tracking refs of locks change.
const TURN: &str = "locks.lock";

/// The longest record, in bytes.
const MAX_RECORD: u64 = 16 << 10;

/// The locks on a remote.
pub struct RemoteBoard<'a> {
    /// The repository.
    pub git: &'a Git,
    /// Its remote.
    pub remote: &'a Remote,
    /// The state folder.
    pub state: &'a std::path::Path,
}

impl RemoteBoard<'_> {
    /// What `pattern` fits on the remote: each ref, with its record where it can be read.
    ///
    /// # Errors
    /// [`BoardError`] when git failed.
    pub fn look(&self, pattern: &str) -> Result<Vec<(Ref, Option<Record>)>, BoardError> {
        let _turn = Turn::take(self.state, TURN, self.git.end())?;
        let refs = self.git.fetch(self.remote, pattern)?;
        let ids: Vec<ObjectId> = refs.iter().map(|found| found.id.clone()).collect();
        let mut records = Vec::with_capacity(refs.len());
        self.git.objects(&ids, MAX_RECORD, &mut |_, object| {
            records.push(match object {
                Object::Content(bytes) => Record::read(&bytes),
                Object::Unreadable => None,
            });
        })?;
        Ok(refs.into_iter().zip(records).collect())
    }

    /// Takes the ref `on_remote` away there if it still names `id`; says no where it does not.
    ///
    /// # Errors
    /// [`BoardError`] when git failed.
    pub fn take_away(&self, on_remote: &str, id: &ObjectId) -> Result<bool, BoardError> {
        let pushed = self.git.push(self.remote, &format!(":{on_remote}"), Some(Some(id)))?;
        Ok(pushed == Pushed::Done)
    }
}

impl Board for RemoteBoard<'_> {
    fn read(&mut self, resource: &str) -> Result<Option<Held>, BoardError> {
        // With a star, since a ref that is asked for by its whole name must be there.
        let found = self.look(&format!("locks/{}*", name(resource)))?.into_iter().next();
        found.map(held).transpose()
    }

    fn swap(
        &mut self,
        resource: &str,
        before: Option<&str>,
        after: Option<&Record>,
    ) -> Result<bool, BoardError> {
        let target = format!("{LOCKS}{}", name(resource));
        let source = match after {
            Some(record) => {
                self.git.run_with_input(&["hash-object", "-w", "--stdin"], record.text().as_bytes())?
            }
            None => String::new(),
        };
        let before = before.and_then(ObjectId::parse);
        let spec = format!("{}:{target}", source.trim());
        Ok(self.git.push(self.remote, &spec, Some(before.as_ref()))? == Pushed::Done)
    }

    fn all(&mut self) -> Result<Vec<Held>, BoardError> {
        self.look(LOCKS_PATTERN)?.into_iter().map(held).collect()
    }
}

fn held((found, record): (Ref, Option<Record>)) -> Result<Held, BoardError> {
    let record = record.ok_or(BoardError::Unreadable(found.name))?;
    Ok(Held { version: found.id.to_string(), record })
}
