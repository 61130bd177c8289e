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
    /// The system does not let this user open the files, or write to them.
    #[error("the store cannot be used: {0}")]
    Forbidden(String),
    /// The system failed.
    #[error("the store cannot be used: {0}")]
    System(String),
}

impl StoreError {
    /// What to do now, in one line.
    pub fn hint(&self) -> &'static str {
        match self {
            StoreError::Missing => {
                "put a copy of it back, or run `grite rebuild`, which makes it anew of what git holds"
            }
            StoreError::Replaced => "repeat the command",
            StoreError::Busy => "try again when the other process is done",
            StoreError::Newer { .. } => "use the newer version of this program",
            StoreError::Damaged(_) => "run `grite doctor --fix`; it keeps what it replaces",
            StoreError::Forbidden(_) => {
                "look for the folder's permissions, a read-only file system, and the limit of open files (`ulimit -n`)"
            }
            StoreError::System(_) => "look for free space, and for the limit of file sizes (`ulimit -f`)",
        }
    }

    /// Whether the same command can succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, StoreError::Replaced | StoreError::Busy | StoreError::System(_))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged(error.to_string())
            }
            // The last one may be for want of descriptors, and is for want of rights most often.
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                StoreError::Forbidden(error.to_string())
            }
            _ => StoreError::System(error.to_string()),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => StoreError::Missing,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                StoreError::Forbidden(error.to_string())
            }
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
