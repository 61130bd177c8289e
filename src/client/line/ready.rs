//! What a [`Line`] does without waiting, for clients that share their thread with others.
//!
//! Nothing here blocks. [`Line::listen`] is what takes the place of a sleep: after it the daemon rings the
//! bell, which is the socket of the handshake, once there is something to move.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Awaited, BATCH, Line, RECEIVE, SEND};
use crate::channel::Waits;
use crate::client::open::RequestId;
use crate::cpu;
use crate::error::Error;
use crate::frame::{Expiry, Kind};
use crate::payload::Bytes;
use crate::protocol::Wire;
use crate::stream::Stream;
use crate::transport::{Broken, Incoming, Outgoing};

/// What has come of a look for one kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Received {
    /// It: its kind and its id.
    Awaited(Kind, u64),
    /// Not it, and nothing else is left.
    Nothing,
    /// Not it so far.
    NothingYet,
}

impl Line {
    /// Sends a request whose answer is claimed later; nothing if there is no place for it, or earlier
    /// ones wait for space.
    pub(in crate::client) fn try_open<T: Wire>(
        &mut self,
        request: &T,
        expiry: Expiry,
    ) -> Result<Option<RequestId>, Error> {
        self.check_usable(SEND)?;
        let Some(place) = self.open.place() else { return Ok(None) };
        if self.outgoing.has_backlog() {
            return Ok(None);
        }
        self.sequence += 1;
        let id = RequestId::new(self.sequence, place);
        self.put(request, id, expiry)?;
        self.open.occupy(id, expiry);
        self.outgoing.announce();
        Ok(Some(id))
    }

    /// Claims an answer, if it has come.
    pub(in crate::client) fn try_claim(&mut self, id: RequestId) -> Option<Result<Bytes, Error>> {
        let answer = self.open.take_answer(id)?;
        Some(self.unpack(id, answer))
    }

    /// Moves on what waits for space, and receives what has come. Says whether there may be more.
    pub(in crate::client) fn progress(&mut self) -> Result<bool, Error> {
        Ok(self.take(None)? == Received::NothingYet)
    }

    /// The same until what is awaited has come, for [`message`](Line::message) to hold.
    pub(in crate::client) fn try_receive(&mut self, awaited: Awaited) -> Result<Received, Error> {
        self.take(Some(awaited))
    }

    fn take(&mut self, awaited: Option<Awaited>) -> Result<Received, Error> {
        self.check_usable(RECEIVE)?;
        if self.outgoing.has_backlog() {
            self.outgoing.flush().map_err(|broken| self.break_with(broken, SEND))?;
            self.outgoing.announce();
        }
        for _ in 0..BATCH {
            match self.incoming.poll() {
                Ok(Some((kind, id))) => {
                    if awaited.is_some_and(|awaited| self.is_awaited(awaited, kind, id)) {
                        return Ok(Received::Awaited(kind, id));
                    }
                    self.sort(kind, RequestId::of_frame(id))?;
                }
                Ok(None) => return Ok(Received::Nothing),
                Err(broken) => return Err(self.break_with(broken, RECEIVE)),
            }
        }
        Ok(Received::NothingYet)
    }

    /// Looks for answers for a microsecond or two, if that has lately paid; says whether some have come.
    pub(in crate::client) fn glance(&mut self) -> bool {
        let Line { incoming: Incoming::Ring(receiver), spin, .. } = self else { return false };
        spin.glance(|| (receiver.look() != Ok(false)).then_some(())).is_some()
    }

    /// Whether it pays to go on looking by turns with other work, when that has been in vain `since` then,
    /// or from now on.
    pub(in crate::client) fn looking_pays(&mut self, since: &mut Option<Instant>) -> bool {
        let Incoming::Ring(receiver) = &self.incoming else { return false };
        match since {
            Some(since) => self.spin.pays_after(since.elapsed()),
            None => {
                *since = Some(Instant::now());
                !receiver.shares_cpu(cpu::current()) && self.spin.pays_after(Duration::ZERO)
            }
        }
    }

    /// Learns from a time that was spent listening.
    pub(in crate::client) fn listened(&mut self, time: Duration) {
        self.spin.slept(time);
    }

    /// Has the daemon ring the bell when there is something to move; says whether there already is.
    pub(in crate::client) fn listen(&mut self) -> bool {
        let outgoing = match &mut self.outgoing {
            Outgoing::Ring(sender) if sender.has_backlog() => {
                sender.mark_listening();
                sender.look() != Ok(false)
            }
            _ => false,
        };
        let incoming = match &mut self.incoming {
            Incoming::Ring(receiver) => {
                receiver.mark_listening();
                receiver.look() != Ok(false)
            }
            Incoming::Socket(_) => false,
        };
        outgoing || incoming
    }

    /// Has the daemon ring no more.
    pub(in crate::client) fn stop_listening(&self) {
        if let Outgoing::Ring(sender) = &self.outgoing {
            sender.mark_awake();
        }
        if let Incoming::Ring(receiver) = &self.incoming {
            receiver.mark_awake();
        }
    }

    /// Whether messages travel through rings, and the socket only rings.
    pub(in crate::client) fn is_ring(&self) -> bool {
        self.incoming.is_ring()
    }

    /// Whether requests wait for space.
    pub(in crate::client) fn has_backlog(&self) -> bool {
        self.outgoing.has_backlog()
    }

    /// The socket of the handshake.
    ///
    /// # Panics
    /// On a pair in one process, which has had none.
    pub(in crate::client) fn socket(&self) -> &Arc<Stream> {
        self.lifeline.socket().expect("async clients have shaken hands")
    }

    /// What it means that the socket has ended or failed.
    pub(in crate::client) fn sever(&self, broken: Broken) -> Error {
        self.break_with(broken, RECEIVE)
    }
}
