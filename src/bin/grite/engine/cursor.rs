//! A cursor names the last issue of a page: the next page starts behind it.
//!
//! So it stays right when issues are added meanwhile, and holds nothing that a daemon must keep.

use libgrite_ipc::grite::Refusal;

use super::refusal;
use crate::model::IssueId;

/// The text for the issue `id`, created at `instant` nanoseconds.
pub fn write(instant: i128, id: IssueId) -> String {
    format!("{instant}.{id}")
}

/// The place that `text` names.
pub fn read(text: &str) -> Result<(i128, IssueId), Refusal> {
    let parts = text.split_once('.');
    parts
        .and_then(|(instant, id)| Some((instant.parse().ok()?, id.parse().ok()?)))
        .ok_or_else(|| refusal::invalid("cursor", "it is not the end of a page"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let id = IssueId::of_source("x");
        for instant in [0, -5, i128::from(i64::MAX)] {
            assert_eq!(read(&write(instant, id)), Ok((instant, id)));
        }
        for wrong in ["", ".", "1", "x.0123456789abcdef", "1.0123", "1.0123456789abcdef.2"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
