//! Being told of changes: [`Client::subscribe`], [`Subscription`] and [`Notice`].

use std::fmt;
use std::time::Duration;

use rkyv::Archived;

use super::Client;
use super::line::{Awaited, Line, RECEIVE};
use crate::error::{Error, ErrorKind};
use crate::frame::{FROM_NOW, Gap, Kind};
use crate::protocol::Notifies;
use crate::transport::Interrupted;
use crate::wait::Deadline;

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With what is published from now on.
    Now,
    /// Behind the notification of this sequence number, which was seen already.
    Sequence(u64),
}

impl Since {
    /// The sequence number of the first notification, as the daemon is told it.
    pub(super) fn first(self) -> u64 {
        match self {
            Since::Now => FROM_NOW,
            Since::Sequence(seen) => seen.saturating_add(1),
        }
    }
}

impl<P: Notifies> Client<P> {
    /// Subscribes to the daemon's notifications, on a connection that does nothing else meanwhile.
    ///
    /// The first that comes is a [`Notice::Gap`], which says where the sequence stands: with
    /// [`Since::Sequence`], also whether anything since then is lost.
    ///
    /// # Errors
    /// As the sending half of [`send`](Self::send).
    pub fn subscribe(&mut self, since: Since) -> Result<Subscription<'_, P>, Error> {
        P::assert_notification();
        let number = self.line.get_mut().subscribe(since.first())?;
        Ok(Subscription { client: self, number, begun: false })
    }
}

/// What a daemon publishes, in order, until it is dropped.
///
/// A slow subscriber slows nobody. What it missed is reported by the next [`Notice::Gap`].
pub struct Subscription<'c, P: Notifies> {
    client: &'c mut Client<P>,
    /// Which of the connection's subscriptions this is.
    number: u64,
    /// Whether anything has come for this one.
    begun: bool,
}

/// Something that a daemon tells its subscribers.
pub enum Notice<'a, P: Notifies> {
    /// A notification.
    Event {
        /// Its place in the order of all that the daemon publishes; each has one more than the last.
        sequence: u64,
        /// What has happened.
        event: &'a Archived<P::Notification>,
    },
    /// Where the sequence goes on.
    Gap {
        /// The sequence number of the next notification. Who has seen none yet and subscribes again goes on with
        /// [`Since::Sequence`] of one less.
        next: u64,
        /// How many were lost before it: `Some(0)` where none was, as at the start of a subscription from now on; `None`
        /// where nobody knows, because another daemon has published them.
        lost: Option<u64>,
    },
}

impl<P: Notifies> Subscription<'_, P> {
    /// Waits for the next notice, for `timeout` at most.
    ///
    /// # Errors
    /// - [`ErrorKind::Timeout`]: nothing was published meanwhile.
    /// - [`ErrorKind::PeerDied`], [`ErrorKind::PeerMisbehaved`], [`ErrorKind::Io`]: the connection is
    ///   lost; what was seen last can be gone on from with [`Since::Sequence`] on another one.
    pub fn next(&mut self, timeout: Duration) -> Result<Notice<'_, P>, Error> {
        let line = self.client.line.get_mut();
        line.check_usable(RECEIVE)?;
        let mut deadline = Deadline::starting_now(timeout);
        let sequence = loop {
            let (kind, sequence) = line.receive(Awaited::Notice, &mut deadline)?;
            if kind == Kind::Gap {
                let gap = gap(line)?;
                if gap.subscription == self.number {
                    self.begun = true;
                    return Ok(Notice::gap(gap, sequence));
                }
            } else if self.begun {
                break sequence;
            }
            // It was on its way to an earlier subscription. A daemon may send such without end.
            if deadline.is_over() {
                return Err(line.interrupt(Interrupted::Deadline, deadline.limit(), RECEIVE));
            }
        };
        Notice::event(line, sequence)
    }
}

/// The gap that was received last.
pub(super) fn gap(line: &Line) -> Result<Gap, Error> {
    Gap::from_bytes(line.message())
        .ok_or_else(|| line.lose(ErrorKind::PeerMisbehaved, RECEIVE).saying("a gap of no known size"))
}

impl<'a, P: Notifies> Notice<'a, P> {
    /// A gap before the notification `next`.
    pub(super) fn gap(gap: Gap, next: u64) -> Self {
        Notice::Gap { next, lost: (gap.lost != Gap::UNKNOWN).then_some(gap.lost) }
    }

    /// The notification that was received last, under its sequence number.
    pub(super) fn event(line: &'a Line, sequence: u64) -> Result<Self, Error> {
        line.checked::<P::Notification>().map(|event| Notice::Event { sequence, event })
    }
}

impl<P: Notifies> Drop for Subscription<'_, P> {
    fn drop(&mut self) {
        self.client.line.get_mut().unsubscribe();
    }
}

impl<P: Notifies> fmt::Debug for Subscription<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("client", &self.client).finish()
    }
}

impl<P: Notifies> fmt::Debug for Notice<'_, P>
where
    Archived<P::Notification>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Event { sequence, event } => {
                f.debug_struct("Event").field("sequence", sequence).field("event", event).finish()
            }
            Notice::Gap { next, lost } => {
                f.debug_struct("Gap").field("next", next).field("lost", lost).finish()
            }
        }
    }
}
