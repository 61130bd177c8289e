//! Import: issues of another tracker become events.
//!
//! What is new in a line is what differs from the imported events of its issue alone; what people did to it
//! here is left as it is. So is an issue that was made with this program and is known, whatever a line says of it:
//! the line is from an export, and the issue may have changed since. A line that says that its issue changed before
//! what was imported of it did is from an earlier file, of which only comments are taken. So the same file again makes
//! no event, a changed line makes events for what changed, and the events of a line depend on nothing but the lines
//! imported before it: two clones that import the same file have the same events. That is why an export of a comment
//! that was made here is imported as an event, though the [`Issue`] shows one comment.

use std::collections::BTreeSet;

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{ForeignIssue, IssueImportResult, Refusal};

use super::draft::Draft;
use super::follow::lock;
use super::memory::Memory;
use super::read::links;
use super::{Engine, Flaw, limits, refusal};
use crate::model::{
    AddWins, Creation, Dependency, Event, EventId, Issue, IssueId, LogicalTime, Moment, Operation, Origin,
    Sealed, State,
};

impl Engine {
    pub(super) fn import(&self, issues: &[ForeignIssue]) -> Result<IpcResponse, Refusal> {
        for issue in issues {
            limits::check_foreign(issue).map_err(|flaw| flawed(issue, flaw))?;
        }
        let mut store = lock(&self.store);
        let session = store.begin()?;
        self.absorb(&session)?;
        let mut result = IssueImportResult { created: 0, updated: 0, unchanged: 0 };
        let change = {
            let memory = self.memory();
            let mut draft = Draft::on(&memory);
            for foreign in issues {
                if is_native(&memory, &foreign.id) {
                    result.unchanged += 1;
                    continue;
                }
                let id = IssueId::of_source(&foreign.id);
                let mut imported = Issue::default();
                if memory.fragment(id).is_some() {
                    let events = session.events_of(id)?;
                    let ours = events.iter().filter(|event| event.event().origin == Origin::Import);
                    ours.for_each(|event| imported.apply(event));
                }
                // A file may name an issue twice; the second line goes on from the first.
                draft.drafted(id).for_each(|event| imported.apply(event));
                let events = line_events(foreign, imported)?;
                let before = draft.issue(id).cloned();
                events.into_iter().for_each(|event| draft.add(event));
                if let Some(after) = draft.issue(id) {
                    limits::check_growth(before.as_ref(), after).map_err(|flaw| flawed(foreign, flaw))?;
                }
                match (before, draft.issue(id)) {
                    (None, _) => result.created += 1,
                    (Some(before), Some(after)) if shows_the_same(&memory, &before, after) => {
                        result.unchanged += 1
                    }
                    (Some(_), _) => result.updated += 1,
                }
            }
            draft.store(&session)?
        };
        self.commit(session, change)?;
        Ok(IpcResponse::IssueImport(result))
    }
}

/// Says in which issue of a file the flaw is.
fn flawed(foreign: &ForeignIssue, flaw: Flaw) -> Refusal {
    refusal::invalid(&flaw.field, format!("in {:?}: {}", foreign.id, flaw.problem))
}

/// Whether `id` is the whole id of a known issue that goes by it, as those do that were made with this program: an
/// export names it so.
fn is_native(memory: &Memory, id: &str) -> bool {
    let native = |id| memory.issue(id).is_some_and(|issue| issue.goes_by_own_id(|id| memory.issue(id)));
    id.parse().is_ok_and(native)
}

/// Whether nobody can see a difference.
fn shows_the_same(memory: &Memory, before: &Issue, after: &Issue) -> bool {
    let said = |issue: &Issue| issue.remarks().iter().map(|remark| remark.id).collect::<Vec<_>>();
    before.creation() == after.creation()
        && before.title() == after.title()
        && before.body() == after.body()
        && before.state() == after.state()
        && before.updated_at() == after.updated_at()
        && before.labels().values() == after.labels().values()
        && before.assignees().values() == after.assignees().values()
        && links(memory, before) == links(memory, after)
        && said(before) == said(after)
}

/// The events that lead from `imported`, the imported events so far, to what `foreign` says.
fn line_events(foreign: &ForeignIssue, imported: Issue) -> Result<Vec<Sealed>, Refusal> {
    let moment = |field, text: &str| {
        Moment::parse(text).ok_or_else(|| refusal::invalid(field, format!("{text:?} is not a timestamp")))
    };
    let created = moment("created_at", &foreign.created_at)?;
    let updated = moment("updated_at", &foreign.updated_at)?;
    let is_earlier =
        imported.creation().is_some() && imported.touched_at().is_some_and(|stated| updated < *stated);
    let mut line = Line { foreign, updated, imported, events: Vec::new() };
    if is_earlier {
        // What was said then was said all the same.
        line.comments()?;
        return Ok(line.events);
    }

    let creation = Creation { author: foreign.author.clone(), at: created, source: Some(foreign.id.clone()) };
    if line.imported.creation() != Some(&creation) {
        let op = Operation::Create {
            source: creation.source,
            nonce: None,
            title: foreign.title.clone(),
            body: foreign.body.clone(),
        };
        let seen = line.imported.times().creation;
        let time = LogicalTime::after(seen, creation.at.milliseconds()).max(line.first_time(&creation.at));
        line.push(&foreign.author, &creation.at, time, op)?;
    }
    if line.imported.title() != foreign.title {
        line.change(line.imported.times().title, Operation::SetTitle(foreign.title.clone()))?;
    }
    if line.imported.body() != foreign.body {
        line.change(line.imported.times().body, Operation::SetBody(foreign.body.clone()))?;
    }
    let names = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    line.change_set(Issue::labels, names(&foreign.labels), Operation::AddLabel, Operation::RemoveLabel)?;
    line.change_set(
        Issue::assignees,
        names(&foreign.assignees),
        Operation::AddAssignee,
        Operation::RemoveAssignee,
    )?;
    let links = foreign
        .depends_on
        .iter()
        .map(|source| Dependency { issue: IssueId::of_source(source), source: Some(source.clone()) });
    line.change_set(
        Issue::depends_on,
        links.collect(),
        |Dependency { issue, source }| Operation::AddDependency { issue, source },
        Operation::RemoveDependency,
    )?;
    line.comments()?;
    // Last, because it carries the time of the last change.
    let state = State::from(foreign.state);
    let set = Operation::SetState(state);
    match (line.imported.times().state, line.imported.touched_at()) {
        (Some(seen), Some(stated)) if line.imported.state() == state => {
            // The tracker has not set the state anew: what people did to it here since it was set stays.
            if *stated < line.updated {
                line.change_at(seen, set)?;
            }
        }
        (seen, _) => line.change(seen, set)?,
    }
    Ok(line.events)
}

/// A line of a file on its way to events.
struct Line<'a> {
    foreign: &'a ForeignIssue,
    updated: Moment,
    /// The issue as all imported events make it, those drafted here included.
    imported: Issue,
    events: Vec<Sealed>,
}

impl Line<'_> {
    /// The time of the first title and body. Two clones may import two states of one issue before they know of
    /// each other: the one that was changed later wins, by the counter, but over nothing that somebody wrote
    /// after the issue was made.
    fn first_time(&self, created: &Moment) -> LogicalTime {
        let lasted = self.updated.milliseconds().saturating_sub(created.milliseconds()) / 1000;
        LogicalTime::from((created.milliseconds(), u32::try_from(lasted.max(0)).unwrap_or(u32::MAX)))
    }

    /// Drafts what the tracker changed when it last changed the issue, later than `seen`: of what was
    /// imported, the line that was read last wins.
    fn change(&mut self, seen: Option<LogicalTime>, op: Operation) -> Result<(), Refusal> {
        self.change_at(LogicalTime::after(seen, self.updated.milliseconds()), op)
    }

    /// As [`change`](Line::change), but with the rank of a write at `time`: what was written since then stays.
    fn change_at(&mut self, time: LogicalTime, op: Operation) -> Result<(), Refusal> {
        let event = self.event(&self.foreign.author, &self.updated, time, op)?;
        self.add(event);
        Ok(())
    }

    fn change_set<T: Ord + Clone>(
        &mut self,
        set: fn(&Issue) -> &AddWins<T>,
        wanted: BTreeSet<T>,
        adding: fn(T) -> Operation,
        removing: fn(Vec<EventId>) -> Operation,
    ) -> Result<(), Refusal> {
        let gone = set(&self.imported).tags(|held| !wanted.contains(held));
        if !gone.is_empty() {
            self.change(None, removing(gone))?;
        }
        for value in wanted {
            if set(&self.imported).any(|held| *held == value) {
                continue;
            }
            // An equal addition may have been removed since, and its tag with it. This is a new one.
            let mut time = LogicalTime::after(None, self.updated.milliseconds());
            loop {
                let event = self.event(&self.foreign.author, &self.updated, time, adding(value.clone()))?;
                if !set(&self.imported).knows(event.id()) {
                    self.add(event);
                    break;
                }
                time = LogicalTime::after(Some(time), self.updated.milliseconds());
            }
        }
        Ok(())
    }

    /// Drafts the comments that are new, in the order of the file.
    ///
    /// A comment that is gone from the file stays: it was said.
    fn comments(&mut self) -> Result<(), Refusal> {
        let mut known: Vec<_> = self.imported.remarks().to_vec();
        let mut before: Option<LogicalTime> = None;
        for comment in &self.foreign.comments {
            let at = Moment::parse(&comment.created_at).ok_or_else(|| {
                refusal::invalid("comments", format!("{:?} is not a timestamp", comment.created_at))
            })?;
            let same = known
                .iter()
                .position(|held| held.author == comment.author && held.at == at && held.body == comment.body);
            let time = match same {
                Some(index) => known.remove(index).time,
                None => {
                    let time = LogicalTime::after(before, at.milliseconds());
                    self.push(&comment.author, &at, time, Operation::Comment(comment.body.clone()))?;
                    time
                }
            };
            before = before.max(Some(time));
        }
        Ok(())
    }

    /// Drafts what `actor` did at `at`.
    fn push(&mut self, actor: &str, at: &Moment, time: LogicalTime, op: Operation) -> Result<(), Refusal> {
        let event = self.event(actor, at, time, op)?;
        self.add(event);
        Ok(())
    }

    fn event(&self, actor: &str, at: &Moment, time: LogicalTime, op: Operation) -> Result<Sealed, Refusal> {
        let event = Event {
            v: Event::VERSION,
            actor: actor.to_owned(),
            time,
            at: at.clone(),
            origin: Origin::Import,
            issue: Some(IssueId::of_source(&self.foreign.id)),
            // Two clones may have seen different files before, and this event must be one event.
            cause: None,
            op,
        };
        Sealed::seal(event).map_err(|error| refusal::invalid("event", error))
    }

    fn add(&mut self, event: Sealed) {
        self.imported.apply(&event);
        self.events.push(event);
    }
}

#[cfg(test)]
mod tests;
