//! The notifications of one client: whether it wants any, which comes next, and what it has missed.

use std::sync::atomic::Ordering;

use super::super::history::Found;
use super::Connection;
use crate::frame::{Gap, Kind};

/// How many notifications one client gets before the next has its turn.
const NOTICES: usize = 64;

impl Connection {
    /// Begins to send notifications, with what was lost before them.
    pub(super) fn subscribe(&self, first: u64) {
        self.leave();
        self.subscription.fetch_add(1, Ordering::Relaxed);
        self.history.admit_subscriber();
        let (place, lost) = self.history.start(first);
        self.place.store(place, Ordering::Relaxed);
        self.tell_of_gap(place, lost);
    }

    /// Sends no more notifications.
    pub(super) fn leave(&self) {
        if self.place.swap(0, Ordering::Relaxed) != 0 {
            self.history.dismiss_subscriber();
        }
    }

    fn tell_of_gap(&self, next: u64, lost: u64) {
        let gap = self.gap(lost);
        // A connection that breaks here is closed, which its attendant notices.
        let _ = self.send(Kind::Gap, next, |sink, _| sink.append(&gap.to_bytes()));
    }

    fn gap(&self, lost: u64) -> Gap {
        Gap { lost, subscription: self.subscription.load(Ordering::Relaxed) }
    }

    /// Whether there are notifications that this client has not got and could get.
    #[inline]
    pub(in crate::server) fn has_notices(&self) -> bool {
        let place = self.place.load(Ordering::Relaxed);
        place != 0 && place != self.history.next() && !self.is_backlogged()
    }

    /// Sends notifications that the client has not got, a batch at most, until they wait for space.
    pub(in crate::server) fn notify(&self) {
        let mut place = self.place.load(Ordering::Relaxed);
        match self.history.read(place, NOTICES) {
            Found::Gap { next, lost } => {
                place = next;
                self.tell_of_gap(next, lost);
            }
            Found::Archives(archives) => {
                // As in `tell_of_gap`.
                let _ = self.with_outgoing(|outgoing, _| {
                    for archive in archives {
                        let sent = outgoing.send(Kind::Notice, place, |sink| sink.append(&archive))?;
                        place += 1;
                        if sent.is_err() {
                            // Too long for this client.
                            let gap = self.gap(1).to_bytes();
                            let _ = outgoing.send(Kind::Gap, place, |sink| sink.append(&gap))?;
                        }
                        if outgoing.has_backlog() {
                            break;
                        }
                    }
                    Ok(())
                });
            }
        }
        self.place.store(place, Ordering::Relaxed);
    }
}
