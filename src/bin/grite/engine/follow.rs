//! How memory follows the store, whoever writes: [`Engine::generation`] and [`Engine::commit`].
//!
//! A writer bumps the counter inside its transaction, just before it commits. So whoever finds the
//! counter where it was has missed nothing. Whoever finds it moved starts a transaction of its own, in
//! which nobody else can bump: what it reads there is complete, also when the other writer died between
//! bump and commit. Where it cannot, because another process writes at that moment, it reads what is
//! committed, which is all that anybody was told of, and the next one looks again; behind a sync of this
//! process that waits for the other one it has to wait as well. A writer wakes those who [`follow`](Engine::follow)
//! after its commit.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use libgrite_ipc::grite::{IssueChange, Notification};

use super::Engine;
use super::draft::Change;
use super::memory::Memory;
use super::news::news;
use crate::model::Sealed;
use crate::store::{Sequence, Session, StoreError};

/// How long to sleep while another process is writing.
const PAUSE: Duration = Duration::from_millis(100);

impl Engine {
    /// A number that is another one whenever the answer to any read may be another one.
    ///
    /// Takes in what other processes have written first. Where nothing has changed it makes no
    /// system call and takes no lock.
    pub fn generation(&self) -> u64 {
        match self.catch_up() {
            Ok(()) => self.generation.load(Acquire),
            // What the answers are now is not known, so no earlier one may stand for them.
            Err(_) => self.generation.fetch_add(1, Release).wrapping_add(1),
        }
    }

    /// Takes what other processes have committed into memory.
    pub(super) fn catch_up(&self) -> Result<(), StoreError> {
        if self.is_current() {
            return Ok(());
        }
        let mut store = lock(&self.store);
        if self.is_current() {
            return Ok(());
        }
        if let Some(session) = store.try_begin()? {
            return self.absorb(&session);
        }
        let events = store.events_after(self.memory().end())?;
        self.learn(&events);
        Ok(())
    }

    /// Within a transaction that keeps others from writing: takes what they have committed into memory.
    pub(super) fn absorb(&self, session: &Session<'_>) -> Result<(), StoreError> {
        let value = self.counter.load();
        if value != self.synced.load(Relaxed) {
            let events = session.events_after(self.memory().end())?;
            self.learn(&events);
            self.synced.store(value, Release);
        }
        Ok(())
    }

    /// Takes into memory what others have committed. Only with `store` locked.
    fn learn(&self, events: &[(Sequence, Sealed)]) {
        if !events.is_empty() {
            let mut memory = self.memory_mut();
            events.iter().for_each(|(place, event)| memory.apply(*place, event));
            // Moves before the lock is released: no answer from the new memory is older than it.
            self.generation.fetch_add(1, Release);
            drop(memory);
            self.tell(news(events.iter().map(|(_, event)| event)));
        }
    }

    /// Commits `session`, in which the events of `change` were written, and takes them into memory.
    ///
    /// [`absorb`](Engine::absorb) must have been called in that session.
    pub(super) fn commit(&self, session: Session<'_>, change: Change) -> Result<(), StoreError> {
        if change.is_empty() {
            return session.commit();
        }
        let value = self.counter.load().wrapping_add(1);
        self.writing.store(value, Release);
        self.counter.bump();
        session.commit()?;
        // From here on others may commit, and move the counter on.
        let Change { issues, events, news, end } = change;
        let mut memory = self.memory_mut();
        memory.take(issues, events, end);
        self.generation.fetch_add(1, Release);
        self.synced.store(value, Release);
        drop(memory);
        self.counter.wake();
        self.tell(news);
        Ok(())
    }

    /// Tells the observer, if there is one, of what is in memory by now. Only with `store` locked, so that it
    /// hears of all in the order of the log.
    fn tell(&self, news: Vec<IssueChange>) {
        news.into_iter().map(Notification::IssueChanged).for_each(|told| self.announce(told));
    }

    /// Tells the observer, if there is one, of something else than a change of an issue.
    pub(super) fn announce(&self, notification: Notification) {
        if let Some(observer) = self.observer.get() {
            observer(notification);
        }
    }

    /// Takes in what other processes have written, sleeps until one writes again, somebody calls
    /// [`rouse`](Engine::rouse), or `timeout` has passed, and takes that in, too.
    ///
    /// # Errors
    /// [`StoreError`] at once when what they have written cannot be read.
    pub fn follow(&self, timeout: Duration) -> Result<(), StoreError> {
        let seen = self.counter.load();
        self.catch_up()?;
        // A commit that the counter stands for already may be told of before the sleep.
        let timeout = if self.is_current() { timeout } else { timeout.min(PAUSE) };
        self.counter.park(seen, timeout);
        self.catch_up()
    }

    /// Ends the sleep of all who [`follow`](Engine::follow).
    pub fn rouse(&self) {
        self.counter.bump();
        self.counter.wake();
    }

    pub(super) fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only with `store` locked.
    fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether memory holds all that was committed and anybody was told of.
    ///
    /// While this engine itself writes, the counter has moved for a transaction of its own, and moves on before
    /// anybody else's is committed: a reader need wait neither for the disk nor for the memory to change.
    fn is_current(&self) -> bool {
        // `synced` pairs with the stores in `absorb` and `commit`, `writing` with the one in `commit`: whoever
        // sees the new value also sees the memory that it speaks of.
        let (synced, writing) = (self.synced.load(Acquire), self.writing.load(Acquire));
        let value = self.counter.load();
        value == synced || value == writing
    }
}

/// A thread that panicked with this lock held left no half-made change: transactions roll back, and
/// memory is changed only after a commit.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use libgrite_ipc::IpcResponse;

    use super::super::tests::{create, open, show};
    use crate::store::Store;

    #[test]
    fn what_another_engine_wrote_is_in_the_next_answer() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (open(dir.path()), open(dir.path()));
        let before = here.generation();
        assert_eq!(here.generation(), before);
        let id = create(&there, "written elsewhere");
        assert_ne!(here.generation(), before);
        assert!(matches!(show(&here, &id), IpcResponse::IssueShow(_)));
        assert_eq!(show(&here, &id), show(&there, &id));
        assert_eq!(show(&open(dir.path()), &id), show(&here, &id));
    }

    #[test]
    fn a_counter_that_moved_without_a_commit_costs_one_look() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        let id = create(&engine, "before");
        engine.counter.bump();
        let generation = engine.generation();
        assert_eq!(engine.generation(), generation);
        assert!(matches!(show(&engine, &id), IpcResponse::IssueShow(_)));
    }

    #[test]
    fn what_another_engine_wrote_right_after_a_commit_is_in_the_next_answer() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (Arc::new(open(dir.path())), open(dir.path()));
        let (shown, answers) = channel();
        let (reader, first) = (Arc::downgrade(&here), AtomicBool::new(true));
        here.observe(Box::new(move |_| {
            if !first.swap(false, Ordering::Relaxed) {
                return;
            }
            let id = create(&there, "right after it");
            let (here, shown) = (reader.upgrade().unwrap(), shown.clone());
            let (done, answered) = channel();
            std::thread::spawn(move || {
                shown.send(show(&here, &id)).unwrap();
                let _ = done.send(());
            });
            // One that is given before this commit has ended comes now, any other one when this returns.
            let _ = answered.recv_timeout(Duration::from_millis(200));
        }));
        create(&here, "committed");
        let answer = answers.recv().unwrap();
        assert!(matches!(answer, IpcResponse::IssueShow(_)), "{answer:?}");
    }

    #[test]
    fn reads_do_not_wait_while_a_commit_comes_into_memory_unless_another_engine_has_written_since() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (open(dir.path()), open(dir.path()));
        std::thread::scope(|scope| {
            let reading = here.memory();
            let writer = scope.spawn(|| create(&here, "committed"));
            let store = Store::open(dir.path()).unwrap();
            while store.events_after(0).unwrap().is_empty() {
                std::thread::yield_now();
            }
            assert!(here.is_current());
            let id = create(&there, "right after it");
            assert!(!here.is_current());
            drop(reading);
            writer.join().unwrap();
            assert!(matches!(show(&here, &id), IpcResponse::IssueShow(_)));
        });
    }

    #[test]
    fn reads_do_not_wait_for_another_process_that_writes_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (open(dir.path()), open(dir.path()));
        let id = create(&there, "committed");
        let mut store = Store::open(dir.path()).unwrap();
        let long = store.begin().unwrap();
        // It may be about to commit.
        there.counter.bump();
        for engine in [&here, &open(dir.path())] {
            assert!(matches!(show(engine, &id), IpcResponse::IssueShow(_)));
            assert!(!engine.is_current(), "what it commits is looked for");
        }
        drop(long);
        here.generation();
        assert!(here.is_current());
    }

    #[test]
    fn engines_that_write_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let engines: Vec<_> = (0..3).map(|_| open(dir.path())).collect();
        std::thread::scope(|scope| {
            for (number, engine) in engines.iter().enumerate() {
                scope.spawn(move || {
                    for turn in 0..10 {
                        let id = create(engine, &format!("{number} {turn}"));
                        assert!(matches!(show(engine, &id), IpcResponse::IssueShow(_)));
                    }
                });
            }
        });
        for engine in &engines {
            engine.generation();
            assert_eq!(engine.memory().len(), 30);
        }
    }
}
