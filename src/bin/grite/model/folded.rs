//! The stored form of a folded issue: an archive, so that opening a store of thousands parses nothing.
//!
//! It is derived from events and can be thrown away. Nothing but this program reads it.

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;

use super::Issue;

/// The version of the form. It moves with every change to [`Issue`] or to what events mean; stores
/// with another one fold their events anew.
pub const FOLDED_VERSION: i64 = 2;

impl Issue {
    /// The stored form.
    ///
    /// # Errors
    /// [`BadFolded`] when memory runs out.
    pub fn to_folded(&self) -> Result<AlignedVec, BadFolded> {
        rkyv::to_bytes::<Error>(self).map_err(|error| BadFolded(error.to_string()))
    }

    /// Reads the stored form, and checks that it is one.
    ///
    /// # Errors
    /// [`BadFolded`] when it is not.
    pub fn from_folded(bytes: &[u8]) -> Result<Self, BadFolded> {
        // An archive is read where it lies, and wants to lie at its alignment.
        let mut aligned: AlignedVec = AlignedVec::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        rkyv::from_bytes::<Issue, Error>(&aligned).map_err(|error| BadFolded(error.to_string()))
    }
}

/// Why bytes are not a folded issue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a folded issue cannot be read or written: {0}")]
pub struct BadFolded(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_refused() {
        let whole = Issue::default().to_folded().unwrap();
        assert_eq!(Issue::from_folded(&whole), Ok(Issue::default()));
        assert!(Issue::from_folded(&whole[1..]).is_err());
        assert!(Issue::from_folded(&[0xff; 512]).is_err());
        assert!(Issue::from_folded(b"").is_err());
    }
}
