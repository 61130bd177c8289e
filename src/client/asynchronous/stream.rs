//! An answer that comes in parts, for async code: [`AsyncClient::stream`] and [`AsyncStream`].

use std::fmt;
use std::marker::PhantomData;

use super::AsyncClient;
use super::alone::Alone;
use crate::client::Reply;
use crate::client::line::{Awaited, SEND};
use crate::client::open::RequestId;
use crate::client::stream::{is_last, part};
use crate::error::{Error, ErrorKind};
use crate::frame::Expiry;
use crate::protocol::Protocol;

impl<P: Protocol> AsyncClient<P> {
    /// Asks for an answer that comes in parts, each a response of its own, as
    /// [`Client::stream`](crate::Client::stream) does.
    ///
    /// It travels on a connection of its own, made for this: parts that nobody reads hold up nobody else.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`](crate::ClientBuilder::connect), and as the sending half of
    /// [`send`](Self::send).
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub async fn stream(&self, request: &P::Request) -> Result<AsyncStream<P>, Error> {
        let mut alone = self.another(|_| Ok(())).await?;
        // It lasts for as long as somebody reads on.
        match alone.line.try_open(request, Expiry::NEVER)? {
            Some(id) => Ok(AsyncStream { alone, id, ended: false, _protocol: PhantomData }),
            None => Err(Error::new(ErrorKind::Refused, SEND).saying("the daemon grants no request at all")),
        }
    }
}

/// The parts of an answer, in order.
///
/// Dropped before its end, it tells the daemon that nobody reads on.
pub struct AsyncStream<P: Protocol> {
    alone: Alone,
    id: RequestId,
    ended: bool,
    _protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> AsyncStream<P> {
    /// Waits for the next part, for as long as the builder's timeout; nothing after the last one.
    ///
    /// Dropping the future loses no part.
    ///
    /// # Errors
    /// As [`AsyncClient::send`]; after [`ErrorKind::Timeout`] the next part can be waited for again.
    ///
    /// # Panics
    /// As [`AsyncClient::send`].
    pub async fn next(&mut self) -> Result<Option<Reply<'_, P>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let timeout = self.alone.line.timeout();
        let received = self.alone.receive(Awaited::Answer(self.id), timeout).await;
        self.ended = is_last(&received);
        part(&self.alone.line, received?.0).map(Some)
    }
}

impl<P: Protocol> fmt::Debug for AsyncStream<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}
