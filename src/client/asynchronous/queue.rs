//! The requests that wait to be sent, for a place or for space: [`Queue`], and each of them: [`Queued`].
//!
//! They are called in order once one can be sent, and whoever is called tries again; those who come meanwhile wait
//! behind it. None holds anything that another one needs, since a future need not be polled on by whoever holds it:
//! one that was called and does not come is passed over by a lookout after a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::client::line::SEND;
use crate::client::open::RequestId;
use crate::error::Error;
use crate::protocol::Wire;

/// Whoever is called comes within this time, if a thread is free to poll it.
const SOON: Duration = Duration::from_millis(1);

/// Those who wait to be called, by the order in which they came.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waker>,
    /// Who was called last, and has not come yet, and when it was called.
    called: Option<(u64, Instant)>,
    /// How many have come.
    tickets: u64,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether somebody who came before this one waits, or was called. Who has no ticket comes last.
    fn comes_before(&self, ticket: Option<u64>) -> bool {
        let first = self.waiting.keys().next().copied();
        let mut others = first.into_iter().chain(self.called.map(|(called, _)| called));
        others.any(|other| ticket.is_none_or(|ticket| other < ticket))
    }

    /// The next one, unless the one before has not come yet.
    pub(super) fn call(&mut self) -> Option<Waker> {
        if self.called.is_some() {
            return None;
        }
        let (ticket, waker) = self.waiting.pop_first()?;
        self.called = Some((ticket, Instant::now()));
        Some(waker)
    }

    /// Waits no longer for one that was called a while ago. Says whether somebody waits behind one that may still
    /// come.
    pub(super) fn pass_over(&mut self) -> bool {
        self.called = self.called.filter(|(_, since)| since.elapsed() < SOON);
        self.called.is_some() && !self.is_empty()
    }

    /// All of them.
    pub(super) fn call_all(&mut self, into: &mut Vec<Waker>) {
        self.called = None;
        into.extend(std::mem::take(&mut self.waiting).into_values());
    }

    /// Takes somebody out who comes, or comes no more.
    fn leave(&mut self, ticket: u64) {
        self.waiting.remove(&ticket);
        self.called = self.called.filter(|&(called, _)| called != ticket);
    }
}

/// A request on its way to being sent. It keeps its ticket when it is called in vain.
pub(super) struct Queued<'c> {
    shared: &'c Arc<Shared>,
    ticket: Option<u64>,
}

impl<'c> Queued<'c> {
    pub(super) fn new(shared: &'c Arc<Shared>) -> Self {
        Queued { shared, ticket: None }
    }

    /// Sends the request, unless there is no place, or no space, or others come before it.
    pub(super) fn poll<T: Wire>(&mut self, request: &T, cx: &Context<'_>) -> Poll<Result<RequestId, Error>> {
        let Queued { shared, ticket } = self;
        shared.check_process(SEND)?;
        shared.with(|state| {
            if let Some(ticket) = *ticket {
                state.queue.leave(ticket);
            }
            let opened = if state.queue.comes_before(*ticket) { Ok(None) } else { state.try_open(request) };
            if let Some(opened) = opened.transpose() {
                *ticket = None;
                return Poll::Ready(opened);
            }
            if state.is_lost() {
                return Poll::Ready(Err(state.reason(SEND)));
            }
            let Queue { waiting, tickets, .. } = &mut state.queue;
            let ticket = *ticket.get_or_insert_with(|| {
                *tickets += 1;
                *tickets
            });
            waiting.insert(ticket, cx.waker().clone());
            state.attend(shared, false).map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending)
        })
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.with_ours(|state| state.queue.leave(ticket));
        }
    }
}
