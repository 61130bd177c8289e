//! A reactor that goes on only when it is told to, for those who try what may come to it: [`ByHand`].

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::super::connection::Connection;
use super::super::shared::Shared;
use super::super::{Server, ServerBuilder};
use super::{AnswerRequest, Reactor};
use crate::error::Error;
use crate::payload::Bytes;
use crate::protocol::Protocol;

/// A server without threads. Its requests all fail.
pub(crate) struct ByHand {
    reactor: Reactor<'static>,
    /// Leads to the server, so that a sanitizer that looks for leaks finds it.
    _shared: &'static Arc<Shared>,
}

/// Turns requests away: whoever drives a reactor by hand is not after their answers.
const ANSWER: &AnswerRequest<'_> =
    &|connection: &Arc<Connection>, id: u64, _: &Bytes| connection.turn_away(id);

impl ByHand {
    /// A server at `path`. It is never given back: one for each thread, not more.
    pub(crate) fn bind<P: Protocol>(builder: ServerBuilder<P>, path: &Path) -> Result<Self, Error> {
        let server: &'static Server<P> = Box::leak(Box::new(builder.bind(path)?));
        let reactor = Reactor::new(&server.shared, &server.shared.controls, &server.listener);
        let reactor = reactor.map_err(|error| Error::io("make a reactor", error).at(path))?;
        reactor.shared.waker.owner.bind_to_this_thread();
        Ok(ByHand { reactor, _shared: &server.shared })
    }

    /// Takes in somebody who has connected.
    pub(crate) fn greet(&mut self, socket: OwnedFd) {
        self.reactor.greet(socket.into(), ANSWER);
        self.leave_pollers();
    }

    /// Does what there is to do now, for each connection once.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        // As one that runs does: what has come so far may have stopped it.
        self.reactor.turns_away = self.reactor.shared.is_stopping();
        self.reactor.turn(Some(Instant::now()), &mut Vec::new(), ANSWER)?;
        self.leave_pollers();
        Ok(())
    }

    /// How many connections there are, of any kind.
    pub(crate) fn connections(&self) -> usize {
        self.reactor.entries.len()
    }

    /// There are no pollers: what they were told is dropped.
    fn leave_pollers(&self) {
        self.reactor.pollers.iter().for_each(|(control, _)| drop(control.take()));
    }
}
