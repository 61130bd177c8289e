//! What threads leave for one of them that may sleep: [`Mailbox`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::wait::{self, Expected};

/// Notes for one thread, and the word that it sleeps on.
#[derive(Debug)]
pub(crate) struct Mailbox<N, S = AtomicU32> {
    notes: Mutex<Vec<N>>,
    /// Changes with every note and nudge.
    signal: S,
}

/// A word that the thread of a mailbox sleeps on. A model brings its own.
pub(crate) trait Signal: Default {
    /// Changes the word, then wakes who sleeps on it.
    fn change(&self);
    /// The word now. Acquire.
    fn load(&self) -> u32;
}

impl Signal for AtomicU32 {
    fn change(&self) {
        self.fetch_add(1, Ordering::SeqCst);
        wait::wake(self);
    }

    fn load(&self) -> u32 {
        self.load(Ordering::Acquire)
    }
}

impl<N, S: Signal> Default for Mailbox<N, S> {
    fn default() -> Self {
        Mailbox { notes: Mutex::default(), signal: S::default() }
    }
}

impl<N, S: Signal> Mailbox<N, S> {
    pub(crate) fn tell(&self, note: N) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        self.nudge();
    }

    /// Makes the thread look around.
    pub(super) fn nudge(&self) {
        self.signal.change();
    }

    /// Takes what was left since the last time, in order.
    pub(super) fn take(&self) -> Vec<N> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes with every note and nudge: read before the notes are taken, it tells of all that come later.
    pub(super) fn word(&self) -> u32 {
        Signal::load(&self.signal)
    }
}

impl<N> Mailbox<N> {
    /// What a sleep waits on that ends with the next note or nudge after `seen`.
    pub(super) fn awaited(&self, seen: u32) -> Expected<'_> {
        Expected { word: &self.signal, value: seen }
    }
}

/// Loom models of a thread that sleeps beside its mailbox, as pollers and watches do.
#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;

    use loom::sync::Condvar;
    use loom::thread;

    use super::*;

    /// A word of loom's, and a kernel that lets nobody sleep on a value that has changed.
    #[derive(Default)]
    struct Modelled {
        word: loom::sync::atomic::AtomicU32,
        kernel: loom::sync::Mutex<()>,
        sleeper: Condvar,
    }

    impl Signal for Modelled {
        fn change(&self) {
            self.word.fetch_add(1, Ordering::SeqCst);
            let _kernel = self.kernel.lock().unwrap();
            self.sleeper.notify_one();
        }

        fn load(&self) -> u32 {
            self.word.load(Ordering::Acquire)
        }
    }

    impl Modelled {
        fn sleep(&self, seen: u32) {
            let kernel = self.kernel.lock().unwrap();
            if self.word.load(Ordering::Relaxed) == seen {
                drop(self.sleeper.wait(kernel).unwrap());
            }
        }
    }

    #[derive(Debug, PartialEq)]
    enum Note {
        Work(u32),
        Stop,
    }

    /// Two notes and the one that ends the thread, as a server is stopped after its last requests: none is
    /// missed, whatever the thread was about to do, and it does not sleep on.
    #[test]
    fn a_thread_that_sleeps_gets_every_note_and_ends_with_the_last() {
        loom::model(|| {
            let mailbox = Arc::<Mailbox<Note, Modelled>>::default();
            let telling = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    for note in [Note::Work(1), Note::Work(2), Note::Stop] {
                        mailbox.tell(note);
                    }
                })
            };
            let mut got = Vec::new();
            while got.last() != Some(&Note::Stop) {
                let seen = mailbox.word();
                got.extend(mailbox.take());
                if got.last() != Some(&Note::Stop) {
                    mailbox.signal.sleep(seen);
                }
            }
            telling.join().unwrap();
            assert_eq!(got, [Note::Work(1), Note::Work(2), Note::Stop]);
        });
    }

    /// Whoever stops the server and whoever has a request for it are two threads.
    #[test]
    fn a_thread_that_is_stopped_from_elsewhere_ends() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(3));
        builder.check(|| {
            let mailbox = Arc::<Mailbox<Note, Modelled>>::default();
            let threads = [Note::Work(1), Note::Stop].map(|note| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.tell(note))
            });
            let mut got = Vec::new();
            while !got.contains(&Note::Stop) {
                let seen = mailbox.word();
                got.extend(mailbox.take());
                if !got.contains(&Note::Stop) {
                    mailbox.signal.sleep(seen);
                }
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            got.extend(mailbox.take());
            assert_eq!(got.len(), 2);
        });
    }
}
