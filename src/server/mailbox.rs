//! What threads leave for one of them that may sleep: [`Mailbox`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::wait::{self, Expected};

/// Notes for one thread, and the word that it sleeps on.
#[derive(Debug)]
pub(crate) struct Mailbox<N> {
    notes: Mutex<Vec<N>>,
    /// Changes with every note and nudge.
    word: AtomicU32,
}

impl<N> Default for Mailbox<N> {
    fn default() -> Self {
        Mailbox { notes: Mutex::default(), word: AtomicU32::new(0) }
    }
}

impl<N> Mailbox<N> {
    pub(crate) fn tell(&self, note: N) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        self.nudge();
    }

    /// Makes the thread look around.
    pub(super) fn nudge(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        wait::wake(&self.word);
    }

    /// Takes what was left since the last time, in order.
    pub(super) fn take(&self) -> Vec<N> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes with every note and nudge: read before the notes are taken, it tells of all that come later.
    pub(super) fn word(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    /// What a sleep waits on that ends with the next note or nudge after `seen`.
    pub(super) fn awaited(&self, seen: u32) -> Expected<'_> {
        Expected { word: &self.word, value: seen }
    }
}
