//! The requests that wait to be sent, for a place or for space: [`Queue`], and each of them: [`Queued`].
//!
//! They are called in order once one can be sent, and whoever is called tries again. None holds anything that
//! another one needs, since a future need not be polled on by whoever holds it: while a request could be sent and
//! others wait, a lookout calls the next one each time that it looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::shared::Shared;
use crate::client::line::SEND;
use crate::client::open::RequestId;
use crate::error::Error;
use crate::protocol::Wire;

/// Those who wait to be called, by the order in which they came.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waker>,
    /// How many have come.
    tickets: u64,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether somebody who came before this one waits to be called. Who has no ticket comes last.
    fn comes_before(&self, ticket: Option<u64>) -> bool {
        let first = self.waiting.first_key_value();
        first.is_some_and(|(&first, _)| ticket.is_none_or(|ticket| first < ticket))
    }

    /// The next one, who is not in the queue then.
    pub(super) fn call(&mut self) -> Option<Waker> {
        self.waiting.pop_first().map(|(_, waker)| waker)
    }

    /// All of them.
    pub(super) fn call_all(&mut self, into: &mut Vec<Waker>) {
        into.extend(std::mem::take(&mut self.waiting).into_values());
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
        shared.with(|state| {
            if let Some(ticket) = ticket {
                state.queue.waiting.remove(ticket);
            }
            let opened = if state.queue.comes_before(*ticket) { Ok(None) } else { state.try_open(request) };
            if let Some(opened) = opened.transpose() {
                *ticket = None;
                return Poll::Ready(opened);
            }
            if state.is_lost() {
                return Poll::Ready(Err(state.reason(SEND)));
            }
            let Queue { waiting, tickets } = &mut state.queue;
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
            self.shared.with(|state| state.queue.waiting.remove(&ticket));
        }
    }
}
