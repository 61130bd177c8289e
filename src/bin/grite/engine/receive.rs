//! Taking in what other clones published: [`Engine::receive`], one transaction.
//!
//! One thread reads and verifies chunks while another one stores their events. Readers of issues go on
//! as before meanwhile: what they see changes in one step, after the commit.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Release;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread;

use libgrite_ipc::grite::{Progress, Refusal, SyncStage};

use super::draft::Change;
use super::follow::lock;
use super::memory::Memory;
use super::news::news;
use super::{Engine, refusal};
use crate::git::{Git, GitError, ObjectId, Ref};
use crate::model::{Issue, IssueId, Sealed};
use crate::store::{Damaged, Session, StoreError, Way};
use crate::sync::ALL;
use crate::sync::history::{self, Chunk, Listed};

/// How many chunks may wait to be stored.
const WAITING: usize = 4;

/// What is to be taken in.
#[derive(Default)]
pub struct Intake {
    /// The chunks that hold it.
    pub chunks: Vec<Listed>,
    /// The refs that are read with them.
    pub read: Vec<Ref>,
    /// Refs that are gone.
    pub gone: Vec<String>,
    /// Whether the events are this clone's own.
    pub own: bool,
}

/// What was taken in.
#[derive(Default)]
pub struct Received {
    /// How many events are new.
    pub events: u64,
    /// The chunks that could not be read.
    pub damaged: Vec<Damaged>,
}

type Read = (Listed, Chunk);

impl Engine {
    /// Takes in what `intake` names. Chunks that cannot be read are remembered, and tried again by the next
    /// call, for as long as a ref has them.
    pub(super) fn receive(
        &self,
        git: &Git,
        mut intake: Intake,
        part: &mut dyn FnMut(Progress),
    ) -> Result<Received, Refusal> {
        let before = lock(&self.store).damaged()?;
        let mut again: Vec<Listed> = before.iter().filter_map(listed).collect();
        let as_before = intake.read.is_empty() && intake.gone.is_empty();
        if !again.is_empty() && !as_before {
            keep_held(git, &mut again)?;
        }
        intake.chunks.extend(again);
        intake.chunks.sort();
        intake.chunks.dedup();
        if intake.chunks.is_empty() && as_before {
            return Ok(Received::default());
        }
        // Those who read from now on find what others have written, and need not wait for this transaction.
        self.catch_up()?;
        thread::scope(|scope| {
            let (sender, read) = sync_channel::<Read>(WAITING);
            let chunks = &intake.chunks;
            let reader = thread::Builder::new().spawn_scoped(scope, move || {
                // Whoever stores them may have failed; git is read to its end all the same.
                history::read(git, chunks, &mut |chunk, events| drop(sender.send((chunk.clone(), events))))
            });
            let reader = reader.map_err(|error| refusal::no_thread(&error))?;
            let mut store = lock(&self.store);
            store.widen()?;
            let received = (|| -> Result<Received, Refusal> {
                let session = store.begin()?;
                self.absorb(&session)?;
                let (change, damaged) = self.store_events(&session, &read, intake.own, part)?;
                match reader.join() {
                    Ok(read) => read?,
                    Err(_) => return Err(refusal::unforeseen("reading chunks failed")),
                }
                for chunk in &before {
                    session.forget_damaged(&chunk.blob)?;
                }
                for chunk in &damaged {
                    session.mark_damaged(chunk)?;
                }
                for read in &intake.read {
                    session.mark_read(&read.name, read.id.as_str())?;
                }
                for gone in &intake.gone {
                    session.forget_ref(gone)?;
                }
                let events = change.events as u64;
                self.commit(session, change)?;
                self.unwritten.fetch_or(events > 0, Release);
                Ok(Received { events, damaged })
            })();
            // Also after a failure: the memory is of use to nobody.
            store.narrow()?;
            received
        })
    }

    /// Stores the events of chunks as they come, and the issues that they make.
    fn store_events(
        &self,
        session: &Session<'_>,
        read: &Receiver<Read>,
        own: bool,
        part: &mut dyn FnMut(Progress),
    ) -> Result<(Change, Vec<Damaged>), Refusal> {
        let way = if own { Way::Made } else { Way::Received };
        let guard = self.memory();
        let memory: &Memory = &guard;
        let mut change = Change { issues: BTreeMap::new(), events: 0, news: Vec::new(), end: memory.end() };
        let mut damaged = Vec::new();
        thread::scope(|scope| {
            // Storing takes longest, so another thread folds what is stored.
            let (stored, to_fold) = channel();
            let folding = thread::Builder::new().spawn_scoped(scope, move || fold(memory, &to_fold));
            let folding = folding.map_err(|error| refusal::no_thread(&error))?;
            for (chunk, events) in read {
                let events = match events {
                    Ok(events) => events,
                    Err(problem) => {
                        let blob = chunk.blob.to_string();
                        let advice = if problem.is_newer() { "; use the newer program" } else { "" };
                        let problem = format!("{problem}{advice}");
                        damaged.push(Damaged { blob, name: chunk.name, problem });
                        continue;
                    }
                };
                let mut new = Vec::with_capacity(events.len());
                for event in &events {
                    if let Some(place) = session.append(event, way)? {
                        change.end = place;
                        new.push(event);
                    }
                }
                if new.is_empty() {
                    continue;
                }
                change.events += new.len();
                change.news.extend(news(new));
                let _ = stored.send(events);
                part(Progress { stage: SyncStage::Importing, done: change.events as u64 });
            }
            drop(stored);
            let failed = |_| StoreError::Damaged("events could not be folded".to_owned());
            change.issues = folding.join().map_err(failed)?;
            Ok::<_, Refusal>(())
        })?;
        session.count(change.events)?;
        session.project(&change.issues)?;
        Ok((change, damaged))
    }
}

fn listed(chunk: &Damaged) -> Option<Listed> {
    Some(Listed { blob: ObjectId::parse(&chunk.blob)?, name: chunk.name.clone() })
}

/// Keeps those of `chunks` that a ref has, as far as git can tell.
fn keep_held(git: &Git, chunks: &mut Vec<Listed>) -> Result<(), GitError> {
    let mut refs = git.refs(ALL)?;
    refs.retain(|found| found.name.contains("/events/"));
    let tips: Vec<&ObjectId> = refs.iter().map(|found| &found.id).collect();
    match history::list(git, &tips, &[]) {
        // What lies behind something that is missing is not listed.
        Ok(held) if held.iter().any(|held| held.name.is_none()) => {}
        Ok(held) => chunks.retain(|chunk| held.iter().any(|held| held.blob == chunk.blob)),
        Err(GitError::Failed { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The issues that events change, as they are with these. What an issue has seen before changes nothing.
fn fold(memory: &Memory, events: &Receiver<Vec<Sealed>>) -> BTreeMap<IssueId, Issue> {
    let mut issues = BTreeMap::new();
    for event in events.iter().flatten() {
        issues
            .entry(event.issue())
            .or_insert_with_key(|id| memory.fragment(*id).cloned().unwrap_or_default())
            .apply(&event);
    }
    issues
}
