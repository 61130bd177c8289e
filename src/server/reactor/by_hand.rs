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
        reactor.shared.waker.owner.settle_here();
        Ok(ByHand { reactor, _shared: &server.shared })
    }

    /// Takes in somebody who has connected.
    pub(crate) fn greet(&mut self, socket: OwnedFd) {
        self.reactor.greet(socket.into(), ANSWER);
        self.leave_pollers();
    }

    /// Does what there is to do now, for each connection once.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::super::Entry;
    use super::*;
    use crate::client::{ClientBuilder, Transport};
    use crate::grite::{Grite, IpcCommand};

    #[test]
    fn a_client_over_the_socket_that_is_quiet_gives_the_memory_of_long_messages_back() {
        const LONG: usize = 100_000;
        let path = std::env::temp_dir().join(format!("grite-quiet-{}", std::process::id()));
        let mut server = ByHand::bind(ServerBuilder::<Grite>::new(), &path).expect("a server");
        // Nobody connects to it by its name.
        std::fs::remove_file(path).expect("the socket's file");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (near, far) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a pair of sockets");
        let asking = thread::spawn(move || {
            let builder = ClientBuilder::<Grite>::new().transport(Transport::Socket);
            let mut client = builder.greet_over(near).expect("a client");
            let refused = client.send(&IpcCommand::IssueShow { id: "x".repeat(LONG) }).map(drop);
            refused.expect_err("nobody answers here");
            client
        });
        server.greet(far);
        while !asking.is_finished() {
            server.turn().expect("a turn");
        }
        let _client = asking.join().expect("a client");

        let kept = |server: &ByHand| -> usize {
            let inboxes = server.reactor.entries.values().map(|entry| match entry {
                Entry::Socket { inbox, .. } => inbox.message().capacity(),
                _ => 0,
            });
            inboxes.sum()
        };
        server.reactor.trim_quiet();
        assert!(kept(&server) >= LONG, "it may send the next one soon");
        server.reactor.trim_quiet();
        assert!(kept(&server) < LONG, "it is quiet");
    }
}
