//! Between values and bytes: [`encode`] into any [`Sink`], [`check`] of what a peer sent.
//!
//! Nothing here knows of rings or sockets. Encoding appends only, so a sink may be ring memory.
//! Checking follows every pointer of the archive once, within the bytes and to a bounded depth,
//! before a reference to the archived value exists.

use std::num::NonZeroUsize;

use rkyv::Archived;
use rkyv::api::{access_with_context, serialize_using};
use rkyv::rancor::{Error, Source};
use rkyv::ser::allocator::Arena;
use rkyv::ser::{Positional, Serializer, Writer};
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;

use super::Wire;
use crate::payload::{Limited, Sink, TooLong};

/// An archive whose pointers nest this deep, the root included, is refused by [`check`]. Wire types do not
/// recurse, so real ones stay far below; each level costs the checker some hundred bytes of stack.
pub(crate) const MAX_DEPTH: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Where an [`Encoder`](super::wire::Encoder) writes: one message on its way to a peer.
pub struct Output<'a> {
    sink: &'a mut (dyn Sink + 'a),
    /// How many bytes the sink has got.
    length: usize,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("len", &self.length).finish()
    }
}

impl Positional for Output<'_> {
    #[inline]
    fn pos(&self) -> usize {
        self.length
    }
}

impl Writer<Error> for Output<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // Most padding is none.
        if bytes.is_empty() {
            return Ok(());
        }
        self.sink.append(bytes).map_err(Error::new)?;
        self.length += bytes.len();
        Ok(())
    }
}

/// Writes the archive of `value` into `sink`, which has got nothing yet.
///
/// `arena` is scratch memory that is kept between messages, so that encoding allocates nothing
/// once it has grown. A sink that is full is the only way in which derived types fail to encode.
pub(crate) fn encode<T: Wire>(value: &T, sink: &mut dyn Sink, arena: &mut Arena) -> Result<(), TooLong> {
    let output = Output { sink: &mut *sink, length: 0 };
    let mut serializer = Serializer::new(output, arena.acquire(), ());
    match serialize_using::<_, Error>(value, &mut serializer) {
        Ok(_position) => Ok(()),
        Err(_full) => Err(TooLong { limit: sink.limit() }),
    }
}

/// The archived value in `bytes`, if all of it is valid.
pub(crate) fn check<T: Wire>(bytes: &[u8]) -> Result<&Archived<T>, Error> {
    let archive = ArchiveValidator::with_max_depth(bytes, Some(MAX_DEPTH));
    access_with_context::<Archived<T>, _, Error>(bytes, &mut Validator::new(archive, ()))
}

/// A hash of how rkyv lays out bytes in this build: endianness, alignment, pointer width.
///
/// It is the hash of a small archive that shows all three.
pub(crate) fn format_hash() -> u64 {
    let sample = (1u8, (0x0102_0304_0506_0708u64, String::from("longer than inline strings")));
    let mut bytes = Default::default();
    encode(&sample, &mut Limited { bytes: &mut bytes, limit: 1024 }, &mut Arena::new())
        .expect("a sample of 64 bytes fits");
    super::Layout::named("rkyv 0.8").bytes(&bytes).hash()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Bytes;

    fn bytes_of<T: Wire>(value: &T) -> Bytes {
        let mut bytes = Bytes::new();
        encode(value, &mut Limited { bytes: &mut bytes, limit: 1 << 20 }, &mut Arena::new()).unwrap();
        bytes
    }

    #[test]
    fn a_value_survives_the_way() {
        let bytes = bytes_of(&vec![(1u32, "one".to_owned()), (2, "a somewhat longer two".to_owned())]);
        let archived = check::<Vec<(u32, String)>>(&bytes).unwrap();
        assert_eq!(archived[1].1, "a somewhat longer two");
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = bytes_of(&vec!["first text of some length".to_owned(), "second".to_owned()]);
        for length in 0..bytes.len() {
            let mut short = Bytes::new();
            short.extend_from_slice(&bytes[..length]);
            assert!(check::<Vec<String>>(&short).is_err(), "{length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn a_message_at_the_limit_fits_and_one_byte_more_does_not() {
        let value = "x".repeat(100);
        let length = bytes_of(&value).len();
        let mut arena = Arena::new();
        for (limit, fits) in [(length, true), (length - 1, false)] {
            let mut sink = Limited { bytes: &mut Bytes::new(), limit };
            assert_eq!(encode(&value, &mut sink, &mut arena).is_ok(), fits, "a limit of {limit} bytes");
        }
    }

    #[test]
    fn depth_beyond_the_limit_is_refused() {
        #[derive(rkyv::Archive, rkyv::Serialize)]
        #[rkyv(serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator, __S::Error: rkyv::rancor::Source))]
        #[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)))]
        struct Nest {
            #[rkyv(omit_bounds)]
            inner: Option<Box<Nest>>,
        }
        impl Wire for Nest {
            const LAYOUT: u64 = 0;
        }
        let nest =
            |depth| (1..depth).fold(Nest { inner: None }, |nest, _| Nest { inner: Some(Box::new(nest)) });
        let limit = MAX_DEPTH.get();
        assert!(check::<Nest>(&bytes_of(&nest(limit - 1))).is_ok());
        assert!(check::<Nest>(&bytes_of(&nest(limit))).is_err());
    }
}
