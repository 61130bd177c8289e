//! An answer that comes in parts: [`Client::stream`] and [`Stream`].

use std::fmt;

use super::line::{Awaited, Line, RECEIVE};
use super::open::RequestId;
use super::{Client, Reply};
use crate::error::{Error, ErrorKind};
use crate::frame::{Expiry, Kind};
use crate::protocol::Protocol;
use crate::wait::Deadline;

impl<P: Protocol> Client<P> {
    /// Asks for an answer that comes in parts, each a response of its own.
    ///
    /// The daemon sends a part only when there is space for it, and the first can be read before the
    /// last is made: an answer of any length takes the memory of one part on either side. An answer in
    /// one piece is a stream of one part.
    ///
    /// ```
    /// # use libgrite_ipc::{Protocol, testing, wire};
    /// # wire! { pub struct Count { pub to: u64 } pub struct Number { pub number: u64 } }
    /// # enum Counter {}
    /// # impl Protocol for Counter { type Request = Count; type Response = Number;
    /// #     const NAME: &'static str = "counter"; const VERSION: u16 = 1; }
    /// # fn main() -> Result<(), libgrite_ipc::Error> {
    /// let mut client = testing::pair_serving::<Counter>(&Default::default(), |count, mut responder| {
    ///     let to = count.to.to_native();
    ///     for number in 1..to {
    ///         if responder.send_part(&Number { number }).is_err() {
    ///             return; // Nobody reads on.
    ///         }
    ///     }
    ///     let _ = responder.reply(&Number { number: to });
    /// });
    /// let mut numbers = client.stream(&Count { to: 3 })?;
    /// let mut sum = 0;
    /// while let Some(number) = numbers.next()? {
    ///     sum += number.number.to_native();
    /// }
    /// assert_eq!(sum, 1 + 2 + 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As the sending half of [`send`](Self::send).
    pub fn stream(&mut self, request: &P::Request) -> Result<Stream<'_, P>, Error> {
        let line = self.line.get_mut();
        // It lasts for as long as somebody reads on.
        let id = line.request(request, Expiry::NEVER, &mut Deadline::after(line.timeout()))?;
        Ok(Stream { client: self, id, ended: false })
    }
}

/// The parts of an answer, in order.
///
/// Dropped before its end, it tells the daemon that nobody reads on.
pub struct Stream<'c, P: Protocol> {
    client: &'c mut Client<P>,
    id: RequestId,
    ended: bool,
}

impl<P: Protocol> Stream<'_, P> {
    /// Waits for the next part, for as long as the builder's timeout; nothing after the last one.
    ///
    /// # Errors
    /// As [`Client::send`]; after [`ErrorKind::Timeout`] the next part can be waited for again.
    #[expect(clippy::should_implement_trait, reason = "a part is borrowed from the stream")]
    pub fn next(&mut self) -> Result<Option<Reply<'_, P>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let line = self.client.line.get_mut();
        line.check_usable(RECEIVE)?;
        let mut deadline = Deadline::after(line.timeout());
        let received = line.receive(Awaited::Answer(self.id), &mut deadline);
        self.ended = is_last(&received);
        part(line, received?.0).map(Some)
    }
}

/// Whether nothing follows what has come of a wait for a part.
pub(super) fn is_last(received: &Result<(Kind, u64), Error>) -> bool {
    match received {
        Ok((kind, _)) => *kind != Kind::Part,
        Err(error) => error.kind() != ErrorKind::Timeout,
    }
}

/// The part that was received last, as a message of that kind.
pub(super) fn part<P: Protocol>(line: &Line, kind: Kind) -> Result<Reply<'_, P>, Error> {
    if kind == Kind::Failure {
        return Err(line.failure(line.message()));
    }
    line.checked::<P::Response>().map(Reply::new)
}

impl<P: Protocol> Drop for Stream<'_, P> {
    fn drop(&mut self) {
        if !self.ended {
            self.client.line.get_mut().cancel(self.id);
        }
    }
}

impl<P: Protocol> fmt::Debug for Stream<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("ended", &self.ended).finish_non_exhaustive()
    }
}
