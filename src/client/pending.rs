//! Several requests at once: [`Client::start`], [`Client::start_all`], the [`Pending`] answers, and those
//! [`Claimed`].

use std::fmt;
use std::ops::Deref;

use rkyv::Archived;

use super::Client;
use super::open::RequestId;
use crate::error::Error;
use crate::protocol::{Message, Protocol};

impl<P: Protocol> Client<P> {
    /// Sends a request and does not wait for its answer, which is claimed from what is returned: in
    /// any order, whatever order the daemon answers in.
    ///
    /// ```
    /// # use libgrite_ipc::{Protocol, testing, wire};
    /// # wire! { pub struct Add { pub number: u64 } pub struct Sum { pub sum: u64 } }
    /// # enum Adder {}
    /// # impl Protocol for Adder { type Request = Add; type Response = Sum;
    /// #     const NAME: &'static str = "adder"; const VERSION: u16 = 1; }
    /// # fn main() -> Result<(), libgrite_ipc::Error> {
    /// let client = testing::pair::<Adder>(|add, _cx| Sum { sum: add.number.to_native() + 1 });
    /// let one = client.start(&Add { number: 1 })?;
    /// let two = client.start(&Add { number: 2 })?;
    /// assert_eq!(two.wait()?.sum, 3);
    /// assert_eq!(one.wait()?.sum, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As the sending half of [`send`](Self::send), and [`Refused`](crate::ErrorKind::Refused) when
    /// [`max_open`](Self::max_open) answers are unclaimed. That one is [retryable](Error::is_retryable) once an
    /// answer was claimed or dropped; to wait helps nothing.
    pub fn start(&self, request: &P::Request) -> Result<Pending<'_, P>, Error> {
        let mut line = self.line.borrow_mut();
        let expiry = line.expiry();
        let id = line.open(request, expiry)?;
        line.announce();
        Ok(Pending { client: self, id })
    }

    /// Sends several requests in one go: the daemon is told once, and woken once at most if it sleeps.
    ///
    /// # Errors
    /// As [`start`](Self::start); the requests before the one that failed are cancelled.
    pub fn start_all<'r>(
        &self,
        requests: impl IntoIterator<Item = &'r P::Request>,
    ) -> Result<Vec<Pending<'_, P>>, Error> {
        let requests = requests.into_iter();
        let mut opened = Vec::with_capacity(requests.size_hint().0.min(self.max_open()));
        let expiry = self.line.borrow().expiry();
        let sent = requests.into_iter().try_for_each(|request| {
            let id = self.line.borrow_mut().open(request, expiry)?;
            opened.push(Pending { client: self, id });
            Ok(())
        });
        self.line.borrow_mut().announce();
        sent.map(|()| opened)
    }

    /// How many answers may be unclaimed at once: as many requests as the daemon takes from one client
    /// before it has answered the first of them.
    pub fn max_open(&self) -> usize {
        usize::from(self.line.borrow().open.limit())
    }
}

/// The answer to a request that is under way.
///
/// Dropped unclaimed, it tells the daemon that nobody waits any more.
#[must_use = "a pending answer that is dropped cancels its request"]
pub struct Pending<'c, P: Protocol> {
    client: &'c Client<P>,
    id: RequestId,
}

impl<'c, P: Protocol> Pending<'c, P> {
    /// Waits for the answer, for what is left of the request's timeout.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn wait(self) -> Result<Claimed<'c, P>, Error> {
        let client = self.client;
        let mut line = client.line.borrow_mut();
        let payload = line.claim(self.id)?;
        // Nothing is left to be cancelled.
        std::mem::forget(self);
        let message = Message::check(payload).map_err(|invalid| line.not_valid(invalid))?;
        Ok(Claimed { client, message: Some(message) })
    }

    /// Whether [`wait`](Self::wait) would return at once: with the answer, or because the request's time is up.
    ///
    /// # Errors
    /// As [`Client::send`], when the connection is lost.
    pub fn is_ready(&self) -> Result<bool, Error> {
        self.client.line.borrow_mut().is_ready(self.id)
    }
}

impl<P: Protocol> Drop for Pending<'_, P> {
    fn drop(&mut self) {
        // One that was claimed is not open any more.
        self.client.line.borrow_mut().cancel(self.id);
    }
}

impl<P: Protocol> fmt::Debug for Pending<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An answer that was waited for: dereferences to the archived response.
///
/// Its memory goes back to its client, for an answer to come: so it borrows the client, which cannot
/// [`send`](Client::send) meanwhile, and stays on its thread. Taken [out](Self::into_message), an answer has
/// neither limit.
pub struct Claimed<'c, P: Protocol> {
    client: &'c Client<P>,
    /// Nothing once it was taken out.
    message: Option<Message<P::Response>>,
}

impl<P: Protocol> Claimed<'_, P> {
    /// The answer in memory of its own, which no client gets back.
    pub fn into_message(mut self) -> Message<P::Response> {
        self.message.take().expect("it is taken out once, with the handle itself")
    }
}

impl<P: Protocol> Deref for Claimed<'_, P> {
    type Target = Archived<P::Response>;

    fn deref(&self) -> &Self::Target {
        self.message.as_ref().expect("it is taken out with the handle itself")
    }
}

impl<P: Protocol> Drop for Claimed<'_, P> {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            self.client.line.borrow_mut().open.give_back(message.into_bytes());
        }
    }
}

impl<P: Protocol> fmt::Debug for Claimed<'_, P>
where
    Archived<P::Response>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
