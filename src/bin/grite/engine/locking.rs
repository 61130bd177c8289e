//! The commands about locks: which board keeps them, and what is answered.

use std::time::{Duration, Instant};

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{
    Exchange, LockChange, LockState, LocksResult, Notification, Refusal, RefusalCode, WriteContext,
};

use super::exchange::timeout;
use super::limits::{self, MAX_KEY, MAX_NAME, MAX_SOURCE};
use super::outcome::Outcome as Done;
use super::write::hash;
use super::{Engine, refusal};
use crate::git::GitError;
use crate::locks::rules::{self, Outcome};
use crate::locks::{Board, BoardError, Held, LocalBoard, Record, RemoteBoard};
use crate::model::Moment;
use crate::store::{Store, StoreError};

/// The longest that a lock is held without being renewed, in milliseconds: a day.
const MAX_TTL: u64 = 24 * 60 * 60 * 1000;

/// The largest margin for clocks that differ, in milliseconds: an hour.
const MAX_MARGIN: u64 = 60 * 60 * 1000;

impl Engine {
    pub(super) fn lock_acquire(
        &self,
        resource: &str,
        ttl: u64,
        margin: u64,
        write: &WriteContext,
        exchange: &Exchange,
    ) -> Result<IpcResponse, Refusal> {
        let ttl = check_ttl(ttl)?;
        if margin > MAX_MARGIN {
            return Err(refusal::invalid("margin", format!("it is more than {MAX_MARGIN} ms")));
        }
        let clone = self.check(resource, write)?;
        let (outcome, remote) = self.on_board(exchange, |board| {
            let wanted = Record {
                v: Record::VERSION,
                resource: resource.to_owned(),
                holder: write.actor.clone(),
                clone: clone.clone(),
                key: write.idempotency_key.clone(),
                from: 0,
                until: 0,
                margin: i64::try_from(margin).unwrap_or(i64::MAX),
            };
            rules::acquire(board, &wanted, ttl, &now)
        })?;
        Ok(self.conclude(resource, outcome, remote)?.into())
    }

    pub(super) fn lock_renew(
        &self,
        resource: &str,
        ttl: u64,
        write: &WriteContext,
        exchange: &Exchange,
    ) -> Result<IpcResponse, Refusal> {
        let end = Instant::now() + timeout(exchange);
        let ttl = check_ttl(ttl)?;
        let clone = self.check(resource, write)?;
        let command = hash(&("renew", &write.actor, resource, ttl, &exchange.remote));
        // The lock may be another one's by now, so a repeat looks.
        let kept = match self.recall(write, &command)? {
            Some(Done::Lock { record, .. }) => record,
            _ => None,
        };
        let (outcome, remote) = self.on_board(exchange, |board| {
            rules::renew(board, resource, (&write.actor, &clone), kept.as_ref(), ttl, &now)
        })?;
        if outcome == Outcome::Free {
            return Err(refusal::not_locked(resource));
        }
        let done = self.conclude(resource, outcome, remote)?;
        if kept.is_none() {
            self.remember(write, command, &done, end);
        }
        Ok(done.into())
    }

    pub(super) fn lock_release(
        &self,
        resource: &str,
        write: &WriteContext,
        exchange: &Exchange,
    ) -> Result<IpcResponse, Refusal> {
        let end = Instant::now() + timeout(exchange);
        let clone = self.check(resource, write)?;
        let command = hash(&("release", &write.actor, resource, &exchange.remote));
        if let Some(before) = self.recall(write, &command)? {
            return Ok(before.into());
        }
        let (outcome, remote) =
            self.on_board(exchange, |board| rules::release(board, resource, (&write.actor, &clone)))?;
        let done = self.conclude(resource, outcome, remote)?;
        self.remember(write, command, &done, end);
        Ok(done.into())
    }

    pub(super) fn lock_status(
        &self,
        resource: Option<&str>,
        exchange: &Exchange,
    ) -> Result<IpcResponse, Refusal> {
        if let Some(resource) = resource {
            limits::check_name("resource", resource, MAX_SOURCE)?;
        }
        let (held, remote) = self.on_board(exchange, |board| match resource {
            Some(resource) => Ok(board.read(resource)?.into_iter().collect()),
            None => board.all(),
        })?;
        let mut locks: Vec<LockState> =
            held.iter().map(|Held { record, .. }| state(&record.resource, Some(record))).collect();
        locks.sort_by(|a, b| a.resource.cmp(&b.resource));
        Ok(IpcResponse::Locks(LocksResult { locks, remote }))
    }

    /// What a command did that changed a lock; tells of the change.
    fn conclude(&self, resource: &str, outcome: Outcome, remote: Option<String>) -> Result<Done, Refusal> {
        let record = match outcome {
            Outcome::Ours(record) => Some(record),
            Outcome::Free => None,
            Outcome::Theirs(record) => return Err(refusal::locked(&state(resource, Some(&record)))),
            Outcome::Over => return Err(refusal::over(resource)),
            Outcome::Busy => return Err(refusal::contended(resource)),
        };
        let LockState { holder, remaining_ms, .. } = state(resource, record.as_ref());
        let resource = resource.to_owned();
        let change = LockChange { resource: resource.clone(), holder, remaining_ms };
        self.announce(Notification::LockChanged(change));
        Ok(Done::Lock { resource, record, remote })
    }

    /// What this command did before, if it is a repeat.
    fn recall(&self, write: &WriteContext, command: &[u8]) -> Result<Option<Done>, Refusal> {
        // Whoever writes to the store for long keeps nobody from a lock that is not in it.
        let before = Store::open(&self.dir)?.answer(&write.idempotency_key)?;
        Done::recall(before, &write.idempotency_key, command)
    }

    /// Keeps what a command did for its repeat: by then another one of the same author may have the lock. Waits for
    /// whoever writes until `end` at most.
    fn remember(&self, write: &WriteContext, command: Vec<u8>, done: &Done, end: Instant) {
        let mut patience = end.saturating_duration_since(Instant::now());
        if let Done::Lock { record: Some(record), .. } = done {
            // Its holder is to hear of it while there is something left of it.
            patience = patience.min(Duration::from_millis(record.remaining(now()) / 2));
        }
        let keep = || -> Result<(), StoreError> {
            let mut store = Store::open(&self.dir)?;
            store.limit_patience(patience)?;
            let session = store.begin()?;
            done.remember(&session, &write.idempotency_key, command, now())?;
            session.commit()
        };
        // It is done; where this fails, its answer may arrive nevertheless.
        let _ = keep();
    }

    /// Checks what a command about a lock says, and who this clone is.
    fn check(&self, resource: &str, write: &WriteContext) -> Result<String, Refusal> {
        limits::check_name("resource", resource, MAX_SOURCE)?;
        limits::check_name("actor", &write.actor, MAX_NAME)?;
        limits::check_name("idempotency key", &write.idempotency_key, MAX_KEY)?;
        Ok(self.actor()?.to_string())
    }

    /// Uses the board of the remote that `exchange` means, or where there is no remote that of this clone.
    fn on_board<T>(
        &self,
        exchange: &Exchange,
        work: impl FnOnce(&mut dyn Board) -> Result<T, BoardError>,
    ) -> Result<(T, Option<String>), Refusal> {
        let remote = self
            .git(exchange)
            .and_then(|git| git.remote(exchange.remote.as_deref()).map(|remote| (git, remote)));
        match remote {
            Ok((git, remote)) => {
                let mut board = RemoteBoard { git: &git, remote: &remote, state: &self.dir };
                Ok((work(&mut board)?, Some(remote.name().to_owned())))
            }
            Err(GitError::NoRemotes | GitError::NoRepository(_)) if exchange.remote.is_none() => {
                Ok((work(&mut LocalBoard(&self.store))?, None))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn check_ttl(ttl: u64) -> Result<i64, Refusal> {
    match i64::try_from(ttl) {
        Ok(milliseconds @ 1..) if ttl <= MAX_TTL => Ok(milliseconds),
        _ => Err(refusal::invalid("ttl", format!("it must be from 1 to {MAX_TTL} ms, which is a day"))),
    }
}

/// The lock of `resource` at this moment: nobody's where there is no record.
pub(super) fn state(resource: &str, record: Option<&Record>) -> LockState {
    let now = now();
    LockState {
        resource: resource.to_owned(),
        holder: record.map(|record| record.holder.clone()),
        clone: record.map(|record| record.clone.clone()),
        remaining_ms: record.map_or(0, |record| record.remaining(now)),
        free_in_ms: record.map_or(0, |record| record.free_in(now)),
    }
}

fn now() -> i64 {
    Moment::now().milliseconds()
}

impl From<BoardError> for Refusal {
    fn from(error: BoardError) -> Self {
        match error {
            BoardError::Git(error) => error.into(),
            BoardError::Store(error) => error.into(),
            BoardError::Newer(..) => Refusal {
                code: RefusalCode::Unsupported,
                message: error.to_string(),
                hint: "use the newer version of this program".to_owned(),
                retryable: false,
            },
            BoardError::Unreadable(_) => Refusal {
                code: RefusalCode::Integrity,
                message: error.to_string(),
                hint: "run `grite doctor --fix`, which takes it away".to_owned(),
                retryable: false,
            },
        }
    }
}
