//! The right to answer one request: [`Responder`], and who asks: [`Context`].

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use crate::error::{Error, ErrorKind};
use crate::frame::{Expiry, FailureCode, Kind};
use crate::protocol::{Encoded, Protocol, Wire, encode};
use crate::stream::Peer;
use crate::wait::coarse_now;

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
/// Dropped without an answer, it answers with an error, so that nobody waits for ever; once the server has ended, as
/// [`is_wanted`](Self::is_wanted) says, it cuts its client off, as soon as its other answers are on their way.
#[must_use = "a responder that is dropped answers with an error, or cuts its client off"]
pub struct Responder<P: Protocol> {
    connection: Arc<Connection>,
    id: u64,
    expiry: Expiry,
    answered: bool,
    _protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Responder<P> {
    pub(super) fn new(connection: Arc<Connection>, id: u64, expiry: Expiry) -> Self {
        Responder { connection, id, expiry, answered: false, _protocol: PhantomData }
    }

    /// Who asks.
    pub fn context(&self) -> &Context {
        self.connection.context()
    }

    /// Whether somebody still waits for the answer: the client is there, has not given the request up, and
    /// its deadline has not passed. Long work asks now and then, and stops.
    ///
    /// Five seconds after the server was [stopped](super::ServerHandle::stop), or has ended otherwise, nobody does.
    pub fn is_wanted(&self) -> bool {
        self.unwanted().is_none()
    }

    /// Answers with `response`, archived straight into the client's ring where it fits there.
    ///
    /// A client that has more requests under way, and whose last few took 4 µs each on average, may be told of up to
    /// sixteen short answers at once. So a handler of [`Server::serve_with`] that has more to do after it has
    /// answered does that on another thread, and one that takes long now and then is better told of to
    /// [`may_block`](crate::ServerBuilder::may_block): what was answered just before waits for it.
    ///
    /// [`Server::serve_with`]: crate::Server::serve_with
    ///
    /// # Errors
    /// - [`ErrorKind::TooLarge`]: the response is longer than the connection's `max_message`. The
    ///   client learns the same.
    /// - [`ErrorKind::PeerDied`]: the client is gone, or was cut off; nobody waits for the answer.
    /// - [`ErrorKind::Cancelled`]: the client has given the request up.
    pub fn reply(self, response: &P::Response) -> Result<(), Error> {
        self.reply_lent(response)
    }

    /// Answers with a response that borrows: see [`Lent`](crate::Lent).
    ///
    /// It has the [`LAYOUT`](Wire::LAYOUT) of `P::Response`, or the program does not compile (`cargo check` does not
    /// see it).
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn reply_lent<R: Wire>(mut self, response: &R) -> Result<(), Error> {
        assert_response::<P, R>();
        self.answered = true;
        self.connection.answer(Kind::Reply, self.id, |sink, arena| encode(response, sink, arena))
    }

    /// Answers with bytes that were archived before: one copy.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn reply_encoded(mut self, response: &Encoded<P::Response>) -> Result<(), Error> {
        self.answered = true;
        self.connection.answer(Kind::Reply, self.id, |sink, _| sink.append(response.as_bytes()))
    }

    /// Sends a part of an answer that has several; [`reply`](Self::reply) sends the last one.
    ///
    /// Waits until there is space for it, so that an answer of any length takes the memory of one part. A
    /// handler that sends parts belongs on a thread of its own or among the requests that
    /// [may block](super::ServerBuilder::may_block).
    ///
    /// # Errors
    /// As [`reply`](Self::reply), and
    /// - [`ErrorKind::Timeout`]: the request's deadline has passed. One that was asked with
    ///   [`Client::stream`](crate::Client::stream) has none: a client that reads no further holds this thread until it
    ///   drops its stream or ends, and eight of them all [workers](super::ServerBuilder::max_workers) of a default server.
    /// - [`ErrorKind::Cancelled`]: it has dropped it.
    ///
    /// A server that has ended, as [`is_wanted`](Self::is_wanted) says, cuts all its clients off.
    /// After any of them the work can stop.
    pub fn send_part(&mut self, part: &P::Response) -> Result<(), Error> {
        self.send_part_lent(part)
    }

    /// Sends a part that borrows, as [`reply_lent`](Self::reply_lent) answers with it.
    ///
    /// # Errors
    /// As [`send_part`](Self::send_part).
    pub fn send_part_lent<R: Wire>(&mut self, part: &R) -> Result<(), Error> {
        assert_response::<P, R>();
        self.connection.slow_down();
        let (mut is_free, mut slice) = (self.connection.make_space(), FIRST_SLICE);
        loop {
            if let Some(kind) = self.unwanted() {
                return Err(Error::new(kind, "send a part of an answer"));
            }
            if is_free {
                return self.connection.answer(Kind::Part, self.id, |sink, arena| encode(part, sink, arena));
            }
            is_free = self.connection.wait_for_space(slice);
            if slice < LONGEST_SLICE {
                slice *= 2;
            } else if !is_free {
                self.connection.nudge();
            }
        }
    }

    /// Answers that the request is not carried out.
    #[cfg(feature = "tokio")]
    pub(super) fn refuse(mut self, code: FailureCode, text: &str) {
        self.answered = true;
        self.connection.fail(self.id, code, text);
    }

    /// Why nobody waits any more, if nobody does.
    fn unwanted(&self) -> Option<ErrorKind> {
        if self.connection.is_closed() || self.connection.is_unattended() {
            Some(ErrorKind::PeerDied)
        } else if self.connection.is_cancelled(self.id) {
            Some(ErrorKind::Cancelled)
        } else {
            self.expiry.is_over(coarse_now()).then_some(ErrorKind::Timeout)
        }
    }
}

/// How long a wait for space goes on, at first and at most, before it is looked whether the part is still wanted. After
/// each of the longest in vain the attendant is to look whether the client has given up: it sleeps until there is space.
const FIRST_SLICE: Duration = Duration::from_millis(1);
const LONGEST_SLICE: Duration = Duration::from_millis(16);

/// Does not compile unless `R` travels as the answers of `P` do:
///
/// ```compile_fail,E0080
/// use libgrite_ipc::{Grite, testing, Client};
/// testing::pair_serving::<Grite>(&Client::builder(), |_, responder| drop(responder.reply_lent(&5)));
/// ```
fn assert_response<P: Protocol, R: Wire>() {
    const {
        assert!(
            R::LAYOUT == P::Response::LAYOUT,
            "an answer that borrows has the layout of Protocol::Response"
        )
    }
}

impl<P: Protocol> Drop for Responder<P> {
    fn drop(&mut self) {
        if !self.answered {
            if std::thread::panicking() {
                self.connection.fail(self.id, FailureCode::Panicked, "the request's handler panicked");
            } else if self.connection.is_unattended() {
                // There is none for want of a server: the client may find another. Where others still work for it, what
                // they answer is not to be lost: the server's end cuts it off then.
                self.connection.settle(self.id);
                if self.connection.is_settled() {
                    self.connection.close();
                }
                return;
            } else if !self.expiry.is_over(coarse_now()) {
                // The client of one whose time is up knows that itself.
                self.connection.fail(self.id, FailureCode::Dropped, "the request's handler gave no answer");
            }
        }
        self.connection.settle(self.id);
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
