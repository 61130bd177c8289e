//! How messages travel, behind one pair of types: [`Outgoing`] and [`Incoming`].
//!
//! A connection has one of each, both over rings or both over the socket. The rings may lie in
//! shared memory between two processes or on the heap of one; the frames, the answers and the
//! errors are the same. What a message means is the business of client and server.

mod local;
mod socket;

use std::io;
use std::time::Duration;

use crate::channel::{Fault, Lifeline, Receiver, Sender, Stop};
use crate::frame::{BadHeader, Kind};
use crate::payload::{Bytes, Sink, TooLong};
use crate::ring::Regions;
use crate::wait::{Deadline, Spin};

pub(crate) use local::LocalLine;
pub(crate) use socket::{Inbox, Outbox, wait_readable};

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The peer has closed it, or its process has ended.
    #[error("the peer has closed the connection")]
    Severed,
    /// The peer broke the rules of the rings.
    #[error("{0}")]
    Ring(Fault),
    /// The peer broke the rules of the stream.
    #[error("{0}")]
    Stream(BadFrame),
    /// The system failed a call on the socket.
    #[error("{0}")]
    Io(io::Error),
}

/// What no honest peer sends over the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFrame {
    #[error("{0}")]
    Header(#[from] BadHeader),
    #[error("a frame of {length} bytes for request {id} where {limit} are allowed")]
    TooLong { id: u64, length: u32, limit: usize },
    #[error("a fragment, a skip or an abort on a socket")]
    NotHere,
    #[error("descriptors beside the frames")]
    Descriptors,
}

/// Why a wait ended without what it waited for.
#[derive(Debug)]
pub(crate) enum Interrupted {
    /// The time is up; the connection is as good as before.
    Deadline,
    /// The connection is of no more use.
    Broken(Broken),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Broken::Ring(fault)
    }
}

impl From<BadFrame> for Broken {
    fn from(bad: BadFrame) -> Self {
        Broken::Stream(bad)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Broken::Severed,
            _ => Broken::Io(error),
        }
    }
}

impl<B: Into<Broken>> From<B> for Interrupted {
    fn from(broken: B) -> Self {
        Interrupted::Broken(broken.into())
    }
}

impl From<Stop> for Interrupted {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Deadline => Interrupted::Deadline,
            Stop::Severed => Interrupted::Broken(Broken::Severed),
            Stop::Fault(fault) => Interrupted::Broken(fault.into()),
        }
    }
}

/// The way out of a connection.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Ring(Box<Sender<Regions>>),
    Socket(Outbox),
}

impl Outgoing {
    /// Takes a message and moves it as far as it goes without a long wait; the rest is a backlog.
    ///
    /// [`announce`](Self::announce) must follow, see [`Sender::send`]. When `write` fails, its error comes
    /// back, and the peer gets no message.
    pub(crate) fn send(
        &mut self,
        kind: Kind,
        id: u64,
        write: impl FnOnce(&mut dyn Sink) -> Result<(), TooLong>,
    ) -> Result<Result<(), TooLong>, Broken> {
        match self {
            Outgoing::Ring(sender) => Ok(sender.send(kind, id, write)?),
            Outgoing::Socket(outbox) => outbox.send(kind, id, write),
        }
    }

    /// Moves the backlog on without waiting; says whether none is left.
    pub(crate) fn flush(&mut self) -> Result<bool, Broken> {
        match self {
            Outgoing::Ring(sender) => Ok(sender.flush()?),
            Outgoing::Socket(outbox) => outbox.flush(),
        }
    }

    /// Lets the peer see what was sent.
    pub(crate) fn announce(&mut self) {
        if let Outgoing::Ring(sender) = self {
            sender.announce();
        }
    }

    /// Lets the peer see what was sent; [`announce`](Self::announce) must follow, see [`Sender::hint`].
    pub(crate) fn hint(&mut self) {
        if let Outgoing::Ring(sender) = self {
            sender.hint();
        }
    }

    /// As [`hint`](Self::hint), but tells of several short messages at once.
    pub(crate) fn hint_together(&mut self) {
        if let Outgoing::Ring(sender) = self {
            sender.hint_together();
        }
    }

    /// Gives memory back that only longer messages needed.
    pub(crate) fn trim(&mut self) {
        match self {
            Outgoing::Ring(sender) => sender.trim(),
            Outgoing::Socket(outbox) => outbox.trim(),
        }
    }

    pub(crate) fn has_backlog(&self) -> bool {
        match self {
            Outgoing::Ring(sender) => sender.has_backlog(),
            Outgoing::Socket(outbox) => outbox.has_backlog(),
        }
    }

    /// Waits until no backlog is left. Asks each `slice` whether the peer is gone.
    pub(crate) fn drain(
        &mut self,
        spin: &mut Spin,
        until: &mut Deadline,
        slice: Duration,
        severed: &mut dyn FnMut() -> bool,
    ) -> Result<(), Interrupted> {
        match self {
            Outgoing::Ring(sender) => Ok(sender.drain(spin, until, slice, severed)?),
            Outgoing::Socket(outbox) => outbox.drain(until, slice, severed),
        }
    }

    /// Gives up the request that was sent last and is not on its way whole; see [`Sender::abort`]. Says whether the peer
    /// will not carry it out.
    ///
    /// Over a socket, one that is under way stays in the backlog, and comes too late.
    pub(crate) fn abort(&mut self) -> bool {
        match self {
            Outgoing::Ring(sender) => {
                sender.abort();
                true
            }
            Outgoing::Socket(outbox) => outbox.abort(),
        }
    }
}

/// The way into a connection.
#[derive(Debug)]
pub(crate) enum Incoming {
    Ring(Box<Receiver<Regions>>),
    Socket(Inbox),
}

impl Incoming {
    /// The kind and id of the next whole message, if it has come: [`message`](Self::message) holds
    /// its payload then.
    #[inline]
    pub(crate) fn poll(&mut self) -> Result<Option<(Kind, u64)>, Broken> {
        match self {
            Incoming::Ring(receiver) => Ok(receiver.poll()?),
            Incoming::Socket(inbox) => inbox.poll(),
        }
    }

    pub(crate) fn is_ring(&self) -> bool {
        matches!(self, Incoming::Ring(_))
    }

    /// The payload that [`poll`](Self::poll) received last.
    pub(crate) fn message(&self) -> &Bytes {
        match self {
            Incoming::Ring(receiver) => receiver.message(),
            Incoming::Socket(inbox) => inbox.message(),
        }
    }

    /// Gives that payload away for other memory.
    pub(crate) fn swap_message(&mut self, other: &mut Bytes) {
        match self {
            Incoming::Ring(receiver) => receiver.swap_message(other),
            Incoming::Socket(inbox) => inbox.swap_message(other),
        }
    }

    /// Waits until [`poll`](Self::poll) is worth calling again.
    pub(crate) fn wait(
        &mut self,
        spin: &mut Spin,
        until: &mut Deadline,
        lifeline: &mut dyn Lifeline,
    ) -> Result<(), Interrupted> {
        match self {
            Incoming::Ring(receiver) => Ok(receiver.wait(spin, until, lifeline)?),
            Incoming::Socket(inbox) => inbox.wait(spin, until),
        }
    }
}
