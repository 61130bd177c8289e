//! A connection that one task has for itself: [`Alone`], for what comes bit by bit.
//!
//! Parts and notifications wait in the ring, or in the socket, until they are asked for: a reader that is
//! slow stops nobody but itself. That needs a connection on which nobody else waits for anything.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::runtime::Handle;

use super::ear::Ear;
use crate::client::line::ready::Received;
use crate::client::line::{Awaited, Line, RECEIVE};
use crate::error::Error;
use crate::frame::Kind;
use crate::stream::Stream;
use crate::transport::{Broken, Interrupted};

pub(super) struct Alone {
    pub(super) line: Line,
    socket: Arc<Stream>,
    ear: Option<Ear>,
    /// Since when it has looked in vain, and since when it listens.
    since: Option<Instant>,
    listening_since: Option<Instant>,
}

impl Alone {
    pub(super) fn new(line: Line) -> Self {
        let socket = Arc::clone(line.socket());
        Alone { line, socket, ear: None, since: None, listening_since: None }
    }

    /// Waits for the next message of that kind, for `timeout` at most; the line holds it then.
    pub(super) async fn receive(
        &mut self,
        awaited: Awaited,
        timeout: Duration,
    ) -> Result<(Kind, u64), Error> {
        let received = tokio::time::timeout(timeout, std::future::poll_fn(|cx| self.poll(awaited, cx))).await;
        received.unwrap_or_else(|_| Err(self.line.interrupt(Interrupted::Deadline, Some(timeout), RECEIVE)))
    }

    fn poll(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> Poll<Result<(Kind, u64), Error>> {
        // Not even that it listens may a forked child tell the daemon.
        self.line.check_usable(RECEIVE)?;
        let received =
            if self.line.is_ring() { self.poll_rings(awaited, cx)? } else { self.poll_socket(awaited, cx)? };
        match received {
            Received::Awaited(kind, id) => {
                self.since = None;
                if let Some(since) = self.listening_since.take() {
                    self.line.listened(since.elapsed());
                }
                Poll::Ready(Ok((kind, id)))
            }
            Received::NothingYet => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Received::Nothing => Poll::Pending,
        }
    }

    /// With nothing, the bell or the end of the socket will wake the task.
    fn poll_rings(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> Result<Received, Error> {
        self.line.stop_listening();
        let mut received = self.line.try_receive(awaited)?;
        if received == Received::Nothing && self.line.glance() {
            received = self.line.try_receive(awaited)?;
        }
        if received != Received::Nothing {
            return Ok(received);
        }
        if let Poll::Ready(heard) = self.ear()?.poll_bell(cx) {
            // What came through the rings before the end still counts.
            return match self.line.try_receive(awaited)? {
                Received::Nothing => Err(self.line.sever(heard.unwrap_or_else(|error| error.into()))),
                received => Ok(received),
            };
        }
        if self.line.looking_pays(&mut self.since) || self.line.listen() {
            return Ok(Received::NothingYet);
        }
        self.listening_since.get_or_insert_with(Instant::now);
        Ok(Received::Nothing)
    }

    /// With nothing, the socket will wake the task.
    fn poll_socket(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> Result<Received, Error> {
        // Of what was read earlier, more may be there.
        let mut received = self.line.try_receive(awaited)?;
        self.ear()?;
        while let (Received::Nothing, Some(ear)) = (received, &self.ear) {
            let ready = ear.poll_ready(self.line.has_backlog(), cx);
            if ready.map_err(|error| self.line.sever(error.into()))?.is_pending() {
                if ear.poll_end(cx).is_ready() {
                    // What came before the end still counts.
                    return match self.line.try_receive(awaited)? {
                        Received::Nothing => Err(self.line.sever(Broken::Severed)),
                        received => Ok(received),
                    };
                }
                break;
            }
            let mut failed = None;
            for interest in [Interest::READABLE, Interest::WRITABLE] {
                ear.exhaust(interest, || {
                    if received == Received::Nothing && failed.is_none() {
                        match self.line.try_receive(awaited) {
                            Ok(now) => received = now,
                            Err(error) => failed = Some(error),
                        }
                    }
                    received != Received::Nothing || interest.is_writable() && !self.line.has_backlog()
                });
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(received)
    }

    /// The socket as the current runtime waits for it.
    fn ear(&mut self) -> Result<&Ear, Error> {
        let runtime = Handle::current().id();
        if self.ear.as_ref().is_none_or(|ear| ear.runtime != runtime) {
            let ear = Ear::new(&self.socket, runtime).map_err(|error| {
                let path = self.line.path.clone().unwrap_or_default();
                Error::io("register the connection with the runtime", error).at(path)
            })?;
            self.ear = Some(ear);
        }
        Ok(self.ear.as_ref().expect("it was just registered"))
    }
}
