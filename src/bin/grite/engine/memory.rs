//! [`Memory`]: all issues, folded, with the two orders in which they are asked for.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::model::{Issue, IssueId, Sealed, State};
use crate::store::{Sequence, Snapshot};

/// All issues, folded.
#[derive(Default)]
pub struct Memory {
    /// Also those whose creation has not come.
    issues: BTreeMap<IssueId, Issue>,
    /// Those that were created: oldest first, then by id. The instants are in nanoseconds.
    oldest: BTreeSet<(i128, IssueId)>,
    /// The same: newest first, then by id.
    newest: BTreeSet<(Reverse<i128>, IssueId)>,
    open: usize,
    events: u64,
    end: Sequence,
}

impl Memory {
    /// The issue `id`, if it was created.
    pub fn issue(&self, id: IssueId) -> Option<&Issue> {
        self.issues.get(&id).filter(|issue| issue.creation().is_some())
    }

    /// What is known of the issue `id`, created or not.
    pub fn fragment(&self, id: IssueId) -> Option<&Issue> {
        self.issues.get(&id)
    }

    /// The issues that were created, in order of their ids.
    pub fn all(&self) -> impl Iterator<Item = (IssueId, &Issue)> {
        self.issues.iter().filter(|(_, issue)| issue.creation().is_some()).map(|(id, issue)| (*id, issue))
    }

    /// The issues that were created and whose ids are in `range`, in order.
    pub fn in_range(&self, range: RangeInclusive<IssueId>) -> impl Iterator<Item = (IssueId, &Issue)> {
        let created = |(_, issue): &(&IssueId, &Issue)| issue.creation().is_some();
        self.issues.range(range).filter(created).map(|(id, issue)| (*id, issue))
    }

    /// Oldest first, then by id.
    pub fn oldest(&self) -> &BTreeSet<(i128, IssueId)> {
        &self.oldest
    }

    /// Newest first, then by id.
    pub fn newest(&self) -> &BTreeSet<(Reverse<i128>, IssueId)> {
        &self.newest
    }

    /// How many issues were created.
    pub fn len(&self) -> usize {
        self.oldest.len()
    }

    /// How many of them are open.
    pub fn open(&self) -> usize {
        self.open
    }

    /// How many events there are.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The place of the last event.
    pub fn end(&self) -> Sequence {
        self.end
    }

    /// Takes in an event that another process wrote.
    pub fn apply(&mut self, place: Sequence, event: &Sealed) {
        let mut issue = self.issues.remove(&event.issue()).unwrap_or_default();
        self.unlist(event.issue(), &issue);
        issue.apply(event);
        self.list(event.issue(), issue);
        self.events += 1;
        self.end = place;
    }

    /// Takes in what this process wrote: these issues, by so many events, of which the last is at `end`.
    pub fn take(&mut self, issues: BTreeMap<IssueId, Issue>, events: usize, end: Sequence) {
        self.events += events as u64;
        self.end = end;
        for (id, issue) in issues {
            if let Some(before) = self.issues.remove(&id) {
                self.unlist(id, &before);
            }
            self.list(id, issue);
        }
    }

    fn list(&mut self, id: IssueId, issue: Issue) {
        if let Some(creation) = issue.creation() {
            let instant = creation.at.nanoseconds();
            self.oldest.insert((instant, id));
            self.newest.insert((Reverse(instant), id));
            self.open += usize::from(issue.state() == State::Open);
        }
        self.issues.insert(id, issue);
    }

    /// `issue` must be listed as it is, or not be created.
    fn unlist(&mut self, id: IssueId, issue: &Issue) {
        if let Some(creation) = issue.creation() {
            let instant = creation.at.nanoseconds();
            self.oldest.remove(&(instant, id));
            self.newest.remove(&(Reverse(instant), id));
            self.open -= usize::from(issue.state() == State::Open);
        }
    }
}

impl From<Snapshot> for Memory {
    fn from(snapshot: Snapshot) -> Self {
        let mut memory = Memory { events: snapshot.events, end: snapshot.end, ..Memory::default() };
        snapshot.issues.into_iter().for_each(|(id, issue)| memory.list(id, issue));
        memory
    }
}
