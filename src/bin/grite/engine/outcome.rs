//! What a write did: remembered under its idempotency key, and answered.

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{
    CommentResult, IssueCreateResult, IssueState, IssueStateResult, IssueUpdateResult,
};
use serde::{Deserialize, Serialize};

use crate::model::{IssueId, State};

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
