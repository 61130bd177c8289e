//! Import: issues of another tracker become events.
//!
//! What is new in a line is what differs from the imported events of its issue alone; what people did to it here
//! is left as it is. So is an issue that was made with this program and is known, whatever a line says of it: the
//! line is from an export, and the issue may have changed since. So is what people had in its labels, assignees
//! and dependencies when the line says that it changed: they may have taken it away since. What they had taken
//! away before then and the line has, the tracker has added itself. A line that says that its issue changed
//! before what was imported of it did is from an earlier file, of which only comments are taken. So the same file
//! again makes no event, a changed line makes events for what changed, and the events of a line depend on nothing
//! but the lines imported before it and such changes: two clones that import the same file have the same events.
//! That is why an export of a comment that was made here is imported as an event, though the [`Issue`] shows one
//! comment.

use std::collections::BTreeSet;

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{ForeignIssue, IssueImportResult, Refusal};

use super::draft::Draft;
use super::memory::Memory;
use super::read::links;
use super::{Engine, Flaw, limits, refusal};
use crate::model::{
    AddWins, Creation, Dependency, Event, EventId, Issue, IssueId, LogicalTime, Moment, Operation, Origin,
    Sealed, State,
};
use crate::store::{Session, Store};

impl Engine {
    pub(super) fn import(&self, issues: &[ForeignIssue]) -> Result<IpcResponse, Refusal> {
        for issue in issues {
            limits::check_foreign(issue).map_err(|flaw| flawed(issue, flaw))?;
        }
        Store::in_turn(&self.store, |session| {
            self.absorb(&session)?;
            let mut result = IssueImportResult { created: 0, updated: 0, unchanged: 0 };
            let change = {
                let memory = self.memory();
                let mut draft = Draft::on(&memory);
                for foreign in issues {
                    draft_line(&mut draft, &session, foreign, &mut result)?;
                }
                draft.store(&session)?
            };
            self.commit(session, change)?;
            Ok(IpcResponse::IssueImport(result))
        })
    }
}

/// Drafts what is new in a line, and counts it.
fn draft_line(
    draft: &mut Draft<'_>,
    session: &Session<'_>,
    foreign: &ForeignIssue,
    result: &mut IssueImportResult,
) -> Result<(), Refusal> {
    let memory = draft.memory();
    if is_native(memory, &foreign.id) {
        result.unchanged += 1;
        return Ok(());
    }
    let id = IssueId::of_source(&foreign.id);
    let known = if memory.fragment(id).is_some() { session.events_of(id)? } else { Vec::new() };
    // A file may name an issue twice; the second line goes on from the first.
    let known = known.iter().chain(draft.drafted(id));
    let events = Line::of(foreign, known, memory)?.events()?;
    let before = draft.issue(id).cloned();
    events.into_iter().for_each(|event| draft.add(event));
    if let Some(after) = draft.issue(id) {
        limits::check_growth(before.as_ref(), after).map_err(|flaw| flawed(foreign, flaw))?;
    }
    match (before, draft.issue(id)) {
        (None, _) => result.created += 1,
        (Some(before), Some(after)) if shows_the_same(memory, &before, after) => result.unchanged += 1,
        (Some(_), _) => result.updated += 1,
    }
    Ok(())
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

/// A line of a file on its way to events.
struct Line<'a> {
    foreign: &'a ForeignIssue,
    memory: &'a Memory,
    created: Moment,
    updated: Moment,
    /// The issue as all imported events make it, those drafted here included.
    imported: Issue,
    /// What people had added to its sets here by then and not taken away before then, also where they have since: an
    /// export that has it is no reason to add it.
    added: Issue,
    events: Vec<Sealed>,
}

impl<'a> Line<'a> {
    /// What `foreign` says of an issue of which all the events `known` have come.
    fn of<'b>(
        foreign: &'a ForeignIssue,
        known: impl Iterator<Item = &'b Sealed>,
        memory: &'a Memory,
    ) -> Result<Self, Refusal> {
        let moment = |field, text: &str| {
            Moment::parse(text).ok_or_else(|| refusal::invalid(field, format!("{text:?} is not a timestamp")))
        };
        let created = moment("created_at", &foreign.created_at)?;
        let updated = moment("updated_at", &foreign.updated_at)?;
        let (mut imported, mut added) = (Issue::default(), Issue::default());
        for sealed in known {
            let event = sealed.event();
            match (event.origin, &event.op) {
                (Origin::Import, _) => imported.apply(sealed),
                (
                    Origin::Command,
                    Operation::AddLabel(_) | Operation::AddAssignee(_) | Operation::AddDependency { .. },
                ) if event.at <= updated => added.apply(sealed),
                (
                    Origin::Command,
                    Operation::RemoveLabel(_) | Operation::RemoveAssignee(_) | Operation::RemoveDependency(_),
                ) if event.at < updated => added.apply(sealed),
                _ => {}
            }
        }
        Ok(Line { foreign, memory, created, updated, imported, added, events: Vec::new() })
    }

    /// The events that lead from the imported ones to what the line says.
    fn events(mut self) -> Result<Vec<Sealed>, Refusal> {
        let stated = self.imported.touched_at();
        let is_earlier =
            self.imported.creation().is_some() && stated.is_some_and(|stated| self.updated < *stated);
        if !is_earlier {
            self.creation()?;
            self.texts()?;
            self.sets()?;
        }
        // What was said then was said all the same.
        self.comments()?;
        if !is_earlier {
            // Last, because it carries the time of the last change.
            self.state()?;
        }
        Ok(self.events)
    }

    fn creation(&mut self) -> Result<(), Refusal> {
        let Line { foreign, imported, .. } = &*self;
        let at = self.created.clone();
        let creation =
            Creation { author: foreign.author.clone(), at: at.clone(), source: Some(foreign.id.clone()) };
        if imported.creation() == Some(&creation) {
            return Ok(());
        }
        let op = Operation::Create {
            source: creation.source,
            nonce: None,
            title: foreign.title.clone(),
            body: foreign.body.clone(),
        };
        let time = LogicalTime::after(imported.times().creation, at.milliseconds());
        self.push(&foreign.author, &at, time.max(self.first_time(&at)), op)
    }

    fn texts(&mut self) -> Result<(), Refusal> {
        let foreign = self.foreign;
        if self.imported.title() != foreign.title {
            self.change(self.imported.times().title, Operation::SetTitle(foreign.title.clone()))?;
        }
        if self.imported.body() != foreign.body {
            self.change(self.imported.times().body, Operation::SetBody(foreign.body.clone()))?;
        }
        Ok(())
    }

    fn sets(&mut self) -> Result<(), Refusal> {
        let Line { foreign, memory, .. } = *self;
        let names = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        let (labels, assignees) = (names(&foreign.labels), names(&foreign.assignees));
        let equal = |one: &String, other: &String| one == other;
        self.change_set(Issue::labels, labels, equal, Operation::AddLabel, Operation::RemoveLabel)?;
        self.change_set(
            Issue::assignees,
            assignees,
            equal,
            Operation::AddAssignee,
            Operation::RemoveAssignee,
        )?;
        let links = foreign
            .depends_on
            .iter()
            .map(|source| Dependency { issue: IssueId::of_source(source), source: Some(source.clone()) });
        let find = |id| memory.issue(id);
        self.change_set(
            Issue::depends_on,
            links.collect(),
            |one, other| one.on(find) == other.on(find),
            |Dependency { issue, source }| Operation::AddDependency { issue, source },
            Operation::RemoveDependency,
        )
    }

    fn state(&mut self) -> Result<(), Refusal> {
        let state = State::from(self.foreign.state);
        let set = Operation::SetState(state);
        match (self.imported.times().state, self.imported.touched_at()) {
            (Some(seen), Some(stated)) if self.imported.state() == state => {
                // The tracker has not set the state anew: what people did to it here since it was set stays.
                if *stated < self.updated { self.change_at(seen, set) } else { Ok(()) }
            }
            (seen, _) => self.change(seen, set),
        }
    }

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
        is_same: impl Fn(&T, &T) -> bool,
        adding: fn(T) -> Operation,
        removing: fn(Vec<EventId>) -> Operation,
    ) -> Result<(), Refusal> {
        let gone = set(&self.imported).tags(|held| !wanted.contains(held));
        if !gone.is_empty() {
            self.change(None, removing(gone))?;
        }
        for value in wanted {
            let is_known = set(&self.imported).any(|held| *held == value);
            if is_known || set(&self.added).any(|held| is_same(held, &value)) {
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
