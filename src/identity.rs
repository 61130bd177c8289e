//! What two sides must agree on before they exchange a frame, as the handshake sends it.

/// The longest protocol name, in bytes.
pub(crate) const MAX_NAME: usize = 32;

/// Names a protocol: equal on both sides, or the handshake ends in a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The protocol's name, padded with zeros.
    pub(crate) name: [u8; MAX_NAME],
    /// The protocol's version.
    pub(crate) version: u16,
    /// A hash of the format in which values are archived, and of the layouts of both types.
    pub(crate) fingerprint: u64,
}

/// One side, as its first words name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    /// What it speaks.
    pub(crate) identity: Identity,
    /// Which release of its program it is; 0 says nothing. Two sides of different releases may well
    /// understand each other.
    pub(crate) release: u32,
}

impl Party {
    /// Whether this is an earlier release of the program that speaks the protocol `name`. Nothing is
    /// earlier than 0, nor 0 earlier than anything.
    pub(crate) fn is_older_than(&self, name: &[u8; MAX_NAME], release: u32) -> bool {
        self.identity.name == *name && self.release != 0 && self.release < release
    }
}

impl Identity {
    /// The name without its padding, for people.
    pub(crate) fn name_text(&self) -> String {
        let end = self.name.iter().position(|&byte| byte == 0).unwrap_or(MAX_NAME);
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }
}
