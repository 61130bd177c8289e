//! By what a client learns that its daemon is gone: [`Lifeline`].

use std::sync::Arc;
use std::time::Duration;

use super::watchdog::Guard;
use crate::channel;
use crate::shm;
use crate::stream::Stream;
use crate::transport::LocalLine;

/// What ends when the peer does.
pub(crate) enum Lifeline {
    /// The socket that the messages travel over.
    Socket(Arc<Stream>),
    /// The socket of the handshake, beside rings.
    Guard(Guard),
    /// The peer is in this process.
    Local(Arc<LocalLine>),
}

/// Ends the socket for the daemon when it is dropped, whoever else has it: a child that was forked may, for as long as
/// it lives.
pub(super) struct Parting {
    stream: Arc<Stream>,
    /// The process that made this: a child parts for nobody else.
    process: u32,
}

impl Lifeline {
    /// The socket, which a pair in one process does not have.
    pub(super) fn socket(&self) -> Option<&Arc<Stream>> {
        match self {
            Lifeline::Socket(stream) => Some(stream),
            Lifeline::Guard(guard) => Some(guard.stream()),
            Lifeline::Local(_) => None,
        }
    }

    /// To be dropped last, since the daemon learns of it.
    pub(super) fn parting(&self) -> Option<Parting> {
        self.socket().map(|stream| Parting { stream: Arc::clone(stream), process: shm::process() })
    }
}

impl channel::Lifeline for Lifeline {
    fn is_severed(&mut self) -> bool {
        match self {
            // What the peer sends travels here, too.
            Lifeline::Socket(stream) => stream.has_hung_up() || stream.has_lost_its_peer(),
            Lifeline::Guard(guard) => guard.is_severed(),
            Lifeline::Local(line) => line.is_severed(),
        }
    }

    fn guard(&mut self, left: Duration) -> bool {
        match self {
            Lifeline::Guard(guard) => guard.guard(left),
            Lifeline::Socket(_) | Lifeline::Local(_) => false,
        }
    }

    fn release(&mut self) {
        if let Lifeline::Guard(guard) = self {
            guard.release();
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

impl Drop for Parting {
    fn drop(&mut self) {
        if self.process == shm::process() {
            self.stream.shut_down();
        }
    }
}
