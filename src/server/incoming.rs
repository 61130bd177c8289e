//! Requests one by one, for a loop that owns its state.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::JoinHandle;

use rkyv::Archived;

use super::control::Note;
use super::poller::{Arrival, Poller};
use super::reactor::Reactor;
use super::responder::{Context, Responder};
use super::service::admit;
use super::shared::AtEnd;
use super::{Connection, Server, ServerHandle};
use crate::error::Error;
use crate::payload::Bytes;
use crate::protocol::{Encoded, Message, Protocol, Wire};

/// The requests of all clients, in the order in which they are to be answered.
///
/// The thread that iterates sweeps the rings itself, so a request in a ring reaches it without a
/// change of threads. The iteration ends when a [`ServerHandle`] stops the server, nobody was
/// connected for the idle time, a client of a later [release](super::ServerBuilder::release) asked it to make way,
/// the socket's file was taken away or replaced, or the system fails, which [`end`](Incoming::end) says. Dropping it
/// stops the server, too: what it has not given out is turned away, and what it has may still be
/// answered, for five seconds at most.
///
/// It stays on the thread that made it: what that thread answers itself is counted without a locked instruction.
///
/// ```compile_fail,E0277
/// # use libgrite_ipc::IpcServer;
/// # fn moved(server: &IpcServer) {
/// let incoming = server.incoming();
/// std::thread::scope(|scope| scope.spawn(move || incoming.count()));
/// # }
/// ```
pub struct Incoming<'a, P: Protocol> {
    poller: Poller,
    reactor: Option<io::Result<JoinHandle<io::Result<()>>>>,
    server: &'a Server<P>,
    stop: ServerHandle,
    _stays: PhantomData<*const ()>,
}

impl<'a, P: Protocol> Incoming<'a, P> {
    pub(super) fn start(server: &'a Server<P>) -> Self {
        let shared = Arc::clone(&server.shared);
        let listener = Arc::clone(&server.listener);
        let control = Arc::clone(&shared.controls[0]);
        let poller =
            Poller::new(&shared.crew, Arc::clone(&control), Arc::clone(&shared.history), shared.wait, false);
        let run = move || {
            let control = Arc::clone(&shared.controls[0]);
            let enqueue = |connection: &Arc<Connection>, id: u64, bytes: &Bytes| {
                control.tell(Note::Request { connection: Arc::clone(connection), id, bytes: bytes.clone() });
            };
            let _stop = AtEnd(|| control.tell(Note::Stop));
            let reactor = Reactor::new(&shared, &shared.controls[..1], &listener);
            reactor.and_then(|reactor| reactor.run(&enqueue, &|| {}))
        };
        let reactor = std::thread::Builder::new().name("ipc-reactor".to_owned()).spawn(run);
        if reactor.is_err() {
            control.tell(Note::Stop);
        }
        Incoming { poller, reactor: Some(reactor), server, stop: server.handle(), _stays: PhantomData }
    }

    /// Stops the server, and says why the iteration has ended if not for that or for idleness.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when the system failed the reactor or its thread.
    pub fn end(mut self) -> Result<(), Error> {
        let ended = self.end_reactor();
        ended.map_err(|error| Error::io("wait for clients", error).at(self.server.path()))
    }

    fn end_reactor(&mut self) -> io::Result<()> {
        self.stop.stop();
        let Some(thread) = self.reactor.take() else { return Ok(()) };
        while let Some(arrival) = self.poller.next() {
            arrival.connection.turn_away(arrival.id);
        }
        let panicked = |_| Err(io::Error::other("the reactor panicked"));
        let ended = thread.and_then(|thread| thread.join().unwrap_or_else(panicked));
        self.server.shared.cut_off();
        ended
    }
}

impl<P: Protocol> Iterator for Incoming<'_, P> {
    type Item = Request<P>;

    fn next(&mut self) -> Option<Request<P>> {
        loop {
            let Arrival { id, now, .. } = self.poller.next()?;
            let (connection, mut bytes) = self.poller.take();
            let Some((archive, expiry)) = admit(&connection, id, now, &bytes) else { continue };
            let length = archive.len();
            bytes.resize(length, 0);
            match Message::check(bytes) {
                Ok(message) => {
                    return Some(Request { message, responder: Responder::new(connection, id, expiry) });
                }
                Err(_) => connection.close(),
            }
        }
    }
}

impl<P: Protocol> Drop for Incoming<'_, P> {
    fn drop(&mut self) {
        // Who wants to know why it ended has called `end`.
        let _ = self.end_reactor();
    }
}

impl<P: Protocol> fmt::Debug for Incoming<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("server", self.server).finish_non_exhaustive()
    }
}

/// A client's request: dereferences to the archived value, and takes the answer.
///
/// Dropped without an answer, it does what a dropped [`Responder`] does.
pub struct Request<P: Protocol> {
    message: Message<P::Request>,
    responder: Responder<P>,
}

impl<P: Protocol> Request<P> {
    /// Who asks.
    pub fn context(&self) -> &Context {
        self.responder.context()
    }

    /// Answers; see [`Responder::reply`].
    ///
    /// # Errors
    /// As [`Responder::reply`].
    pub fn reply(self, response: &P::Response) -> Result<(), Error> {
        self.responder.reply(response)
    }

    /// Answers with a response that borrows; see [`Responder::reply_lent`]. For one that borrows the request itself,
    /// that is taken apart first: [`into_parts`](Self::into_parts).
    ///
    /// # Errors
    /// As [`Responder::reply`].
    pub fn reply_lent<R: Wire>(self, response: &R) -> Result<(), Error> {
        self.responder.reply_lent(response)
    }

    /// Answers with bytes that were archived before; see [`Responder::reply_encoded`].
    ///
    /// # Errors
    /// As [`Responder::reply`].
    pub fn reply_encoded(self, response: &Encoded<P::Response>) -> Result<(), Error> {
        self.responder.reply_encoded(response)
    }

    /// The request and the right to answer it, to be taken apart.
    pub fn into_parts(self) -> (Message<P::Request>, Responder<P>) {
        (self.message, self.responder)
    }
}

impl<P: Protocol> Deref for Request<P> {
    type Target = Archived<P::Request>;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}

impl<P: Protocol> fmt::Debug for Request<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.responder.fmt(f)
    }
}
