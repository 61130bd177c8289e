//! The reactor: serves connections over the socket, by turns ([`turn`]), and watches the lifelines of all. Who comes is
//! received in [`reception`].

#[cfg(all(any(fuzzing, test), not(loom), target_os = "linux", not(grite_portable)))]
mod by_hand;
mod reception;
mod turn;

#[cfg(all(any(fuzzing, test), not(loom), target_os = "linux", not(grite_portable)))]
pub(crate) use by_hand::ByHand;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::connection::Connection;
use super::control::{Control, Note};
use super::crew::AtWork;
use super::events::{Events, Interest};
use super::listener::Listener;
use super::poller::STOPPING;
use super::presence::Presence;
use super::shared::Shared;
use crate::handshake::{Refuse, RefuseCode};
use crate::payload::Bytes;
use crate::stream::{Peer, Process, Stream, new_socket};
use crate::transport::Inbox;
use crate::wait::coarse_now;
use turn::{Turned, take_turn};

/// Answers a request: which connection, which id, which bytes.
pub(crate) type AnswerRequest<'a> = dyn Fn(&Arc<Connection>, u64, &Bytes) + Sync + 'a;

const LISTENER: u64 = 0;
const WAKER: u64 = 1;
/// The first token of a connection. Each has two: itself and, one higher, its process.
const FIRST_CONNECTION: u64 = 2;

/// How many requests of one connection are answered before the next has its turn.
const BATCH: u32 = 16;

/// After how long the process of a client over the socket is watched, too: a question or two are over before,
/// and cost nothing for it.
const WATCH_AFTER: Duration = Duration::from_millis(500);

/// How often a reactor that stops looks whether other threads have answered.
const DRAIN_TICK: Duration = Duration::from_millis(2);

/// The state of the thread that waits on sockets.
pub(crate) struct Reactor<'a> {
    shared: &'a Shared,
    listener: &'a Listener,
    events: Events,
    presence: Presence,
    /// Connections by token.
    entries: HashMap<u64, Entry>,
    /// Unfinished handshakes by token, so by age.
    greeting: BTreeMap<u64, Instant>,
    next_token: u64,
    /// The pollers, and how many clients over rings each has.
    pollers: Vec<(Arc<Control>, usize)>,
    /// The bytes of all rings together.
    ring_memory: u64,
    /// No connection is accepted before.
    accept_after: Option<Instant>,
    /// Kept for a time in which there is no other: who comes then is told so.
    spare: Option<OwnedFd>,
    /// Clients whose processes are not watched yet, and from when on they are.
    unwatched: VecDeque<(Instant, u64)>,
    /// Sockets that may hold more requests than their turn allowed.
    unfinished: Vec<u64>,
    /// Since when nobody is connected.
    idle_since: Instant,
    /// Whether requests are turned away from now on, since the server stops.
    turns_away: bool,
    /// Until this reactor of a server that stops has nothing left to answer.
    at_work: Option<AtWork>,
}

#[derive(Debug)]
enum Entry {
    /// Has not said who it is.
    Greeting { stream: Arc<Stream>, peer: Peer, bytes: Vec<u8> },
    /// Speaks over rings, with the poller.
    #[cfg_attr(
        not(all(target_os = "linux", not(grite_portable))),
        expect(dead_code, reason = "no rings here")
    )]
    Ring {
        connection: Arc<Connection>,
        stream: Arc<Stream>,
        /// Which poller, and the bytes of its rings.
        poller: usize,
        memory: u64,
    },
    /// Speaks over its socket, with this thread.
    Socket { connection: Arc<Connection>, stream: Arc<Stream>, inbox: Inbox, interest: Interest },
}

impl Entry {
    fn stream(&self) -> &Arc<Stream> {
        match self {
            Entry::Greeting { stream, .. } | Entry::Ring { stream, .. } | Entry::Socket { stream, .. } => {
                stream
            }
        }
    }

    /// Whether all that the client has asked is answered and on its way. A question that has come in
    /// part is still to be turned away: its client could not know whether it was carried out.
    fn is_drained(&self) -> bool {
        match self {
            Entry::Greeting { .. } => true,
            Entry::Ring { connection, .. } => connection.is_settled(),
            Entry::Socket { connection, inbox, .. } => connection.is_settled() && !inbox.is_amid_message(),
        }
    }
}

impl<'a> Reactor<'a> {
    /// A reactor that hands clients over rings to pollers, one at least.
    pub(crate) fn new(
        shared: &'a Shared,
        controls: &[Arc<Control>],
        listener: &'a Listener,
    ) -> io::Result<Self> {
        listener.serve_from_this_process()?;
        let mut events = Events::new()?;
        events.add(listener, LISTENER, Interest::Read)?;
        events.add(&shared.waker.far, WAKER, Interest::Read)?;
        Ok(Reactor {
            shared,
            listener,
            events,
            presence: Presence::new(),
            entries: HashMap::new(),
            greeting: BTreeMap::new(),
            next_token: FIRST_CONNECTION,
            pollers: controls.iter().map(|control| (Arc::clone(control), 0)).collect(),
            ring_memory: 0,
            accept_after: None,
            spare: new_socket().ok(),
            unwatched: VecDeque::new(),
            unfinished: Vec::new(),
            idle_since: Instant::now(),
            turns_away: false,
            at_work: Some(shared.crew.join()),
        })
    }

    /// Serves until the server stops, or has been idle for long enough, or is not to be found any more. When its time to
    /// answer what it had accepted is up, it says `give_up` to what waits for a thread.
    pub(crate) fn run(mut self, answer: &AnswerRequest<'_>, give_up: &dyn Fn()) -> io::Result<()> {
        self.shared.waker.owner.bind_to_this_thread();
        // Kept from turn to turn, so that a turn allocates nothing.
        let mut tokens = Vec::new();
        while !self.is_over() {
            let until = self.next_deadline();
            self.turn(until, &mut tokens, answer)?;
        }
        let end = self.shared.crew.stop();
        self.shared.bid_farewell();
        self.turn_to_others();
        // The pollers come to their end at the same time.
        self.pollers.iter().for_each(|(control, _)| control.tell(Note::Stop));
        self.turns_away = true;
        self.drain(end, give_up)
    }

    /// Does what there is to do once there is something, or it is time. `tokens` is empty, and will be.
    fn turn(
        &mut self,
        until: Option<Instant>,
        tokens: &mut Vec<u64>,
        answer: &AnswerRequest<'_>,
    ) -> io::Result<()> {
        self.events.wait(until, tokens)?;
        for token in tokens.drain(..) {
            match token {
                LISTENER => self.accept(answer)?,
                WAKER => self.heed(),
                token => self.attend(token, answer),
            }
        }
        std::mem::swap(&mut self.unfinished, tokens);
        for token in tokens.drain(..) {
            self.attend(token, answer);
        }
        self.expire()
    }

    /// Those who have shaken hands.
    fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Greeting { .. } => None,
            Entry::Ring { connection, .. } | Entry::Socket { connection, .. } => Some(connection),
        })
    }

    /// Tells all who are not served any more that they may go elsewhere: nothing of theirs was done.
    fn turn_to_others(&mut self) {
        // Whoever connects from now on finds nobody, and looks for another daemon.
        self.listener.withdraw();
        self.events.remove(self.listener, LISTENER);
        let refuse = || Refuse { code: RefuseCode::Stopping, text: STOPPING.to_owned() };
        loop {
            match self.listener.accept() {
                Ok(stream) => self.refuse(&stream, refuse()),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) if self.turn_one_away(refuse()) => {}
                Err(_) => break,
            }
        }
        for token in std::mem::take(&mut self.greeting).into_keys() {
            if let Some(entry) = self.entries.remove(&token) {
                self.refuse(entry.stream(), refuse());
            }
        }
        let sockets = self.entries.iter().filter(|(_, entry)| matches!(entry, Entry::Socket { .. }));
        self.unfinished.extend(sockets.map(|(&token, _)| token));
    }

    /// Goes on until all that was accepted is answered and on its way, or it is `end`, and nobody else has work left.
    /// What else has come or comes meanwhile is turned away.
    fn drain(&mut self, end: u64, give_up: &dyn Fn()) -> io::Result<()> {
        let turn_away: &AnswerRequest<'_> = &|connection, id, _| connection.turn_away(id);
        let mut gave_up = false;
        let mut tokens = Vec::new();
        loop {
            std::mem::swap(&mut self.unfinished, &mut tokens);
            for token in tokens.drain(..) {
                self.attend(token, turn_away);
            }
            let drained = self.unfinished.is_empty() && self.entries.values().all(Entry::is_drained);
            let is_late = coarse_now() >= end;
            if is_late && !std::mem::replace(&mut gave_up, true) {
                give_up();
            }
            if drained || is_late {
                self.at_work = None;
            }
            if self.at_work.is_none() && self.shared.crew.is_done() {
                return Ok(());
            }
            let now = Instant::now();
            let until = if self.unfinished.is_empty() { now + DRAIN_TICK } else { now };
            self.events.wait(Some(until), &mut tokens)?;
            for token in tokens.drain(..) {
                match token {
                    WAKER => self.heed(),
                    token => self.attend(token, turn_away),
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        let idle = self.entries.is_empty()
            && self.shared.limits.idle.is_some_and(|limit| self.idle_since.elapsed() >= limit);
        idle || self.shared.is_stopping()
    }

    /// When there is something to do even if nobody speaks.
    fn next_deadline(&self) -> Option<Instant> {
        if !self.unfinished.is_empty() {
            return Some(Instant::now());
        }
        let idle = self.shared.limits.idle.filter(|_| self.entries.is_empty());
        // The oldest handshake ends first: all have the same time.
        let handshake = self.greeting.values().next().copied();
        let watch = self.unwatched.front().map(|(from, _)| *from);
        let idle = idle.map(|idle| self.idle_since + idle);
        let due = [handshake, watch, self.accept_after, idle, Some(self.presence.due())];
        due.into_iter().flatten().min()
    }

    /// Closes handshakes whose time is up, watches who has stayed, accepts again after a pause, takes memory
    /// back, and ends a server that nobody finds.
    fn expire(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some((&token, &deadline)) = self.greeting.iter().next() {
            if deadline > now {
                break;
            }
            self.remove(token);
        }
        while let Some(&(from, token)) = self.unwatched.front() {
            let stays = self.entries.contains_key(&token);
            if stays && from > now {
                break;
            }
            self.unwatched.pop_front();
            if stays {
                self.watch_process(token);
            }
        }
        if self.accept_after.is_some_and(|after| after <= now) {
            self.accept_after = None;
            self.spare = self.spare.take().or_else(|| new_socket().ok());
            self.events.change(self.listener, LISTENER, Interest::Read)?;
        }
        // Every few seconds: an idle server need not wake up for this alone.
        if self.presence.due() <= now {
            self.trim();
        }
        if self.presence.is_lost(self.listener, now) {
            self.shared.stop();
        }
        Ok(())
    }

    /// Gives memory back that only longer messages needed. Who sends long messages one behind the other keeps it: made
    /// anew for each, 1 MiB there and back took 1.4 ms in place of 0.55.
    fn trim(&mut self) {
        for entry in self.entries.values_mut() {
            if let Entry::Socket { connection, inbox, .. } = entry {
                inbox.trim();
                connection.trim();
            }
        }
    }

    fn remove(&mut self, token: u64) {
        self.greeting.remove(&token);
        let Some(entry) = self.entries.remove(&token) else { return };
        self.events.remove(entry.stream(), token);
        if let Some(process) = entry.stream().watched_process() {
            self.events.remove(process, token + 1);
        }
        match entry {
            Entry::Greeting { .. } => {}
            Entry::Ring { connection, poller, memory, .. } => {
                connection.give_back();
                self.ring_memory -= memory;
                let (control, ports) = &mut self.pollers[poller];
                *ports -= 1;
                control.tell(Note::Left(connection.session()));
            }
            Entry::Socket { connection, .. } => connection.give_back(),
        }
        if self.entries.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    /// Watches the process of a client that is there for longer.
    fn watch_later(&mut self, token: u64) {
        self.unwatched.push_back((Instant::now() + WATCH_AFTER, token));
    }

    /// Has the end of a client's process noticed even while a forked child of it keeps the socket open.
    fn watch_process(&mut self, token: u64) {
        let Some(entry) = self.entries.get(&token) else { return };
        let stream = Arc::clone(entry.stream());
        match stream.process() {
            Process::Watched(process) if self.events.add(process, token + 1, Interest::Read).is_ok() => {}
            Process::Ended => self.remove(token),
            // Where it cannot be watched, the socket's end is all that tells.
            Process::Unknown if stream.knows_its_peer() => {}
            // The system has no descriptor for it just now, or no memory.
            Process::Watched(_) | Process::Unknown => self.watch_later(token),
        }
    }

    /// Looks again at the connections for which something has changed on other threads.
    fn heed(&mut self) {
        for session in self.shared.waker.take() {
            self.unfinished.push(session);
        }
        let has_notices = |entry: &Entry| match entry {
            Entry::Socket { connection, .. } => connection.has_notices(),
            _ => false,
        };
        self.unfinished
            .extend(self.entries.iter().filter(|(_, entry)| has_notices(entry)).map(|(&token, _)| token));
    }

    /// Does what a connection wants done, or what the end of its process does.
    fn attend(&mut self, token: u64, answer: &AnswerRequest<'_>) {
        if token & 1 == 1 {
            // What it has asked before still counts.
            self.attend(token - 1, answer);
            return self.remove(token - 1);
        }
        match self.entries.get_mut(&token) {
            Some(Entry::Greeting { .. }) => self.listen_to(token, answer),
            // A client over rings says nothing here: it is gone, or breaks the rules.
            Some(Entry::Ring { .. }) => self.remove(token),
            Some(Entry::Socket { .. }) => self.serve(token, answer),
            None => {}
        }
    }

    /// Answers the requests that came over a socket, a batch at most.
    fn serve(&mut self, token: u64, answer: &AnswerRequest<'_>) {
        let Some(Entry::Socket { connection, stream, inbox, interest }) = self.entries.get_mut(&token) else {
            return;
        };
        connection.attend();
        let stops = || !self.turns_away && self.shared.is_stopping();
        let Turned::Over { more, held_up, held_back } = take_turn(connection, inbox, answer, stops) else {
            return self.remove(token);
        };
        if more {
            self.unfinished.push(token);
        }
        let is_free = connection.flush() && connection.has_room();
        let wanted = match (connection.is_backlogged(), is_free || !held_back) {
            (true, true) => Interest::Both,
            (true, false) => Interest::Write,
            (false, true) => Interest::Read,
            (false, false) => Interest::Nothing,
        };
        // Its end alone is waited for then, of which the system tells again and again.
        if wanted == Interest::Nothing && *interest == wanted && stream.has_hung_up() {
            return self.remove(token);
        }
        // What has held it up may be gone in this moment, and nothing else tells of that.
        if held_up && is_free {
            self.unfinished.push(token);
        }
        if *interest != wanted {
            *interest = wanted;
            if self.events.change(stream, token, wanted).is_err() {
                return self.remove(token);
            }
            // Requests that were read before the backlog wait in the inbox.
            self.unfinished.push(token);
        }
    }
}

/// Also when the system fails it, or a panic passes.
impl Drop for Reactor<'_> {
    fn drop(&mut self) {
        self.shared.crew.stop();
        self.connections().for_each(|connection| self.shared.leave(connection));
    }
}
