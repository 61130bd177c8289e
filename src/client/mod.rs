//! Asking a daemon: [`Client`].
//!
//! A [`builder`] has the choices. [`reach`] decides whether a daemon is to be started, [`spawn`] starts it, and
//! [`connect`] shakes hands. The connection is a [`line`](mod@line), with its [`open`] requests and its
//! [`lifeline`], which a [`watchdog`] may watch. Each way of asking has its file; async code has a folder.

mod builder;
mod reach;
mod spawn;
mod connect;
mod line;
mod open;
mod lifeline;
mod watchdog;
mod reply;
mod pending;
mod stream;
mod subscription;
mod retry;
#[cfg(feature = "tokio")]
mod asynchronous;

use std::cell::RefCell;
use std::fmt;
use std::path::Path;

use crate::error::{Error, ErrorKind};
use crate::frame::Kind;
use crate::protocol::Protocol;
use crate::transport::Outgoing;
use crate::wait::Deadline;
use line::{Awaited, Line};
use open::RequestId;
use retry::Origin;

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncClient, AsyncStream, AsyncSubscription};
pub use builder::{ClientBuilder, Transport};
pub(crate) use lifeline::Lifeline;
pub(crate) use line::Welcomed;
pub use pending::{Claimed, Pending};
pub use reply::Reply;
pub use stream::Stream;
pub use subscription::{Notice, Since, Subscription};

/// A connection to a daemon that answers the protocol `P`.
///
/// | to ask | use |
/// |---|---|
/// | one question, and read the answer in place | [`send`](Self::send) |
/// | the same, across a restart of the daemon | [`send_with_retry`](Self::send_with_retry) |
/// | many questions at once, answers in any order | [`start`](Self::start), [`start_all`](Self::start_all) |
/// | for an answer in parts | [`stream`](Self::stream) |
/// | to be told of changes | [`subscribe`](Self::subscribe) |
///
/// A request that times out leaves the connection as good as before: its late answer is dropped.
/// After a request that fails with [`ErrorKind::PeerDied`], [`ErrorKind::PeerMisbehaved`] or [`ErrorKind::Io`] the
/// connection is of no more use.
///
/// A client that often sleeps for answers over rings starts one thread for its process. It wakes sleeping clients when
/// their daemon dies, rests while nobody sleeps, and ends with the last such client.
///
/// One thread at a time uses a client, which may be moved to another. Give each thread a client of its own.
///
/// A request carries its deadline, as a time of the machine's monotonic clock. A client in a time
/// namespace of its own needs a daemon in the same one.
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
    line: RefCell<Line>,
    builder: ClientBuilder<P>,
    origin: Origin,
}

/// A request whose answer is waited for, and until when.
pub(crate) struct Posed {
    id: RequestId,
    deadline: Deadline,
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
    /// - [`ErrorKind::Timeout`]: no answer in time. The daemon drops the request if it has not come to
    ///   it yet; it may also carry it out.
    /// - [`ErrorKind::TooLarge`]: the request or its answer is longer than `max_message`.
    /// - [`ErrorKind::Refused`]: the handler panicked or dropped the request, answers in parts, or has
    ///   too much to do; or the daemon stops.
    /// - [`ErrorKind::PeerDied`], [`ErrorKind::PeerMisbehaved`], [`ErrorKind::Io`]: the connection
    ///   is lost.
    /// - [`ErrorKind::Forked`]: this handle was made before a fork, in the parent.
    pub fn send(&mut self, request: &P::Request) -> Result<Reply<'_, P>, Error> {
        self.exchange(request)?;
        self.reply()
    }

    /// Sends the request and receives its answer into the connection's buffer.
    fn exchange(&mut self, request: &P::Request) -> Result<(), Error> {
        let posed = self.pose(request)?;
        self.hear(posed)
    }

    /// Sends the request.
    #[inline]
    pub(crate) fn pose(&mut self, request: &P::Request) -> Result<Posed, Error> {
        let line = self.line.get_mut();
        let mut deadline = Deadline::after(line.timeout());
        let expiry = line.expiry();
        match line.request(request, expiry, &mut deadline) {
            Ok(id) => Ok(Posed { id, deadline }),
            // A daemon that does not want the connection says why before it closes it.
            Err(error) if error.kind() == ErrorKind::PeerDied && line.unwelcomed.is_some() => {
                Err(match line.receive(Awaited::Answer(line.latest()), &mut deadline) {
                    Ok((Kind::Failure, _)) => line.failure(line.message()),
                    Err(said) if said.kind() != ErrorKind::PeerDied => said,
                    _ => error,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Receives the answer into the connection's buffer.
    #[inline]
    pub(crate) fn hear(&mut self, posed: Posed) -> Result<(), Error> {
        let line = self.line.get_mut();
        let Posed { id, mut deadline } = posed;
        match line.receive(Awaited::Answer(id), &mut deadline) {
            Ok((Kind::Reply, _)) => Ok(()),
            Ok((Kind::Part, _)) => Err(line.refuse_parts(id)),
            Ok(_) => Err(line.failure(line.message())),
            Err(error) => {
                if error.kind() == ErrorKind::Timeout {
                    line.cancel(id);
                }
                Err(error)
            }
        }
    }

    /// The answer in the connection's buffer.
    pub(crate) fn reply(&mut self) -> Result<Reply<'_, P>, Error> {
        self.line.get_mut().checked::<P::Response>().map(Reply::new)
    }

    /// Whether requests travel through rings in shared memory.
    pub fn uses_ring(&self) -> bool {
        matches!(self.line.borrow().outgoing, Outgoing::Ring(_))
    }

    /// Which release of its program the daemon said it is
    /// ([`ServerBuilder::release`](crate::ServerBuilder::release)); 0 where it said nothing.
    pub fn daemon_release(&self) -> u32 {
        self.line.borrow().daemon_release
    }
}

impl<P: Protocol> fmt::Debug for Client<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("protocol", &P::NAME)
            .field("path", &self.line.borrow().path)
            .field("ring", &self.uses_ring())
            .finish_non_exhaustive()
    }
}
