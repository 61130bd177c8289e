//! Asking from async code: [`AsyncClient`].
//!
//! [`shared`] is the connection as all its requests share it, [`queue`] those that wait to be sent, and
//! [`lookout`] the task that watches it while all of them wait; what comes bit by bit has a connection that is
//! [`alone`]. [`ear`] is what a runtime waits for. Ids, frames and checks are those of the blocking client: both
//! stand on [`Line`](super::line::Line).

mod alone;
mod connect;
mod ear;
mod lookout;
mod queue;
mod shared;
mod stream;
mod subscription;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::ClientBuilder;
use super::line::RECEIVE;
use super::open::RequestId;
use crate::error::Error;
use crate::payload::Bytes;
use crate::protocol::{Message, Protocol};
use crate::transport::Interrupted;
use queue::Queued;
use shared::Shared;

pub use stream::AsyncStream;
pub use subscription::AsyncSubscription;

/// A connection to a daemon for async code on the Tokio runtime: requests from any number of tasks, as many under way at
/// once as the daemon [takes](Self::max_open), 256 by default.
///
/// Clones share the connection, which ends with the last of them. It belongs to no runtime: requests may be
/// sent from several runtimes of either flavour, one after the other or at once; each needs its IO and time
/// drivers enabled. While nobody waits it has no task to run, and it never has a thread of its own.
///
/// A request whose future is dropped is cancelled: the daemon is told, and its answer, should it still come, goes to
/// nobody. More requests than [`max_open`](Self::max_open) wait for their turn, in order, which counts towards their
/// timeout; a future that is not polled on while it waits holds up no other. Once sent, a request keeps its place
/// until its answer is taken or its future dropped.
///
/// A connection that was lost stays so. Every later request fails with the kind of error that lost the connection,
/// mostly [`PeerDied`](crate::ErrorKind::PeerDied): connect a new client.
///
/// ```no_run
/// use libgrite_ipc::{IpcAsyncClient, IpcCommand};
///
/// # async fn ask() -> Result<(), libgrite_ipc::Error> {
/// let client = IpcAsyncClient::connect("/run/user/1000/grite/daemon.sock").await?;
/// let show = |id: &str| IpcCommand::IssueShow { id: id.to_owned() };
/// let (one, other) = (show("bd-0088"), show("bd-0089"));
/// let (one, other) = tokio::try_join!(client.send(&one), client.send(&other))?;
/// println!("{one:?}, {other:?}");
/// # Ok(()) }
/// ```
pub struct AsyncClient<P: Protocol> {
    owner: Arc<Owner>,
    builder: ClientBuilder<P>,
}

impl<P: Protocol> AsyncClient<P> {
    /// Connects to the daemon at `path` with the defaults of [`ClientBuilder`].
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    ///
    /// # Panics
    /// As [`ClientBuilder::connect_async`].
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        ClientBuilder::new().connect_async(path).await
    }

    /// Starts from the defaults, as [`Client::builder`](crate::Client::builder) does; ends in
    /// [`connect_async`](ClientBuilder::connect_async).
    pub fn builder() -> ClientBuilder<P> {
        ClientBuilder::new()
    }

    /// Asks, and waits for the answer, for as long as the builder's timeout, in which it may also wait for
    /// a place among the requests of this connection.
    ///
    /// Dropping the future cancels the request.
    ///
    /// # Errors
    /// As [`Client::send`](crate::Client::send).
    ///
    /// # Panics
    /// Outside of a Tokio runtime, and in one without its IO or time driver.
    pub async fn send(&self, request: &P::Request) -> Result<Message<P::Response>, Error> {
        let shared = &self.owner.0;
        match tokio::time::timeout(shared.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(shared.with(|state| state.line.interrupt(Interrupted::Deadline, None, RECEIVE))),
        }
    }

    async fn exchange(&self, request: &P::Request) -> Result<Message<P::Response>, Error> {
        let shared = &self.owner.0;
        let mut queued = Queued::new(shared);
        let id = std::future::poll_fn(|cx| queued.poll(request, cx)).await?;
        let mut asked = Asked { id, shared, since: None, claimed: false };
        let payload = std::future::poll_fn(|cx| asked.poll(cx)).await?;
        Message::check(payload).map_err(|invalid| shared.with(|state| state.line.not_valid(invalid)))
    }

    /// How many requests may be under way at once: as many as the daemon takes from one client before it
    /// has answered the first of them. More wait.
    pub fn max_open(&self) -> usize {
        self.owner.0.max_open
    }

    /// Whether requests travel through rings in shared memory.
    pub fn uses_ring(&self) -> bool {
        self.owner.0.ring
    }

    /// Which release of its program the daemon said it is
    /// ([`ServerBuilder::release`](crate::ServerBuilder::release)); 0 where it said nothing.
    pub fn daemon_release(&self) -> u32 {
        self.owner.0.daemon_release
    }
}

impl<P: Protocol> Clone for AsyncClient<P> {
    fn clone(&self) -> Self {
        AsyncClient { owner: Arc::clone(&self.owner), builder: self.builder.clone() }
    }
}

impl<P: Protocol> fmt::Debug for AsyncClient<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncClient")
            .field("protocol", &P::NAME)
            .field("ring", &self.uses_ring())
            .finish_non_exhaustive()
    }
}

/// Ends the connection with the last client that shares it.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// How long a request looks for its answer before it needs a lookout, who hears of the daemon's end, too:
/// more than any spin that is not endless.
const LOOKS_ALONE: Duration = Duration::from_millis(1);

/// A request under way. Dropped before its answer was claimed, it is cancelled.
struct Asked<'c> {
    shared: &'c Arc<Shared>,
    id: RequestId,
    /// Since when the answer was looked for in vain.
    since: Option<Instant>,
    claimed: bool,
}

impl Asked<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        let Asked { shared, id, since, claimed } = self;
        shared.check_process(RECEIVE)?;
        let answer = shared.with(|state| {
            if let Some(answer) = state.look_for(*id) {
                *claimed = true;
                state.keep_watch();
                return Some(answer);
            }
            if state.is_lost() {
                return Some(Err(state.reason(RECEIVE)));
            }
            state.line.open.tell(*id, cx.waker());
            // A request that is alone looks for its own answer, by turns with what else its thread has to
            // do; of several, the lookout does it for all.
            let alone = state.is_alone();
            let pays = alone && state.line.looking_pays(since);
            if pays && since.is_some_and(|since| since.elapsed() < LOOKS_ALONE) {
                cx.waker().wake_by_ref();
                return None;
            }
            state.attend(shared, alone && !pays).err().map(Err)
        });
        answer.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.claimed {
            self.shared.with_ours(|state| state.cancel(self.id));
        }
    }
}
