//! The task that watches a connection in one runtime while requests wait there: [`Lookout`].
//!
//! It looks for as long as that pays, by turns with the other tasks; then it listens: the daemon rings the
//! socket of the handshake, for which the runtime waits together with all else. The same socket ends when the
//! daemon does. Over the socket transport, the socket itself brings the answers.
//!
//! It is a task, not a part of the requests' futures, since a future need not be polled on by whoever holds
//! it, and the others must not wait for that.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::runtime::Id;

use super::shared::{Phase, Shared};
use crate::transport::Broken;

pub(super) struct Lookout {
    shared: Arc<Shared>,
    runtime: Id,
    /// The connection's socket, under a descriptor of its own: each runtime can wait for each of them once.
    socket: UnixStream,
    /// Since when it has looked in vain.
    since: Option<Instant>,
}

impl Lookout {
    /// To be spawned in the current runtime, which is `runtime`.
    pub(super) fn new(shared: &Arc<Shared>, runtime: Id) -> io::Result<Self> {
        let socket = shared.socket.as_fd().try_clone_to_owned()?;
        let socket = UnixStream::from_std(StdUnixStream::from(socket))?;
        Ok(Lookout { shared: Arc::clone(shared), runtime, socket, since: None })
    }

    /// Over rings: hears whether the bell was rung, until there is no more to hear; the end if there is one.
    fn hear(&self, cx: &mut Context<'_>) -> Poll<io::Result<Broken>> {
        let mut rings = [0; 64];
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read(&mut rings) {
                Ok(0) => return Poll::Ready(Ok(Broken::Severed)),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Ok(error.into()));
                }
                _ => {}
            }
        }
    }

    fn poll_rings(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let heard = self.hear(cx)?;
        let Lookout { shared, runtime, since, .. } = self;
        shared.with(|state| {
            if let Poll::Ready(broken) = heard {
                state.sever(broken);
            }
            let more = !state.is_lost() && state.settle();
            if state.is_lost() {
                return Poll::Ready(Ok(()));
            }
            let phase = if !state.is_awaited() {
                *since = None;
                Phase::Idle
            } else if more || state.line.looking_pays(since) || state.listen() {
                cx.waker().wake_by_ref();
                Phase::Looking
            } else {
                *since = None;
                Phase::Listening
            };
            state.set_phase(*runtime, phase, cx.waker());
            Poll::Pending
        })
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Lookout { shared, runtime, socket, .. } = self;
        loop {
            let readable = socket.poll_read_ready(cx)?.is_ready();
            let backlog = shared.with(|state| state.line.has_backlog());
            let writable = backlog && socket.poll_write_ready(cx)?.is_ready();
            if !readable && !writable {
                shared.with(|state| state.set_phase(*runtime, Phase::Listening, cx.waker()));
                return Poll::Pending;
            }
            // The socket has been emptied, or filled, when the runtime is told that it is not ready.
            let (mut lost, mut more) = (false, false);
            let mut settle = |interest: Interest| {
                let settled = socket.try_io(interest, || {
                    let still_ready = shared.with(|state| {
                        more = state.settle();
                        lost = state.is_lost();
                        more || interest.is_writable() && !state.line.has_backlog()
                    });
                    if still_ready { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
                });
                // Whichever it was, the next look at the readiness tells.
                drop(settled);
            };
            if readable {
                settle(Interest::READABLE);
            }
            if writable {
                settle(Interest::WRITABLE);
            }
            if lost {
                return Poll::Ready(Ok(()));
            }
            if more {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl Future for Lookout {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let done = if self.shared.ring { self.poll_rings(cx) } else { self.poll_socket(cx) };
        // What fails is the runtime, which ends: whoever waits looks for a lookout in another one.
        done.map(|_| ())
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.shared.with(|state| state.leave_post(self.runtime));
    }
}
