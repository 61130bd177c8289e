//! Syncing: publish what was made here, fetch and take in what others published, push.
//!
//! Where there is nothing new it is one run of `git fetch`, one that looks at this clone's ref, and a few
//! look-ups. A sync that is killed anywhere is made good by the next one: what is in git but not in the store is
//! read again, and what is published twice is one event. So is a ref of this clone that was put back, lost or
//! renamed. What a remote does not have of other clones, since it was made anew or put back, is published by the
//! clone that finds out.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{Exchange, Notification, Progress, Refusal, SyncDone, SyncResult, SyncStage};

use super::Engine;
use super::follow::lock;
use super::receive::{Intake, Received};
use crate::fault;
use crate::git::{Git, GitError, ObjectId, Pushed, Ref, Remote};
use crate::store::{Damaged, Session, StoreError};
use crate::sync::{Actor, EVENTS_PATTERN, SYNCING, Turn, chunk, history, publish};

/// How much is published by one commit, in bytes of events.
const BATCH: usize = 64 << 20;

/// The longest that a sync may take, in milliseconds.
const MAX_TIMEOUT: u64 = 24 * 60 * 60 * 1000;

/// How long to wait before pushing again to a remote that takes another push just now.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a push is repeated that met another one.
const PUSHES: u32 = 5;

/// What a sync does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both of the others.
    Both,
    /// Fetch and take in.
    Pull,
    /// Publish and push.
    Push,
}

impl Engine {
    pub(super) fn sync(
        &self,
        direction: Direction,
        exchange: &Exchange,
        part: &mut dyn FnMut(Progress),
    ) -> Result<IpcResponse, Refusal> {
        let git = self.git(exchange)?;
        let _turn = Turn::take(&self.dir, SYNCING, git.end())?;
        let remote = self.remote(&git, exchange)?;
        let result = match self.sync_with(&git, &remote, direction, part) {
            // The one of the last time may be gone since, or have another name.
            Err(refusal) if exchange.remote.is_none() => match git.remote(None) {
                Ok(other) if other != remote => self.sync_with(&git, &other, direction, part)?,
                _ => return Err(refusal),
            },
            done => done?,
        };
        let SyncResult { remote, received, sent, .. } = result.clone();
        self.announce(Notification::SyncDone(SyncDone { remote, received, sent }));
        Ok(IpcResponse::Sync(result))
    }

    /// Syncs with `remote`, and tells nobody.
    fn sync_with(
        &self,
        git: &Git,
        remote: &Remote,
        direction: Direction,
        part: &mut dyn FnMut(Progress),
    ) -> Result<SyncResult, Refusal> {
        let mut stage = |stage| part(Progress { stage, done: 0 });
        let mut result = SyncResult {
            remote: remote.name().to_owned(),
            received: 0,
            sent: 0,
            damaged: Vec::new(),
            renamed: false,
        };
        let mut own = None;
        if direction != Direction::Pull {
            stage(SyncStage::Publishing);
            own = self.compare_own_ref(git)?;
            own = self.publish(git, own)?;
        }
        if direction != Direction::Push {
            stage(SyncStage::Fetching);
            let fetched = git.fetch(remote, EVENTS_PATTERN)?;
            stage(SyncStage::Importing);
            let (received, unreadable) = self.take_in(git, remote, fetched, part)?;
            result.received = received.events;
            result.damaged = received.damaged.iter().map(describe).chain(unreadable).collect();
        }
        if direction != Direction::Pull {
            // What the remote turned out to lack.
            self.publish(git, own)?;
            let unpushed = lock(&self.store).unpushed(remote.name())?;
            // A push alone has not looked what the remote has.
            if unpushed > 0 || direction == Direction::Push {
                part(Progress { stage: SyncStage::Pushing, done: 0 });
                result.renamed = self.push(git, remote)?;
                result.sent = unpushed;
            }
        }
        Ok(result)
    }

    /// Git, for as long as `exchange` says.
    pub(super) fn git(&self, exchange: &Exchange) -> Result<Git, GitError> {
        Git::around(&self.dir, timeout(exchange))
    }

    /// The remote that `exchange` names, or the usual one.
    fn remote(&self, git: &Git, exchange: &Exchange) -> Result<Remote, Refusal> {
        // Where it was synced with before, there is no need to ask git which remotes there are.
        let usual = Remote::usual();
        let known = lock(&self.store).read_refs()?;
        if exchange.remote.is_none() && known.keys().any(|name| usual.tracks(name)) {
            return Ok(usual);
        }
        Ok(git.remote(exchange.remote.as_deref())?)
    }

    /// Looks whether this clone's ref is as the store has left it, and makes good what it is not: what is in it and
    /// not in the store is read, and where it may not hold all that the store says it holds, all is published again.
    /// Gives back the commit that it names.
    fn compare_own_ref(&self, git: &Git) -> Result<Option<ObjectId>, Refusal> {
        let actor = Actor::read(&self.dir).map_err(|error| unreadable_actor(&error))?;
        let name = actor.map(|actor| actor.events());
        let (published, known) = {
            let store = lock(&self.store);
            (store.published()?, store.read_refs()?)
        };
        let known = name.as_ref().and_then(|name| known.get(name)).and_then(|tip| ObjectId::parse(tip));
        let now = name.as_ref().map(|name| git.resolve(name)).transpose()?.flatten();
        if now.is_some() && now == known {
            return Ok(now);
        }
        let kept = match (&now, &known) {
            _ if published == 0 => true,
            (Some(now), Some(known)) => git.descends(now, known)?,
            _ => false,
        };
        if !kept {
            self.note(|session| session.publish_again())?;
        }
        if let (Some(name), Some(id)) = (name, now.clone()) {
            let (intake, _) = list(git, vec![Ref { name, id }], known.as_slice())?;
            self.receive(git, Intake { own: true, ..intake }, &mut |_| {})?;
        }
        Ok(now)
    }

    /// Appends what was made here since the last time to this clone's ref, behind `own`: the commit that the ref had
    /// when it was last compared with the store, or that was published since. Gives back the one behind which the
    /// next goes.
    ///
    /// Whatever the ref names by now, for the store vouches for `own` alone: a ref that was put back is brought
    /// forward, and one that has gone another way is left as it is, until the next sync compares it.
    fn publish(&self, git: &Git, mut own: Option<ObjectId>) -> Result<Option<ObjectId>, Refusal> {
        loop {
            let found = lock(&self.store).unpublished(BATCH)?;
            if found.events.is_empty() {
                return Ok(own);
            }
            let actor = self.actor()?;
            let chunks = chunk::write(found.events.iter().map(Vec::as_slice));
            let tip = publish(git, &actor, own.as_ref(), &chunks)?;
            fault::point("sync.published");
            self.note(|session| session.mark_published(found.end, &actor.events(), tip.as_str()))?;
            own = Some(tip);
            if !found.more {
                return Ok(own);
            }
        }
    }

    /// Publishes all that was made here once more.
    ///
    /// # Errors
    /// A refusal that says why it did not work.
    pub fn publish_again(&self, git: &Git) -> Result<(), Refusal> {
        self.note(|session| session.publish_again())?;
        let own = git.resolve(&self.actor()?.events())?;
        self.publish(git, own).map(drop)
    }

    /// Makes this clone a new one to the others, and publishes all that was made here under its new name.
    ///
    /// # Errors
    /// A refusal that says why it did not work.
    pub fn publish_as_another(&self, git: &Git) -> Result<Actor, Refusal> {
        // First of all: whoever is killed from here on has published nothing, whichever name it has by then.
        self.note(|session| session.publish_again())?;
        let renewed = Actor::renew(&self.dir).map_err(|error| unreadable_actor(&error))?;
        fault::point("sync.renamed");
        self.publish(git, None)?;
        Ok(renewed)
    }

    /// Notes something about the exchange, in a transaction of its own.
    fn note(&self, what: impl FnOnce(&Session<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut store = lock(&self.store);
        let session = store.begin()?;
        what(&session)?;
        session.commit()
    }

    /// Reads all of `refs` once more, and says how many events were new.
    ///
    /// # Errors
    /// A refusal that says why it did not work.
    pub fn read_again(&self, git: &Git, refs: Vec<Ref>) -> Result<u64, Refusal> {
        let own = self.actor()?.events();
        let (own, others): (Vec<Ref>, Vec<Ref>) = refs.into_iter().partition(|found| found.name == own);
        let (others, _) = list(git, others, &[])?;
        let (mut own, _) = list(git, own, &[])?;
        // It need not hold all that the store says it holds.
        own.read.clear();
        let received = self.receive(git, others, &mut |_| {})?.events;
        Ok(received + self.receive(git, Intake { own: true, ..own }, &mut |_| {})?.events)
    }

    /// Who this clone is to the others.
    pub(super) fn actor(&self) -> Result<Actor, GitError> {
        Actor::of(&self.dir).map_err(|error| unreadable_actor(&error))
    }

    /// Takes in what is new in `refs`, which are all tracking refs of `remote`.
    fn take_in(
        &self,
        git: &Git,
        remote: &Remote,
        refs: Vec<Ref>,
        part: &mut dyn FnMut(Progress),
    ) -> Result<(Received, Vec<String>), Refusal> {
        let known = lock(&self.store).read_refs()?;
        let of_remote = |name: &&String| remote.tracks(name);
        let gone: Vec<String> = known
            .keys()
            .filter(of_remote)
            .filter(|name| refs.iter().all(|r| r.name != **name))
            .cloned()
            .collect();
        let actor = Actor::read(&self.dir).map_err(|error| unreadable_actor(&error))?;
        let own = actor.map(|actor| actor.tracking(remote));
        if let Some(own) = &own {
            let before = known.get(own).and_then(|tip| ObjectId::parse(tip));
            let now = refs.iter().find(|found| found.name == *own);
            let kept = match (&before, now) {
                (Some(before), Some(now)) => *before == now.id || git.descends(&now.id, before)?,
                (before, _) => before.is_none(),
            };
            // Somebody has emptied the remote, made it anew, or put it back to what it was once.
            if !kept {
                self.note(|session| session.forget_pushed(remote.name()))?;
            }
        }
        if self.may_lack(git, remote, own.as_deref(), &known, &refs)? {
            self.adopt(git, remote, &refs)?;
        }
        let tips: Vec<ObjectId> = known.values().filter_map(|tip| ObjectId::parse(tip)).collect();
        let new: Vec<Ref> = refs
            .into_iter()
            .filter(|found| known.get(&found.name).is_none_or(|tip| tip != found.id.as_str()))
            .collect();
        let (listing, unreadable) = list(git, new, &tips)?;
        let received = self.receive(git, Intake { gone, ..listing }, part)?;
        Ok((received, unreadable))
    }

    /// Whether the remote, which has `refs` now, may not have all that others have published: it has lost what was
    /// `known` of them, or is new to this clone, whose own ref is `own`.
    fn may_lack(
        &self,
        git: &Git,
        remote: &Remote,
        own: Option<&str>,
        known: &BTreeMap<String, String>,
        refs: &[Ref],
    ) -> Result<bool, Refusal> {
        if !lock(&self.store).has_received()? {
            return Ok(false);
        }
        let mut of_others =
            known.iter().filter(|(name, _)| remote.tracks(name) && Some(name.as_str()) != own).peekable();
        if of_others.peek().is_none() {
            return Ok(true);
        }
        let mut moved = Vec::new();
        for (name, tip) in of_others {
            match refs.iter().find(|found| found.name == *name) {
                None => return Ok(true),
                Some(now) if now.id.as_str() != tip => moved.extend(ObjectId::parse(tip)),
                Some(_) => {}
            }
        }
        let now: Vec<&ObjectId> = refs.iter().map(|found| &found.id).collect();
        Ok(!moved.is_empty() && !git.all_within(&moved, &now)?)
    }

    /// Takes over what others have published and the remote, which has `refs`, does not have: by way of this clone all
    /// others get it again. What two clones take over is one event still.
    fn adopt(&self, git: &Git, remote: &Remote, refs: &[Ref]) -> Result<(), Refusal> {
        let (listing, _) = list(git, refs.to_vec(), &[])?;
        let mut held = HashSet::new();
        history::read(git, &listing.chunks, &mut |_, events| {
            held.extend(events.unwrap_or_default().iter().map(|event| *event.id().as_bytes()));
        })?;
        Ok(self.note(|session| session.adopt(remote.name(), &held))?)
    }

    /// Pushes this clone's ref. Says whether it had to take a new name, since another clone, such as a copy
    /// of this one, has pushed something else under the old one.
    fn push(&self, git: &Git, remote: &Remote) -> Result<bool, Refusal> {
        let actor = self.actor()?;
        if self.push_as(git, remote, &actor)? {
            return Ok(false);
        }
        let renewed = self.publish_as_another(git)?;
        if !self.push_as(git, remote, &renewed)? {
            let said = "the remote already has the ref of a name that was made just now".to_owned();
            return Err(GitError::Failed { what: "push".to_owned(), said }.into());
        }
        // All that it named is in the new one.
        git.delete_ref(&actor.events())?;
        Ok(true)
    }

    /// Pushes the ref of `actor`; says no where the remote's one has gone another way.
    fn push_as(&self, git: &Git, remote: &Remote, actor: &Actor) -> Result<bool, Refusal> {
        let Some(tip) = git.resolve(&actor.events())? else { return Ok(true) };
        let spec = format!("{tip}:{}", actor.events());
        for attempt in 1.. {
            match git.push(remote, &spec, None)? {
                Pushed::Done => break,
                Pushed::Diverged => return Ok(false),
                Pushed::Contended(reason) if attempt == PUSHES => {
                    return Err(GitError::Failed { what: "push".to_owned(), said: reason }.into());
                }
                Pushed::Contended(_) => std::thread::sleep(PAUSE),
            }
        }
        self.note(|session| {
            session.mark_pushed(remote.name())?;
            // What it holds need not be read when it comes back.
            session.mark_read(&actor.tracking(remote), tip.as_str())
        })?;
        Ok(true)
    }
}

/// What is new in the refs `new` beyond the histories of `known`, and which of them git cannot read.
pub(super) fn list(git: &Git, new: Vec<Ref>, known: &[ObjectId]) -> Result<(Intake, Vec<String>), GitError> {
    let known: Vec<&ObjectId> = known.iter().collect();
    let tips: Vec<&ObjectId> = new.iter().map(|new| &new.id).collect();
    match history::list(git, &tips, &known) {
        Ok(chunks) => return Ok((Intake { chunks, read: new, ..Intake::default() }, Vec::new())),
        Err(GitError::Failed { .. }) => {}
        Err(error) => return Err(error),
    }
    // One of them is damaged, and the others need not suffer for it.
    let (mut intake, mut unreadable) = (Intake::default(), Vec::new());
    for new in new {
        match history::list(git, &[&new.id], &known) {
            Ok(chunks) => {
                intake.chunks.extend(chunks);
                intake.read.push(new);
            }
            Err(GitError::Failed { said, .. }) => unreadable.push(format!("{}: {said}", new.name)),
            Err(error) => return Err(error),
        }
    }
    Ok((intake, unreadable))
}

/// How long git has for it.
pub(super) fn timeout(exchange: &Exchange) -> Duration {
    Duration::from_millis(exchange.timeout_ms.clamp(1, MAX_TIMEOUT))
}

/// Names a chunk and what is wrong with it.
fn describe(chunk: &Damaged) -> String {
    let name = chunk.name.as_ref().map_or_else(String::new, |name| format!("chunk {name}, "));
    format!("{name}blob {}: {}", chunk.blob, chunk.problem)
}

fn unreadable_actor(error: &std::io::Error) -> GitError {
    GitError::File(format!("the file `actor` in the state folder cannot be used: {error}"))
}
