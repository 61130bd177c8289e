//! What a client says first, byte by byte.
//!
//! ```text
//!   0  magic            8 bytes   "gritehey"
//!   8  lowest wire      u16       the wire versions that the client speaks
//!  10  highest wire     u16
//!  12  length           u16       of the whole hello: a later version may be longer
//!  14  mode             u8        1 ring, 2 socket
//!  15  stance           u8        to a daemon of an older release: 0 take, 1 decline, 2 retire it
//!  16  release          u32       of the client's program; 0 says nothing
//!  20  zeros            4 bytes
//!  24  protocol name    32 bytes  padded with zeros
//!  56  fingerprint      u64       rkyv's format and the layouts of both types
//!  64  request capacity u32       bytes of the client's ring that the client would like
//!  68  reply capacity   u32       bytes of the daemon's ring that the client would like
//!  72  max message      u32       the longest message that the client takes or sends
//!  76  protocol version u16
//!  78  zeros            2 bytes
//!  80
//! ```
//!
//! All numbers are little-endian. The first 56 bytes stay as they are in all wire versions, so that any
//! release of a program can replace the daemon of any earlier one.

use crate::identity::{Identity, MAX_NAME, Party};

/// The wire version that this library speaks: the layout of handshake, regions and frames.
pub(crate) const WIRE: u16 = 1;

/// The length of a hello of this wire version.
pub(crate) const LENGTH: usize = 80;

/// How much tells a hello from other bytes, and its length.
pub(crate) const PRELUDE: usize = 16;

/// The part that never changes.
pub(crate) const FIXED: usize = 56;

/// A hello that claims to be longer is refused unread.
pub(crate) const MAX_LENGTH: usize = 1024;

const MAGIC: [u8; 8] = *b"gritehey";

/// How frames are to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Through rings in shared memory.
    Ring = 1,
    /// Through the socket itself.
    Socket = 2,
}

impl Mode {
    pub(super) fn parse(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Mode::Ring),
            2 => Some(Mode::Socket),
            _ => None,
        }
    }
}

/// What a client makes of a daemon whose release is older than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stance {
    /// Is served by it.
    Take = 0,
    /// Is refused by it, and asks it nothing.
    Decline = 1,
    /// Asks it to end.
    Retire = 2,
}

impl Stance {
    fn parse(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Stance::Take),
            1 => Some(Stance::Decline),
            2 => Some(Stance::Retire),
            _ => None,
        }
    }
}

/// Sizes that the client wishes and the daemon grants, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Capacity of the ring that the client writes.
    pub(crate) request: u32,
    /// Capacity of the ring that the daemon writes.
    pub(crate) reply: u32,
    /// The longest message in either direction.
    pub(crate) max_message: u32,
}

/// The least that `max_message` can be, in bytes: a failure's text and more always fit.
pub(crate) const MIN_MAX_MESSAGE: u32 = 4096;

/// What a client says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) lowest_wire: u16,
    pub(crate) highest_wire: u16,
    pub(crate) mode: Mode,
    pub(crate) stance: Stance,
    pub(crate) sizes: Sizes,
    pub(crate) client: Party,
}

/// The start of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prelude {
    pub(crate) lowest_wire: u16,
    pub(crate) highest_wire: u16,
    pub(crate) length: usize,
    mode: u8,
}

/// Who calls, as every wire version can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) stance: Stance,
    pub(crate) release: u32,
    pub(crate) name: [u8; MAX_NAME],
}

/// Why bytes are not a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHello {
    #[error("it does not start as a hello does")]
    Magic,
    #[error("a hello of {0} bytes")]
    Length(usize),
    #[error("the unknown mode {0}")]
    Mode(u8),
    #[error("the unknown stance {0}")]
    Stance(u8),
    #[error("a protocol name that is empty or not padded with zeros")]
    Name,
}

impl Hello {
    /// A hello of this library's wire version.
    pub(crate) fn new(client: Party, mode: Mode, stance: Stance, sizes: Sizes) -> Self {
        Hello { lowest_wire: WIRE, highest_wire: WIRE, mode, stance, sizes, client }
    }

    pub(crate) fn to_bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.lowest_wire.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.highest_wire.to_le_bytes());
        bytes[12..14].copy_from_slice(&(LENGTH as u16).to_le_bytes());
        bytes[14] = self.mode as u8;
        bytes[15] = self.stance as u8;
        bytes[16..20].copy_from_slice(&self.client.release.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.client.identity.name);
        bytes[56..64].copy_from_slice(&self.client.identity.fingerprint.to_le_bytes());
        bytes[64..68].copy_from_slice(&self.sizes.request.to_le_bytes());
        bytes[68..72].copy_from_slice(&self.sizes.reply.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.sizes.max_message.to_le_bytes());
        bytes[76..78].copy_from_slice(&self.client.identity.version.to_le_bytes());
        bytes
    }

    /// The hello in the first bytes of one whose prelude offers this wire version. What a later
    /// version says beyond them is not for this one.
    pub(crate) fn parse(bytes: &[u8; LENGTH]) -> Result<Self, BadHello> {
        let prelude = Prelude::parse(bytes.first_chunk().expect("a hello is longer than its prelude"))?;
        if prelude.length < LENGTH {
            return Err(BadHello::Length(prelude.length));
        }
        let caller = Caller::parse(bytes.first_chunk().expect("a hello is longer than its fixed part"))?;
        Ok(Hello {
            lowest_wire: prelude.lowest_wire,
            highest_wire: prelude.highest_wire,
            mode: Mode::parse(prelude.mode).ok_or(BadHello::Mode(prelude.mode))?,
            stance: caller.stance,
            sizes: Sizes {
                request: u32_at(bytes, 64),
                reply: u32_at(bytes, 68),
                max_message: u32_at(bytes, 72),
            },
            client: Party {
                identity: Identity {
                    name: caller.name,
                    version: u16_at(bytes, 76),
                    fingerprint: u64_at(bytes, 56),
                },
                release: caller.release,
            },
        })
    }
}

impl Prelude {
    pub(crate) fn parse(bytes: &[u8; PRELUDE]) -> Result<Self, BadHello> {
        if bytes[..8] != MAGIC {
            return Err(BadHello::Magic);
        }
        let length = usize::from(u16_at(bytes, 12));
        if !(FIXED..=MAX_LENGTH).contains(&length) {
            return Err(BadHello::Length(length));
        }
        Ok(Prelude {
            lowest_wire: u16_at(bytes, 8),
            highest_wire: u16_at(bytes, 10),
            length,
            mode: bytes[14],
        })
    }
}

impl Caller {
    pub(crate) fn parse(bytes: &[u8; FIXED]) -> Result<Self, BadHello> {
        let name = *bytes.last_chunk::<MAX_NAME>().expect("the fixed part ends with a name");
        Ok(Caller {
            stance: Stance::parse(bytes[15]).ok_or(BadHello::Stance(bytes[15]))?,
            release: u32_at(bytes, 16),
            name: is_name(&name).then_some(name).ok_or(BadHello::Name)?,
        })
    }
}

/// Whether a padded name is one: not empty, and zeros after its end.
pub(super) fn is_name(name: &[u8; MAX_NAME]) -> bool {
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(MAX_NAME);
    end > 0 && name[end..].iter().all(|&byte| byte == 0)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const IDENTITY: Identity = Identity {
        name: *b"search\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        version: 0x0304,
        fingerprint: 0x1112_1314_1516_1718,
    };

    pub(crate) const PARTY: Party = Party { identity: IDENTITY, release: 0x3132_3334 };

    pub(crate) fn hello() -> Hello {
        let sizes = Sizes { request: 0x0001_0000, reply: 0x0004_0000, max_message: 0x0100_0000 };
        Hello::new(PARTY, Mode::Ring, Stance::Decline, sizes)
    }

    #[test]
    fn golden_bytes_of_a_hello() {
        let mut golden = Vec::new();
        golden.extend_from_slice(b"gritehey");
        golden.extend_from_slice(&[1, 0, 1, 0, 80, 0, 1, 1]);
        golden.extend_from_slice(&[0x34, 0x33, 0x32, 0x31, 0, 0, 0, 0]);
        golden.extend_from_slice(b"search");
        golden.resize(FIXED, 0);
        golden.extend_from_slice(&[0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
        golden.extend_from_slice(&[0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0, 1, 4, 3, 0, 0]);
        assert_eq!(hello().to_bytes()[..], golden);
        assert_eq!(Hello::parse(&golden.try_into().unwrap()), Ok(hello()));
    }

    #[test]
    fn every_mode_and_stance_survives_the_way() {
        for mode in [Mode::Ring, Mode::Socket] {
            for stance in [Stance::Take, Stance::Decline, Stance::Retire] {
                let hello = Hello { mode, stance, ..hello() };
                assert_eq!(Hello::parse(&hello.to_bytes()), Ok(hello));
            }
        }
    }

    #[test]
    fn a_hello_may_be_as_long_as_any_version_of_it_and_no_longer() {
        for (length, fits) in [(0, false), (55, false), (56, true), (80, true), (1024, true), (1025, false)] {
            let mut bytes = *hello().to_bytes().first_chunk().unwrap();
            bytes[12..14].copy_from_slice(&u16::to_le_bytes(length));
            let prelude = Prelude::parse(&bytes);
            assert_eq!(
                prelude.map(|prelude| prelude.length),
                match fits {
                    true => Ok(usize::from(length)),
                    false => Err(BadHello::Length(length.into())),
                }
            );
        }
    }

    #[test]
    fn what_is_no_hello_is_named() {
        let with = |at: usize, byte: u8| {
            let mut bytes = hello().to_bytes();
            bytes[at] = byte;
            Hello::parse(&bytes)
        };
        assert_eq!(with(0, b'G'), Err(BadHello::Magic));
        assert_eq!(with(12, 79), Err(BadHello::Length(79)));
        assert_eq!(with(12, 55), Err(BadHello::Length(55)));
        assert_eq!(with(12, 88), Ok(hello()), "a longer hello of a later version");
        assert_eq!(with(13, 4), Err(BadHello::Length(1024 + 80)));
        assert_eq!(with(14, 3), Err(BadHello::Mode(3)));
        assert_eq!(with(15, 3), Err(BadHello::Stance(3)));
        assert_eq!(with(24, 0), Err(BadHello::Name));
        assert_eq!(with(55, b'x'), Err(BadHello::Name));
    }

    #[test]
    fn a_name_has_one_byte_to_all_of_its_field() {
        assert!(!is_name(&[0; MAX_NAME]));
        assert!(is_name(&[b'x'; MAX_NAME]));
        let mut name = [0; MAX_NAME];
        name[0] = b'x';
        assert!(is_name(&name));
        name[2] = b'x';
        assert!(!is_name(&name), "a zero between");
    }
}
