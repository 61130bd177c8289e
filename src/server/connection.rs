//! One client, as the two threads and the responders share it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rkyv::ser::allocator::Arena;

use super::poller::{Control, STOPPING};
use super::shared::Waker;
use crate::channel::Waits;
use crate::error::{Error, ErrorKind};
use crate::frame::{Failure, FailureCode, Kind};
use crate::payload::{Sink, TooLong};
use crate::protocol::{Encoded, Protocol, encode};
use crate::stream::{Peer, Stream};
use crate::transport::{Broken, LocalLine, Outgoing};

/// A client that has shaken hands.
#[derive(Debug)]
pub(crate) struct Connection {
    context: Context,
    lifeline: Lifeline,
    outbound: Mutex<Outbound>,
    /// Replies wait for space: no more requests are read until they are gone.
    backlogged: AtomicBool,
    closed: AtomicBool,
    /// Requests that were handed to the handler and not answered yet.
    unanswered: AtomicU32,
    attendant: Attendant,
}

/// How many requests of one client may be unanswered at once; more stay in its ring or socket.
pub(super) const MAX_IN_FLIGHT: u32 = 256;

/// Who is told when replies wait for space.
#[derive(Debug)]
pub(crate) enum Attendant {
    /// Serves the connection over its rings.
    Poller(Arc<Control>),
    /// Serves the connection over its socket.
    Reactor(Arc<Waker>),
}

/// What the client notices the end of.
#[derive(Debug)]
pub(crate) enum Lifeline {
    Socket(Arc<Stream>),
    /// The client is in this process.
    Local(Arc<LocalLine>),
}

struct Outbound {
    outgoing: Outgoing,
    arena: Arena,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outgoing.fmt(f)
    }
}

impl Connection {
    pub(crate) fn new(
        context: Context,
        lifeline: Lifeline,
        outgoing: Outgoing,
        attendant: Attendant,
    ) -> Arc<Self> {
        Arc::new(Connection {
            context,
            lifeline,
            outbound: Mutex::new(Outbound { outgoing, arena: Arena::new() }),
            backlogged: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            attendant,
        })
    }

    pub(crate) fn session(&self) -> u64 {
        self.context.session
    }

    /// Ends the connection for both sides; what is still under way goes nowhere.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        match &self.lifeline {
            Lifeline::Socket(stream) => stream.shut_down(),
            Lifeline::Local(line) => line.sever(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether replies wait for space.
    pub(crate) fn is_backlogged(&self) -> bool {
        self.backlogged.load(Ordering::Acquire)
    }

    /// Moves waiting replies on; says whether none is left.
    pub(crate) fn flush(&self) -> bool {
        // A connection that breaks here is closed, which its attendant notices.
        let _ = self.with_outgoing(|outgoing, _| outgoing.flush());
        !self.is_backlogged()
    }

    /// Sends why a request has no answer.
    pub(crate) fn fail(&self, id: u64, code: FailureCode, text: &str) {
        let failure = Failure { code, text: text.to_owned() }.to_bytes();
        // A client that is gone needs no reason.
        if let Ok(Err(_)) = self.send(Kind::Failure, id, |sink, _| sink.append(&failure)) {
            debug_assert!(false, "a failure is shorter than the least max_message");
            self.close();
        }
    }

    /// Answers a request that comes too late.
    pub(super) fn turn_away(&self, id: u64) {
        self.fail(id, FailureCode::Stopping, STOPPING);
        self.settle();
    }

    /// Sends an answer. One that is too long fails, and the client gets that for an answer.
    fn answer(
        &self,
        id: u64,
        write: impl FnOnce(&mut dyn Sink, &mut Arena) -> Result<(), TooLong>,
    ) -> Result<(), Error> {
        match self.send(Kind::Reply, id, write) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(too_long)) => {
                self.fail(id, FailureCode::TooLarge, &format!("the answer: {too_long}"));
                Err(Error::new(ErrorKind::TooLarge, "answer a request").because(too_long))
            }
            Err(broken) => Err(Error::new(ErrorKind::PeerDied, "answer a request").because(broken)),
        }
    }

    fn send(
        &self,
        kind: Kind,
        id: u64,
        write: impl FnOnce(&mut dyn Sink, &mut Arena) -> Result<(), TooLong>,
    ) -> Result<Result<(), TooLong>, Broken> {
        self.with_outgoing(|outgoing, arena| outgoing.send(kind, id, |sink| write(sink, arena)))
    }

    /// Works on the way out, and sees to what is left waiting there.
    fn with_outgoing<T>(
        &self,
        work: impl FnOnce(&mut Outgoing, &mut Arena) -> Result<T, Broken>,
    ) -> Result<T, Broken> {
        if self.is_closed() {
            return Err(Broken::Severed);
        }
        let mut outbound = self.lock();
        let Outbound { outgoing, arena } = &mut *outbound;
        let done = match work(outgoing, arena) {
            Ok(done) => done,
            Err(broken) => {
                drop(outbound);
                self.close();
                return Err(broken);
            }
        };
        outgoing.announce();
        let backlogged = outgoing.has_backlog();
        // Under the lock, so nobody else writes it meanwhile.
        if self.backlogged.load(Ordering::Relaxed) != backlogged {
            self.backlogged.store(backlogged, Ordering::Release);
            self.nudge();
        }
        Ok(done)
    }

    /// Makes the attendant look at this connection again: what it waits for has changed.
    fn nudge(&self) {
        match &self.attendant {
            Attendant::Poller(control) => control.nudge(),
            Attendant::Reactor(waker) => waker.watch(self.session()),
        }
    }

    /// Whether one more request may be taken from this client before others are answered.
    pub(super) fn has_room(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) < MAX_IN_FLIGHT
    }

    /// Whether every request that was taken is answered and every answer on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) == 0 && !self.is_backlogged()
    }

    /// Counts a request that was taken from this client; its responder settles it.
    pub(super) fn begin(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was answered, and makes room for another.
    fn settle(&self) {
        if self.unanswered.fetch_sub(1, Ordering::AcqRel) == MAX_IN_FLIGHT {
            self.nudge();
        }
    }

    /// The half that waits for space, for the poller's sleep.
    ///
    /// # Panics
    /// On a connection over the socket, which no poller serves.
    pub(super) fn with_outgoing_half<T>(&self, work: impl FnOnce(&mut dyn Waits) -> T) -> T {
        match &mut self.lock().outgoing {
            Outgoing::Ring(sender) => work(&mut **sender),
            Outgoing::Socket(_) => unreachable!("the poller serves rings"),
        }
    }

    /// A type whose encoding panics may leave half a frame behind: the connection is closed then.
    fn lock(&self) -> MutexGuard<'_, Outbound> {
        self.outbound.lock().unwrap_or_else(|poisoned| {
            self.close();
            poisoned.into_inner()
        })
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) session: u64,
    pub(crate) peer: Peer,
    pub(crate) ring: bool,
}

impl Context {
    /// Names the connection: unique for as long as the server lives.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The client's process, where the system tells; it may have ended meanwhile.
    pub fn peer_process(&self) -> Option<u32> {
        self.peer.pid
    }

    /// Whether the request came through a ring.
    pub fn uses_ring(&self) -> bool {
        self.ring
    }
}

/// Answers one request, once, from any thread.
///
/// Dropped without an answer, it answers with an error, so that nobody waits for ever.
#[must_use = "a responder that is dropped answers with an error"]
pub struct Responder<P: Protocol> {
    connection: Arc<Connection>,
    id: u64,
    answered: bool,
    _protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Responder<P> {
    pub(super) fn new(connection: Arc<Connection>, id: u64) -> Self {
        Responder { connection, id, answered: false, _protocol: PhantomData }
    }

    /// Who asks.
    pub fn context(&self) -> &Context {
        &self.connection.context
    }

    /// Answers with `response`, archived straight into the client's ring where it fits there.
    ///
    /// # Errors
    /// - [`ErrorKind::TooLarge`]: the response is longer than the connection's `max_message`. The
    ///   client learns the same.
    /// - [`ErrorKind::PeerDied`]: the client is gone, or was cut off; nobody waits for the answer.
    pub fn reply(mut self, response: &P::Response) -> Result<(), Error> {
        self.answered = true;
        self.connection.answer(self.id, |sink, arena| encode(response, sink, arena))
    }

    /// Answers with bytes that were archived before: one copy.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn reply_encoded(mut self, response: &Encoded<P::Response>) -> Result<(), Error> {
        self.answered = true;
        self.connection.answer(self.id, |sink, _| sink.append(response.as_bytes()))
    }
}

impl<P: Protocol> Drop for Responder<P> {
    fn drop(&mut self) {
        self.connection.settle();
        if self.answered {
            return;
        }
        if std::thread::panicking() {
            self.connection.fail(self.id, FailureCode::Panicked, "the request's handler panicked");
        } else {
            self.connection.fail(self.id, FailureCode::Dropped, "the request's handler gave no answer");
        }
    }
}

impl<P: Protocol> fmt::Debug for Responder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("context", self.context())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
