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

impl Identity {
    /// The name without its padding, for people.
    pub(crate) fn name_text(&self) -> String {
        let end = self.name.iter().position(|&byte| byte == 0).unwrap_or(MAX_NAME);
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }
}
