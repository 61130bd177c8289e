//! Reads: answered from memory, but for the words of a search.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{
    Comment, DEFAULT_LIMIT, IssueExportResult, IssueFilter, IssueLink, IssueListResult, IssueShowResult,
    IssueSummary, MAX_LIMIT, Refusal, StatusResult,
};

use super::follow::lock;
use super::limits::{MAX_PAGE, MAX_SEARCH};
use super::memory::Memory;
use super::resolve::resolve;
use super::{Engine, cursor, dependencies, refusal};
use crate::model::{AddWins, Creation, Issue, IssueId, State};
use crate::store::{Store, Words};

impl Engine {
    pub(super) fn status(&self) -> Result<IpcResponse, Refusal> {
        self.catch_up()?;
        let memory = self.memory();
        Ok(IpcResponse::Status(StatusResult {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: self.dir.display().to_string(),
            issues: memory.len() as u64,
            open: memory.open() as u64,
            events: memory.events(),
        }))
    }

    pub(super) fn show(&self, id: &str) -> Result<IpcResponse, Refusal> {
        self.catch_up()?;
        let memory = self.memory();
        let id = resolve(&memory, id)?;
        match full(&memory, id) {
            Some(issue) => Ok(IpcResponse::IssueShow(issue)),
            None => Err(refusal::not_found(&id.to_string(), "see `grite issue list`")),
        }
    }

    pub(super) fn list(
        &self,
        filter: &IssueFilter,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<IpcResponse, Refusal> {
        self.catch_up()?;
        let filter = Filter::new(filter, filter.text.as_deref().map(|text| self.find(text)).transpose()?);
        let start = cursor.map(cursor::read).transpose()?;
        let start = start.map(|(instant, id)| (std::cmp::Reverse(instant), id));
        let limit = page_limit(limit);

        let memory = self.memory();
        let mut page = Page::new(limit);
        if filter.takes_all() {
            let behind = (start.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            for (std::cmp::Reverse(instant), id) in memory.newest().range(behind) {
                if !page.offer(*instant, *id, || summary(&memory, *id)) {
                    break;
                }
            }
            page.total = memory.len();
        } else {
            for key @ (std::cmp::Reverse(instant), id) in memory.newest() {
                let matches = memory.issue(*id).is_some_and(|issue| filter.matches(&memory, *id, issue));
                page.total += usize::from(matches);
                if matches && start.as_ref().is_none_or(|start| key > start) {
                    page.offer(*instant, *id, || summary(&memory, *id));
                }
            }
        }
        let next = page.next();
        Ok(IpcResponse::IssueList(IssueListResult { items: page.items, total: page.total as u64, next }))
    }

    pub(super) fn export(&self, limit: u32, cursor: Option<&str>) -> Result<IpcResponse, Refusal> {
        self.catch_up()?;
        let start = cursor.map(cursor::read).transpose()?;
        let behind = (start.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let memory = self.memory();
        let mut page = Page::new(page_limit(limit));
        for (instant, id) in memory.oldest().range(behind) {
            if !page.offer(*instant, *id, || full(&memory, *id)) {
                break;
            }
        }
        let next = page.next();
        Ok(IpcResponse::IssueExport(IssueExportResult { items: page.items, next }))
    }

    /// The issues that hold the words of `text`.
    fn find(&self, text: &str) -> Result<HashSet<IssueId>, Refusal> {
        if text.len() > MAX_SEARCH {
            return Err(refusal::invalid("text", format!("it has more than {MAX_SEARCH} bytes")));
        }
        let Some(words) = Words::parse(text) else {
            return Err(refusal::invalid("text", "there is no word in it to search for"));
        };
        let mut finder = lock(&self.finder);
        let store = match &mut *finder {
            Some(store) => store,
            empty => empty.insert(Store::open(&self.dir)?),
        };
        Ok(store.search(&words)?.into_iter().collect())
    }
}

/// What a list was asked for.
struct Filter<'a> {
    asked: &'a IssueFilter,
    found: Option<HashSet<IssueId>>,
}

impl<'a> Filter<'a> {
    fn new(asked: &'a IssueFilter, found: Option<HashSet<IssueId>>) -> Self {
        Filter { asked, found }
    }

    fn takes_all(&self) -> bool {
        let IssueFilter { state, labels, assignee, text, ready } = self.asked;
        !ready && state.is_none() && labels.is_empty() && assignee.is_none() && text.is_none()
    }

    fn matches(&self, memory: &Memory, id: IssueId, issue: &Issue) -> bool {
        let IssueFilter { state, labels, assignee, text: _, ready } = self.asked;
        state.is_none_or(|state| State::from(state) == issue.state())
            && labels.iter().all(|label| issue.labels().any(|held| held == label))
            && assignee.as_ref().is_none_or(|assignee| issue.assignees().any(|held| held == assignee))
            && self.found.as_ref().is_none_or(|found| found.contains(&id))
            && (!ready || dependencies::is_ready(memory, issue))
    }
}

/// A page that is being filled.
struct Page<T> {
    items: Vec<T>,
    /// How many may come yet.
    room: usize,
    /// How many bytes it has.
    bytes: usize,
    /// How many match, on all pages.
    total: usize,
    last: Option<(i128, IssueId)>,
    /// Whether something was left for the next page.
    more: bool,
}

impl<T: Weighed> Page<T> {
    fn new(limit: usize) -> Self {
        Page { items: Vec::new(), room: limit, bytes: 0, total: 0, last: None, more: false }
    }

    /// Adds the next item, or says that it belongs to the next page, and all after it.
    fn offer(&mut self, instant: i128, id: IssueId, make: impl FnOnce() -> Option<T>) -> bool {
        if self.room == 0 || self.more {
            self.more = true;
            return false;
        }
        if let Some(item) = make() {
            let weight = item.weight();
            if !self.items.is_empty() && self.bytes + weight > MAX_PAGE {
                self.more = true;
                return false;
            }
            self.bytes += weight;
            self.items.push(item);
            self.room -= 1;
            self.last = Some((instant, id));
        }
        true
    }

    fn next(&self) -> Option<String> {
        self.last.filter(|_| self.more).map(|(instant, id)| cursor::write(instant, id))
    }
}

/// How much an item of a page weighs, roughly, in bytes.
trait Weighed {
    fn weight(&self) -> usize;
}

/// What an item takes beside its texts, in bytes.
const ITEM: usize = 256;

impl Weighed for IssueSummary {
    fn weight(&self) -> usize {
        ITEM + self.title.len() + names_size(&self.labels) + names_size(&self.assignees)
    }
}

impl Weighed for IssueShowResult {
    fn weight(&self) -> usize {
        let said: usize = self.comments.iter().map(|comment| comment.body.len() + ITEM).sum();
        let links = self.depends_on.len() * ITEM;
        ITEM + self.title.len()
            + self.body.len()
            + said
            + links
            + names_size(&self.labels)
            + names_size(&self.assignees)
    }
}

fn names_size(names: &[String]) -> usize {
    names.iter().map(|name| name.len() + size_of::<String>()).sum()
}

fn page_limit(asked: u32) -> usize {
    let limit = if asked == 0 { DEFAULT_LIMIT } else { asked.min(MAX_LIMIT) };
    limit as usize
}

fn summary(memory: &Memory, id: IssueId) -> Option<IssueSummary> {
    let issue = memory.issue(id)?;
    let Creation { at, .. } = issue.creation()?;
    Some(IssueSummary {
        id: id.to_string(),
        title: issue.title().to_owned(),
        state: issue.state().into(),
        labels: names(issue.labels()),
        assignees: names(issue.assignees()),
        created_at: at.text().to_owned(),
        updated_at: issue.updated_at()?.text().to_owned(),
        comment_count: comment_count(issue),
    })
}

pub(super) fn full(memory: &Memory, id: IssueId) -> Option<IssueShowResult> {
    let issue = memory.issue(id)?;
    let Creation { author, at, .. } = issue.creation()?;
    let said = |remark: &crate::model::Remark| Comment {
        author: remark.author.clone(),
        created_at: remark.at.text().to_owned(),
        body: remark.body.clone(),
    };
    Some(IssueShowResult {
        id: id.to_string(),
        source_id: source(memory, issue),
        title: issue.title().to_owned(),
        body: issue.body().to_owned(),
        state: issue.state().into(),
        labels: names(issue.labels()),
        assignees: names(issue.assignees()),
        depends_on: links(memory, issue),
        author: author.clone(),
        created_at: at.text().to_owned(),
        updated_at: issue.updated_at()?.text().to_owned(),
        comments: issue.remarks().iter().map(said).collect(),
    })
}

/// The issues that `issue` waits for, each once, in order of their ids.
pub(super) fn links(memory: &Memory, issue: &Issue) -> Vec<IssueLink> {
    let mut links = BTreeMap::new();
    // A dependency with its foreign id is greater than the same one without: the later one is kept.
    for held in issue.depends_on().values() {
        let id = held.on(|id| memory.issue(id));
        let given = held.source.clone().filter(|_| id == held.issue);
        let known = || source(memory, memory.issue(id)?);
        links.insert(id, given.or_else(known));
    }
    links.into_iter().map(|(id, source_id)| IssueLink { id: id.to_string(), source_id }).collect()
}

/// The id that `issue` came with, if it goes by that.
fn source(memory: &Memory, issue: &Issue) -> Option<String> {
    let source = issue.creation()?.source.as_ref();
    source.filter(|_| !issue.goes_by_own_id(|id| memory.issue(id))).cloned()
}

pub(super) fn comment_count(issue: &Issue) -> u32 {
    u32::try_from(issue.remarks().len()).unwrap_or(u32::MAX)
}

fn names(set: &AddWins<String>) -> Vec<String> {
    let values: BTreeSet<&String> = set.values();
    values.into_iter().cloned().collect()
}
