//! A [`Draft`]: the events of one command, before they are written.
//!
//! Events are folded into copies of their issues as they are drafted, so that each sees what the
//! ones before it did. Memory changes only after the commit.

use std::collections::BTreeMap;

use libgrite_ipc::grite::{IssueChange, Refusal};

use super::memory::Memory;
use super::news::news;
use super::refusal;
use crate::model::{Event, Issue, IssueId, LogicalTime, Moment, Operation, Origin, Sealed};
use crate::store::{Sequence, Session, StoreError, Way};

/// The events of one command.
pub struct Draft<'a> {
    memory: &'a Memory,
    now: Moment,
    issues: BTreeMap<IssueId, Issue>,
    events: Vec<Sealed>,
}

impl<'a> Draft<'a> {
    /// Nothing yet, on top of `memory`.
    pub fn on(memory: &'a Memory) -> Self {
        Draft { memory, now: Moment::now(), issues: BTreeMap::new(), events: Vec::new() }
    }

    pub fn memory(&self) -> &'a Memory {
        self.memory
    }

    /// When the command is carried out.
    pub fn now(&self) -> &Moment {
        &self.now
    }

    /// The issue `id` as it is with what was drafted so far, if it was created.
    pub fn issue(&self, id: IssueId) -> Option<&Issue> {
        match self.issues.get(&id) {
            Some(issue) => Some(issue).filter(|issue| issue.creation().is_some()),
            None => self.memory.issue(id),
        }
    }

    /// The events of the issue `id` that were drafted so far.
    pub fn drafted(&self, id: IssueId) -> impl Iterator<Item = &Sealed> {
        // Few issues are drafted twice, and most drafts are large.
        let events = if self.issues.contains_key(&id) { self.events.as_slice() } else { &[] };
        events.iter().filter(move |event| event.issue() == id)
    }

    /// Makes an event of what `actor` does now to `issue`, or to the one that `op` creates.
    pub fn write(&mut self, actor: &str, issue: Option<IssueId>, op: Operation) -> Result<IssueId, Refusal> {
        let latest = issue.and_then(|id| self.issue(id)).and_then(Issue::latest);
        let event = Event {
            v: Event::VERSION,
            actor: actor.to_owned(),
            time: LogicalTime::after(latest.map(|stamp| stamp.time), self.now.milliseconds()),
            at: self.now.clone(),
            origin: Origin::Command,
            issue,
            cause: latest.map(|stamp| stamp.id),
            op,
        };
        let sealed = Sealed::seal(event).map_err(|error| refusal::invalid("event", error))?;
        let issue = sealed.issue();
        self.add(sealed);
        Ok(issue)
    }

    /// Adds an event that was made elsewhere.
    pub fn add(&mut self, event: Sealed) {
        let memory = self.memory;
        self.issues
            .entry(event.issue())
            .or_insert_with_key(|id| memory.fragment(*id).cloned().unwrap_or_default())
            .apply(&event);
        self.events.push(event);
    }

    /// Writes it all, uncommitted.
    pub fn store(self, session: &Session<'_>) -> Result<Change, StoreError> {
        let mut new = Vec::with_capacity(self.events.len());
        let mut end = self.memory.end();
        for event in &self.events {
            if let Some(place) = session.append(event, Way::Made)? {
                new.push(event);
                end = place;
            }
        }
        session.count(new.len())?;
        let change = Change { issues: self.issues, events: new.len(), news: news(new), end };
        session.project(&change.issues)?;
        Ok(change)
    }
}

/// What a transaction changes in memory once it is committed.
pub struct Change {
    /// The issues as they are then.
    pub issues: BTreeMap<IssueId, Issue>,
    /// How many events are new.
    pub events: usize,
    /// What subscribers are told of them.
    pub news: Vec<IssueChange>,
    /// The place of the last one.
    pub end: Sequence,
}

impl Change {
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }
}
