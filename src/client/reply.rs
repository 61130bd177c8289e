//! An answer that lies in its client's buffer: [`Reply`]; and how archived messages become ordinary values.

use std::fmt;
use std::ops::Deref;

use rkyv::rancor::{self, Strategy};
use rkyv::{Archived, Deserialize};

use crate::error::{Error, ErrorKind};
use crate::protocol::{Message, Protocol, Wire};

/// A daemon's answer: dereferences to the archived response, until the client asks again.
pub struct Reply<'a, P: Protocol> {
    value: &'a Archived<P::Response>,
}

impl<'a, P: Protocol> Reply<'a, P> {
    pub(super) fn new(value: &'a Archived<P::Response>) -> Self {
        Reply { value }
    }

    /// The response as an ordinary value, for those who keep it.
    ///
    /// # Errors
    /// [`ErrorKind::PeerMisbehaved`] when a hand-written `Deserialize` rejects the archive, as that of a page of issues
    /// may; derived ones accept every valid one.
    pub fn to_value(&self) -> Result<P::Response, Error>
    where
        Archived<P::Response>: Deserialize<P::Response, Strategy<(), rancor::Error>>,
    {
        to_value::<P::Response>(self.value)
    }
}

impl<T: Wire> Message<T> {
    /// The message as an ordinary value, for those who keep it.
    ///
    /// # Errors
    /// As [`Reply::to_value`].
    pub fn to_value(&self) -> Result<T, Error>
    where
        Archived<T>: Deserialize<T, Strategy<(), rancor::Error>>,
    {
        to_value::<T>(self)
    }
}

fn to_value<T: Wire>(archived: &Archived<T>) -> Result<T, Error>
where
    Archived<T>: Deserialize<T, Strategy<(), rancor::Error>>,
{
    rkyv::api::deserialize_using::<T, (), rancor::Error>(archived, &mut ())
        .map_err(|error| Error::new(ErrorKind::PeerMisbehaved, "deserialize a message").because(error))
}

impl<P: Protocol> Deref for Reply<'_, P> {
    type Target = Archived<P::Response>;

    fn deref(&self) -> &Self::Target {
        self.value
    }
}

impl<P: Protocol> fmt::Debug for Reply<'_, P>
where
    Archived<P::Response>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
