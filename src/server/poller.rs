//! The poller: answers the clients over rings, one request at a time, and sleeps on all of them at once.
//!
//! Notes from other threads come first, up to the next request among them, then the rings in turn ([`Ports`]).
//! When nothing has come it looks for as long as that pays, and sleeps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::control::{Control, Note};
use super::crew::{AtWork, Crew};
use super::history::History;
use super::ports::Ports;
use crate::cpu;
use crate::payload::Bytes;
use crate::wait::{Spin, WaitStrategy, coarse_now};

/// How long clients that share the poller's CPU may take to move to another one.
const PATIENCE: Duration = Duration::from_millis(1);

/// How long it takes at most to turn away what is left when a server has answered: who asks without end is cut off.
const REFUSE: Duration = Duration::from_secs(1);

/// How long a poller that drains waits for what others still have to do, before it looks again.
const DRAIN_TICK: Duration = Duration::from_millis(1);

/// What a client is told whose request comes after the server was stopped.
pub(super) const STOPPING: &str = "the daemon is stopping: connect again";

/// A request to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) connection: &'a Arc<Connection>,
    pub(crate) id: u64,
    /// When it was found, as [`coarse_now`] tells it.
    pub(crate) now: u64,
    pub(crate) bytes: &'a Bytes,
}

/// Where a request lies that was found.
#[derive(Debug)]
enum Found {
    /// With the hot port at this place.
    Port(usize),
    /// Here: it came over a socket, by way of the reactor.
    Here(Arc<Connection>, Bytes),
}

/// Serves clients over rings, one request at a time.
#[derive(Debug)]
pub(crate) struct Poller {
    control: Arc<Control>,
    /// The control's word when its notes were last taken.
    seen: u32,
    waiting: Vec<Note>,
    /// Whether the latest request was among the notes: the rings have their turn then.
    heeded: bool,
    ports: Ports,
    history: Arc<History>,
    /// Up to where subscribers were looked at for what was published.
    published: u64,
    /// Until when a server that stops goes on answering, as [`coarse_now`] tells it.
    stopping: Option<u64>,
    /// Until this poller of a server that stops has nothing left to answer.
    at_work: Option<AtWork>,
    crew: Arc<Crew>,
    spin: Spin,
    /// The latest request.
    found: Found,
}

impl Poller {
    /// A poller of this `crew` whose caller answers a request `at_once`, or one that it may keep waiting.
    pub(crate) fn new(
        crew: &Arc<Crew>,
        control: Arc<Control>,
        history: Arc<History>,
        strategy: WaitStrategy,
        at_once: bool,
    ) -> Self {
        Poller {
            seen: control.word().wrapping_sub(1),
            control,
            waiting: Vec::new(),
            heeded: false,
            ports: Ports::new(at_once),
            published: history.next(),
            history,
            stopping: None,
            at_work: Some(crew.join()),
            crew: Arc::clone(crew),
            spin: Spin::new(strategy).with_patience(PATIENCE),
            found: Found::Port(0),
        }
    }

    /// Waits for the next request; nothing once the server stops and nobody of it has work any more.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Arrival<'_>> {
        self.control.owner.bind_to_this_thread();
        let (id, now) = loop {
            if let Some(found) = self.look() {
                break found;
            }
            if !self.pause() {
                return None;
            }
        };
        let (connection, bytes) = match &self.found {
            Found::Port(place) => (self.ports.hot(*place).connection(), self.ports.hot(*place).message()),
            Found::Here(connection, bytes) => (connection, bytes),
        };
        Some(Arrival { connection, id, now, bytes })
    }

    /// Takes the connection and the bytes of the request that was found last out of the poller.
    pub(crate) fn take(&mut self) -> (Arc<Connection>, Bytes) {
        match std::mem::replace(&mut self.found, Found::Port(0)) {
            Found::Port(place) => {
                (Arc::clone(self.ports.hot(place).connection()), self.ports.take_message(place))
            }
            Found::Here(connection, bytes) => (connection, bytes),
        }
    }

    /// Waits until there may be something to look at; says whether anything is still to come.
    #[inline(never)]
    fn pause(&mut self) -> bool {
        match self.stopping {
            // The rings have had their turn.
            _ if self.has_notes() => {}
            None => self.rest(),
            Some(until) => return self.drain(until),
        }
        true
    }

    /// Waits for what a server that stops still has to answer `until` then, or to turn away; says whether anything is
    /// still to come.
    fn drain(&mut self, until: u64) -> bool {
        let now = coarse_now();
        let has_more = self.ports.have_more();
        let is_done = !has_more && (self.ports.are_drained() || now >= until);
        if is_done || now >= until + REFUSE.as_nanos() as u64 {
            self.at_work = None;
        }
        if self.at_work.is_none() && self.crew.is_done() {
            return false;
        }
        if !has_more {
            std::thread::sleep(DRAIN_TICK);
        }
        true
    }

    /// One look at everything: notes, then the rings. The id of a request, if one was found, and the time.
    ///
    /// Those who ask over sockets may leave notes faster than they are answered: between two of their requests the
    /// rings have a turn, those of quiet clients too.
    #[inline]
    fn look(&mut self) -> Option<(u64, u64)> {
        if self.has_notes() {
            if std::mem::take(&mut self.heeded) {
                self.ports.look_at_quiet();
            } else if let Some(found) = self.heed() {
                return Some(found);
            }
        }
        if self.history.next() != self.published {
            self.published = self.history.next();
            self.ports.warm_subscribers();
        }
        let (place, id, now) = self.ports.sweep()?;
        self.found = Found::Port(place);
        Some((id, now))
    }

    #[inline]
    fn has_notes(&self) -> bool {
        !self.waiting.is_empty() || self.control.word() != self.seen
    }

    /// Does what the notes say, up to the next request among them.
    #[inline(never)]
    fn heed(&mut self) -> Option<(u64, u64)> {
        if self.waiting.is_empty() {
            self.seen = self.control.word();
            self.waiting = self.control.take();
            self.waiting.reverse();
        }
        while let Some(note) = self.waiting.pop() {
            match note {
                Note::Arrived(mut port) => {
                    if self.stopping.is_some() {
                        port.stop();
                    }
                    self.ports.add(*port);
                }
                Note::Stirred(session) => self.ports.warm(session),
                Note::Left(session) => self.ports.remove(session),
                Note::Request { connection, id, bytes } => {
                    self.found = Found::Here(connection, bytes);
                    self.heeded = true;
                    self.control.owner.attend_to_none();
                    return Some((id, coarse_now()));
                }
                Note::Stop => {
                    self.stopping = Some(self.crew.stop());
                    self.ports.stop();
                }
            }
        }
        None
    }

    /// Looks for as long as that pays, then sleeps until there is something to look at.
    fn rest(&mut self) {
        let Poller { control, seen, ports, history, published, spin, .. } = self;
        let look = |ports: &mut Ports| {
            let told = control.word() != *seen || history.next() != *published;
            (told || ports.have_news()).then_some(())
        };
        let share_a_cpu = |ports: &mut Ports| ports.share_cpu(cpu::current());
        let found = spin.until(ports, look, share_a_cpu, |_| false);
        if found.is_some() || spin.is_endless() {
            return;
        }
        // A client that can move has done so by then.
        if spin.should_move(Instant::now()) {
            cpu::change();
        }
        let start = Instant::now();
        if ports.sleep(control, *seen) {
            spin.slept(start.elapsed());
        }
    }
}
