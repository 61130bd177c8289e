//! Sleeping on more clients than one sleep can be on: [`Watch`].
//!
//! A watch is a thread that sleeps on the words of clients that have been quiet, and leaves the poller
//! a note when one of them moves. It answers nothing and reads nothing but those words. The poller has
//! told each client that nobody looks, before it hands the client's word over together with the position
//! that it had then: a client that moves in between has changed the word, and the sleep does not begin.
//!
//! A client that is given back is looked at once more. The order wakes this thread, but until it runs, the kernel has it
//! among the sleepers on the client's word, before the poller that sleeps there by then: the client's call may end here.

use std::io;
use std::iter::once;
use std::sync::Arc;
use std::thread::JoinHandle;

use arrayvec::ArrayVec;

use super::control::{Control, Note};
use super::mailbox::Mailbox;
use crate::ring::{Regions, Word};
use crate::shm::Region;
use crate::wait::{self, Expected, MAX_WORDS};

/// How many clients one watch has: one word of each sleep is its own.
const MAX_WATCHED: usize = MAX_WORDS - 1;

/// A client to be watched.
#[derive(Debug)]
pub(super) struct Watched {
    session: u64,
    /// Where its next move shows; nothing while its next move does not matter.
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    region: Region,
    word: Word,
    seen: u64,
}

impl Watched {
    /// A client whose next move changes `word` of its region from the position `seen`.
    pub(super) fn new(session: u64, awaited: Option<(Region, Word, u64)>) -> Self {
        let awaited = awaited.map(|(region, word, seen)| Awaited { region, word, seen });
        Watched { session, awaited }
    }

    fn expected(&self) -> Option<Expected<'_>> {
        let Awaited { region, word, seen } = self.awaited.as_ref()?;
        Some(Expected { word: Regions::futex(region, *word), value: *seen as u32 })
    }

    fn has_moved(&self) -> bool {
        let moved = |Awaited { region, word, seen }: &Awaited| Regions::glimpse(region, *word) != *seen;
        self.awaited.as_ref().is_some_and(moved)
    }
}

/// What the poller wants done.
#[derive(Debug)]
enum Order {
    Watch(Watched),
    Release(u64),
    End,
}

/// A thread that sleeps on the words of quiet clients. It ends with this value.
#[derive(Debug)]
pub(super) struct Watch {
    orders: Arc<Mailbox<Order>>,
    /// How many clients it has, as the poller knows: at least as many as it sleeps on.
    count: usize,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts a watch whose notes go to `control`.
    pub(super) fn start(control: &Arc<Control>) -> io::Result<Self> {
        let orders = Arc::<Mailbox<Order>>::default();
        let (taken, control) = (Arc::clone(&orders), Arc::clone(control));
        let thread = std::thread::Builder::new().name("ipc-watch".to_owned());
        let thread = thread.spawn(move || keep_watch(&taken, &control))?;
        Ok(Watch { orders, count: 0, thread: Some(thread) })
    }

    pub(super) fn has_room(&self) -> bool {
        self.count < MAX_WATCHED
    }

    /// Watches one client more.
    pub(super) fn watch(&mut self, watched: Watched) {
        self.count += 1;
        self.orders.tell(Order::Watch(watched));
    }

    /// Watches this client no more, and lets its memory go.
    pub(super) fn release(&mut self, session: u64) {
        self.count -= 1;
        self.orders.tell(Order::Release(session));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.orders.tell(Order::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep_watch(orders: &Mailbox<Order>, control: &Control) {
    let mut all: Vec<Watched> = Vec::new();
    loop {
        let seen = orders.word();
        for order in orders.take() {
            match order {
                Order::Watch(watched) => all.push(watched),
                Order::Release(session) => {
                    let place = all.iter().position(|watched| watched.session == session);
                    let released = place.map(|place| all.swap_remove(place));
                    if released.is_some_and(|watched| watched.has_moved()) {
                        control.tell(Note::Stirred(session));
                    }
                }
                Order::End => return,
            }
        }
        // The poller releases those that have moved, which is heeded after their note.
        all.iter_mut().filter(|watched| watched.has_moved()).for_each(|watched| {
            watched.awaited = None;
            control.tell(Note::Stirred(watched.session));
        });
        let clients = all.iter().filter_map(Watched::expected);
        let words: ArrayVec<_, MAX_WORDS> = once(orders.awaited(seen)).chain(clients).collect();
        wait::sleep_any(&words, None);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::ring::Memory;
    use crate::shm::MIN_CAPACITY;

    /// A watch that sleeps on the word of a client that is at `seen`, and that client's memory.
    fn watched(control: &Arc<Control>, seen: u64) -> (Watch, Regions) {
        let client = Regions { ours: Region::on_heap(MIN_CAPACITY), theirs: Region::on_heap(MIN_CAPACITY) };
        client.publish(seen);
        let mut watch = Watch::start(control).unwrap();
        watch.watch(Watched::new(7, Some((client.ours.clone(), Word::Published, seen))));
        std::thread::sleep(Duration::from_millis(20));
        (watch, client)
    }

    /// Whether there is a note that the client has moved, within two seconds.
    fn is_told(control: &Control) -> bool {
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            match &control.take()[..] {
                [Note::Stirred(7)] => return true,
                [] if Instant::now() >= end => return false,
                [] => std::thread::sleep(Duration::from_millis(1)),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_client_that_moves_while_it_is_given_back_is_not_lost() {
        let control = Arc::<Control>::default();
        let (mut watch, client) = watched(&control, 16);
        // It calls nobody: that call went to the watch, which was waking up.
        client.publish(32);
        watch.release(7);
        assert!(is_told(&control));
    }

    #[test]
    fn a_client_that_is_given_back_without_a_move_is_no_news() {
        let control = Arc::<Control>::default();
        let (mut watch, _client) = watched(&control, 16);
        watch.release(7);
        drop(watch);
        assert!(control.take().is_empty());
    }
}
