//! Asking a daemon: [`Client`].

mod builder;
mod connect;
mod spawn;

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rkyv::rancor::{self, Strategy};
use rkyv::ser::allocator::Arena;
use rkyv::{Archived, Deserialize};

use crate::channel::LIFELINE_SLICE;
use crate::error::{Error, ErrorKind};
use crate::frame::{Failure, FailureCode, Kind};
use crate::protocol::{Protocol, check, encode};
use crate::shm;
use crate::stream::Stream;
use crate::transport::{Broken, Incoming, Interrupted, LocalLine, Outgoing};
use crate::wait::{Deadline, Spin};

pub use builder::{ClientBuilder, Transport};
pub(crate) use connect::Welcomed;

/// A connection to a daemon that answers the protocol `P`.
///
/// One request is under way at a time. A request that times out leaves the connection as good as
/// before: its late answer is dropped. After [`ErrorKind::PeerDied`] or
/// [`ErrorKind::PeerMisbehaved`] the connection is of no more use.
///
/// ```no_run
/// use libgrite_ipc::{IpcClient, IpcCommand};
///
/// let mut client = IpcClient::connect("/run/user/1000/grite/daemon.sock")?;
/// let answer = client.send(&IpcCommand::IssueShow { id: "bd-0088".to_owned() })?;
/// println!("{answer:?}");
/// # Ok::<(), libgrite_ipc::Error>(())
/// ```
pub struct Client<P: Protocol> {
    outgoing: Outgoing,
    incoming: Incoming,
    lifeline: Lifeline,
    spin: Spin,
    arena: Arena,
    timeout: Duration,
    /// The id of the request under way or done last; the next one has one more.
    request: u64,
    /// The last request whose answer has come.
    answered: u64,
    /// The process that made this handle.
    process: u32,
    /// A question whose hello is still unanswered.
    unwelcomed: Option<connect::Unwelcomed>,
    /// Why this connection is of no more use.
    broken: Cell<Option<ErrorKind>>,
    path: Option<PathBuf>,
    _protocol: std::marker::PhantomData<fn() -> P>,
}

/// What ends when the peer does.
pub(crate) enum Lifeline {
    /// The socket of the handshake.
    Socket(Arc<Stream>),
    /// The peer is in this process.
    Local(Arc<LocalLine>),
}

impl Lifeline {
    fn is_severed(&self) -> bool {
        match self {
            Lifeline::Socket(stream) => stream.has_event(),
            Lifeline::Local(line) => line.is_severed(),
        }
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if let Lifeline::Local(line) = self {
            line.sever();
        }
    }
}

impl<P: Protocol> Client<P> {
    /// Connects to the daemon at `path` with the defaults of [`ClientBuilder`].
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        ClientBuilder::new().connect(path)
    }

    /// Starts from the defaults: transport, sizes, timeout and waiting can be chosen.
    pub fn builder() -> ClientBuilder<P> {
        ClientBuilder::new()
    }

    /// Asks, and waits for the answer, for as long as the builder's timeout.
    ///
    /// The answer is borrowed from this client's buffer until the next call; nothing is
    /// deserialized and, once buffers have grown, nothing is allocated.
    ///
    /// # Errors
    /// - [`ErrorKind::Timeout`]: no answer in time. The daemon may still carry the request out.
    /// - [`ErrorKind::TooLarge`]: the request or its answer is longer than `max_message`.
    /// - [`ErrorKind::Refused`]: the handler panicked or dropped the request, or the daemon stops.
    /// - [`ErrorKind::PeerDied`], [`ErrorKind::PeerMisbehaved`], [`ErrorKind::Io`]: the connection
    ///   is lost.
    /// - [`ErrorKind::Forked`]: this handle was made before a fork, in the parent.
    pub fn send(&mut self, request: &P::Request) -> Result<Reply<'_, P>, Error> {
        let mut deadline = Deadline::after(self.timeout);
        match self.request(request, &mut deadline) {
            // A daemon that does not want the connection says why before it closes it.
            Err(error) if error.kind() == ErrorKind::PeerDied && self.unwelcomed.is_some() => {
                let said = self.receive(&mut deadline);
                said.map_err(|said| if said.kind() == ErrorKind::PeerDied { error } else { said })
            }
            Err(error) => Err(error),
            Ok(()) => self.receive(&mut deadline),
        }?;
        match check::<P::Response>(self.incoming.message()) {
            Ok(value) => Ok(Reply { value }),
            Err(invalid) => Err(self.lose(ErrorKind::PeerMisbehaved, RECEIVE).because(invalid)),
        }
    }

    /// Whether requests travel through rings in shared memory.
    pub fn uses_ring(&self) -> bool {
        matches!(self.outgoing, Outgoing::Ring(_))
    }

    /// Sends the request under a new id.
    fn request(&mut self, request: &P::Request, deadline: &mut Deadline) -> Result<(), Error> {
        if self.process != shm::process() {
            return Err(self.error(ErrorKind::Forked, SEND));
        }
        if let Some(kind) = self.broken.get() {
            return Err(self.error(kind, SEND).saying("the connection was lost before"));
        }
        // What an earlier request has left goes first, so that requests do not pile up here.
        if self.outgoing.has_backlog() {
            self.drain(deadline)?;
        }
        self.request += 1;
        let arena = &mut self.arena;
        let sent = self.outgoing.send(Kind::Request, self.request, |sink| encode(request, sink, arena));
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(too_long)) => return Err(self.error(ErrorKind::TooLarge, SEND).because(too_long)),
            Err(broken) => return Err(self.break_with(broken, SEND)),
        }
        if self.outgoing.has_backlog() {
            self.drain(deadline).inspect_err(|_| self.outgoing.abort())?;
        }
        self.outgoing.announce();
        Ok(())
    }

    /// Waits until all that was sent is on its way.
    ///
    /// Late answers to earlier requests are dropped meanwhile: a daemon that has no space for one
    /// reads no requests.
    fn drain(&mut self, deadline: &mut Deadline) -> Result<(), Error> {
        let Client { outgoing, incoming, lifeline, spin, .. } = self;
        // An answer under way holds up what comes behind it.
        let owed = self.answered < self.request;
        let slice = if owed { LATE_SLICE } else { LIFELINE_SLICE };
        let mut broken = None;
        let drained = outgoing.drain(spin, deadline, slice, &mut || {
            match incoming.poll() {
                Ok(_) => {}
                Err(fault) => broken = Some(fault),
            }
            broken.is_some() || lifeline.is_severed() && incoming.is_ring()
        });
        match (drained, broken) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(broken)) => Err(self.break_with(broken, SEND)),
            (Err(interrupted), None) => Err(self.interrupt(interrupted, SEND)),
        }
    }

    /// Receives the answer to the last request, and drops those of requests that timed out.
    fn receive(&mut self, deadline: &mut Deadline) -> Result<(), Error> {
        if self.unwelcomed.is_some() {
            self.finish_handshake(deadline)?;
        }
        // A peer that sends what nobody waits for must not hold this up for ever. The answer mostly comes
        // after one wait, and the clock is not asked.
        let (mut waited, mut fruitless) = (false, false);
        loop {
            if fruitless && deadline.is_over() {
                return Err(self.interrupt(Interrupted::Deadline, RECEIVE));
            }
            match self.incoming.poll() {
                Ok(Some((Kind::Reply, id))) if id == self.request => {
                    self.answered = id;
                    return Ok(());
                }
                Ok(Some((Kind::Failure, id))) if id == self.request => {
                    self.answered = id;
                    return Err(self.failure());
                }
                Ok(Some((Kind::Reply | Kind::Failure, id))) if id < self.request => fruitless = true,
                Ok(Some((kind, id))) => {
                    let error = self.lose(ErrorKind::PeerMisbehaved, RECEIVE);
                    return Err(
                        error.saying(format!("a frame of kind {kind:?} for request {id}, which is not open"))
                    );
                }
                Ok(None) => {
                    (waited, fruitless) = (true, fruitless || waited);
                    let Client { incoming, lifeline, spin, .. } = self;
                    if let Err(interrupted) = incoming.wait(spin, deadline, &mut || lifeline.is_severed()) {
                        return Err(self.interrupt(interrupted, RECEIVE));
                    }
                }
                Err(broken) => return Err(self.break_with(broken, RECEIVE)),
            }
        }
    }

    /// The error that the daemon sent in place of an answer.
    fn failure(&self) -> Error {
        let Some(failure) = Failure::from_bytes(self.incoming.message()) else {
            return self.lose(ErrorKind::PeerMisbehaved, RECEIVE).saying("a failure without a known code");
        };
        let refused = self.error(ErrorKind::Refused, RECEIVE);
        let error = match failure.code {
            FailureCode::TooLarge => self.error(ErrorKind::TooLarge, RECEIVE),
            FailureCode::Panicked | FailureCode::Dropped => refused,
            FailureCode::Stopping => refused.with_nothing_done(),
        };
        error.saying(failure.text)
    }

    fn interrupt(&self, interrupted: Interrupted, tried: &'static str) -> Error {
        match interrupted {
            Interrupted::Deadline => {
                self.error(ErrorKind::Timeout, tried).saying(format!("no progress within {:?}", self.timeout))
            }
            Interrupted::Broken(broken) => self.break_with(broken, tried),
        }
    }

    fn break_with(&self, broken: Broken, tried: &'static str) -> Error {
        let kind = match &broken {
            Broken::Severed => ErrorKind::PeerDied,
            Broken::Ring(_) | Broken::Stream(_) => ErrorKind::PeerMisbehaved,
            Broken::Io(_) => ErrorKind::Io,
        };
        self.lose(kind, tried).because(broken)
    }

    /// An error after which the connection is of no more use.
    fn lose(&self, kind: ErrorKind, tried: &'static str) -> Error {
        self.broken.set(Some(kind));
        self.error(kind, tried)
    }

    fn error(&self, kind: ErrorKind, tried: &'static str) -> Error {
        let error = Error::new(kind, tried);
        match &self.path {
            Some(path) => error.at(path),
            None => error,
        }
    }
}

/// How often to look for late answers while a request waits for space, if one is owed.
const LATE_SLICE: Duration = Duration::from_micros(50);

const SEND: &str = "send a request to the daemon";
const RECEIVE: &str = "receive the daemon's answer";

impl<P: Protocol> fmt::Debug for Client<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("protocol", &P::NAME)
            .field("path", &self.path)
            .field("ring", &self.uses_ring())
            .finish_non_exhaustive()
    }
}

/// A daemon's answer: dereferences to the archived response, until the client asks again.
pub struct Reply<'a, P: Protocol> {
    value: &'a Archived<P::Response>,
}

impl<P: Protocol> Reply<'_, P> {
    /// The response as an ordinary value, for those who keep it.
    ///
    /// # Errors
    /// [`ErrorKind::PeerMisbehaved`] when a hand-written `Deserialize` rejects the archive; derived
    /// ones accept every valid one.
    pub fn to_value(&self) -> Result<P::Response, Error>
    where
        Archived<P::Response>: Deserialize<P::Response, Strategy<(), rancor::Error>>,
    {
        rkyv::api::deserialize_using::<P::Response, (), rancor::Error>(self.value, &mut ())
            .map_err(|error| Error::new(ErrorKind::PeerMisbehaved, "deserialize an answer").because(error))
    }
}

impl<P: Protocol> Deref for Reply<'_, P> {
    type Target = Archived<P::Response>;

    fn deref(&self) -> &Self::Target {
        self.value
    }
}

impl<P: Protocol> fmt::Debug for Reply<'_, P>
where
    Archived<P::Response>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
