//! A message that owns its bytes and was checked once: [`Message`], and [`Encoded`] for answers
//! that are archived ahead of time.
//!
//! This file may use `unsafe`: a checked archive is read again without a second check. Nothing
//! here is shared with a peer; the bytes were copied out of its reach before they were checked.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use rkyv::Archived;
use rkyv::rancor::Error;
use rkyv::ser::allocator::Arena;

use super::Wire;
use super::codec;
use crate::payload::{Bytes, LONGEST, Limited, TooLong};

/// A checked message in memory of its own: dereferences to the archived value.
///
/// Requests that leave the thread that received them travel as this type. What was checked as a `T` is read as
/// nothing else, not even as a supertype of it:
///
/// ```compile_fail
/// use libgrite_ipc::{Lent, Message};
///
/// fn shorten<'a>(message: Message<Lent<'static, str>>) -> Message<Lent<'a, str>> {
///     message
/// }
/// ```
pub struct Message<T: Wire> {
    bytes: Bytes,
    /// Makes it invariant: a type and its subtype may be archived in two different ways.
    _type: PhantomData<fn(T) -> T>,
}

impl<T: Wire> Message<T> {
    /// Checks `bytes`; the only way to make a message.
    pub(crate) fn check(bytes: Bytes) -> Result<Self, Error> {
        codec::check::<T>(&bytes)?;
        Ok(Message { bytes, _type: PhantomData })
    }

    /// The memory, for another message.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl<T: Wire> Deref for Message<T> {
    type Target = Archived<T>;

    fn deref(&self) -> &Archived<T> {
        // SAFETY: `check` found a valid `Archived<T>` as the root of exactly these bytes, for this very `T`:
        // `Message` is invariant. They are private, owned by `self` and never written after the check, and
        // `AlignedVec` keeps their alignment wherever `self` moves.
        unsafe { rkyv::access_unchecked::<Archived<T>>(&self.bytes) }
    }
}

impl<T: Wire> fmt::Debug for Message<T>
where
    Archived<T>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// An answer that is archived once and sent often.
///
/// A daemon that answers the same question again keeps the archived bytes; sending them is one
/// copy into the ring, without encoding.
///
/// ```
/// use libgrite_ipc::Encoded;
///
/// let answer = Encoded::new(&vec!["warm".to_owned(), "daemon".to_owned()])?;
/// assert_eq!(answer.len(), answer.as_bytes().len());
/// # Ok::<(), libgrite_ipc::TooLong>(())
/// ```
pub struct Encoded<T: Wire> {
    bytes: Bytes,
    /// The bytes are its own: what they were archived of may have been lent for a shorter time.
    _type: PhantomData<fn(T)>,
}

impl<T: Wire> Encoded<T> {
    /// Archives `value`.
    ///
    /// # Errors
    /// [`TooLong`] when the archive has more than 1 GiB, which no connection carries.
    pub fn new(value: &T) -> Result<Self, TooLong> {
        let mut bytes = Bytes::new();
        codec::encode(value, &mut Limited { bytes: &mut bytes, limit: LONGEST as usize }, &mut Arena::new())?;
        Ok(Encoded { bytes, _type: PhantomData })
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The archive's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The archive's length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "an archive's emptiness tells nothing of its value")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl<T: Wire> Clone for Encoded<T> {
    fn clone(&self) -> Self {
        Encoded { bytes: self.bytes.clone(), _type: PhantomData }
    }
}

impl<T: Wire> fmt::Debug for Encoded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("len", &self.bytes.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_what_was_encoded() {
        let encoded = Encoded::new(&"a text too long to lie inline".to_owned()).unwrap();
        let message = Message::<String>::check(encoded.bytes.clone()).unwrap();
        assert_eq!(message.as_str(), "a text too long to lie inline");
    }

    #[test]
    fn invalid_bytes_make_no_message() {
        let mut bytes = Bytes::new();
        bytes.extend_from_slice(&[0xff; 32]);
        assert!(Message::<Vec<String>>::check(bytes).is_err());
    }
}
