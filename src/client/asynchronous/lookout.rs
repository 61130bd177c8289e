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
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::Interest;
use tokio::runtime::Id;

use super::ear::Ear;
use super::shared::{Phase, Shared};
use crate::transport::Broken;

pub(super) struct Lookout {
    shared: Arc<Shared>,
    ear: Ear,
    /// Since when it has looked in vain.
    since: Option<Instant>,
}

impl Lookout {
    /// To be spawned in the current runtime, which is `runtime`.
    pub(super) fn new(shared: &Arc<Shared>, runtime: Id) -> io::Result<Self> {
        Ok(Lookout { shared: Arc::clone(shared), ear: Ear::new(&shared.socket, runtime)?, since: None })
    }

    fn poll_rings(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Lookout { shared, ear, since } = self;
        let heard = ear.poll_bell(cx)?;
        shared.with(|state| {
            let called = state.queue.pass_over();
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
            } else if more || called || state.line.looking_pays(since) || state.listen() {
                cx.waker().wake_by_ref();
                Phase::Looking
            } else {
                *since = None;
                Phase::Listening
            };
            state.set_phase(ear.runtime, phase, cx.waker());
            Poll::Pending
        })
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Lookout { shared, ear, .. } = self;
        loop {
            let (called, backlog) = shared.with(|state| (state.queue.pass_over(), state.line.has_backlog()));
            if ear.poll_ready(backlog, cx)?.is_pending() {
                if ear.poll_end(cx)?.is_ready() {
                    shared.with(|state| state.sever(Broken::Severed));
                    return Poll::Ready(Ok(()));
                }
                // A request may have been left waiting for space since the look above.
                let missed = shared.with(|state| {
                    state.set_phase(ear.runtime, Phase::Listening, cx.waker());
                    !backlog && state.line.has_backlog()
                });
                if missed {
                    continue;
                }
                if called {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            let mut more = false;
            ear.exhaust(Interest::READABLE, || {
                shared.with(|state| more |= state.settle());
                more
            });
            ear.exhaust(Interest::WRITABLE, || {
                shared.with(|state| {
                    more |= state.settle();
                    !state.line.has_backlog()
                })
            });
            if shared.with(|state| state.is_lost()) {
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
        // In a forked child, in which this runtime goes on, nobody can be told of anything.
        if !self.shared.is_ours() {
            return Poll::Ready(());
        }
        let done = if self.shared.ring { self.poll_rings(cx) } else { self.poll_socket(cx) };
        // What fails is the runtime, which ends: whoever waits looks for a lookout in another one.
        done.map(|_| ())
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.shared.with_ours(|state| state.leave_post(self.ear.runtime));
    }
}
