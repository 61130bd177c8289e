//! The [`Engine`]: one command in, one answer out.
//!
//! The daemon, which asks it from two threads, and a command that works without a daemon use the same
//! engine, so both give the same answers. All issues are held folded in memory; reads are answered
//! from there, and only a search by text asks the store. A write is one transaction of the store,
//! durable before it is answered.
//!
//! Several processes may have engines on one folder. A mapped counter tells each, without a system
//! call, when another one has written; it then reads the new events before its next answer.
//!
//! A sync and the commands about locks run git, and wait for it; nothing else does.
//!
//! Transports, and what a daemon does when it is told to stop, are not here.

mod cursor;
mod dependencies;
mod draft;
mod exchange;
mod follow;
mod import;
mod limits;
mod locking;
mod memory;
mod news;
mod outcome;
mod read;
mod receive;
mod refusal;
mod resolve;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, OnceLock, RwLock, TryLockError};
use std::time::Duration;

use libgrite_ipc::grite::{Notification, Progress, Refusal};
use libgrite_ipc::{ChangeCounter, IpcCommand, IpcResponse};

use crate::doctor;
use crate::folder;
use crate::store::{FileId, Store, StoreError};
use exchange::Direction;
use follow::lock;
use memory::Memory;

pub use limits::{Flaw, MAX_ISSUE, MAX_TEXT, check_foreign};

/// Answers commands about the issues of one folder.
pub struct Engine {
    dir: PathBuf,
    /// Which file the store is.
    file: FileId,
    counter: ChangeCounter,
    /// The counter's value at which `memory` held all that was committed. Written with `store` locked.
    synced: AtomicU64,
    /// The counter's value for this engine's own last transaction, from just before that moves the counter. While the
    /// counter has it, `memory` lacks this transaction at most, and nobody was told of it then. Written likewise.
    writing: AtomicU64,
    /// Moves whenever an answer may have changed.
    generation: AtomicU64,
    memory: RwLock<Memory>,
    /// The connection that writes and that catches up. Whoever changes `memory` holds this first.
    store: Mutex<Store>,
    /// Set while much of what is durable is in the store's log alone.
    unwritten: AtomicBool,
    /// A connection for searches, so that none waits for a write; opened by the first one.
    finder: Mutex<Option<Store>>,
    observer: OnceLock<Observer>,
}

/// Is told of every change of an issue, in the order in which they became durable, once reads show it, and of
/// syncs and locks.
pub type Observer = Box<dyn Fn(Notification) + Send + Sync>;

impl Engine {
    /// Opens the store of the folder `dir`, and makes nothing where there is none.
    ///
    /// # Errors
    /// [`OpenError`] when the folder, its store or its change counter cannot be used.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        check(dir)?;
        let failed = |cause| OpenError { dir: dir.to_owned(), cause };
        let counter = ChangeCounter::open(dir.join("changes"))
            .map_err(|error| failed(OpenCause::Store(error.into())))?;
        let mut store = Store::open(dir).map_err(|error| failed(OpenCause::Store(error)))?;
        let snapshot = store.snapshot().map_err(|error| failed(OpenCause::Store(error)))?;
        // A value that the counter does not have, so that what was committed since the snapshot is read.
        let before = counter.load().wrapping_sub(1);
        let engine = Engine {
            dir: dir.to_owned(),
            file: store.file(),
            synced: AtomicU64::new(before),
            counter,
            writing: AtomicU64::new(before),
            generation: AtomicU64::new(0),
            memory: RwLock::new(Memory::from(snapshot)),
            store: Mutex::new(store),
            unwritten: AtomicBool::new(false),
            finder: Mutex::new(None),
            observer: OnceLock::new(),
        };
        engine.catch_up().map_err(|error| failed(OpenCause::Store(error)))?;
        Ok(engine)
    }

    /// As [`open`](Engine::open), and makes a store where there is none.
    ///
    /// # Errors
    /// As `open`.
    pub fn make(dir: &Path) -> Result<Self, OpenError> {
        Store::make(dir)
            .map_err(|error| OpenError { dir: dir.to_owned(), cause: OpenCause::Store(error) })?;
        Engine::open(dir)
    }

    /// Waits for another process that writes to the store for no longer than `patience`.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be told.
    pub fn limit_patience(&self, patience: Duration) -> Result<(), StoreError> {
        lock(&self.store).limit_patience(patience)
    }

    /// Tells `observer` of all changes from now on, whoever makes them. Only the first one is told.
    pub fn observe(&self, observer: Observer) {
        let _ = self.observer.set(observer);
    }

    /// Whether the folder still holds the store that was opened, as far as can be told. Where it was removed, or
    /// another one was put in its place, nobody would find what is written here.
    pub fn is_in_place(&self) -> bool {
        Store::is_at(&self.dir, self.file)
    }

    /// Carries out `command`. What cannot be carried out is an answer, too.
    pub fn execute(&self, command: &IpcCommand) -> IpcResponse {
        self.execute_in_parts(command, &mut |_| {})
    }

    /// As [`execute`](Engine::execute), and says meanwhile how far it is, where that is wished for.
    pub fn execute_in_parts(&self, command: &IpcCommand, part: &mut dyn FnMut(Progress)) -> IpcResponse {
        self.answer(command, part).unwrap_or_else(IpcResponse::Refused)
    }

    /// Whether a write would wait by now: for a transaction of another thread, or of another process.
    pub fn is_written_to(&self) -> bool {
        let mut store = match self.store.try_lock() {
            Ok(store) => store,
            Err(TryLockError::Poisoned(store)) => store.into_inner(),
            Err(TryLockError::WouldBlock) => return true,
        };
        matches!(store.try_begin(), Ok(None))
    }

    /// Moves what a sync has left in the store's log to where it stays, so that no later write has to: for
    /// when the sync was answered. Nobody waits for it.
    pub fn write_back(&self) {
        if self.unwritten.swap(false, Acquire) {
            // Where it fails, a later write does it.
            let _ = Store::write_back(&self.dir);
        }
    }

    fn answer(&self, command: &IpcCommand, part: &mut dyn FnMut(Progress)) -> Result<IpcResponse, Refusal> {
        match command {
            IpcCommand::Ping => Ok(IpcResponse::Pong),
            IpcCommand::Stop => Ok(IpcResponse::Stopping),
            IpcCommand::Status => self.status(),
            IpcCommand::IssueList { filter, limit, cursor } => self.list(filter, *limit, cursor.as_deref()),
            IpcCommand::IssueShow { id } => self.show(id),
            IpcCommand::IssueDependencies { id } => self.dependencies(id),
            IpcCommand::IssueExport { limit, cursor } => self.export(*limit, cursor.as_deref()),
            IpcCommand::IssueCreate { write, title, body, labels, assignees } => {
                self.create(write, title, body, labels, assignees)
            }
            IpcCommand::IssueUpdate { write, id, changes } => self.update(write, id, changes),
            IpcCommand::IssueClose { write, id } => self.close(write, id),
            IpcCommand::IssueReopen { write, id } => self.reopen(write, id),
            IpcCommand::IssueComment { write, id, body } => self.comment(write, id, body),
            IpcCommand::IssueClaim { write, id } => self.claim(write, id),
            IpcCommand::IssueImport { issues } => self.import(issues),
            IpcCommand::Sync { exchange } => self.sync(Direction::Both, exchange, part),
            IpcCommand::SyncPull { exchange } => self.sync(Direction::Pull, exchange, part),
            IpcCommand::SyncPush { exchange } => self.sync(Direction::Push, exchange, part),
            IpcCommand::LockAcquire { resource, ttl_ms, margin_ms, write, exchange } => {
                self.lock_acquire(resource, *ttl_ms, *margin_ms, write, exchange)
            }
            IpcCommand::LockRenew { resource, ttl_ms, write, exchange } => {
                self.lock_renew(resource, *ttl_ms, write, exchange)
            }
            IpcCommand::LockRelease { resource, write, exchange } => {
                self.lock_release(resource, write, exchange)
            }
            IpcCommand::LockStatus { resource, exchange } => self.lock_status(resource.as_deref(), exchange),
            IpcCommand::Doctor { fix } => doctor::answer(&self.dir, *fix),
        }
    }
}

/// Looks whether the folder `dir` has a store, and touches nothing.
///
/// # Errors
/// [`OpenError`] where it has none, which says whether it had one.
pub fn check(dir: &Path) -> Result<(), OpenError> {
    let cause = if !dir.is_dir() {
        OpenCause::Missing
    } else if Store::is_in(dir) {
        return Ok(());
    } else if folder::had_store(dir) {
        OpenCause::Lost
    } else {
        OpenCause::NoState
    };
    Err(OpenError { dir: dir.to_owned(), cause })
}

/// Why a folder's issues cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the store in {}: {cause}", dir.display())]
pub struct OpenError {
    dir: PathBuf,
    cause: OpenCause,
}

/// What stood in the way.
#[derive(Debug, thiserror::Error)]
pub enum OpenCause {
    /// There is no such folder.
    #[error("there is no such folder")]
    Missing,
    /// Nothing in the folder tells of a tracker.
    #[error("it is no state folder")]
    NoState,
    /// The folder had a store.
    #[error("it is lost: the file issues.db is gone, or empty")]
    Lost,
    /// The store, or the change counter beside it, could not be opened or read.
    #[error("{0}")]
    Store(StoreError),
}

impl OpenError {
    /// What stood in the way.
    pub fn cause(&self) -> &OpenCause {
        &self.cause
    }
}

#[cfg(test)]
mod tests;
