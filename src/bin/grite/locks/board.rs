//! Where locks are kept: [`Board`].

use super::Record;
use crate::git::GitError;
use crate::store::StoreError;

/// A lock that is on a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which record it is, for the next swap.
    pub version: String,
    /// The record.
    pub record: Record,
}

/// Keeps at most one record a resource, and changes it by compare-and-swap.
pub trait Board {
    /// The lock of `resource`.
    ///
    /// # Errors
    /// [`BoardError`], also when something is there that is no record.
    fn read(&mut self, resource: &str) -> Result<Option<Held>, BoardError>;

    /// Puts `after` in the place of the record `before`, where `None` is none. Says no where another one is
    /// there by now.
    ///
    /// # Errors
    /// [`BoardError`] when it is not known what is there now.
    fn swap(
        &mut self,
        resource: &str,
        before: Option<&str>,
        after: Option<&Record>,
    ) -> Result<bool, BoardError>;

    /// All locks.
    ///
    /// # Errors
    /// As [`read`](Board::read).
    fn all(&mut self) -> Result<Vec<Held>, BoardError>;
}

/// Why a board could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// Git failed.
    #[error("{0}")]
    Git(#[from] GitError),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What stands for a lock is no record.
    #[error("what is kept as a lock in {0} cannot be read")]
    Unreadable(String),
    /// A newer program wrote the lock.
    #[error("a newer program holds the lock on {0:?}, in format {1}")]
    Newer(String, u32),
}
