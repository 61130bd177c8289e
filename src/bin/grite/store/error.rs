//! Why the store could not do what was asked: [`StoreError`].

use std::io::{self, ErrorKind};

use rusqlite::ErrorCode;

use crate::model::BadEvent;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none.
    #[error("there is no store")]
    Missing,
    /// There is another one in its place by now.
    #[error("another store was put in the place of this one")]
    Replaced,
    /// Another process writes, and did not end in time.
    #[error("another process has been writing for too long")]
    Busy,
    /// A newer program made it.
    #[error("the store has format {found}, and this program reads up to {known}")]
    Newer { found: i64, known: i64 },
    /// What was read cannot have been written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The system failed.
    #[error("the store cannot be used: {0}")]
    System(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged(error.to_string())
            }
            _ => StoreError::System(error.to_string()),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => StoreError::Missing,
            _ => StoreError::System(error.to_string()),
        }
    }
}

impl From<BadEvent> for StoreError {
    fn from(error: BadEvent) -> Self {
        match error {
            BadEvent::Newer(found) => {
                StoreError::Newer { found: found.into(), known: crate::model::Event::VERSION.into() }
            }
            BadEvent::Unreadable(_) | BadEvent::Untimely | BadEvent::Misnamed => {
                StoreError::Damaged(error.to_string())
            }
        }
    }
}
