//! The poller: sweeps the rings of all clients, and sleeps on all of them at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::connection::Connection;
use crate::channel::{Receiver, Waits};
use crate::frame::Kind;
use crate::payload::Bytes;
use crate::ring::Regions;
use crate::wait::{self, Expected, MAX_WORDS, Spin, WaitStrategy};

/// How many clients one poller serves over rings: one word of each sleep is the control's.
#[cfg(all(target_os = "linux", not(grite_portable)))]
pub(super) const MAX_PORTS: usize = MAX_WORDS - 1;

/// How many requests of one client are answered before the next client has its turn.
const BATCH: u32 = 16;

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
}

impl Port {
    pub(crate) fn new(connection: Arc<Connection>, regions: Regions, max_message: usize) -> Self {
        Port { connection, receiver: Receiver::new(regions.clone(), 0, max_message), regions }
    }

    /// The id of the next request, if one has come. A client that breaks the rules is closed.
    fn poll(&mut self) -> Option<u64> {
        if self.connection.is_backlogged() && !self.connection.flush() {
            return None;
        }
        match self.receiver.poll() {
            Ok(None) => None,
            Ok(Some((Kind::Request, id))) => Some(id),
            Ok(Some(_)) | Err(_) => {
                self.connection.close();
                None
            }
        }
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
        self.with_waiting(|half| half.look() != Ok(false))
    }

    /// Tells the client that the poller is about to sleep; says whether there is something to do
    /// after all.
    fn fall_asleep(&mut self) -> bool {
        self.with_waiting(|half| {
            half.mark_asleep();
            half.look() != Ok(false)
        })
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

/// A request to be answered: its bytes are the poller's [`message`](Poller::message).
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) connection: Arc<Connection>,
    pub(crate) id: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The port at this place.
    Port(usize),
    /// A socket, by way of the reactor.
    Bytes(Bytes),
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
    stopping: bool,
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
            stopping: false,
            spin: Spin::new(strategy),
        }
    }

    /// Waits for the next request; nothing once the server stops and all that had come is answered.
    pub(crate) fn next(&mut self) -> Option<Arrival> {
        loop {
            if let Some(arrival) = self.look() {
                return Some(arrival);
            }
            if self.stopping {
                return None;
            }
            self.rest();
        }
    }

    /// The bytes of a request.
    pub(crate) fn message<'a>(&'a self, arrival: &'a Arrival) -> &'a Bytes {
        match &arrival.source {
            Source::Port(place) => self.ports[*place].receiver.message(),
            Source::Bytes(bytes) => bytes,
        }
    }

    /// Takes the bytes of a request out of the poller, in exchange for memory for the next one.
    pub(crate) fn take_message(
        &mut self,
        arrival: Arrival,
        mut spare: Bytes,
    ) -> (Arc<Connection>, u64, Bytes) {
        let bytes = match arrival.source {
            Source::Port(place) => {
                self.ports[place].receiver.swap_message(&mut spare);
                spare
            }
            Source::Bytes(bytes) => bytes,
        };
        (arrival.connection, arrival.id, bytes)
    }

    /// One look at everything: notes, then each ring, from the one whose turn it is.
    fn look(&mut self) -> Option<Arrival> {
        let word = self.control.word.load(Ordering::Acquire);
        if word != self.seen || !self.waiting.is_empty() {
            self.seen = word;
            if let Some(arrival) = self.heed() {
                return Some(arrival);
            }
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
                let connection = Arc::clone(&port.connection);
                return Some(Arrival { connection, id, source: Source::Port(self.turn) });
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
        if self.waiting.is_empty() {
            self.waiting = self.control.take();
            self.waiting.reverse();
        }
        while let Some(note) = self.waiting.pop() {
            match note {
                Note::Arrived(port) => self.ports.push(port),
                Note::Left(session) => {
                    if let Some(place) =
                        self.ports.iter().position(|port| port.connection.session() == session)
                    {
                        self.remove(place);
                    }
                }
                Note::Request { connection, id, bytes } => {
                    return Some(Arrival { connection, id, source: Source::Bytes(bytes) });
                }
                Note::Stop => self.stopping = true,
            }
        }
        None
    }

    /// Looks for as long as that pays, then sleeps until there is something to look at.
    fn rest(&mut self) {
        let Poller { spin, control, ports, seen, .. } = self;
        let found = spin.until(|| {
            let news = control.word.load(Ordering::Relaxed) != *seen || ports.iter_mut().any(Port::has_news);
            news.then_some(())
        });
        if found.is_some() || spin.is_endless() {
            return;
        }
        let start = Instant::now();
        let news = ports.iter_mut().any(Port::fall_asleep);
        if !news {
            let on_control = Expected { word: &control.word, value: *seen };
            let count = 1 + ports.len();
            let mut words = [on_control; MAX_WORDS];
            for (word, port) in words[1..].iter_mut().zip(ports.iter_mut()) {
                *word = port.awaited();
            }
            wait::sleep_any(&words[..count], None);
        }
        for port in ports.iter_mut() {
            port.wake_up();
        }
        if !news {
            spin.slept(start.elapsed());
        }
    }
}
