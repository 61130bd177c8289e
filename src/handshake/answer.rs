//! What a daemon answers, byte by byte: [`Welcome`] or [`Refuse`].
//!
//! ```text
//!   0  magic            8 bytes   "gritehow"
//!   8  wire             u16       the version chosen, or the daemon's highest in a refusal
//!  10  kind             u8        1 welcome, 2 refuse
//!  11  mode             u8        1 ring, 2 socket; 0 in a refusal
//!  12  protocol version u16       the daemon's
//!  14  refusal code     u16       0 in a welcome
//!  16  fingerprint      u64       the daemon's
//!  24  session          u64       names the connection; 0 in a refusal
//!  32  request capacity u32       granted
//!  36  reply capacity   u32       granted
//!  40  max message      u32       granted
//!  44  in flight        u32       how many requests may be unanswered at once
//!  48  protocol name    32 bytes  the daemon's, padded with zeros
//!  80  release          u32       of the daemon's program; 0 says nothing
//!  84  text length      u16       of a refusal
//!  86  text             170 bytes UTF-8, padded with zeros
//! 256
//! ```
//!
//! All numbers are little-endian. The answer has the same length in all cases and wire versions, so
//! that any client can read any daemon's refusal. With a welcome to a ring come two descriptors: the
//! daemon's region, then the client's.

use super::hello::{Mode, Sizes, WIRE, is_name, u16_at, u32_at, u64_at};
use crate::identity::{Identity, MAX_NAME, Party};
use crate::shm;

/// The length of an answer.
pub(crate) const LENGTH: usize = 256;

/// The longest text of a refusal, in bytes.
const MAX_TEXT: usize = LENGTH - TEXT;
const TEXT: usize = 86;

const MAGIC: [u8; 8] = *b"gritehow";

/// The daemon takes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) mode: Mode,
    pub(crate) session: u64,
    pub(crate) sizes: Sizes,
    pub(crate) in_flight: u32,
}

/// The daemon does not take the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refuse {
    pub(crate) code: RefuseCode,
    pub(crate) text: String,
}

/// Why a daemon does not take a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum RefuseCode {
    /// No wire version in common, another protocol, version or layout.
    Version = 1,
    /// The hello was no hello.
    Malformed = 2,
    /// Another user's process.
    Foreign = 3,
    /// A limit on connections is reached.
    Limit = 4,
    /// The system gave no memory or descriptors.
    Resources = 5,
    /// The daemon is stopping. Nothing was done: another daemon may be asked.
    Stopping = 6,
    /// Too many connections are in their handshake. Nothing was done: try again.
    Busy = 7,
    /// The daemon's release is older than the client would have it. Nothing was done.
    Older = 8,
    /// The daemon's release is not older than that of the client, which has asked it to end.
    Current = 9,
}

/// A daemon's answer, with who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) daemon: Party,
    pub(crate) verdict: Result<Welcome, Refuse>,
}

/// Why bytes are not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAnswer {
    #[error("it does not start as an answer does")]
    Magic,
    #[error("a welcome in the wire version {0}")]
    Wire(u16),
    #[error("an answer of the unknown kind {0}")]
    Kind(u8),
    #[error("the unknown mode {0}")]
    Mode(u8),
    #[error("a protocol name that is empty or not padded with zeros")]
    Name,
    #[error("sizes that no ring has")]
    Sizes,
    #[error("a refusal whose text is {0} bytes long or not UTF-8")]
    Text(usize),
}

impl Answer {
    pub(crate) fn to_bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&WIRE.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.daemon.identity.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.daemon.identity.fingerprint.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.daemon.identity.name);
        bytes[80..84].copy_from_slice(&self.daemon.release.to_le_bytes());
        match &self.verdict {
            Ok(welcome) => {
                bytes[10] = 1;
                bytes[11] = welcome.mode as u8;
                bytes[24..32].copy_from_slice(&welcome.session.to_le_bytes());
                bytes[32..36].copy_from_slice(&welcome.sizes.request.to_le_bytes());
                bytes[36..40].copy_from_slice(&welcome.sizes.reply.to_le_bytes());
                bytes[40..44].copy_from_slice(&welcome.sizes.max_message.to_le_bytes());
                bytes[44..48].copy_from_slice(&welcome.in_flight.to_le_bytes());
            }
            Err(refuse) => {
                let end = refuse.text.floor_char_boundary(MAX_TEXT);
                bytes[10] = 2;
                bytes[14..16].copy_from_slice(&(refuse.code as u16).to_le_bytes());
                bytes[84..86].copy_from_slice(&(end as u16).to_le_bytes());
                bytes[TEXT..TEXT + end].copy_from_slice(&refuse.text.as_bytes()[..end]);
            }
        }
        bytes
    }

    pub(crate) fn parse(bytes: &[u8; LENGTH]) -> Result<Self, BadAnswer> {
        if bytes[..8] != MAGIC {
            return Err(BadAnswer::Magic);
        }
        let name: [u8; MAX_NAME] = bytes[48..80].try_into().expect("32 bytes");
        let identity = Identity {
            name: is_name(&name).then_some(name).ok_or(BadAnswer::Name)?,
            version: u16_at(bytes, 12),
            fingerprint: u64_at(bytes, 16),
        };
        let verdict = match bytes[10] {
            1 => Ok(parse_welcome(bytes)?),
            2 => Err(parse_refuse(bytes)?),
            unknown => return Err(BadAnswer::Kind(unknown)),
        };
        Ok(Answer { daemon: Party { identity, release: u32_at(bytes, 80) }, verdict })
    }
}

fn parse_welcome(bytes: &[u8; LENGTH]) -> Result<Welcome, BadAnswer> {
    let wire = u16_at(bytes, 8);
    if wire != WIRE {
        return Err(BadAnswer::Wire(wire));
    }
    let mode = Mode::parse(bytes[11]).ok_or(BadAnswer::Mode(bytes[11]))?;
    let sizes =
        Sizes { request: u32_at(bytes, 32), reply: u32_at(bytes, 36), max_message: u32_at(bytes, 40) };
    if !shm::is_capacity(sizes.request) || !shm::is_capacity(sizes.reply) {
        return Err(BadAnswer::Sizes);
    }
    Ok(Welcome { mode, session: u64_at(bytes, 24), sizes, in_flight: u32_at(bytes, 44) })
}

fn parse_refuse(bytes: &[u8; LENGTH]) -> Result<Refuse, BadAnswer> {
    let code = match u16_at(bytes, 14) {
        1 => RefuseCode::Version,
        2 => RefuseCode::Malformed,
        3 => RefuseCode::Foreign,
        4 => RefuseCode::Limit,
        6 => RefuseCode::Stopping,
        7 => RefuseCode::Busy,
        8 => RefuseCode::Older,
        9 => RefuseCode::Current,
        // A later daemon may have reasons that this client does not know: its text tells them.
        _ => RefuseCode::Resources,
    };
    let length = usize::from(u16_at(bytes, 84));
    let text = bytes.get(TEXT..TEXT + length).ok_or(BadAnswer::Text(length))?;
    let text = std::str::from_utf8(text).map_err(|_| BadAnswer::Text(length))?;
    Ok(Refuse { code, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::hello::tests::PARTY;
    use super::*;

    fn welcome() -> Answer {
        let sizes = Sizes { request: 0x0001_0000, reply: 0x0004_0000, max_message: 0x0100_0000 };
        let welcome = Welcome { mode: Mode::Ring, session: 0x2122_2324_2526_2728, sizes, in_flight: 64 };
        Answer { daemon: PARTY, verdict: Ok(welcome) }
    }

    fn refuse(text: &str) -> Answer {
        Answer { daemon: PARTY, verdict: Err(Refuse { code: RefuseCode::Limit, text: text.to_owned() }) }
    }

    #[test]
    fn golden_bytes_of_a_welcome() {
        let mut golden = Vec::new();
        golden.extend_from_slice(b"gritehow");
        golden.extend_from_slice(&[1, 0, 1, 1, 4, 3, 0, 0]);
        golden.extend_from_slice(&[0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
        golden.extend_from_slice(&[0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21]);
        golden.extend_from_slice(&[0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0, 1, 64, 0, 0, 0]);
        golden.extend_from_slice(b"search");
        golden.resize(80, 0);
        golden.extend_from_slice(&[0x34, 0x33, 0x32, 0x31]);
        golden.resize(LENGTH, 0);
        assert_eq!(welcome().to_bytes()[..], golden);
        assert_eq!(Answer::parse(&golden.try_into().unwrap()), Ok(welcome()));
    }

    #[test]
    fn golden_bytes_of_a_refusal() {
        let mut golden = Vec::new();
        golden.extend_from_slice(b"gritehow");
        golden.extend_from_slice(&[1, 0, 2, 0, 4, 3, 4, 0]);
        golden.extend_from_slice(&[0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
        golden.resize(48, 0);
        golden.extend_from_slice(b"search");
        golden.resize(80, 0);
        golden.extend_from_slice(&[0x34, 0x33, 0x32, 0x31, 4, 0]);
        golden.extend_from_slice(b"full");
        golden.resize(LENGTH, 0);
        assert_eq!(refuse("full").to_bytes()[..], golden);
        assert_eq!(Answer::parse(&golden.try_into().unwrap()), Ok(refuse("full")));
    }

    #[test]
    fn every_mode_and_code_survives_the_way() {
        use RefuseCode::*;
        for (number, code) in
            (1_u8..).zip([Version, Malformed, Foreign, Limit, Resources, Stopping, Busy, Older, Current])
        {
            let refuse = Answer { daemon: PARTY, verdict: Err(Refuse { code, text: String::new() }) };
            assert_eq!(refuse.to_bytes()[14], number);
            assert_eq!(Answer::parse(&refuse.to_bytes()), Ok(refuse));
        }
        let Ok(ring) = welcome().verdict else { panic!() };
        for mode in [Mode::Ring, Mode::Socket] {
            let answer = Answer { daemon: PARTY, verdict: Ok(Welcome { mode, ..ring }) };
            assert_eq!(Answer::parse(&answer.to_bytes()), Ok(answer));
        }
    }

    #[test]
    fn a_text_of_the_greatest_length_fits() {
        let full = refuse(&"x".repeat(170));
        assert_eq!(Answer::parse(&full.to_bytes()), Ok(full));
        assert_eq!(refuse(&"x".repeat(171)).to_bytes(), refuse(&"x".repeat(170)).to_bytes());
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let back = Answer::parse(&refuse(&"ü".repeat(200)).to_bytes()).unwrap();
        assert_eq!(back, refuse(&"ü".repeat(85)));
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let with = |answer: &Answer, at: usize, byte: u8| {
            let mut bytes = answer.to_bytes();
            bytes[at] = byte;
            Answer::parse(&bytes)
        };
        assert_eq!(with(&welcome(), 0, b'G'), Err(BadAnswer::Magic));
        assert_eq!(with(&welcome(), 8, 2), Err(BadAnswer::Wire(2)));
        assert_eq!(with(&welcome(), 10, 3), Err(BadAnswer::Kind(3)));
        assert_eq!(with(&welcome(), 11, 0), Err(BadAnswer::Mode(0)));
        assert_eq!(with(&welcome(), 32, 1), Err(BadAnswer::Sizes));
        assert_eq!(with(&welcome(), 36, 1), Err(BadAnswer::Sizes));
        assert_eq!(with(&welcome(), 48, 0), Err(BadAnswer::Name));
        assert_eq!(with(&refuse("full"), 84, 171), Err(BadAnswer::Text(171)));
        assert_eq!(with(&refuse("full"), 86, 0xff), Err(BadAnswer::Text(4)));
    }
}
