//! What waits for what: changing it, asking about it, and what is ready.
//!
//! A command never makes a cycle. Two clones can make one together, each with a half; then none of its
//! issues is ready until somebody takes a dependency away, and doctor names them.

use std::collections::BTreeSet;

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{DependenciesResult, DependencyState, Refusal};

use super::draft::Draft;
use super::memory::Memory;
use super::resolve::resolve;
use super::{Engine, refusal};
use crate::model::{Issue, IssueId, Operation, State};

impl Engine {
    pub(super) fn dependencies(&self, id: &str) -> Result<IpcResponse, Refusal> {
        self.catch_up()?;
        let memory = self.memory();
        let id = resolve(&memory, id)?;
        let ready = memory.issue(id).is_some_and(|issue| is_ready(&memory, issue));
        let find = |id| memory.issue(id);
        let before = find(id).map(|issue| waits_for(issue, find)).unwrap_or_default();
        let after = memory.all().filter(|(_, issue)| issue.depends_on().any(|held| held.on(find) == id));
        let after: Vec<DependencyState> = after.map(|(id, _)| state(&memory, id)).collect();
        let before = before.into_iter().map(|id| state(&memory, id)).collect();
        Ok(IpcResponse::Dependencies(DependenciesResult { id: id.to_string(), ready, before, after }))
    }
}

/// Whether `issue` is open, and nothing that it waits for is.
///
/// An issue that is not there is not known to be open: it keeps nobody waiting.
pub fn is_ready(memory: &Memory, issue: &Issue) -> bool {
    let open = |id: IssueId| memory.issue(id).is_some_and(|issue| issue.state() == State::Open);
    issue.state() == State::Open && !issue.depends_on().any(|held| open(held.on(|id| memory.issue(id))))
}

/// What it takes for the issue `id` to wait for `add`, and no longer for `remove`.
pub fn change(
    draft: &Draft<'_>,
    id: IssueId,
    add: &[String],
    remove: &[String],
    ops: &mut Vec<Operation>,
) -> Result<(), Refusal> {
    let Some(issue) = draft.issue(id) else { return Ok(()) };
    let find = |id| draft.issue(id);
    let held = waits_for(issue, find);
    let mut added = BTreeSet::new();
    for name in add {
        let on = resolve(draft.memory(), name)?;
        if on == id || reaches(draft, on, id) {
            return Err(refusal::cycle(id, on));
        }
        if !held.contains(&on) && added.insert(on) {
            ops.push(Operation::AddDependency { issue: on, source: None });
        }
    }
    let mut gone = BTreeSet::new();
    for name in remove {
        // A dependency may be on an issue that nobody has; then it has just its name.
        let exact = [name.parse().ok(), Some(IssueId::of_source(name))];
        match exact.into_iter().flatten().find(|exact| held.contains(exact)) {
            Some(exact) => gone.insert(exact),
            None => gone.insert(resolve(draft.memory(), name)?),
        };
    }
    let tags = issue.depends_on().tags(|held| gone.contains(&held.on(find)));
    if !tags.is_empty() {
        ops.push(Operation::RemoveDependency(tags));
    }
    Ok(())
}

/// Whether `from` waits for `to`, directly or by others.
fn reaches(draft: &Draft<'_>, from: IssueId, to: IssueId) -> bool {
    let find = |id| draft.issue(id);
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        for next in find(id).map(|issue| waits_for(issue, find)).unwrap_or_default() {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

fn waits_for<'a>(issue: &Issue, find: impl Fn(IssueId) -> Option<&'a Issue> + Copy) -> BTreeSet<IssueId> {
    issue.depends_on().values().into_iter().map(|held| held.on(find)).collect()
}

fn state(memory: &Memory, id: IssueId) -> DependencyState {
    let issue = memory.issue(id);
    DependencyState {
        id: id.to_string(),
        title: issue.map(|issue| issue.title().to_owned()),
        state: issue.map(|issue| issue.state().into()),
    }
}
