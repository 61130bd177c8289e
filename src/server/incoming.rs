//! Requests one by one, for a loop that owns its state.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::JoinHandle;

use rkyv::Archived;

use super::connection::{Context, Responder};
use super::poller::{Note, Poller};
use super::reactor::Reactor;
use super::{Connection, Server, ServerHandle};
use crate::error::Error;
use crate::payload::Bytes;
use crate::protocol::{Encoded, Message, Protocol};

/// The requests of all clients, in the order in which they are to be answered.
///
/// The thread that iterates sweeps the rings itself, so a request in a ring reaches it without a
/// change of threads. It ends when a [`ServerHandle`] stops the server; dropping it stops the
/// server, too.
pub struct Incoming<'a, P: Protocol> {
    poller: Poller,
    reactor: Option<JoinHandle<()>>,
    server: &'a Server<P>,
    stop: ServerHandle,
}

impl<'a, P: Protocol> Incoming<'a, P> {
    pub(super) fn start(server: &'a Server<P>) -> Result<Self, Error> {
        let shared = Arc::clone(&server.shared);
        let listener = Arc::clone(&server.listener);
        let run = move || {
            let control = Arc::clone(shared.control());
            let enqueue = |connection: &Arc<Connection>, id: u64, bytes: &Bytes| {
                control.tell(Note::Request { connection: Arc::clone(connection), id, bytes: bytes.clone() });
            };
            // An error of the system ends the server as a stop does; both end the iteration.
            let _ = Reactor::new(&shared, &listener).and_then(|reactor| reactor.run(&enqueue));
            control.tell(Note::Stop);
        };
        let reactor = std::thread::Builder::new()
            .name("ipc-reactor".to_owned())
            .spawn(run)
            .map_err(|error| Error::io("start the reactor's thread", error))?;
        Ok(Incoming {
            poller: Poller::new(Arc::clone(server.shared.control()), server.shared.wait()),
            reactor: Some(reactor),
            server,
            stop: server.handle(),
        })
    }
}

impl<P: Protocol> Iterator for Incoming<'_, P> {
    type Item = Request<P>;

    fn next(&mut self) -> Option<Request<P>> {
        loop {
            let arrival = self.poller.next()?;
            let (connection, id, bytes) = self.poller.take_message(arrival, Bytes::new());
            match Message::check(bytes) {
                Ok(message) => return Some(Request { message, responder: Responder::new(connection, id) }),
                Err(_) => connection.close(),
            }
        }
    }
}

impl<P: Protocol> Drop for Incoming<'_, P> {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(reactor) = self.reactor.take() {
            let _ = reactor.join();
        }
    }
}

impl<P: Protocol> fmt::Debug for Incoming<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("server", self.server).finish_non_exhaustive()
    }
}

/// A client's request: dereferences to the archived value, and takes the answer.
///
/// Dropped without an answer, it answers with an error.
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
    pub fn reply(self, response: &P::Response) {
        self.responder.reply(response);
    }

    /// Answers with bytes that were archived before; see [`Responder::reply_encoded`].
    pub fn reply_encoded(self, response: &Encoded<P::Response>) {
        self.responder.reply_encoded(response);
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
