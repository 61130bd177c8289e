//! Appending to this clone's own ref: [`publish`].

use std::io::{self, BufRead, Write};

use super::Actor;
use super::chunk::Chunk;
use crate::git::{Git, GitError, ObjectId};
use crate::model::Moment;

/// Appends `chunks` as one commit to the ref of `actor`, behind the commit `before`, and gives back the new one.
///
/// It is one run of git, however many chunks there are; either all of it is in the ref, or nothing.
///
/// # Errors
/// [`GitError`], also when the ref names what is neither `before` nor in its history.
pub fn publish(
    git: &Git,
    actor: &Actor,
    before: Option<&ObjectId>,
    chunks: &[Chunk],
) -> Result<ObjectId, GitError> {
    let name = actor.events();
    let feed = |stdin: &mut dyn Write| write(stdin, actor, &name, before, chunks);
    let read = |stdout: &mut dyn BufRead| {
        let mut text = String::new();
        stdout.read_to_string(&mut text)?;
        Ok(text)
    };
    let (text, finished) = git.stream(&["fast-import", "--quiet", "--done"], feed, read)?;
    match ObjectId::parse_present(text.trim()).filter(|_| finished.status.success()) {
        Some(tip) => Ok(tip),
        None => Err(GitError::failed("fast-import".to_owned(), &finished)),
    }
}

/// Writes the stream that git's fast-import reads.
fn write(
    out: &mut dyn Write,
    actor: &Actor,
    name: &str,
    before: Option<&ObjectId>,
    chunks: &[Chunk],
) -> io::Result<()> {
    for (index, chunk) in chunks.iter().enumerate() {
        write!(out, "blob\nmark :{}\ndata {}\n", index + 1, chunk.bytes.len())?;
        out.write_all(&chunk.bytes)?;
        out.write_all(b"\n")?;
    }
    let commit = chunks.len() + 1;
    let seconds = Moment::now().milliseconds().max(0) / 1000;
    let message = "events\n";
    write!(out, "commit {name}\nmark :{commit}\ncommitter grite <{actor}@grite> {seconds} +0000\n")?;
    write!(out, "data {}\n{message}", message.len())?;
    if let Some(before) = before {
        writeln!(out, "from {before}")?;
    }
    // A commit holds what is new with it alone, or each would be larger than the one before.
    writeln!(out, "deleteall")?;
    for (index, chunk) in chunks.iter().enumerate() {
        writeln!(out, "M 100644 :{} {}", index + 1, chunk.name)?;
    }
    write!(out, "get-mark :{commit}\ndone\n")?;
    out.flush()
}
