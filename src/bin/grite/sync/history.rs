//! What is in refs of events: [`list`] names the chunks that are new, and [`read`] reads them.

use super::chunk::{self, BadChunk};
use crate::git::{Git, GitError, Object, ObjectId};
use crate::model::Sealed;

/// What a chunk holds, or what is wrong with it.
pub type Chunk = Result<Vec<Sealed>, BadChunk>;

/// A chunk that lies in the repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The blob.
    pub blob: ObjectId,
    /// The chunk's name: the hash of its bytes. Absent where git misses even the blob, and with it the name.
    pub name: Option<String>,
}

/// The chunks that the histories of `tips` hold and those of `known` do not.
///
/// # Errors
/// [`GitError`] when git cannot read these histories; chunks that are missing are no error.
pub fn list(git: &Git, tips: &[&ObjectId], known: &[&ObjectId]) -> Result<Vec<Listed>, GitError> {
    if tips.is_empty() {
        return Ok(Vec::new());
    }
    let tips = tips.iter().map(|tip| format!("{tip}\n"));
    // A tip that we knew may be gone, if its ref has gone.
    let known = known.iter().map(|tip| format!("^{tip}\n"));
    let input: String = tips.chain(known).collect();
    let arguments = ["rev-list", "--objects", "--missing=print", "--ignore-missing", "--reverse", "--stdin"];
    let text = git.run_with_input(&arguments, input.as_bytes())?;
    Ok(text.lines().filter_map(listed).collect())
}

/// Reads a line: a commit or tree has no name behind it, a missing object has a question mark before it.
fn listed(line: &str) -> Option<Listed> {
    if let Some(missing) = line.strip_prefix('?') {
        return Some(Listed { blob: ObjectId::parse(missing)?, name: None });
    }
    let (blob, name) = line.split_once(' ')?;
    let name = chunk::is_name(name).then(|| name.to_owned())?;
    Some(Listed { blob: ObjectId::parse(blob)?, name: Some(name) })
}

/// Reads `chunks` in their order, and gives each to `take`.
///
/// # Errors
/// [`GitError`] when git could not be run.
pub fn read(git: &Git, chunks: &[Listed], take: &mut dyn FnMut(&Listed, Chunk)) -> Result<(), GitError> {
    let blobs: Vec<ObjectId> = chunks.iter().map(|chunk| chunk.blob.clone()).collect();
    git.objects(&blobs, chunk::MAX_READ, &mut |index, object| {
        let chunk = &chunks[index];
        let events = match (object, &chunk.name) {
            (Object::Content(bytes), Some(name)) => chunk::read(name, &bytes),
            // It has come since it was listed, as git does it in a partial clone when somebody reads it.
            (Object::Content(bytes), None) => chunk::read(&chunk::name(&bytes), &bytes),
            (Object::Unreadable, _) => Err(BadChunk::Unreadable),
        };
        take(chunk, events);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_name_a_chunk_are_told_apart() {
        let (blob, name) = ("1".repeat(40), "2".repeat(64));
        let id = ObjectId::parse(&blob).unwrap();
        assert_eq!(
            listed(&format!("{blob} {name}")),
            Some(Listed { blob: id.clone(), name: Some(name.clone()) })
        );
        assert_eq!(listed(&format!("?{blob}")), Some(Listed { blob: id, name: None }));
        for other in [blob.clone(), format!("{blob} "), format!("{blob} README"), format!("x {name}")] {
            assert_eq!(listed(&other), None, "{other}");
        }
    }
}
