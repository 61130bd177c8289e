//! Being told of changes in async code: [`AsyncClient::subscribe`] and [`AsyncSubscription`].

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::AsyncClient;
use super::alone::Alone;
use crate::client::line::Awaited;
use crate::client::subscription::gap;
use crate::client::{Notice, Since};
use crate::error::Error;
use crate::frame::Kind;
use crate::protocol::Notifies;

impl<P: Notifies> AsyncClient<P> {
    /// Subscribes to the daemon's notifications, as [`Client::subscribe`](crate::Client::subscribe) does.
    ///
    /// They travel on a connection of their own, made for this: a subscriber that reads slowly holds up
    /// nobody else.
    ///
    /// ```no_run
    /// # use libgrite_ipc::{Notice, Notifies, Protocol, Since, Wire, wire};
    /// # wire! { pub struct Query { pub id: u64 } pub struct Hits { pub count: u64 } pub struct Change { pub id: u64 } }
    /// # enum Search {}
    /// # impl Protocol for Search { type Request = Query; type Response = Hits; const NAME: &'static str = "search";
    /// #     const VERSION: u16 = 1; const NOTIFICATION: Option<u64> = Some(Change::LAYOUT); }
    /// # impl Notifies for Search { type Notification = Change; }
    /// # async fn watch() -> Result<(), libgrite_ipc::Error> {
    /// use std::time::Duration;
    /// use libgrite_ipc::AsyncClient;
    ///
    /// let client = AsyncClient::<Search>::connect("/run/user/1000/search.sock").await?;
    /// let mut changes = client.subscribe(Since::Now).await?;
    /// loop {
    ///     match changes.next(Duration::from_secs(3600)).await? {
    ///         Notice::Event { sequence, event } => println!("{sequence}: {} has changed", event.id),
    ///         Notice::Gap { next, lost } => println!("{lost:?} are lost before {next}"),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`](crate::ClientBuilder::connect).
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub async fn subscribe(&self, since: Since) -> Result<AsyncSubscription<P>, Error> {
        P::assert_notification();
        let alone = self.another(move |line| line.subscribe(since.first()).map(drop)).await?;
        Ok(AsyncSubscription { alone, _protocol: PhantomData })
    }
}

/// What a daemon publishes, in order, until it is dropped.
///
/// A slow subscriber slows nobody. What it missed is reported by the next [`Notice::Gap`].
pub struct AsyncSubscription<P: Notifies> {
    alone: Alone,
    _protocol: PhantomData<fn() -> P>,
}

impl<P: Notifies> AsyncSubscription<P> {
    /// Waits for the next notice, for `timeout` at most. Dropping the future loses none.
    ///
    /// # Errors
    /// As [`Subscription::next`](crate::Subscription::next).
    ///
    /// # Panics
    /// As [`AsyncClient::send`].
    pub async fn next(&mut self, timeout: Duration) -> Result<Notice<'_, P>, Error> {
        let (kind, sequence) = self.alone.receive(Awaited::Notice, timeout).await?;
        let line = &self.alone.line;
        if kind == Kind::Gap { Ok(Notice::gap(gap(line)?, sequence)) } else { Notice::event(line, sequence) }
    }
}

impl<P: Notifies> fmt::Debug for AsyncSubscription<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSubscription").field("protocol", &P::NAME).finish_non_exhaustive()
    }
}
