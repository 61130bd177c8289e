//! All clients of one poller: [`Ports`], by how often they ask.
//!
//! | its client | is looked at | ends a sleep by |
//! |---|---|---|
//! | **hot**: has asked lately | in each sweep | its word, on which the poller sleeps |
//! | **near**: is quiet | a few in each turn of a hot one, all in a long one | its word, on which the poller sleeps |
//! | **far**: one more than fit into a sleep | by a [`Watch`], which sleeps on its word | the watch's note |
//!
//! So a crowd that says nothing costs a busy client next to nothing, and there may be any number of both.

#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::HashMap;
use std::iter::once;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::control::Control;
use super::port::Port;
use super::watch::{Watch, Watched};
use crate::payload::Bytes;
use crate::wait::{self, MAX_WORDS};

/// How many requests of one client are answered before the next client has its turn.
const BATCH: u32 = 16;

/// Within what time a request is answered for a turn to be a quick one, on average over the turn and what came since
/// the one before: longer than it takes a client to be told of an answer, and so short that a turn is over in no time.
const QUICK: Duration = Duration::from_micros(4);

/// How many quiet clients are looked at after each turn, and after one that was as long as it may be.
const NEAR_LOOKS: usize = 2;
const NEAR_LOOKS_AFTER_BATCH: usize = 8;

/// How long a request takes, in nanoseconds, after whose turn all of them are looked at: that takes no time beside it.
const LONG: u64 = 1_000_000;

/// After how many sweeps without a sleep it is looked which clients have become quiet.
const COOLING: u32 = 4096;

/// On how many clients one sleep can be: one word of it is the control's.
const MAX_NEAR: usize = MAX_WORDS - 1;

/// How long a sleep lasts while somebody is left whom no watch has taken.
const NAP: Duration = Duration::from_millis(1);

/// All clients of one poller.
#[derive(Debug, Default)]
pub(super) struct Ports {
    hot: Vec<Port>,
    near: Vec<Port>,
    /// By session, with the watch that has them.
    far: HashMap<u64, (Port, usize)>,
    watches: Vec<Watch>,
    /// Which of the hot ones has its turn, and how many requests of it were answered in this turn.
    turn: usize,
    answered: u32,
    /// When the latest request was found, as [`coarse_now`](wait::coarse_now) tells it, and whether one of this turn has
    /// taken long.
    found: u64,
    is_long: bool,
    /// When the last turn of several requests was over.
    turned: Option<Instant>,
    /// Which of the near ones is looked at next.
    next_near: usize,
    /// Since it was last looked which clients have become quiet.
    sweeps: u32,
    /// Whether each request is answered before the next one is asked for.
    at_once: bool,
    /// Whether nobody becomes quiet any more: all are looked at until the server has stopped.
    stopped: bool,
}

impl Ports {
    pub(super) fn new(at_once: bool) -> Self {
        Ports { at_once, ..Ports::default() }
    }

    pub(super) fn add(&mut self, port: Port) {
        self.hot.push(port);
        // Whoever becomes quiet, or asks again, finds its place: nothing is allocated amid requests.
        let all = self.hot.len() + self.near.len();
        self.hot.reserve(all - self.hot.len());
        self.near.reserve(all - self.near.len());
    }

    /// The hot client at this place.
    pub(super) fn hot(&self, place: usize) -> &Port {
        &self.hot[place]
    }

    /// The bytes of its request.
    pub(super) fn take_message(&mut self, place: usize) -> Bytes {
        self.hot[place].take_message()
    }

    /// The next request, if one has come: whose, its id, and the time.
    #[inline]
    pub(super) fn sweep(&mut self) -> Option<(usize, u64, u64)> {
        self.sweeps += 1;
        if self.sweeps >= COOLING && !self.stopped {
            self.cool();
        }
        if self.answered >= BATCH {
            self.pass_on();
        }
        for _ in 0..self.hot.len() {
            let port = &mut self.hot[self.turn];
            if !port.must_be_polled() {
                self.pass_on();
                continue;
            }
            if let Some((id, now)) = port.poll(self.answered + 1 < BATCH, self.at_once) {
                self.answered += 1;
                if now != self.found {
                    self.is_long |= now.saturating_sub(self.found) >= LONG;
                    self.found = now;
                }
                return Some((self.turn, id, now));
            }
            if port.connection().is_closed() {
                self.hot.swap_remove(self.turn);
                self.begin_turn();
            } else {
                self.pass_on();
            }
        }
        None
    }

    #[inline]
    fn pass_on(&mut self) {
        if self.answered > 0 {
            // Whoever was answered does not wait for these looks.
            let looks = match self.answered {
                _ if std::mem::take(&mut self.is_long) => MAX_NEAR,
                ..BATCH => NEAR_LOOKS,
                BATCH.. => NEAR_LOOKS_AFTER_BATCH,
            };
            self.look_near(looks);
        }
        self.end_turn();
        self.turn += 1;
        self.begin_turn();
    }

    /// Ends the turn of whoever has it, and learns how long it took. Nobody may take its place before.
    #[inline]
    fn end_turn(&mut self) {
        if let Some(port) = self.hot.get_mut(self.turn)
            && port.end_turn()
        {
            let now = Instant::now();
            let before = self.turned.replace(now);
            port.is_quick = before.is_some_and(|before| now - before < QUICK * self.answered);
        }
    }

    /// Begins the turn of whoever lies at the place whose turn it is now.
    fn begin_turn(&mut self) {
        self.answered = 0;
        if self.turn >= self.hot.len() {
            self.turn = 0;
        }
    }

    /// Looks at some of the quiet clients, for a turn of somebody who is none of the hot ones.
    pub(super) fn look_at_quiet(&mut self) {
        self.look_near(NEAR_LOOKS);
    }

    /// Looks at so many quiet clients.
    #[inline]
    fn look_near(&mut self, looks: usize) {
        for _ in 0..looks.min(self.near.len()) {
            if self.next_near >= self.near.len() {
                self.next_near = 0;
            }
            if self.near[self.next_near].is_stirring() {
                self.warm_near(self.next_near);
            } else {
                self.next_near += 1;
            }
        }
    }

    #[inline(never)]
    fn warm_near(&mut self, place: usize) {
        let mut port = self.near.swap_remove(place);
        port.wake_up();
        self.hot.push(port);
    }

    fn warm_far(&mut self, session: u64) {
        if let Some((mut port, watch)) = self.far.remove(&session) {
            self.watches[watch].release(session);
            port.wake_up();
            self.hot.push(port);
        }
    }

    /// Makes the client of this session a hot one, for which there is something to do.
    pub(super) fn warm(&mut self, session: u64) {
        self.warm_far(session);
        self.warm_those_near_who(|port| port.session() == session);
        self.hot.iter_mut().filter(|port| port.session() == session).for_each(Port::unsettle);
    }

    /// Makes those hot for whom something was published.
    #[inline(never)]
    pub(super) fn warm_subscribers(&mut self) {
        self.warm_those_near_who(|port| port.connection().has_notices());
        let waiting = self.far.iter().filter(|(_, (port, _))| port.connection().has_notices());
        let sessions: Vec<u64> = waiting.map(|(&session, _)| session).collect();
        sessions.into_iter().for_each(|session| self.warm_far(session));
        self.hot.iter_mut().filter(|port| port.connection().has_notices()).for_each(Port::unsettle);
    }

    fn warm_those_near_who(&mut self, mut wanted: impl FnMut(&mut Port) -> bool) {
        let mut place = 0;
        while place < self.near.len() {
            if wanted(&mut self.near[place]) {
                self.warm_near(place);
            } else {
                place += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, session: u64) {
        if let Some((_, watch)) = self.far.remove(&session) {
            self.watches[watch].release(session);
        }
        self.near.retain(|port| port.session() != session);
        self.end_turn();
        if let Some(place) = self.hot.iter().position(|port| port.session() == session) {
            self.hot.swap_remove(place);
            self.begin_turn();
        }
    }

    /// From now on takes no requests but those that have come, and looks at all clients.
    pub(super) fn stop(&mut self) {
        self.warm_those_near_who(|_| true);
        let far: Vec<u64> = self.far.keys().copied().collect();
        far.into_iter().for_each(|session| self.warm_far(session));
        self.hot.iter_mut().for_each(Port::stop);
        self.stopped = true;
    }

    /// Whether all that had come before the [`stop`](Self::stop) is answered.
    pub(super) fn are_drained(&self) -> bool {
        self.hot.iter().chain(&self.near).all(Port::is_drained)
    }

    /// Whether requests of hot clients lie there that can be read.
    pub(super) fn have_more(&self) -> bool {
        self.hot.iter().any(Port::has_more)
    }

    /// Whether there is something to do for a hot client; looks at one of the others, too.
    #[inline]
    pub(super) fn have_news(&mut self) -> bool {
        self.look_near(1);
        // The client that was answered last asks next more often than any other.
        self.hot.get_mut(self.turn).is_some_and(Port::has_news) || self.hot.iter_mut().any(Port::is_stirring)
    }

    /// Tells the hot clients that the poller runs on `cpu`; says whether all of those that ask just now run
    /// there as well, so that none of them can ask again before the poller sleeps.
    pub(super) fn share_cpu(&self, cpu: u64) -> bool {
        let mut all = true;
        for port in &self.hot {
            all &= port.shares_cpu(cpu);
        }
        all
    }

    /// Takes those who have been quiet since the last time from the hot ones.
    #[inline(never)]
    fn cool(&mut self) {
        self.sweeps = 0;
        self.end_turn();
        let mut place = 0;
        while place < self.hot.len() {
            if self.hot[place].was_active() {
                place += 1;
            } else {
                let mut port = self.hot.swap_remove(place);
                port.trim();
                self.near.push(port);
            }
        }
        self.begin_turn();
    }

    /// Sleeps until somebody moves or the control's word is not `seen` any more, unless there turns out to
    /// be something to do; says which of the two.
    pub(super) fn sleep(&mut self, control: &Arc<Control>, seen: u32) -> bool {
        self.cool();
        let all_watched = self.hand_over(control);
        let Ports { hot, near, .. } = self;
        let news = hot.iter_mut().chain(near.iter_mut()).any(Port::fall_asleep);
        if !news {
            let clients = hot.iter().chain(&*near).filter_map(Port::awaited).take(MAX_NEAR);
            let words: ArrayVec<_, MAX_WORDS> = once(control.awaited(seen)).chain(clients).collect();
            wait::sleep_any(&words, (!all_watched).then(|| Instant::now() + NAP));
        }
        hot.iter_mut().for_each(Port::wake_up);
        self.warm_those_near_who(Port::has_news);
        !news
    }

    /// Has those watched who do not fit into one sleep; says whether that has come off.
    fn hand_over(&mut self, control: &Arc<Control>) -> bool {
        while self.hot.len() + self.near.len() > MAX_NEAR {
            // Those that became quiet last lie at the end.
            let mut port = if self.near.is_empty() { self.hot.remove(0) } else { self.near.remove(0) };
            self.begin_turn();
            if port.fall_asleep() {
                port.wake_up();
                self.hot.push(port);
                return false;
            }
            let Some(watch) = self.free_watch(control) else {
                self.near.push(port);
                return false;
            };
            let watched = Watched::new(port.session(), port.awaited_elsewhere());
            self.watches[watch].watch(watched);
            self.far.insert(port.session(), (port, watch));
        }
        true
    }

    /// A watch with room for one more; nothing if none has and no thread can be started.
    fn free_watch(&mut self, control: &Arc<Control>) -> Option<usize> {
        self.watches.iter().position(Watch::has_room).or_else(|| {
            self.watches.push(Watch::start(control).ok()?);
            Some(self.watches.len() - 1)
        })
    }
}
