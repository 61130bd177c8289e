//! Writes: each is one transaction, durable before it is answered, and answered the same when it
//! is repeated.

use std::collections::BTreeSet;

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{IssueChanges, Refusal, WriteContext};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::draft::Draft;
use super::limits::{self, MAX_KEY, MAX_NAME, MAX_SOURCE};
use super::outcome::Outcome;
use super::read::comment_count;
use super::resolve::resolve;
use super::{Engine, dependencies, refusal};
use crate::model::{AddWins, EventId, Issue, IssueId, Operation, State};
use crate::store::Store;

impl Engine {
    pub(super) fn create(
        &self,
        write: &WriteContext,
        title: &str,
        body: &str,
        labels: &[String],
        assignees: &[String],
    ) -> Result<IpcResponse, Refusal> {
        limits::check_title(title)?;
        limits::check_body(body)?;
        limits::check_names("label", labels, MAX_NAME)?;
        limits::check_names("assignee", assignees, MAX_NAME)?;
        let command = hash(&("create", &write.actor, title, body, labels, assignees));
        self.write(write, command, |draft| {
            let op = Operation::Create {
                source: None,
                nonce: Some(write.idempotency_key.clone()),
                title: title.to_owned(),
                body: body.to_owned(),
            };
            let id = draft.write(&write.actor, None, op)?;
            for label in BTreeSet::from_iter(labels) {
                draft.write(&write.actor, Some(id), Operation::AddLabel(label.clone()))?;
            }
            for assignee in BTreeSet::from_iter(assignees) {
                draft.write(&write.actor, Some(id), Operation::AddAssignee(assignee.clone()))?;
            }
            Ok(Outcome::Created { id })
        })
    }

    pub(super) fn update(
        &self,
        write: &WriteContext,
        id: &str,
        changes: &IssueChanges,
    ) -> Result<IpcResponse, Refusal> {
        let IssueChanges {
            title,
            body,
            add_labels,
            remove_labels,
            add_assignees,
            remove_assignees,
            add_dependencies,
            remove_dependencies,
        } = changes;
        check_changes(changes)?;
        let command = hash(&(
            ("update", &write.actor, id),
            (title, body),
            (add_labels, remove_labels, add_assignees, remove_assignees),
            (add_dependencies, remove_dependencies),
        ));
        self.write(write, command, |draft| {
            let id = resolve(draft.memory(), id)?;
            let issue = known(draft, id)?;
            let mut ops = Vec::new();
            if let Some(title) = title.as_ref().filter(|title| *title != issue.title()) {
                ops.push(Operation::SetTitle(title.clone()));
            }
            if let Some(body) = body.as_ref().filter(|body| *body != issue.body()) {
                ops.push(Operation::SetBody(body.clone()));
            }
            change_set(
                issue.labels(),
                add_labels,
                remove_labels,
                Operation::AddLabel,
                Operation::RemoveLabel,
                &mut ops,
            );
            change_set(
                issue.assignees(),
                add_assignees,
                remove_assignees,
                Operation::AddAssignee,
                Operation::RemoveAssignee,
                &mut ops,
            );
            dependencies::change(draft, id, add_dependencies, remove_dependencies, &mut ops)?;
            let changed = !ops.is_empty();
            for op in ops {
                draft.write(&write.actor, Some(id), op)?;
            }
            limits::check_growth(draft.memory().issue(id), known(draft, id)?)?;
            Ok(Outcome::Updated { id, changed })
        })
    }

    pub(super) fn close(&self, write: &WriteContext, id: &str) -> Result<IpcResponse, Refusal> {
        self.set_state(write, id, State::Closed)
    }

    pub(super) fn reopen(&self, write: &WriteContext, id: &str) -> Result<IpcResponse, Refusal> {
        self.set_state(write, id, State::Open)
    }

    pub(super) fn comment(&self, write: &WriteContext, id: &str, body: &str) -> Result<IpcResponse, Refusal> {
        limits::check_comment(body)?;
        let command = hash(&("comment", &write.actor, id, body));
        self.write(write, command, |draft| {
            let id = resolve(draft.memory(), id)?;
            draft.write(&write.actor, Some(id), Operation::Comment(body.to_owned()))?;
            let issue = known(draft, id)?;
            limits::check_growth(draft.memory().issue(id), issue)?;
            Ok(Outcome::Commented { id, count: comment_count(issue) })
        })
    }

    /// Assigns an open issue to the author, unless somebody has it.
    pub(super) fn claim(&self, write: &WriteContext, id: &str) -> Result<IpcResponse, Refusal> {
        let actor = &write.actor;
        limits::check_name("actor", actor, MAX_NAME)?;
        let command = hash(&("claim", actor, id));
        self.write(write, command, |draft| {
            let id = resolve(draft.memory(), id)?;
            let issue = known(draft, id)?;
            if issue.state() == State::Closed {
                return Err(refusal::closed(id));
            }
            let changed = match issue.assignees().values().into_iter().collect::<Vec<_>>().as_slice() {
                [] => true,
                [only] if *only == actor => false,
                others => return Err(refusal::claimed(id, others)),
            };
            if changed {
                draft.write(actor, Some(id), Operation::AddAssignee(actor.clone()))?;
            }
            Ok(Outcome::Updated { id, changed })
        })
    }

    fn set_state(&self, write: &WriteContext, id: &str, state: State) -> Result<IpcResponse, Refusal> {
        let command = hash(&("state", &write.actor, id, state));
        self.write(write, command, |draft| {
            let id = resolve(draft.memory(), id)?;
            let changed = known(draft, id)?.state() != state;
            if changed {
                draft.write(&write.actor, Some(id), Operation::SetState(state))?;
            }
            Ok(Outcome::State { id, state, changed })
        })
    }

    /// Carries out `plan` in one transaction, unless `write` was carried out before.
    ///
    /// `command` is a hash of all that the command says. A refusal changes nothing and is not remembered.
    fn write(
        &self,
        write: &WriteContext,
        command: Vec<u8>,
        plan: impl FnOnce(&mut Draft<'_>) -> Result<Outcome, Refusal>,
    ) -> Result<IpcResponse, Refusal> {
        let WriteContext { actor, idempotency_key: key } = write;
        limits::check_name("actor", actor, MAX_NAME)?;
        limits::check_name("idempotency key", key, MAX_KEY)?;

        Store::in_turn(&self.store, |session| {
            self.absorb(&session)?;
            if let Some(before) = Outcome::recall(session.answer(key)?, key, &command)? {
                return Ok(before.into());
            }
            // Only the holder of `store` changes memory, so it stays as it is without this guard.
            let (change, outcome) = {
                let memory = self.memory();
                let mut draft = Draft::on(&memory);
                let outcome = plan(&mut draft)?;
                outcome.remember(&session, key, command, draft.now().milliseconds())?;
                (draft.store(&session)?, outcome)
            };
            self.commit(session, change)?;
            Ok(outcome.into())
        })
    }
}

fn check_changes(changes: &IssueChanges) -> Result<(), Refusal> {
    if let Some(title) = &changes.title {
        limits::check_title(title)?;
    }
    if let Some(body) = &changes.body {
        limits::check_body(body)?;
    }
    let names = [
        ("label", &changes.add_labels, &changes.remove_labels, MAX_NAME),
        ("assignee", &changes.add_assignees, &changes.remove_assignees, MAX_NAME),
        ("dependency", &changes.add_dependencies, &changes.remove_dependencies, MAX_SOURCE),
    ];
    for (field, add, remove, max) in names {
        limits::check_names(field, add, max)?;
        limits::check_names(field, remove, max)?;
        if let Some(both) = add.iter().find(|name| remove.contains(name)) {
            return Err(refusal::invalid(field, format!("{both:?} cannot be both added and removed")));
        }
    }
    let empty = names.iter().all(|(_, add, remove, _)| add.is_empty() && remove.is_empty());
    if changes.title.is_none() && changes.body.is_none() && empty {
        return Err(refusal::invalid("changes", "there are none"));
    }
    Ok(())
}

fn known<'a>(draft: &'a Draft<'_>, id: IssueId) -> Result<&'a Issue, Refusal> {
    draft.issue(id).ok_or_else(|| refusal::not_found(&id.to_string(), "see `grite issue list`"))
}

/// What it takes to bring `add` into `set` and `remove` out of it.
fn change_set(
    set: &AddWins<String>,
    add: &[String],
    remove: &[String],
    adding: fn(String) -> Operation,
    removing: fn(Vec<EventId>) -> Operation,
    ops: &mut Vec<Operation>,
) {
    for name in BTreeSet::from_iter(add) {
        if !set.any(|held| held == name) {
            ops.push(adding(name.clone()));
        }
    }
    let tags = set.tags(|held| remove.contains(held));
    if !tags.is_empty() {
        ops.push(removing(tags));
    }
}

/// A hash of all that a command says. A value that cannot be written is told apart by its error.
pub(super) fn hash(command: &impl Serialize) -> Vec<u8> {
    let bytes = serde_json::to_vec(command).unwrap_or_else(|error| error.to_string().into_bytes());
    Sha256::digest(bytes).to_vec()
}
