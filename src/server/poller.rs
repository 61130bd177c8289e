//! The poller: sweeps the rings of all clients, and sleeps on all of them at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Connection;
use crate::channel::{Receiver, Waits};
use crate::frame::{FailureCode, Kind};
use crate::payload::Bytes;
use crate::ring::Regions;
use crate::wait::{self, Expected, MAX_WORDS, Spin, WaitStrategy};

/// How many clients one poller serves over rings: one word of each sleep is the control's.
#[cfg(all(target_os = "linux", not(grite_portable)))]
pub(super) const MAX_PORTS: usize = MAX_WORDS - 1;

/// How many requests of one client are answered before the next client has its turn.
const BATCH: u32 = 16;

/// How long clients that share the poller's CPU may take to move to another one.
const PATIENCE: Duration = Duration::from_millis(1);

/// How long a server that stops goes on answering what had come before.
pub(super) const DRAIN: Duration = Duration::from_secs(5);

/// What other threads tell the poller.
#[derive(Debug)]
pub(crate) enum Note {
    /// A client over rings.
    Arrived(Port),
    /// The client of this session is gone.
    Left(u64),
    /// A request that came over a socket.
    Request { connection: Arc<Connection>, id: u64, bytes: Bytes },
    /// Answer what has come, then end.
    Stop,
}

/// The way to the poller.
#[derive(Debug, Default)]
pub(crate) struct Control {
    notes: Mutex<Vec<Note>>,
    /// Changes with every note and nudge; the poller sleeps on it.
    word: AtomicU32,
}

impl Control {
    pub(crate) fn tell(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        self.nudge();
    }

    /// Makes the poller look around.
    pub(super) fn nudge(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        wait::wake(&self.word);
    }

    fn take(&self) -> Vec<Note> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A client over rings, as the poller sees it.
#[derive(Debug)]
pub(crate) struct Port {
    connection: Arc<Connection>,
    receiver: Receiver<Regions>,
    regions: Regions,
    /// Once the server stops: up to where requests are still answered.
    last: Option<u64>,
    /// Whether it has asked something since the poller last slept.
    active: bool,
}

impl Port {
    pub(crate) fn new(connection: Arc<Connection>, regions: Regions, max_message: usize) -> Self {
        Port {
            connection,
            receiver: Receiver::new(regions.clone(), 0, max_message),
            regions,
            last: None,
            active: false,
        }
    }

    /// The id of the next request, if one has come. A client that breaks the rules is closed.
    fn poll(&mut self) -> Option<u64> {
        if self.connection.is_backlogged() && !self.connection.flush() || !self.connection.has_room() {
            return None;
        }
        if self.connection.has_notices() {
            self.connection.notify();
        }
        let start = self.receiver.position();
        match self.receiver.poll() {
            Ok(None) => None,
            Ok(Some((Kind::Request, id))) if self.last.is_none_or(|last| precedes(start, last)) => {
                self.connection.begin();
                self.active = true;
                Some(id)
            }
            Ok(Some((Kind::Request, id))) => {
                self.connection.fail(id, FailureCode::Stopping, STOPPING);
                None
            }
            Ok(Some((kind, id))) if self.connection.heed(kind, id) => None,
            Ok(Some(_)) | Err(_) => {
                self.connection.close();
                None
            }
        }
    }

    /// Takes no request from now on but those that have come.
    fn stop(&mut self) {
        // A fault shows at the next poll.
        let _ = self.receiver.look();
        self.last.get_or_insert(self.receiver.awaited().1);
    }

    /// Whether a port that stops has been read as far as it is going to be.
    fn is_drained(&self) -> bool {
        self.connection.is_closed()
            || self.last.is_some_and(|last| !precedes(self.receiver.position(), last))
                && self.connection.is_settled()
    }

    /// Works on the half of the connection that the poller waits on: while replies wait for space,
    /// that is the sender, and requests behind them are no news.
    fn with_waiting<T>(&mut self, work: impl FnOnce(&mut dyn Waits) -> T) -> T {
        if self.connection.is_backlogged() {
            self.connection.with_outgoing_half(work)
        } else {
            work(&mut self.receiver)
        }
    }

    /// Whether there is something to do for this port; a fault is.
    fn has_news(&mut self) -> bool {
        self.connection.has_notices()
            || self.is_awaited() && self.with_waiting(|half| half.look() != Ok(false))
    }

    /// Whether the client's next move matters. While too much of it is unanswered, a responder's
    /// nudge comes first.
    fn is_awaited(&self) -> bool {
        self.connection.is_backlogged() || self.connection.has_room()
    }

    /// Tells the client that the poller is about to sleep; says whether there is something to do
    /// after all.
    fn fall_asleep(&mut self) -> bool {
        let news = self.is_awaited()
            && self.with_waiting(|half| {
                half.mark_asleep();
                half.look() != Ok(false)
            });
        news || self.connection.has_notices()
    }

    /// The word whose change ends the sleep: the client writes, or reads on.
    fn awaited(&mut self) -> Expected<'_> {
        let (word, seen) = self.with_waiting(|half| half.awaited());
        Expected { word: Regions::futex(&self.regions.theirs, word), value: seen as u32 }
    }

    fn wake_up(&mut self) {
        self.with_waiting(|half| half.mark_awake());
    }
}

/// Tells all clients where the poller runs; says whether those that ask just now run there as well,
/// so that none of them can ask again before the poller sleeps.
fn all_share_a_cpu(ports: &[Port]) -> bool {
    let cpu = wait::current_cpu();
    let mut all = true;
    for port in ports {
        all &= port.receiver.shares_cpu(cpu) || !port.active;
    }
    all
}

/// What a client is told whose request comes after the server was stopped.
pub(super) const STOPPING: &str = "the daemon is stopping: connect again";

/// Whether `position` lies before `end`, for positions less than half of all numbers apart.
fn precedes(position: u64, end: u64) -> bool {
    (end.wrapping_sub(position) as i64) > 0
}

/// A request to be answered: its connection and bytes are the poller's to give.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) id: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The port at this place.
    Port(usize),
    /// A socket, by way of the reactor.
    Socket(Arc<Connection>, Bytes),
}

/// Serves all clients over rings, one request at a time.
#[derive(Debug)]
pub(crate) struct Poller {
    control: Arc<Control>,
    /// The control's word when its notes were last taken.
    seen: u32,
    ports: Vec<Port>,
    /// Whose turn it is, and how many requests of it were answered in this turn.
    turn: usize,
    answered: u32,
    waiting: Vec<Note>,
    /// Until when a server that stops goes on answering.
    stopping: Option<Instant>,
    spin: Spin,
}

impl Poller {
    pub(crate) fn new(control: Arc<Control>, strategy: WaitStrategy) -> Self {
        let seen = control.word.load(Ordering::SeqCst).wrapping_sub(1);
        Poller {
            control,
            seen,
            ports: Vec::new(),
            turn: 0,
            answered: 0,
            waiting: Vec::new(),
            stopping: None,
            spin: Spin::new(strategy),
        }
    }

    /// Waits for the next request; nothing once the server stops and all that had come is answered.
    pub(crate) fn next(&mut self) -> Option<Arrival> {
        loop {
            if let Some(arrival) = self.look() {
                return Some(arrival);
            }
            if self.stopping.is_some() {
                if self.is_drained() {
                    return None;
                }
                std::thread::yield_now();
            } else {
                self.rest();
            }
        }
    }

    /// Whether all that had come before the stop is answered, or the time for that is up.
    fn is_drained(&self) -> bool {
        let late = self.stopping.is_some_and(|until| Instant::now() >= until);
        late || self.ports.iter().all(Port::is_drained)
    }

    /// Who sent a request.
    pub(crate) fn connection<'a>(&'a self, arrival: &'a Arrival) -> &'a Arc<Connection> {
        match &arrival.source {
            Source::Port(place) => &self.ports[*place].connection,
            Source::Socket(connection, _) => connection,
        }
    }

    /// The bytes of a request.
    pub(crate) fn message<'a>(&'a self, arrival: &'a Arrival) -> &'a Bytes {
        match &arrival.source {
            Source::Port(place) => self.ports[*place].receiver.message(),
            Source::Socket(_, bytes) => bytes,
        }
    }

    /// Takes a request out of the poller.
    pub(crate) fn take(&mut self, arrival: Arrival) -> (Arc<Connection>, u64, Bytes) {
        match arrival.source {
            Source::Port(place) => {
                let port = &mut self.ports[place];
                let mut bytes = Bytes::new();
                port.receiver.swap_message(&mut bytes);
                (Arc::clone(&port.connection), arrival.id, bytes)
            }
            Source::Socket(connection, bytes) => (connection, arrival.id, bytes),
        }
    }

    /// One look at everything: notes, then each ring, from the one whose turn it is.
    fn look(&mut self) -> Option<Arrival> {
        if self.waiting.is_empty() {
            let word = self.control.word.load(Ordering::Acquire);
            if word != self.seen {
                self.seen = word;
                self.waiting = self.control.take();
                self.waiting.reverse();
            }
        }
        if let Some(arrival) = self.heed() {
            return Some(arrival);
        }
        self.sweep()
    }

    fn sweep(&mut self) -> Option<Arrival> {
        if self.answered >= BATCH {
            self.pass_on();
        }
        for _ in 0..self.ports.len() {
            let port = &mut self.ports[self.turn];
            if let Some(id) = port.poll() {
                self.answered += 1;
                return Some(Arrival { id, source: Source::Port(self.turn) });
            }
            if port.connection.is_closed() {
                self.remove(self.turn);
            } else {
                self.pass_on();
            }
        }
        None
    }

    fn pass_on(&mut self) {
        self.answered = 0;
        self.turn += 1;
        if self.turn >= self.ports.len() {
            self.turn = 0;
        }
    }

    fn remove(&mut self, place: usize) {
        self.ports.swap_remove(place);
        self.answered = 0;
        if self.turn >= self.ports.len() {
            self.turn = 0;
        }
    }

    /// Does what the notes say, up to the next request among them.
    fn heed(&mut self) -> Option<Arrival> {
        while let Some(note) = self.waiting.pop() {
            match note {
                Note::Arrived(mut port) => {
                    if self.stopping.is_some() {
                        port.stop();
                    }
                    self.ports.push(port);
                }
                Note::Left(session) => {
                    if let Some(place) =
                        self.ports.iter().position(|port| port.connection.session() == session)
                    {
                        self.remove(place);
                    }
                }
                Note::Request { connection, id, bytes } => {
                    return Some(Arrival { id, source: Source::Socket(connection, bytes) });
                }
                Note::Stop => {
                    self.stopping.get_or_insert_with(|| Instant::now() + DRAIN);
                    self.ports.iter_mut().for_each(Port::stop);
                }
            }
        }
        None
    }

    /// Looks for as long as that pays, then sleeps until there is something to look at.
    fn rest(&mut self) {
        let Poller { spin, control, ports, seen, .. } = self;
        let look = |ports: &mut Vec<Port>| {
            let news = control.word.load(Ordering::Relaxed) != *seen || ports.iter_mut().any(Port::has_news);
            news.then_some(())
        };
        let found = spin.until(ports, look, |ports| all_share_a_cpu(ports));
        if found.is_some() || spin.is_endless() {
            return;
        }
        // A client that can move has done so by then.
        if spin.should_move(Instant::now(), PATIENCE) {
            wait::change_cpu();
        }
        let start = Instant::now();
        let news = ports.iter_mut().any(Port::fall_asleep);
        if !news {
            let on_control = Expected { word: &control.word, value: *seen };
            let mut words = [on_control; MAX_WORDS];
            let mut count = 1;
            for port in ports.iter_mut().filter(|port| port.is_awaited()) {
                words[count] = port.awaited();
                count += 1;
            }
            wait::sleep_any(&words[..count], None);
        }
        for port in ports.iter_mut() {
            port.wake_up();
            port.active = false;
        }
        if !news {
            spin.slept(start.elapsed());
        }
    }
}
