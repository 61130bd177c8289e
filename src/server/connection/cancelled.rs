//! Which unanswered requests a client has given up: [`Cancelled`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The ids of these requests. While there are none, whoever answers one looks at a number and takes no lock.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    ids: Mutex<Vec<u64>>,
    /// How many they are; changes with the lock held.
    count: AtomicU32,
}

impl Cancelled {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    #[inline]
    pub(super) fn contains(&self, id: u64) -> bool {
        !self.is_empty() && self.lock().contains(&id)
    }

    /// Notes one. Not all need to be under way: of `most` of them the oldest is the one most likely not to matter.
    pub(super) fn note(&self, id: u64, most: usize) {
        let mut ids = self.lock();
        if ids.len() >= most {
            ids.remove(0);
        }
        ids.push(id);
        self.count_all(&ids);
    }

    /// Forgets one that was answered. When all are, other notes came too late; one of a request that was begun meanwhile
    /// is made with the lock held, and so after that was counted.
    pub(super) fn forget(&self, id: u64, all_answered: impl FnOnce() -> bool) {
        let mut ids = self.lock();
        let all_answered = all_answered();
        ids.retain(|&other| !all_answered && other != id);
        self.count_all(&ids);
    }

    /// With the lock held that these are behind.
    fn count_all(&self, ids: &[u64]) {
        self.count.store(ids.len() as u32, Ordering::Release);
    }

    /// Nothing panics with the lock held.
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
