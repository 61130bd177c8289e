//! A client's connection, whatever its protocol: requests out, answers in.
//!
//! [`Line`] knows ids, deadlines and what is still open; it does not know what the messages mean.
//! Whoever waits for one answer receives all that come: those that others wait for are kept for them,
//! and those that nobody waits for any more are dropped.

mod failing;
#[cfg(feature = "tokio")]
pub(super) mod ready;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use rkyv::ser::allocator::Arena;

use super::connect::Unwelcomed;
use super::lifeline::{Lifeline, Parting};
use super::open::{Answer, Open, RequestId};
use crate::channel::{LIFELINE_SLICE, Lifeline as _};
use crate::error::{Error, ErrorKind, NothingDone};
use crate::fault;
use crate::frame::{Expiry, Kind};
use crate::payload::{Bytes, Sink, TooLong};
use crate::protocol::{Wire, encode};
use crate::shm;
use crate::transport::{Broken, Incoming, Interrupted, Outgoing};
use crate::wait::{Deadline, Spin, WaitStrategy, coarse_now};

/// A connection from its client's side.
pub(crate) struct Line {
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    lifeline: Lifeline,
    pub(super) spin: Spin,
    arena: Arena,
    pub(super) open: Open,
    /// How many requests were sent.
    sequence: u64,
    /// The sequence number of the latest request that was answered.
    answered: u64,
    /// How often notifications were asked for.
    subscriptions: u64,
    /// When it was last looked whether the daemon is there, without waiting for it.
    looked: u64,
    /// The process that made this handle.
    process: u32,
    /// What is to be done with the daemon's answer to a hello that has not come yet.
    pub(super) unwelcomed: Option<Unwelcomed>,
    /// Why this connection is of no more use, and what is said of that.
    broken: Cell<Option<(ErrorKind, &'static str)>>,
    pub(super) path: Option<PathBuf>,
    pub(super) daemon_release: u32,
    timeout: Duration,
    /// Behind all that has memory of the connection.
    _parting: Option<Parting>,
}

/// Both ways of a new connection, and what ends with it.
pub(crate) struct Welcomed {
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    pub(crate) lifeline: Lifeline,
    /// How many requests the daemon takes before it has answered the first of them.
    pub(crate) in_flight: u32,
    /// Which release the daemon said it is; 0 if it said nothing.
    pub(crate) daemon_release: u32,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The answer to this request, or a part of it.
    Answer(RequestId),
    /// The next notification.
    Notice,
}

/// How much longer than its client a request lives with the daemon: both read a clock that may be a
/// few milliseconds late, and work is not to be dropped that somebody still waits for.
const GRACE: Duration = Duration::from_millis(10);

/// How many messages are received before others have their turn.
const BATCH: u32 = 256;

/// Who asks again and again whether an answer has come has it looked no more often whether the daemon is there.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// How often to look for late answers while a request waits for space, if one is owed.
const LATE_SLICE: Duration = Duration::from_micros(50);

pub(super) const SEND: &str = "send a request to the daemon";
pub(super) const RECEIVE: &str = "receive the daemon's answer";

impl Line {
    pub(super) fn new(
        welcomed: Welcomed,
        wait: WaitStrategy,
        timeout: Duration,
        path: Option<PathBuf>,
    ) -> Self {
        let spin = if welcomed.incoming.is_ring() { Spin::new(wait) } else { Spin::of_socket(wait) };
        Line {
            outgoing: welcomed.outgoing,
            incoming: welcomed.incoming,
            _parting: welcomed.lifeline.parting(),
            lifeline: welcomed.lifeline,
            spin,
            arena: Arena::new(),
            open: Open::new(welcomed.in_flight),
            sequence: 0,
            answered: 0,
            subscriptions: 0,
            looked: 0,
            process: shm::process(),
            unwelcomed: None,
            broken: Cell::new(None),
            path,
            daemon_release: welcomed.daemon_release,
            timeout,
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// When a request that is sent now with the timeout of this connection ends.
    pub(super) fn expiry(&self) -> Expiry {
        let lifetime = u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX);
        Expiry(coarse_now().saturating_add(lifetime).saturating_add(GRACE.as_nanos() as u64))
    }

    /// Sends a request whose answer is claimed at once.
    pub(super) fn request<T: Wire>(
        &mut self,
        request: &T,
        expiry: Expiry,
        deadline: &mut Deadline,
    ) -> Result<RequestId, Error> {
        self.sequence += 1;
        let id = self.latest();
        self.submit(request, id, expiry, deadline)?;
        self.outgoing.announce();
        Ok(id)
    }

    /// The request that was sent last, if it was to be claimed at once.
    pub(super) fn latest(&self) -> RequestId {
        RequestId::new(self.sequence, RequestId::NO_PLACE)
    }

    /// Sends a request whose answer is claimed later; the daemon need not see it before
    /// [`announce`](Self::announce).
    pub(super) fn open<T: Wire>(&mut self, request: &T, expiry: Expiry) -> Result<RequestId, Error> {
        let Some(place) = self.open.place() else {
            let limit = self.open.limit();
            return Err(self.error(ErrorKind::Refused, SEND).with_nothing_done(NothingDone::Busy).saying(format!(
                "{limit} requests are open on this connection, which is the limit: claim or drop one first"
            )));
        };
        self.sequence += 1;
        let id = RequestId::new(self.sequence, place);
        self.submit(request, id, expiry, &mut Deadline::after(self.timeout))?;
        self.open.occupy(id, expiry);
        Ok(id)
    }

    pub(super) fn announce(&mut self) {
        self.outgoing.announce();
    }

    fn submit<T: Wire>(
        &mut self,
        request: &T,
        id: RequestId,
        expiry: Expiry,
        deadline: &mut Deadline,
    ) -> Result<(), Error> {
        self.check_usable(SEND)?;
        let before = id.sequence() - 1;
        // What an earlier request has left goes first, so that requests do not pile up here. A hello
        // travels with the first one: a daemon that has heard it knows that a question follows.
        if self.unwelcomed.is_none() && self.outgoing.has_backlog() {
            self.drain(before, deadline)?;
        }
        self.put(request, id, expiry)?;
        if self.outgoing.has_backlog()
            && let Err(error) = self.drain(before, deadline)
        {
            if !self.outgoing.abort() {
                self.tell(Kind::Cancel, id.to_frame());
            }
            return Err(error);
        }
        Ok(())
    }

    /// Takes a request, and moves it as far as it goes without a long wait.
    fn put<T: Wire>(&mut self, request: &T, id: RequestId, expiry: Expiry) -> Result<(), Error> {
        let arena = &mut self.arena;
        let write = |sink: &mut dyn Sink| -> Result<(), TooLong> {
            encode(request, sink, arena)?;
            sink.append(&expiry.to_bytes())
        };
        let half_written = HalfWritten(&self.broken);
        let sent = self.outgoing.send(Kind::Request, id.to_frame(), write);
        std::mem::forget(half_written);
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(too_long)) => Err(self.error(ErrorKind::TooLarge, SEND).because(too_long)),
            Err(broken) => Err(self.break_with(broken, SEND)),
        }
    }

    /// Tells the daemon that nobody waits for the answer any more.
    pub(super) fn cancel(&mut self, id: RequestId) {
        let unanswered = self.open.awaits(id) || id == self.latest();
        self.open.close(id);
        if unanswered {
            self.tell(Kind::Cancel, id.to_frame());
        }
    }

    /// Sends a frame without a payload, unless that is of no use any more.
    fn tell(&mut self, kind: Kind, id: u64) {
        if self.check_usable(SEND).is_err() {
            return;
        }
        fault::point("client.telling");
        match self.outgoing.send(kind, id, |_| Ok(())) {
            Ok(_) => self.outgoing.announce(),
            Err(broken) => drop(self.break_with(broken, SEND)),
        }
    }

    /// Asks for notifications from `first` on; says which subscription of this connection that is.
    pub(super) fn subscribe(&mut self, first: u64) -> Result<u64, Error> {
        self.check_usable(SEND)?;
        self.subscriptions += 1;
        self.tell(Kind::Subscribe, first);
        if let Err(error) = self.drain(self.sequence, &mut Deadline::after(self.timeout)) {
            // The daemon still hears of the subscription one day, and counts it: nobody wants it by then.
            self.unsubscribe();
            return Err(error);
        }
        self.outgoing.announce();
        Ok(self.subscriptions)
    }

    /// Asks for no more notifications.
    pub(super) fn unsubscribe(&mut self) {
        self.tell(Kind::Unsubscribe, 0);
    }

    /// Waits until all that was sent is on its way. The requests up to the `last` one went before.
    ///
    /// Answers are received meanwhile: a daemon that has no space for one reads no requests.
    fn drain(&mut self, last: u64, deadline: &mut Deadline) -> Result<(), Error> {
        // An answer to one of those, under way, holds up what comes behind it.
        let owed = self.answered < last || self.open.count() > 0;
        let slice = if owed { LATE_SLICE } else { LIFELINE_SLICE };
        let Line { outgoing, incoming, lifeline, spin, open, unwelcomed, .. } = self;
        // Before the handshake's answer there are no frames to be looked for.
        let welcomed = unwelcomed.is_none();
        let mut broken = None;
        let drained = outgoing.drain(spin, deadline, slice, &mut || {
            for _ in 0..if welcomed { BATCH } else { 0 } {
                match incoming.poll() {
                    Ok(Some((kind, id))) => keep(open, incoming, kind, RequestId::of_frame(id)),
                    Ok(None) => break,
                    Err(fault) => {
                        broken = Some(fault);
                        break;
                    }
                }
            }
            broken.is_some() || lifeline.is_severed()
        });
        match (drained, broken) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(broken)) => Err(self.break_with(broken, SEND)),
            (Err(interrupted), None) => Err(self.interrupt(interrupted, deadline.limit(), SEND)),
        }
    }

    /// Receives what is awaited, which [`message`](Self::message) holds then; says of what kind it is.
    #[inline]
    pub(super) fn receive(
        &mut self,
        awaited: Awaited,
        deadline: &mut Deadline,
    ) -> Result<(Kind, u64), Error> {
        if self.unwelcomed.is_some() {
            self.finish_handshake(deadline)?;
        }
        // A peer that sends what nobody waits for must not hold this up for ever. The answer mostly comes
        // after one wait, and the clock is not asked.
        let (mut waited, mut fruitless) = (false, false);
        loop {
            if fruitless && deadline.is_over() {
                return Err(self.interrupt(Interrupted::Deadline, deadline.limit(), RECEIVE));
            }
            match self.incoming.poll() {
                Ok(Some((kind, id))) => {
                    if self.is_awaited(awaited, kind, id) {
                        return Ok((kind, id));
                    }
                    self.sort(kind, RequestId::of_frame(id))?;
                    fruitless = true;
                }
                Ok(None) => {
                    (waited, fruitless) = (true, fruitless || waited);
                    let Line { incoming, lifeline, spin, .. } = self;
                    if let Err(interrupted) = incoming.wait(spin, deadline, lifeline) {
                        return Err(self.interrupt(interrupted, deadline.limit(), RECEIVE));
                    }
                }
                Err(broken) => return Err(self.break_with(broken, RECEIVE)),
            }
        }
    }

    /// Whether a [`claim`](Self::claim) would not wait: the answer has come, or its time is up.
    pub(super) fn is_ready(&mut self, id: RequestId) -> Result<bool, Error> {
        if self.open.has_answer(id) {
            return Ok(true);
        }
        let more = self.receive_for(id)?;
        let now = coarse_now();
        if self.open.has_answer(id) || now >= self.end_of(id) {
            return Ok(true);
        }
        if more || !self.lacks_its_peer(now) {
            return Ok(false);
        }
        // More may have come until it went.
        match (self.receive_for(id)?, self.open.has_answer(id)) {
            (false, false) => Err(self.break_with(Broken::Severed, RECEIVE)),
            (_, ready) => Ok(ready),
        }
    }

    /// As [`receive_all`](Self::receive_all). What the daemon has answered before it went still counts.
    fn receive_for(&mut self, id: RequestId) -> Result<bool, Error> {
        self.receive_all().or_else(|error| if self.open.has_answer(id) { Ok(false) } else { Err(error) })
    }

    /// Whether the connection is lost before a request is sent, as far as is known. In a forked child it is the parent's.
    pub(super) fn was_lost(&mut self) -> bool {
        match self.check_usable(SEND) {
            Ok(()) => self.lacks_its_peer(coarse_now()),
            Err(error) => error.kind() != ErrorKind::Forked,
        }
    }

    /// Whether the daemon is gone, as far as is known at this time: to look is a system call.
    fn lacks_its_peer(&mut self, now: u64) -> bool {
        let due = now.saturating_sub(self.looked) >= LOOK_PAUSE.as_nanos() as u64;
        if due {
            self.looked = now;
        }
        due && self.lifeline.is_severed()
    }

    /// When the time of a request is up, as [`coarse_now`] tells it.
    fn end_of(&self, id: RequestId) -> u64 {
        self.open.expiry(id).0.saturating_sub(GRACE.as_nanos() as u64)
    }

    /// Receives what has come already, without waiting, [`BATCH`] messages of it at most; says whether there may be
    /// more.
    fn receive_all(&mut self) -> Result<bool, Error> {
        self.check_usable(RECEIVE)?;
        for _ in 0..BATCH {
            let polled = self.incoming.poll().map_err(|broken| self.break_with(broken, RECEIVE))?;
            let Some((kind, id)) = polled else { return Ok(false) };
            self.sort(kind, RequestId::of_frame(id))?;
        }
        Ok(true)
    }

    fn is_awaited(&mut self, awaited: Awaited, kind: Kind, id: u64) -> bool {
        match awaited {
            Awaited::Answer(request) => {
                let answered =
                    id == request.to_frame() && matches!(kind, Kind::Reply | Kind::Failure | Kind::Part);
                // Behind a part come others.
                if answered && kind != Kind::Part {
                    self.answered = self.answered.max(request.sequence());
                }
                answered
            }
            Awaited::Notice => matches!(kind, Kind::Notice | Kind::Gap),
        }
    }

    /// Keeps a message that somebody else waits for, or drops one that comes late.
    fn sort(&mut self, kind: Kind, id: RequestId) -> Result<(), Error> {
        let expected = match kind {
            Kind::Reply | Kind::Failure | Kind::Part => id.sequence() <= self.sequence,
            Kind::Notice | Kind::Gap => self.subscriptions > 0,
            _ => false,
        };
        if !expected {
            let error = self.lose(ErrorKind::PeerMisbehaved, RECEIVE);
            return Err(error.saying(format!(
                "a frame of kind {kind:?} for request {}, which is not open",
                id.to_frame()
            )));
        }
        if matches!(kind, Kind::Reply | Kind::Failure) {
            self.answered = self.answered.max(id.sequence());
        }
        keep(&mut self.open, &mut self.incoming, kind, id);
        Ok(())
    }

    /// Claims the answer to a request that [`open`](Self::open) has sent.
    pub(super) fn claim(&mut self, id: RequestId) -> Result<Bytes, Error> {
        self.check_process(RECEIVE)?;
        let answer = match self.open.take_answer(id) {
            Some(answer) => answer,
            None => {
                self.check_usable(RECEIVE)?;
                let mut deadline = Deadline::at(self.end_of(id));
                let (kind, _) = self.receive(Awaited::Answer(id), &mut deadline)?;
                self.open.close(id);
                let mut payload = self.open.memory();
                self.incoming.swap_message(&mut payload);
                Answer { kind, payload }
            }
        };
        self.unpack(id, answer)
    }

    /// What a daemon's answer says.
    fn unpack(&mut self, id: RequestId, answer: Answer) -> Result<Bytes, Error> {
        match answer.kind {
            Kind::Reply => Ok(answer.payload),
            Kind::Part => Err(self.refuse_parts(id)),
            _ => Err(self.failure(&answer.payload)),
        }
    }

    /// What has come of a request that does not take its answer in parts.
    pub(super) fn refuse_parts(&mut self, id: RequestId) -> Error {
        self.tell(Kind::Cancel, id.to_frame());
        self.error(ErrorKind::Refused, RECEIVE).saying("the answer comes in parts: ask with `stream`")
    }

    /// The payload that was received last.
    pub(super) fn message(&self) -> &Bytes {
        self.incoming.message()
    }
}

/// What is said of a connection in which a request was left half-written.
const GIVEN_UP: &str = "it was given up when the encoding of a request panicked";

/// Gives a connection up, unless it is forgotten: a type whose encoding panics may leave half a request behind.
struct HalfWritten<'a>(&'a Cell<Option<(ErrorKind, &'static str)>>);

impl Drop for HalfWritten<'_> {
    fn drop(&mut self) {
        self.0.set(Some((ErrorKind::PeerDied, GIVEN_UP)));
    }
}

/// Keeps the answer that has just been received if it is waited for.
fn keep(open: &mut Open, incoming: &mut Incoming, kind: Kind, id: RequestId) {
    if matches!(kind, Kind::Reply | Kind::Failure | Kind::Part) && open.awaits(id) {
        let mut payload = open.memory();
        incoming.swap_message(&mut payload);
        open.keep(id, Answer { kind, payload });
    }
}
