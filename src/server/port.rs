//! A client over rings, as the poller sees it: [`Port`].

use std::sync::Arc;

use super::connection::{Connection, Turn};
use super::poller::STOPPING;
use crate::channel::{Receiver, Waits};
use crate::fault;
use crate::frame::{FailureCode, Kind};
use crate::payload::Bytes;
use crate::ring::{Regions, Word};
use crate::shm::Region;
use crate::wait::{Expected, coarse_now};

/// How long after its last request it says nothing of a client that its turns were quick, in nanoseconds.
const STALE: u64 = 100_000_000;

/// A client over rings.
#[derive(Debug)]
pub(crate) struct Port {
    session: u64,
    connection: Arc<Connection>,
    receiver: Receiver<Regions>,
    regions: Regions,
    /// Once the server stops: up to where the requests lie that are still answered.
    last: Option<u64>,
    /// Whether it has asked something since the poller last looked who has.
    active: bool,
    /// Whether the client was told that nobody looks, and has not been told otherwise.
    asleep: bool,
    /// The word that the client changes with its next move, and the position that it was told of with that: the
    /// one on which the poller sleeps. Nothing while that move does not matter.
    awaited: Option<(Word, u64)>,
    /// Whether a request of this turn was one that others follow, so that the turn has to be ended.
    amid_turn: bool,
    /// Whether its last turn of several requests was soon over: then the next one will be, and its answers may be
    /// told of together.
    pub(super) is_quick: bool,
    /// When it last asked, as [`coarse_now`] tells it.
    asked: u64,
    /// Whether there may be something to do beside what comes through the ring. While there is not, a look at
    /// the client's position tells all. What other threads do comes with a note.
    unsettled: bool,
    /// Whether what lies next in the ring has to stay there until others are answered.
    held_back: bool,
}

/// How many notes that somebody has given up are read in one go while answers hold up what comes behind them.
const NOTES: u32 = 64;

impl Port {
    pub(crate) fn new(connection: Arc<Connection>, regions: Regions, max_message: usize) -> Self {
        Port {
            session: connection.session(),
            receiver: Receiver::new(regions.clone(), 0, max_message).with_bell(connection.bell()),
            connection,
            regions,
            last: None,
            active: true,
            asleep: false,
            awaited: None,
            amid_turn: false,
            is_quick: false,
            asked: 0,
            unsettled: true,
            held_back: false,
        }
    }

    pub(super) fn session(&self) -> u64 {
        self.session
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The bytes of the request that [`poll`](Self::poll) has found.
    pub(super) fn message(&self) -> &Bytes {
        self.receiver.message()
    }

    /// Gives these bytes away.
    pub(super) fn take_message(&mut self) -> Bytes {
        let mut bytes = Bytes::new();
        self.receiver.swap_message(&mut bytes);
        bytes
    }

    /// Whether there may be something to do for this port; costs one load where there is not.
    #[inline]
    pub(super) fn is_stirring(&mut self) -> bool {
        match self.unsettled {
            false => self.receiver.has_moved(),
            true => self.has_news(),
        }
    }

    /// Whether [`poll`](Self::poll) may find something, or has more to look at than the ring.
    #[inline]
    pub(super) fn must_be_polled(&self) -> bool {
        self.unsettled || self.receiver.has_moved()
    }

    /// Has everything looked at again: something has changed beside the ring.
    pub(super) fn unsettle(&mut self) {
        self.unsettled = true;
    }

    /// The next request, if one has come: its id, and the time. A client that breaks the rules is closed.
    ///
    /// `more` says whether requests behind this one are answered in the same turn: only the last answer of
    /// a turn has to make sure that the client is awake.
    ///
    /// `at_once` says whether they are answered one behind the other: only then may several answers be told of
    /// together.
    #[inline]
    pub(super) fn poll(&mut self, more: bool, at_once: bool) -> Option<(u64, u64)> {
        self.unsettled = true;
        self.connection.attend();
        let is_free = !self.connection.is_backlogged() || self.connection.flush();
        if is_free && self.connection.has_notices() {
            self.connection.notify();
            self.active = true;
        }
        if !is_free || !self.connection.has_room() {
            self.heed_who_gives_up();
            return None;
        }
        let start = self.receiver.position();
        match self.receiver.poll() {
            Ok(None) => self.unsettled = self.connection.is_backlogged() || self.connection.has_notices(),
            Ok(Some((Kind::Request, id))) if self.last.is_none_or(|last| precedes(start, last)) => {
                let more = more && self.receiver.knows_of_more();
                let now = coarse_now();
                let before = std::mem::replace(&mut self.asked, now);
                let ticked = before != now;
                if self.is_quick && ticked && (self.amid_turn || now.saturating_sub(before) > STALE) {
                    // This turn takes long, or nobody knows what its requests are like.
                    self.is_quick = false;
                    self.connection.end_turn();
                }
                self.connection.begin(match more {
                    true if at_once && self.is_quick => Turn::Quick,
                    true => Turn::Slow,
                    false => Turn::Over,
                });
                // The last request of a turn may go to the pool: its answer is not what ends the turn.
                self.amid_turn |= more;
                self.active = true;
                return Some((id, now));
            }
            Ok(Some((Kind::Request, id))) => {
                self.connection.fail(id, FailureCode::Stopping, STOPPING);
            }
            Ok(Some((kind, id))) if self.connection.heed(kind, id) => {}
            Ok(Some(_)) | Err(_) => self.connection.close(),
        }
        None
    }

    /// Reads what asks for nothing, up to what does: that nobody waits for an answer any more is to be known most of all
    /// while answers are too many.
    #[cold]
    fn heed_who_gives_up(&mut self) {
        self.held_back = false;
        for _ in 0..NOTES {
            let heeded = match self.receiver.next_kind() {
                Ok(None) => return,
                Ok(Some(Kind::Cancel | Kind::Unsubscribe)) => self
                    .receiver
                    .poll()
                    .is_ok_and(|received| received.is_some_and(|(kind, id)| self.connection.heed(kind, id))),
                Ok(Some(_)) => {
                    self.held_back = true;
                    return;
                }
                Err(_) => false,
            };
            if !heeded {
                return self.connection.close();
            }
        }
    }

    /// Says that no more requests are answered in this turn; whether some were that others followed.
    #[inline]
    pub(super) fn end_turn(&mut self) -> bool {
        let was_amid = std::mem::take(&mut self.amid_turn);
        if was_amid {
            self.connection.end_turn();
        }
        was_amid
    }

    /// Takes no request from now on but those that have come.
    pub(super) fn stop(&mut self) {
        // A fault shows at the next poll.
        let _ = self.receiver.look();
        let position = self.receiver.awaited().1;
        self.last.get_or_insert(position);
    }

    /// Whether something lies in the ring that can be read.
    pub(super) fn has_more(&self) -> bool {
        self.receiver.has_moved() && self.is_awaited() && !self.connection.is_backlogged()
    }

    /// Whether a port that stops has been read as far as it is going to be.
    pub(super) fn is_drained(&self) -> bool {
        self.connection.is_closed()
            || self.last.is_some_and(|last| !precedes(self.receiver.position(), last))
                // One that has come in part is still to be turned away.
                && !self.receiver.is_amid_message()
                && self.connection.is_settled()
    }

    /// Works on the half of the connection that the poller waits on: while replies wait for space,
    /// that is the sender, and requests behind them are no news.
    fn with_waiting<T>(&mut self, work: impl FnOnce(&mut dyn Waits) -> T) -> T {
        if !self.connection.is_backlogged() {
            return work(&mut self.receiver);
        }
        // A client that is gone moves neither half any more.
        self.connection.with_outgoing_half(work).unwrap_or_else(|work| work(&mut self.receiver))
    }

    /// Whether there is something to do for this port; a fault is. Fetches what the client has written.
    #[inline]
    pub(super) fn has_news(&mut self) -> bool {
        match self.unsettled {
            false => self.receiver.look() != Ok(false),
            true => {
                let has_moved = self.is_awaited() && self.with_waiting(|half| half.look() != Ok(false));
                has_moved || self.connection.has_notices()
            }
        }
    }

    /// Whether the client's next move matters. While too much of it is unanswered and more lies there, a responder's
    /// nudge comes first.
    fn is_awaited(&self) -> bool {
        self.connection.is_backlogged() || self.connection.has_room() || !self.held_back
    }

    /// Tells the client that nobody is about to look; says whether there is something to do after all.
    ///
    /// A port that was told so before, and has not been looked at since, needs no second time: a client
    /// that moves changes the word on which the sleep begins. While replies wait for space it does: others move
    /// them on as well, and a client that was called at the position which it was told of calls nobody at the next.
    pub(super) fn fall_asleep(&mut self) -> bool {
        if std::mem::replace(&mut self.asleep, true) && !self.connection.is_backlogged() {
            return false;
        }
        let marked = self.is_awaited().then(|| {
            self.with_waiting(|half| {
                half.mark_asleep();
                let awaited = half.awaited();
                fault::point("daemon.asleep");
                (awaited, half.look() != Ok(false))
            })
        });
        self.awaited = marked.map(|(awaited, _)| awaited);
        marked.is_some_and(|(_, news)| news) || self.connection.has_notices()
    }

    /// The word whose change ends a sleep, if the client's next move matters: it writes, or reads on.
    pub(super) fn awaited(&self) -> Option<Expected<'_>> {
        let (word, seen) = self.awaited?;
        Some(Expected { word: Regions::futex(&self.regions.theirs, word), value: seen as u32 })
    }

    /// The same for another thread: the memory, the word in it, and the position that it changes from.
    pub(super) fn awaited_elsewhere(&self) -> Option<(Region, Word, u64)> {
        let (word, seen) = self.awaited?;
        Some((self.regions.theirs.clone(), word, seen))
    }

    /// Tells the client that it is looked at again.
    pub(super) fn wake_up(&mut self) {
        if std::mem::take(&mut self.asleep) {
            self.unsettled = true;
            self.receiver.mark_awake();
            if self.connection.is_backlogged() {
                // There is nobody to be told where there is no such half any more.
                let _ = self.connection.with_outgoing_half(|half| half.mark_awake());
            }
        }
    }

    /// Whether it has asked something since the last call.
    pub(super) fn was_active(&mut self) -> bool {
        std::mem::take(&mut self.active)
    }

    /// Tells the client that the poller runs on `cpu`; says whether one that asks just now runs there, too.
    pub(super) fn shares_cpu(&self, cpu: u64) -> bool {
        self.receiver.shares_cpu(cpu) || !self.active
    }

    /// Gives memory back that only longer messages needed.
    pub(super) fn trim(&mut self) {
        self.receiver.trim();
        self.connection.trim();
    }
}

/// Whether `position` lies before `end`, for positions less than half of all numbers apart.
fn precedes(position: u64, end: u64) -> bool {
    (end.wrapping_sub(position) as i64) > 0
}
