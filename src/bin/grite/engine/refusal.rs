//! Refusals: why a command is not carried out, in words that say what to do now.

use std::fmt::Display;
use std::io;

use libgrite_ipc::grite::{LockState, Refusal, RefusalCode};

use super::Flaw;
use crate::git::GitError;
use crate::model::IssueId;
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

/// `what` failed, and neither an argument nor the store is to blame.
pub fn unforeseen(what: &str) -> Refusal {
    let hint = "see what the same command says with --direct, and report it";
    refuse(RefusalCode::Storage, format!("{what}, by a fault of this program"), hint)
}

/// The system starts no thread.
pub fn no_thread(error: &io::Error) -> Refusal {
    let message = format!("the system gives no thread: {error}");
    let hint = "try again, or look for the limit of processes (`ulimit -u`)";
    Refusal { retryable: true, ..refuse(RefusalCode::Storage, message, hint) }
}

/// The key belongs to another write.
pub fn key_taken(key: &str) -> Refusal {
    refuse(
        RefusalCode::Conflict,
        format!("the idempotency key {key:?} was used for another write"),
        "choose a new key for each intended write",
    )
}

/// The issue waits for itself then.
pub fn cycle(id: IssueId, on: IssueId) -> Refusal {
    refuse(
        RefusalCode::Conflict,
        format!("issue {id} cannot wait for {on}, which waits for it, directly or by others"),
        "see `grite issue dep list`, and take another dependency away first",
    )
}

/// A closed issue is nobody's to take.
pub fn closed(id: IssueId) -> Refusal {
    refuse(RefusalCode::Conflict, format!("issue {id} is closed"), "open it first: `grite issue reopen`")
}

/// Others have the issue.
pub fn claimed(id: IssueId, holders: &[&String]) -> Refusal {
    let holders: Vec<&str> = holders.iter().map(|holder| holder.as_str()).collect();
    refuse(
        RefusalCode::Conflict,
        format!("issue {id} is assigned to {}", holders.join(", ")),
        "take another one: `grite issue ready`",
    )
}

/// Somebody has the lock.
pub fn locked(lock: &LockState) -> Refusal {
    let holder = lock.holder.as_deref().unwrap_or("somebody");
    let clone = lock.clone.as_deref().unwrap_or_default();
    let message = format!(
        "{:?} is held by {holder}, in clone {:.8}, for {} more; others can take it in {}",
        lock.resource,
        clone,
        seconds(lock.remaining_ms),
        seconds(lock.free_in_ms)
    );
    Refusal {
        retryable: true,
        ..refuse(RefusalCode::Conflict, message, "try again then, or ask who holds it")
    }
}

/// Nobody has the lock that was to be kept.
pub fn not_locked(resource: &str) -> Refusal {
    let message = format!("nobody holds {resource:?}");
    refuse(RefusalCode::Conflict, message, "take it: `grite lock acquire`")
}

/// The lock was taken, and its time has passed before that was known.
pub fn over(resource: &str) -> Refusal {
    let message = format!("it took longer to lock {resource:?} than the lock lasts");
    Refusal { retryable: true, ..refuse(RefusalCode::Timeout, message, "try again, with a longer --ttl") }
}

/// Others were faster, again and again.
pub fn contended(resource: &str) -> Refusal {
    let message = format!("{resource:?} changes hands too quickly");
    Refusal { retryable: true, ..refuse(RefusalCode::Conflict, message, "try again in a moment") }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        invalid(&flaw.field, flaw.problem)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Missing | StoreError::Damaged(_) => RefusalCode::Integrity,
            StoreError::Newer { .. } => RefusalCode::Unsupported,
            StoreError::Replaced | StoreError::Busy | StoreError::Forbidden(_) | StoreError::System(_) => {
                RefusalCode::Storage
            }
        };
        let retryable = error.is_retryable();
        Refusal { retryable, ..refuse(code, error.to_string(), error.hint()) }
    }
}

impl From<GitError> for Refusal {
    fn from(error: GitError) -> Self {
        let (code, hint, retryable) = match error {
            GitError::NoRepository(_) => (
                RefusalCode::Git,
                "run `grite init` inside a git repository, and import an export there",
                false,
            ),
            GitError::Missing => (RefusalCode::Git, "install git 2.41 or later", false),
            GitError::NoRemotes => (RefusalCode::Git, "add one: `git remote add origin URL`", false),
            GitError::OddRemote(_) => {
                (RefusalCode::Git, "give it another name: `git remote rename OLD NEW`", false)
            }
            GitError::NoRemote(_) => {
                (RefusalCode::Git, "see `git remote`, and choose one with --remote", false)
            }
            GitError::Late { .. } | GitError::Busy => {
                (RefusalCode::Timeout, "try again, with a longer --timeout", true)
            }
            GitError::Failed { .. } => {
                (RefusalCode::Git, "try the same with git itself; see `grite doctor`", true)
            }
            GitError::Start(_) | GitError::File(_) | GitError::Broken { .. } => {
                (RefusalCode::Git, "see `grite doctor`", false)
            }
        };
        Refusal { code, message: error.to_string(), hint: hint.to_owned(), retryable }
    }
}

pub(super) fn refuse(code: RefusalCode, message: String, hint: &str) -> Refusal {
    Refusal { code, message, hint: hint.to_owned(), retryable: false }
}
