//! The frame: 16 bytes of header, a payload, zeros up to the next multiple of 16.
//!
//! The same frames flow through rings and over sockets. This file is arithmetic: it turns headers
//! into words and back, and says how long a frame is. It does not know where frames lie.
//!
//! ```text
//!  byte 0        4      6       8                16
//!       +--------+------+-------+-----------------+----------------+---------+
//!       | length | kind | flags | id              | payload        | zeros   |
//!       | u32    | u16  | u16   | u64             | length bytes   | 0 to 15 |
//!       +--------+------+-------+-----------------+----------------+---------+
//! ```
//!
//! All numbers are little-endian. Unknown kinds and flags are violations, not extensions: what two
//! sides may send is settled in the handshake.

use std::fmt;

/// Frames start, and payloads are padded, at multiples of this many bytes.
pub(crate) const ALIGN: usize = 16;

/// Skips end at multiples of this many bytes. A CPU owns memory by lines of this length, or of a multiple of it. The
/// ring of a model has two, of two headers each.
pub(crate) const LINE: u64 = if cfg!(loom) { 2 * ALIGN as u64 } else { 64 };

/// The length of a header in bytes.
pub(crate) const HEADER: usize = 16;

/// The header as it lies in memory.
pub(crate) type HeaderWords = [u64; 2];

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    /// A client's question, under an id that the client chose.
    Request = 1,
    /// The answer to the request of that id.
    Reply = 2,
    /// Why there is no answer to the request of that id: a code and a text, see [`Failure`].
    Failure = 3,
    /// Nothing: the rest of the line, or of all lines up to the ring's end.
    Skip = 4,
    /// What has come of the unfinished message of that id is void.
    Abort = 5,
    /// Nobody waits for the answer to the request of that id any more.
    Cancel = 6,
    /// Some of the answer to the request of that id; more parts, or its reply, follow.
    Part = 7,
    /// The client wants notifications; the id is the sequence number of the first, or [`FROM_NOW`].
    Subscribe = 8,
    /// The client wants no more notifications.
    Unsubscribe = 9,
    /// A notification; the id is its sequence number.
    Notice = 10,
    /// The next notification will have this id; how many were lost before it is the payload, see
    /// [`Gap`]. Also the answer to a subscription.
    Gap = 11,
}

impl Kind {
    #[inline]
    fn of(number: u16) -> Option<Self> {
        Some(match number {
            1 => Kind::Request,
            2 => Kind::Reply,
            3 => Kind::Failure,
            4 => Kind::Skip,
            5 => Kind::Abort,
            6 => Kind::Cancel,
            7 => Kind::Part,
            8 => Kind::Subscribe,
            9 => Kind::Unsubscribe,
            10 => Kind::Notice,
            11 => Kind::Gap,
            _ => return None,
        })
    }
}

/// In place of a sequence number: notifications from now on.
pub(crate) const FROM_NOW: u64 = 0;

/// The payload continues in the next frame.
const MORE: u16 = 1;

/// A header whose kind and flags are known ones. Its length is not judged yet.
///
/// It stays the two words that it is in memory: as parts of other sizes it would be taken apart and put
/// together again on the way of each frame, and a load of what was just stored in other pieces waits for all
/// stores before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Length, kind and flags.
    first: u64,
    id: u64,
}

/// What no honest peer writes into a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHeader {
    #[error("a frame of unknown kind {0}")]
    Kind(u16),
    #[error("a frame with unknown flags {0:#06x}")]
    Flags(u16),
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("kind", &self.kind())
            .field("id", &self.id())
            .field("length", &self.length())
            .field("more", &self.more())
            .finish()
    }
}

impl Header {
    /// A frame of `length` bytes of payload; `more` says that the message goes on in the next one.
    #[inline]
    pub(crate) fn new(kind: Kind, id: u64, length: u32, more: bool) -> Self {
        let flags = if more { MORE } else { 0 };
        Header { first: u64::from(length) | u64::from(kind as u16) << 32 | u64::from(flags) << 48, id }
    }

    /// The header as two words, in the byte order of memory.
    #[inline]
    pub(crate) fn to_words(self) -> HeaderWords {
        [self.first.to_le(), self.id.to_le()]
    }

    /// The header in two words that a peer wrote.
    #[inline]
    pub(crate) fn parse(words: HeaderWords) -> Result<Self, BadHeader> {
        let header = Header { first: u64::from_le(words[0]), id: u64::from_le(words[1]) };
        if Kind::of(header.kind_number()).is_none() {
            return Err(BadHeader::Kind(header.kind_number()));
        }
        match header.flags() {
            0 | MORE => Ok(header),
            unknown => Err(BadHeader::Flags(unknown)),
        }
    }

    /// Payload bytes in this frame.
    #[inline]
    pub(crate) fn length(self) -> u32 {
        self.first as u32
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::of(self.kind_number()).expect("a header has a known kind")
    }

    /// Whether the message goes on in the next frame.
    #[inline]
    pub(crate) fn more(self) -> bool {
        self.flags() == MORE
    }

    /// Which request this belongs to.
    #[inline]
    pub(crate) fn id(self) -> u64 {
        self.id
    }

    fn kind_number(self) -> u16 {
        (self.first >> 32) as u16
    }

    fn flags(self) -> u16 {
        (self.first >> 48) as u16
    }

    /// The header as bytes, for a stream.
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let words = self.to_words();
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&words[0].to_ne_bytes());
        bytes[8..].copy_from_slice(&words[1].to_ne_bytes());
        bytes
    }

    /// The header in bytes of a stream.
    pub(crate) fn from_bytes(bytes: &[u8; HEADER]) -> Result<Self, BadHeader> {
        let (first, second) = bytes.split_at(8);
        let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().expect("half a header is 8 bytes"));
        Header::parse([word(first), word(second)])
    }

    /// The whole frame's length: header, payload and padding.
    pub(crate) fn extent(self) -> u64 {
        extent(self.length())
    }
}

/// The length of a frame with `payload` bytes: at most 2^32 + 32, so it cannot overflow.
pub(crate) fn extent(payload: u32) -> u64 {
    HEADER as u64 + u64::from(payload).next_multiple_of(ALIGN as u64)
}

/// How many zeros follow `payload` bytes.
pub(crate) fn padding(payload: usize) -> usize {
    payload.next_multiple_of(ALIGN) - payload
}

/// When nobody waits for an answer any more: the last 8 bytes of a request's payload, behind the
/// archive, in nanoseconds of the machine's monotonic clock. 0 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry(pub(crate) u64);

impl Expiry {
    pub(crate) const NEVER: Self = Expiry(0);

    /// A time that has passed, on every machine.
    pub(crate) const PAST: Self = Expiry(1);

    /// The length in bytes.
    pub(crate) const LENGTH: usize = 8;

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        self.0.to_le_bytes()
    }

    /// Takes a request's payload apart; nothing if it is too short for one.
    pub(crate) fn split(payload: &[u8]) -> Option<(&[u8], Self)> {
        let (archive, expiry) = payload.split_last_chunk()?;
        Some((archive, Expiry(u64::from_le_bytes(*expiry))))
    }

    /// Whether it has passed at `now`.
    pub(crate) fn is_over(self, now: u64) -> bool {
        self != Self::NEVER && now > self.0
    }
}

/// Where the sequence of notifications goes on: the payload of a [`Kind::Gap`] frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// How many were lost before that; [`UNKNOWN`](Self::UNKNOWN) if nobody knows.
    pub(crate) lost: u64,
    /// To which of the connection's subscriptions this belongs, from 1 on: what was on its way to an
    /// earlier one comes before this.
    pub(crate) subscription: u64,
}

impl Gap {
    /// In place of a count of lost notifications.
    pub(crate) const UNKNOWN: u64 = u64::MAX;

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.lost.to_le_bytes());
        bytes[8..].copy_from_slice(&self.subscription.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (lost, subscription) = bytes.split_first_chunk()?;
        let subscription = u64::from_le_bytes(subscription.try_into().ok()?);
        Some(Gap { lost: u64::from_le_bytes(*lost), subscription })
    }
}

/// Why a request has no answer: the payload of a [`Kind::Failure`] frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: FailureCode,
    pub(crate) text: String,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum FailureCode {
    /// The handler panicked.
    Panicked = 1,
    /// The handler dropped the request without an answer.
    Dropped = 2,
    /// The answer is larger than the connection's `max_message`.
    TooLarge = 3,
    /// The daemon is stopping and takes no new work.
    Stopping = 4,
    /// Too much blocking work waits already.
    Busy = 5,
    /// The request's deadline passed before the daemon came to it.
    Expired = 6,
}

impl Failure {
    /// A failure's text is cut to this many bytes.
    pub(crate) const MAX_TEXT: usize = 1024;

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let end = self.text.floor_char_boundary(Self::MAX_TEXT);
        let mut bytes = (self.code as u16).to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.text.as_bytes()[..end]);
        bytes
    }

    /// The failure in a peer's bytes, or nothing if they are not one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (code, text) = bytes.split_first_chunk::<2>()?;
        let code = match u16::from_le_bytes(*code) {
            1 => FailureCode::Panicked,
            2 => FailureCode::Dropped,
            3 => FailureCode::TooLarge,
            4 => FailureCode::Stopping,
            5 => FailureCode::Busy,
            6 => FailureCode::Expired,
            _ => return None,
        };
        if text.len() > Self::MAX_TEXT {
            return None;
        }
        Some(Failure { code, text: std::str::from_utf8(text).ok()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Header {
        Header::new(Kind::Request, 0x1112_1314_1516_1718, 0x0102_0304, true)
    }

    #[test]
    fn golden_bytes_of_a_header() {
        let bytes = [4, 3, 2, 1, 1, 0, 1, 0, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11];
        assert_eq!(request().to_bytes(), bytes);
        assert_eq!(Header::from_bytes(&bytes), Ok(request()));
    }

    #[test]
    fn every_kind_survives_the_way() {
        let kinds = (1..=11u64).map(|kind| Header::parse([(kind << 32).to_le(), 0]).unwrap().kind());
        for (kind, number) in kinds.zip(1_u16..) {
            assert_eq!(kind as u16, number);
            for more in [false, true] {
                let header = Header::new(kind, 9, 7, more);
                assert_eq!(Header::parse(header.to_words()), Ok(header));
            }
        }
    }

    #[test]
    fn an_expiry_lies_behind_the_archive() {
        let payload = [b"archive", &Expiry(0x0102).to_bytes()[..]].concat();
        assert_eq!(Expiry::split(&payload), Some((&b"archive"[..], Expiry(0x0102))));
        assert_eq!(Expiry::split(&payload[..7]), None);
        assert_eq!(Expiry::split(&[0; 8]), Some((&[][..], Expiry::NEVER)));
    }

    #[test]
    fn an_expiry_passes_once_the_clock_is_beyond_it() {
        for (expiry, now, over) in [(5, 4, false), (5, 5, false), (5, 6, true), (0, u64::MAX, false)] {
            assert_eq!(Expiry(expiry).is_over(now), over, "{expiry} at {now}");
        }
    }

    #[test]
    fn a_gap_survives_the_way() {
        let gap = Gap { lost: Gap::UNKNOWN, subscription: 0x0102 };
        assert_eq!(Gap::from_bytes(&gap.to_bytes()), Some(gap));
        for length in [0, 7, 8, 15, 17] {
            assert_eq!(Gap::from_bytes(&[0; 17][..length]), None);
        }
    }

    #[test]
    fn unknown_kinds_and_flags_are_refused() {
        assert_eq!(Header::parse([0, 0]), Err(BadHeader::Kind(0)));
        assert_eq!(Header::parse([(12u64 << 32).to_le(), 0]), Err(BadHeader::Kind(12)));
        assert_eq!(Header::parse([(1u64 << 32 | 2 << 48).to_le(), 0]), Err(BadHeader::Flags(2)));
    }

    #[test]
    fn extents_are_multiples_of_the_alignment() {
        for (payload, expected) in [(0, 16), (1, 32), (16, 32), (17, 48), (u32::MAX, (1 << 32) + 16)] {
            assert_eq!(extent(payload), expected, "payload of {payload} bytes");
        }
        for payload in 0..64 {
            assert_eq!(extent(payload as u32), (HEADER + payload + padding(payload)) as u64);
        }
    }

    #[test]
    fn every_code_of_a_failure_survives_the_way() {
        use FailureCode::*;
        for (number, code) in (1_u16..).zip([Panicked, Dropped, TooLarge, Stopping, Busy, Expired]) {
            let failure = Failure { code, text: "why".to_owned() };
            assert_eq!(failure.to_bytes()[..2], number.to_le_bytes());
            assert_eq!(Failure::from_bytes(&failure.to_bytes()), Some(failure));
        }
        assert_eq!(Failure::from_bytes(&[7, 0]), None);
    }

    #[test]
    fn a_header_says_what_it_is() {
        let text = format!("{:?}", request());
        assert_eq!(text, "Header { kind: Request, id: 1230066625199609624, length: 16909060, more: true }");
    }

    #[test]
    fn failures_survive_the_way_and_are_cut_at_a_character() {
        let failure = Failure { code: FailureCode::Panicked, text: "ü".repeat(600) };
        let back = Failure::from_bytes(&failure.to_bytes()).unwrap();
        assert_eq!(back.code, FailureCode::Panicked);
        assert_eq!(back.text, "ü".repeat(512));
        for bad in [&[][..], &[1], &[0, 0], &[9, 0, b'x'], &[1, 0, 0xff]] {
            assert_eq!(Failure::from_bytes(bad), None);
        }
        assert_eq!(Failure::from_bytes(&[&[1, 0][..], &[b'x'; 1025]].concat()), None);
    }
}
