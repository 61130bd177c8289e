//! Refusals: why a command is not carried out, in words that say what to do now.

use std::fmt::Display;

use libgrite_ipc::grite::{Refusal, RefusalCode};

use super::Flaw;
use crate::store::StoreError;

/// No issue answers to `id`.
pub fn not_found(id: &str, hint: &str) -> Refusal {
    refuse(RefusalCode::NotFound, format!("no issue has the id {id:?}"), hint)
}

/// Several issues answer to `id`.
pub fn ambiguous(id: &str, candidates: &str) -> Refusal {
    refuse(
        RefusalCode::Ambiguous,
        format!("several issues have ids that start with {id:?}: {candidates}"),
        "give more digits of the id",
    )
}

/// The argument `field` cannot be right.
pub fn invalid(field: &str, problem: impl Display) -> Refusal {
    refuse(RefusalCode::Invalid, format!("{field}: {problem}"), "change the argument and try again")
}

/// The key belongs to another write.
pub fn key_taken(key: &str) -> Refusal {
    refuse(
        RefusalCode::Conflict,
        format!("the idempotency key {key:?} was used for another write"),
        "choose a new key for each intended write",
    )
}

/// A line of a file says something else of an issue that was made here.
pub fn made_here(id: &str) -> Refusal {
    refuse(
        RefusalCode::Conflict,
        format!("{id:?} is an issue that was made here, and the file says something else of it"),
        "take the line out of the file, or change the issue with `grite issue update`",
    )
}

/// This program does not have that command.
pub fn unsupported(command: &str) -> Refusal {
    refuse(
        RefusalCode::Unsupported,
        format!("this program has no command {command:?}"),
        "use a version that has it",
    )
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        invalid(&flaw.field, flaw.problem)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let (code, hint, retryable) = match error {
            StoreError::Busy => (RefusalCode::Storage, "try again when the other process is done", true),
            StoreError::Newer { .. } => {
                (RefusalCode::Unsupported, "use the newer version of this program", false)
            }
            StoreError::Damaged(_) => {
                (RefusalCode::Integrity, "keep a copy of the folder, then mend the store", false)
            }
            StoreError::System(_) => {
                (RefusalCode::Storage, "look for free space and the folder's permissions", true)
            }
        };
        Refusal { code, message: error.to_string(), hint: hint.to_owned(), retryable }
    }
}

fn refuse(code: RefusalCode, message: String, hint: &str) -> Refusal {
    Refusal { code, message, hint: hint.to_owned(), retryable: false }
}
