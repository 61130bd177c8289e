//! One client, as the two threads and the responders share it.

mod cancelled;
mod notices;
mod outbound;
mod tally;
#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rkyv::ser::allocator::Arena;

use super::control::{Control, Note, Owner};
use super::crew::Crew;
use super::history::History;
use super::poller::STOPPING;
use super::responder::Context;
use super::shared::{AtEnd, Waker};
use crate::channel::{Bell, Waits};
use crate::error::{Error, ErrorKind};
use crate::frame::{Failure, FailureCode, Kind};
use crate::payload::{Sink, TooLong, trim_arena};
use crate::stream::Stream;
use crate::transport::{Broken, LocalLine, Outgoing};
use cancelled::Cancelled;
use outbound::{Outbound, WayOut};
use tally::Tally;

/// A client that has shaken hands.
#[derive(Debug)]
pub(crate) struct Connection {
    context: Context,
    /// Nothing once the client is gone and all of it was given back.
    lifeline: Mutex<Option<Lifeline>>,
    outbound: Outbound,
    /// Replies wait for space: no more requests are read until they are gone.
    backlogged: AtomicBool,
    /// Told when no reply waits for space any more, and when the connection was given back.
    space: (Mutex<()>, Condvar),
    closed: AtomicBool,
    /// How many of its requests are under way.
    tally: Tally,
    /// Whether the attendant is about to answer more requests: a [`Turn`].
    turn: AtomicU8,
    /// Which of these the client has given up.
    cancelled: Cancelled,
    /// Those who read what the client says and notice its end: a server that has stopped does that for some time.
    crew: Arc<Crew>,
    history: Arc<History>,
    /// The sequence number of the notification that this client sees next; 0 if it sees none. Only the
    /// attendant changes it.
    place: AtomicU64,
    /// How many subscriptions this client has begun. Only the attendant changes it.
    subscription: AtomicU64,
    attendant: Attendant,
}

/// How many times a thread that needs space tries to make some itself, before it sleeps.
const TRIES: u32 = 200;

/// Whether the attendant is about to answer more requests of a client: it says itself when it has, and until
/// then nobody makes sure that the client is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Turn {
    /// No; or that is not known.
    Over,
    /// Yes. The client is told of each answer: the next one may take its time.
    Slow,
    /// Yes, and at once. The client is told of several answers together.
    Quick,
}

impl Turn {
    /// The turn that has this number.
    #[inline]
    fn of(number: u8) -> Self {
        match number {
            number if number == Turn::Over as u8 => Turn::Over,
            number if number == Turn::Quick as u8 => Turn::Quick,
            _ => Turn::Slow,
        }
    }
}

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

impl Attendant {
    fn owner(&self) -> &Owner {
        match self {
            Attendant::Poller(control) => &control.owner,
            Attendant::Reactor(waker) => &waker.owner,
        }
    }
}

impl Connection {
    pub(crate) fn new(
        context: Context,
        lifeline: Lifeline,
        outgoing: Outgoing,
        max_unanswered: u32,
        crew: Arc<Crew>,
        history: Arc<History>,
        attendant: Attendant,
    ) -> Arc<Self> {
        Arc::new(Connection {
            context,
            lifeline: Mutex::new(Some(lifeline)),
            outbound: Outbound::new(outgoing),
            backlogged: AtomicBool::new(false),
            space: (Mutex::new(()), Condvar::new()),
            closed: AtomicBool::new(false),
            tally: Tally::new(max_unanswered),
            turn: AtomicU8::new(Turn::Over as u8),
            cancelled: Cancelled::default(),
            crew,
            history,
            place: AtomicU64::new(0),
            subscription: AtomicU64::new(0),
            attendant,
        })
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn session(&self) -> u64 {
        self.context.session
    }

    /// Ends the connection for both sides; what is still under way goes nowhere.
    pub(crate) fn close(&self) {
        // What was answered in this turn was not told of yet, maybe.
        if let Some(mut outbound) = self.outbound.try_lock()
            && let Some(outgoing) = &mut outbound.outgoing
        {
            outgoing.announce();
        }
        self.closed.store(true, Ordering::Release);
        match &*self.lifeline() {
            Some(Lifeline::Socket(stream)) => stream.shut_down(),
            Some(Lifeline::Local(line)) => line.sever(),
            None => {}
        }
    }

    /// Ends the connection and lets go of its socket and its memory: a request of this client that is still
    /// worked on keeps neither.
    pub(crate) fn give_back(&self) {
        self.close();
        let outgoing = self.outbound.lock().outgoing.take();
        let lifeline = self.lifeline().take();
        drop((outgoing, lifeline));
        self.tell_of_space();
    }

    /// Nothing panics with the lock held.
    fn lifeline(&self) -> MutexGuard<'_, Option<Lifeline>> {
        self.lifeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What calls a client that listens.
    pub(super) fn bell(&self) -> Option<Arc<dyn Bell>> {
        match &*self.lifeline() {
            Some(Lifeline::Socket(stream)) => Some(Arc::clone(stream) as _),
            Some(Lifeline::Local(_)) | None => None,
        }
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the server has stopped, and its time to answer is up.
    #[inline]
    pub(super) fn is_late(&self) -> bool {
        self.crew.is_late()
    }

    /// Whether nobody attends to it any more: the client could not say that it has given up, and what waits for one that
    /// reads nothing would keep the server from its end. The thread that attends to a client in its own process may be
    /// the one that answers, and hears of its end no sooner.
    pub(super) fn is_unattended(&self) -> bool {
        self.is_late() || matches!(&*self.lifeline(), Some(Lifeline::Local(line)) if line.is_severed())
    }

    /// Whether replies wait for space.
    #[inline]
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
        self.reject(id, FailureCode::Stopping, STOPPING);
    }

    /// Sends why a request that was taken is not carried out.
    pub(super) fn reject(&self, id: u64, code: FailureCode, text: &str) {
        self.fail(id, code, text);
        self.settle(id);
    }

    /// Sends an answer or a part of one. One that is too long fails, and the client gets that for an
    /// answer.
    pub(super) fn answer(
        &self,
        kind: Kind,
        id: u64,
        write: impl FnOnce(&mut dyn Sink, &mut Arena) -> Result<(), TooLong>,
    ) -> Result<(), Error> {
        const TRIED: &str = "answer a request";
        if self.is_cancelled(id) {
            return Err(Error::new(ErrorKind::Cancelled, TRIED));
        }
        match self.send(kind, id, write) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(too_long)) => {
                self.fail(id, FailureCode::TooLarge, &format!("the answer: {too_long}"));
                Err(Error::new(ErrorKind::TooLarge, TRIED).because(too_long))
            }
            Err(broken) => Err(Error::new(ErrorKind::PeerDied, TRIED).because(broken)),
        }
    }

    #[inline]
    fn turn(&self) -> Turn {
        Turn::of(self.turn.load(Ordering::Relaxed))
    }

    /// Has each answer of this turn told of from now on: somebody takes his time.
    pub(super) fn slow_down(&self) {
        if self.turn() == Turn::Quick && self.attendant.owner().is_here() {
            self.turn.store(Turn::Slow as u8, Ordering::Relaxed);
        }
    }

    /// Tries for a moment to have no reply wait for space; says whether that is so.
    pub(super) fn make_space(&self) -> bool {
        for _ in 0..TRIES {
            if !self.is_backlogged() || self.flush() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Waits, so long at most, until no reply waits for space; says whether that is so.
    pub(super) fn wait_for_space(&self, slice: Duration) -> bool {
        let (waiting, space) = &self.space;
        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_backlogged() || self.is_closed() {
            return true;
        }
        drop(space.wait_timeout(waiting, slice));
        // Nobody else moves them on where the attendant's own thread waits.
        !self.is_backlogged() || self.flush()
    }

    /// Ends the sleep of those who wait for space.
    fn tell_of_space(&self) {
        let (waiting, space) = &self.space;
        // Whoever has looked, and found none, sleeps by then.
        drop(waiting.lock().unwrap_or_else(PoisonError::into_inner));
        space.notify_all();
    }

    /// Does what a frame that is no request wants; says whether it was an honest one.
    pub(super) fn heed(&self, kind: Kind, id: u64) -> bool {
        match kind {
            Kind::Cancel => self.cancel(id),
            Kind::Subscribe => self.subscribe(id),
            Kind::Unsubscribe => self.leave(),
            _ => return false,
        }
        true
    }

    /// Notes that nobody waits for this answer. A request that is answered already needs no note.
    fn cancel(&self, id: u64) {
        if self.tally.unanswered() > 0 {
            self.cancelled.note(id, self.tally.max_unanswered() as usize);
        }
    }

    /// Whether the client has given up this request.
    #[inline]
    pub(super) fn is_cancelled(&self, id: u64) -> bool {
        self.cancelled.contains(id)
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
        // A panic while an answer is encoded, too, may leave half of it behind: nobody is to wait for the rest. The
        // lock is released by then.
        let unless_done = AtEnd(|| self.close());
        let mut outbound = self.outbound.lock();
        let WayOut { outgoing: Some(outgoing), arena, half_written } = &mut *outbound else {
            return Err(Broken::Severed);
        };
        if *half_written {
            return Err(Broken::Severed);
        }
        *half_written = true;
        let done = work(outgoing, arena)?;
        *half_written = false;
        std::mem::forget(unless_done);
        match self.turn() {
            Turn::Over => outgoing.announce(),
            Turn::Quick if self.attendant.owner().is_here() => outgoing.hint_together(),
            Turn::Quick | Turn::Slow => outgoing.hint(),
        }
        let backlogged = outgoing.has_backlog();
        // Under the lock, so nobody else writes it meanwhile.
        if self.backlogged.load(Ordering::Relaxed) != backlogged {
            self.backlogged.store(backlogged, Ordering::Release);
            if !backlogged {
                self.tell_of_space();
            }
            self.nudge();
        }
        Ok(done)
    }

    /// Makes the attendant look at this connection again, unless that is what the calling thread is about
    /// to do: what it waits for has changed.
    pub(super) fn nudge(&self) {
        match &self.attendant {
            _ if self.attendant.owner().attends(self.session()) => {}
            Attendant::Poller(control) => control.tell(Note::Stirred(self.session())),
            Attendant::Reactor(waker) => waker.stir(self.session()),
        }
    }

    /// Says that the calling thread, which is the attendant's, looks at this connection from now on.
    #[inline]
    pub(super) fn attend(&self) {
        self.attendant.owner().attend(self.session());
    }

    /// Makes sure that the client is awake for all that was sent in this turn.
    pub(super) fn end_turn(&self) {
        self.turn.store(Turn::Over as u8, Ordering::Relaxed);
        // A connection that breaks here is closed, which its attendant notices.
        let _ = self.with_outgoing(|_, _| Ok(()));
    }

    /// Gives memory back that only longer messages needed, unless somebody works with it.
    pub(super) fn trim(&self) {
        let Some(mut outbound) = self.outbound.try_lock() else { return };
        if let Some(outgoing) = &mut outbound.outgoing {
            outgoing.trim();
        }
        trim_arena(&mut outbound.arena);
    }

    /// Whether one more request may be taken from this client before others are answered.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.tally.has_room()
    }

    /// Whether every request that was taken is answered, and every answer and notification on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.tally.unanswered() == 0 && !self.is_backlogged() && !self.has_notices()
    }

    /// Counts a request that was taken from this client; its responder settles it.
    ///
    /// When more follow in this `turn`, [`end_turn`](Self::end_turn) must end it.
    #[inline]
    pub(super) fn begin(&self, turn: Turn) {
        self.turn.store(turn as u8, Ordering::Relaxed);
        self.tally.begin();
    }

    /// Counts a request that was answered, and makes room for another.
    #[inline]
    pub(super) fn settle(&self, id: u64) {
        // The attendant need not be told what it has done itself.
        if self.attendant.owner().attends(self.session()) && self.cancelled.is_empty() {
            self.tally.count_answer_here();
        } else {
            self.settle_and_tell(id);
        }
    }

    fn settle_and_tell(&self, id: u64) {
        if self.attendant.owner().is_here() {
            self.tally.count_answer_here();
        } else {
            self.tally.count_answer_elsewhere();
        }
        if self.tally.was_full() {
            self.nudge();
        }
        if !self.cancelled.is_empty() {
            self.cancelled.forget(id, || self.tally.unanswered() == 0);
        }
    }

    /// The half that waits for space, for the poller's sleep; gives the work back where there is none any more.
    ///
    /// # Panics
    /// On a connection over the socket, which no poller serves.
    pub(super) fn with_outgoing_half<T, W: FnOnce(&mut dyn Waits) -> T>(&self, work: W) -> Result<T, W> {
        match &mut self.outbound.lock().outgoing {
            Some(Outgoing::Ring(sender)) => Ok(work(&mut **sender)),
            Some(Outgoing::Socket(_)) => unreachable!("the poller serves rings"),
            None => Err(work),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
    }
}
