//! From a request's bytes to the handler: [`Service`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Scope;

use rkyv::Archived;

use super::connection::Connection;
use super::crew::{AtWork, Crew};
use super::poller::Arrival;
use super::pool::Pool;
use super::responder::Responder;
use crate::frame::{Expiry, FailureCode};
use crate::payload::Bytes;
use crate::protocol::{Message, Protocol, check};
use crate::wait::coarse_now;

/// Says which requests may block.
pub(crate) type MayBlock<P> = dyn Fn(&Archived<<P as Protocol>::Request>) -> bool + Send + Sync;

/// Checks requests and has them answered: at once by the thread that received them, or on a pool
/// where they may block.
pub(crate) struct Service<'a, P: Protocol, H> {
    pub(crate) handler: H,
    pub(crate) may_block: Option<&'a MayBlock<P>>,
    pub(crate) pool: Pool<Job>,
    pub(crate) crew: Arc<Crew>,
}

/// A request that waits for a thread.
#[derive(Debug)]
pub(crate) struct Job {
    connection: Arc<Connection>,
    id: u64,
    expiry: Expiry,
    archive: Bytes,
    at_work: AtWork,
}

impl<P: Protocol, H: Fn(&Archived<P::Request>, Responder<P>) + Sync> Service<'_, P, H> {
    /// Answers one request. One that is no valid archive ends its connection.
    pub(crate) fn answer<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, arrival: Arrival<'_>) {
        let Arrival { connection, id, now, bytes } = arrival;
        let Some((archive, expiry)) = admit(connection, id, now, bytes) else { return };
        let Ok(request) = check::<P::Request>(archive) else { return connection.close() };
        let blocks = || self.may_block.is_some_and(|may_block| may_block(request));
        let Some(blocks) = contain(blocks) else {
            return connection.reject(
                id,
                FailureCode::Panicked,
                "telling whether the request may block panicked",
            );
        };
        if !blocks {
            let responder = Responder::new(Arc::clone(connection), id, expiry);
            contain(|| (self.handler)(request, responder));
            return;
        }
        let mut bytes = Bytes::with_capacity(archive.len());
        bytes.extend_from_slice(archive);
        let at_work = self.crew.join();
        let job = Job { connection: Arc::clone(connection), id, expiry, archive: bytes, at_work };
        if let Err(job) = self.pool.submit(scope, job, archive.len() as u64, |job| self.work(job)) {
            job.connection.reject(id, FailureCode::Busy, "too many requests wait for a thread: try again");
        }
    }

    /// Ends the pool; what waits for a thread is turned away.
    pub(super) fn close(&self) {
        for job in self.pool.close() {
            job.connection.turn_away(job.id);
        }
    }

    /// Answers a request that has waited, unless nobody waits for it any more.
    fn work(&self, job: Job) {
        let Job { connection, id, expiry, archive, at_work: _at_work } = job;
        if connection.is_closed() || connection.is_cancelled(id) {
            return connection.settle(id);
        }
        if connection.is_late() {
            return connection.turn_away(id);
        }
        if expiry.is_over(coarse_now()) {
            return connection.reject(id, FailureCode::Expired, EXPIRED);
        }
        let Ok(request) = Message::<P::Request>::check(archive) else { return connection.close() };
        let responder = Responder::new(connection, id, expiry);
        contain(|| (self.handler)(&request, responder));
    }
}

const EXPIRED: &str = "the request's deadline passed before the daemon came to it";

/// The archive and the expiry of a request that has come by `now`, unless it comes too late or is none.
pub(super) fn admit<'p>(
    connection: &Arc<Connection>,
    id: u64,
    now: u64,
    payload: &'p [u8],
) -> Option<(&'p [u8], Expiry)> {
    if connection.is_late() {
        connection.turn_away(id);
        return None;
    }
    let Some((archive, expiry)) = Expiry::split(payload) else {
        connection.close();
        return None;
    };
    if expiry.is_over(now) {
        connection.reject(id, FailureCode::Expired, EXPIRED);
        return None;
    }
    Some((archive, expiry))
}

/// What `work` returns, unless it panics. That ends nothing: the responder of a handler answers for it while the panic
/// unwinds. What it has panicked with may panic in its turn when it is dropped, and what that has panicked with is
/// never dropped.
fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    let panicked = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => return Some(done),
        Err(panicked) => panicked,
    };
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panicked))) {
        std::mem::forget(again);
    }
    None
}
