//! Names: [`EventId`], the hash of an event's bytes, and [`IssueId`], sixteen hexadecimal digits.
//!
//! Both are written in lower-case hexadecimal wherever they leave the process.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// The SHA-256 of an event's canonical bytes.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
#[rkyv(derive(PartialEq, Eq, PartialOrd, Ord))]
pub struct EventId([u8; 32]);

impl EventId {
    /// Names `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        EventId(Sha256::digest(bytes).into())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for EventId {
    fn from(bytes: [u8; 32]) -> Self {
        EventId(bytes)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for EventId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "an event id is 64 lower-case hexadecimal digits";
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(WRONG);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(WRONG),
            };
        }
        Ok(EventId(bytes))
    }
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

/// The name of an issue.
///
/// A new issue is named by the hash of the event that created it. An imported one is named by the
/// id that it came with, so that the same file imported in two places makes the same issues, and
/// so that a dependency can be named before the issue it points to is known.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
pub struct IssueId(u64);

impl IssueId {
    /// How many digits an id has.
    pub const DIGITS: usize = 16;

    /// The issue that the event `id` creates.
    pub fn of_event(id: &EventId) -> Self {
        IssueId::leading(id)
    }

    /// The issue that came from another tracker as `source_id`.
    ///
    /// The prefix keeps these names apart from those of events, whose bytes begin with `{`.
    pub fn of_source(source_id: &str) -> Self {
        let mut bytes = b"grite issue source\0".to_vec();
        bytes.extend_from_slice(source_id.as_bytes());
        IssueId::leading(&EventId::of(&bytes))
    }

    /// All ids that start with the hexadecimal digits `prefix`, or `None` when it is no such thing.
    pub fn with_prefix(prefix: &str) -> Option<RangeInclusive<IssueId>> {
        if prefix.is_empty() || prefix.len() > Self::DIGITS {
            return None;
        }
        let mut low = 0u64;
        for character in prefix.bytes() {
            low = low << 4 | u64::from(digit(character.to_ascii_lowercase())?);
        }
        let free = 4 * (Self::DIGITS - prefix.len()) as u32;
        let low = low << free;
        Some(IssueId(low)..=IssueId(low | ((1u64 << free) - 1)))
    }

    fn leading(id: &EventId) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&id.0[..8]);
        IssueId(u64::from_be_bytes(first))
    }
}

impl fmt::Display for IssueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for IssueId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match IssueId::with_prefix(text) {
            Some(range) if text.len() == Self::DIGITS => Ok(*range.start()),
            _ => Err("an issue id is 16 hexadecimal digits"),
        }
    }
}

macro_rules! as_text {
    ($($ty:ty),*) => {$(
        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $ty;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("hexadecimal digits")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$ty, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}

as_text!(EventId, IssueId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_it_was_written() {
        let event = EventId::of(b"x");
        assert_eq!(event.to_string().parse(), Ok(event));
        let issue = IssueId::of_event(&event);
        assert_eq!(issue.to_string().parse(), Ok(issue));
        assert!(event.to_string().starts_with(&issue.to_string()));
        assert!("ABCD".parse::<EventId>().is_err());
        assert!("abcd".parse::<IssueId>().is_err());
    }

    #[test]
    fn a_source_id_names_the_same_issue_everywhere() {
        assert_eq!(IssueId::of_source("bd-1"), IssueId::of_source("bd-1"));
        assert_ne!(IssueId::of_source("bd-1"), IssueId::of_source("bd-2"));
        assert_ne!(IssueId::of_source("x"), IssueId::of_event(&EventId::of(b"x")));
    }

    #[test]
    fn a_prefix_spans_exactly_the_ids_that_start_with_it() {
        for (prefix, low, high) in [
            ("0", 0, 0x0fff_ffff_ffff_ffff),
            ("f", 0xf000_0000_0000_0000, u64::MAX),
            ("ABcd", 0xabcd_0000_0000_0000, 0xabcd_ffff_ffff_ffff),
            ("0123456789abcdef", 0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef),
        ] {
            assert_eq!(IssueId::with_prefix(prefix), Some(IssueId(low)..=IssueId(high)), "{prefix}");
        }
        for wrong in ["", "xyz", "bd-0088", "0123456789abcdef0", "é"] {
            assert_eq!(IssueId::with_prefix(wrong), None, "{wrong}");
        }
    }
}
