//! By what a client learns that its daemon is gone: [`Lifeline`].

use std::sync::Arc;
use std::time::Duration;

use super::watchdog::Guard;
use crate::channel;
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

impl channel::Lifeline for Lifeline {
    fn is_severed(&mut self) -> bool {
        match self {
            // What the peer sends travels here, too. That it has closed the socket shows when the socket is used.
            Lifeline::Socket(stream) => stream.has_lost_its_peer(),
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
