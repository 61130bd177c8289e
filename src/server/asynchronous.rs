//! Answering from async code: [`Server::serve_async`].
//!
//! Requests are taken from rings and sockets by threads of their own, as everywhere; what is async is the
//! handler: each request's future is a task of the runtime, with the right to answer in it.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::{Context, Incoming, Responder, Server, ServerHandle};
use crate::error::Error;
use crate::frame::FailureCode;
use crate::protocol::{Message, Protocol};

/// How often a task that has not answered yet looks whether somebody still waits for it.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl<P: Protocol> Server<P> {
    /// Answers requests with what the futures of `handler` return, until a [`ServerHandle`] stops the server,
    /// nobody was connected for the builder's idle time, a client of a later
    /// [release](super::ServerBuilder::release) asked it to make way, the socket's file was taken away or replaced,
    /// or the future of this call is dropped.
    ///
    /// Each request is a task of the current runtime, and answers are sent in the order in which they are
    /// ready. As many run at once as [`max_waiting`](super::ServerBuilder::max_waiting) says, and
    /// [`max_in_flight`](super::ServerBuilder::max_in_flight) of one client; one more is refused, and can be asked
    /// again. The task of a request that its client has given up is dropped within some milliseconds, and so is
    /// one that is left five seconds after the stop; one that panics answers its request with an error.
    ///
    /// ```no_run
    /// # use libgrite_ipc::{Protocol, Server, wire};
    /// # use std::time::Duration;
    /// # wire! { pub struct Nap { pub millis: u64 } pub struct Rested { pub after: u64 } }
    /// # enum Naps {}
    /// # impl Protocol for Naps { type Request = Nap; type Response = Rested;
    /// #     const NAME: &'static str = "naps"; const VERSION: u16 = 1; }
    /// # async fn serve() -> Result<(), libgrite_ipc::Error> {
    /// let server = Server::<Naps>::bind("/run/user/1000/naps.sock")?;
    /// server
    ///     .serve_async(|nap, _cx| async move {
    ///         let millis = nap.millis.to_native();
    ///         tokio::time::sleep(Duration::from_millis(millis)).await;
    ///         Rested { after: millis }
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    ///
    /// # Panics
    /// As [`serve`](Self::serve). Outside of a Tokio runtime; the tasks in one without its time driver.
    pub async fn serve_async<H, F>(&self, handler: H) -> Result<(), Error>
    where
        H: Fn(Message<P::Request>, Context) -> F + Send + Sync + 'static,
        F: Future<Output = P::Response> + Send + 'static,
    {
        self.shared.mark_served();
        let (runtime, handler) = (Handle::current(), Arc::new(handler));
        let tasks = Arc::new(Semaphore::new(self.shared.limits.waiting.clamp(1, Semaphore::MAX_PERMITS)));
        let server = Server::<P> {
            shared: Arc::clone(&self.shared),
            listener: Arc::clone(&self.listener),
            may_block: None,
            _protocol: PhantomData,
        };
        let (tell, ended) = oneshot::channel();
        let sweep = move || {
            let mut requests = Incoming::start(&server);
            for request in requests.by_ref() {
                let (message, responder) = request.into_parts();
                let Ok(permit) = Arc::clone(&tasks).try_acquire_owned() else {
                    responder.refuse(FailureCode::Busy, "too many requests are under way: try again");
                    continue;
                };
                let handler = Arc::clone(&handler);
                runtime.spawn(async move {
                    let context = responder.context().clone();
                    answer(|| handler(message, context), responder).await;
                    drop(permit);
                });
            }
            // Whoever has dropped the future does not ask how it went.
            let _ = tell.send(requests.end());
        };
        let thread = std::thread::Builder::new().name("ipc-poller".to_owned()).spawn(sweep);
        let thread = thread.map_err(|error| Error::io("start the poller's thread", error))?;
        let _stop = Stop(self.handle());
        match ended.await {
            Ok(served) => served,
            // It panicked, or it would have told. It ends just now, and its panic goes on here.
            Err(_) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("the poller's thread tells how it went"),
            },
        }
    }
}

/// Stops the server when nobody waits for its end any more.
struct Stop(ServerHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Works on one request until it is answered or nobody waits for that any more. The responder is dropped
/// with the task, and answers for a panic.
async fn answer<P: Protocol, F: Future<Output = P::Response>>(
    work: impl FnOnce() -> F,
    responder: Responder<P>,
) {
    let response = {
        let (mut work, mut unwanted) = (pin!(work()), pin!(unwanted(&responder)));
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => unwanted.as_mut().poll(cx).map(|()| None),
        })
        .await
    };
    if let Some(response) = response {
        // As in `serve`: nobody is left to be told.
        let _ = responder.reply(&response);
    }
}

/// Waits until nobody waits for the answer.
async fn unwanted<P: Protocol>(responder: &Responder<P>) {
    while responder.is_wanted() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
