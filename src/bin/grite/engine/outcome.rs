//! What a write did: remembered under its idempotency key, and answered.

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{
    CommentResult, IssueCreateResult, IssueState, IssueStateResult, IssueUpdateResult, LockResult, Refusal,
};
use serde::{Deserialize, Serialize};

use super::{locking, refusal};
use crate::locks::Record;
use crate::model::{IssueId, State};
use crate::store::{Answer, Session, StoreError};

/// What a write did. Its stored form does not depend on how answers travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It made an issue.
    Created { id: IssueId },
    /// It changed an issue, or found it so.
    Updated { id: IssueId, changed: bool },
    /// It closed or opened an issue, or found it so.
    State { id: IssueId, state: State, changed: bool },
    /// It added a comment.
    Commented { id: IssueId, count: u32 },
    /// It took or kept a lock, or where there is no record gave it back; on a remote, or in this clone alone.
    Lock { resource: String, record: Option<Record>, remote: Option<String> },
}

impl Outcome {
    /// What the write with this key did before, which was answered so, where `command` is what it was.
    pub fn recall(before: Option<Answer>, key: &str, command: &[u8]) -> Result<Option<Self>, Refusal> {
        let Some(before) = before else { return Ok(None) };
        if before.command != command {
            return Err(refusal::key_taken(key));
        }
        let outcome = serde_json::from_str(&before.answer)
            .map_err(|error| StoreError::Damaged(format!("a remembered answer cannot be read: {error}")))?;
        Ok(Some(outcome))
    }

    /// Keeps it for a repeat of `command`, at `now` in milliseconds.
    pub fn remember(
        &self,
        session: &Session<'_>,
        key: &str,
        command: Vec<u8>,
        now: i64,
    ) -> Result<(), StoreError> {
        let answer = serde_json::to_string(self)
            .map_err(|error| StoreError::Damaged(format!("an answer cannot be written: {error}")))?;
        session.remember(key, &Answer { command, answer }, now)
    }
}

impl From<Outcome> for IpcResponse {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Created { id } => IpcResponse::IssueCreate(IssueCreateResult { id: id.to_string() }),
            Outcome::Updated { id, changed } => {
                IpcResponse::IssueUpdate(IssueUpdateResult { id: id.to_string(), changed })
            }
            Outcome::State { id, state, changed } => {
                IpcResponse::IssueState(IssueStateResult { id: id.to_string(), state: state.into(), changed })
            }
            Outcome::Commented { id, count } => {
                IpcResponse::Comment(CommentResult { id: id.to_string(), comment_count: count })
            }
            Outcome::Lock { resource, record, remote } => {
                IpcResponse::Lock(LockResult { lock: locking::state(&resource, record.as_ref()), remote })
            }
        }
    }
}

impl From<State> for IssueState {
    fn from(state: State) -> Self {
        match state {
            State::Open => IssueState::Open,
            State::Closed => IssueState::Closed,
        }
    }
}

impl From<IssueState> for State {
    fn from(state: IssueState) -> Self {
        match state {
            IssueState::Open => State::Open,
            IssueState::Closed => State::Closed,
        }
    }
}
