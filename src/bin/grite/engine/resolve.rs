//! Which issue a person means by an id, a prefix of one, or the id that the issue came with.

use libgrite_ipc::grite::Refusal;

use super::memory::Memory;
use super::{limits, refusal};
use crate::model::IssueId;

/// The shortest prefix that is taken for one, in digits: a shorter one fits by accident.
pub const MIN_PREFIX: usize = 4;

/// How many candidates a refusal names.
const SHOWN: usize = 5;

/// How much of a candidate's title a refusal shows, in characters.
const SHOWN_TITLE: usize = 40;

/// Finds the issue that `text` names. A full id comes before a foreign one, and that before a prefix.
pub fn resolve(memory: &Memory, text: &str) -> Result<IssueId, Refusal> {
    limits::check_name("id", text, limits::MAX_SOURCE)?;
    let exact = text.parse::<IssueId>().ok().into_iter().chain([IssueId::of_source(text)]);
    if let Some(id) = exact.into_iter().find(|id| memory.issue(*id).is_some()) {
        return Ok(id);
    }
    let Some(range) = IssueId::with_prefix(text) else {
        return Err(refusal::not_found(text, "see `grite issue list`"));
    };
    if text.len() < MIN_PREFIX {
        return Err(refusal::not_found(text, "give at least four digits of an id"));
    }
    let mut found = memory.in_range(range);
    match (found.next(), found.next()) {
        (None, _) => Err(refusal::not_found(text, "see `grite issue list`")),
        (Some((id, _)), None) => Ok(id),
        (Some(first), Some(second)) => {
            let mut names: Vec<String> = [first, second]
                .into_iter()
                .chain(found.by_ref())
                .take(SHOWN)
                .map(|(id, issue)| {
                    format!("{id} {:?}", issue.title().chars().take(SHOWN_TITLE).collect::<String>())
                })
                .collect();
            match found.count() {
                0 => {}
                more => names.push(format!("and {more} more")),
            }
            Err(refusal::ambiguous(text, &names.join(", ")))
        }
    }
}
