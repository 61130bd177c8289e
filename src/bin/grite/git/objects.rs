//! Reading many objects by one run of git: [`Git::objects`].

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use super::{Git, GitError};

/// The longest line before an object, in bytes.
const MAX_HEADER: u64 = 256;

/// The name of an object: hexadecimal digits, 40 of them or 64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(String);

impl ObjectId {
    /// Reads a name, or says `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (digits && matches!(text.len(), 40 | 64)).then(|| ObjectId(text.to_owned()))
    }

    /// As [`parse`](ObjectId::parse), but the name that stands for nothing is none.
    pub fn parse_present(text: &str) -> Option<Self> {
        ObjectId::parse(text).filter(|id| id.0.bytes().any(|digit| digit != b'0'))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands in the repository under a name.
pub enum Object {
    /// Its content.
    Content(Vec<u8>),
    /// Nothing, or nothing that git can read.
    Unreadable,
}

impl Git {
    /// Reads the objects `ids`, in their order, and gives each to `take` with its index. What is longer
    /// than `max` bytes counts as unreadable.
    ///
    /// Where git stops at a damaged object, a further run goes on behind it.
    ///
    /// # Errors
    /// [`GitError`] when git could not be run.
    pub fn objects(
        &self,
        ids: &[ObjectId],
        max: u64,
        take: &mut dyn FnMut(usize, Object),
    ) -> Result<(), GitError> {
        let mut next = 0;
        while next < ids.len() {
            let rest = &ids[next..];
            let feed = |stdin: &mut dyn Write| {
                let lines: String = rest.iter().map(|id| format!("{id}\n")).collect();
                stdin.write_all(lines.as_bytes())
            };
            let read = |stdout: &mut dyn BufRead| {
                for index in 0..rest.len() {
                    match read_object(stdout, max) {
                        Ok(object) => take(next + index, object),
                        // Git has ended in the middle, or never begun.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(index),
                        Err(error) => return Err(error),
                    }
                }
                Ok(rest.len())
            };
            let (count, _) = self.stream(&["cat-file", "--batch", "--buffer"], feed, read)?;
            next += count;
            if count < rest.len() {
                take(next, Object::Unreadable);
                next += 1;
            }
        }
        Ok(())
    }
}

/// Reads one answer of `git cat-file --batch`.
fn read_object(stdout: &mut dyn BufRead, max: u64) -> io::Result<Object> {
    let mut header = Vec::new();
    stdout.take(MAX_HEADER).read_until(b'\n', &mut header)?;
    if header.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let header = String::from_utf8_lossy(&header);
    // `<name> <type> <size>`, or `<name> missing`, and other words in the place of that one.
    let size = header.split_whitespace().nth(2).and_then(|size| size.parse::<u64>().ok());
    let Some(size) = size else { return Ok(Object::Unreadable) };
    if size > max {
        io::copy(&mut stdout.take(size + 1), &mut io::sink())?;
        return Ok(Object::Unreadable);
    }
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    stdout.take(size + 1).read_to_end(&mut content)?;
    if content.pop() != Some(b'\n') || content.len() as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Object::Content(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let name = "1".repeat(40);
        let text = format!("{name} blob 3\nabc\n{name} missing\n{name} blob 9\n123456789\n{name} blob 5\nab");
        let mut stdout = text.as_bytes();
        let mut read = || read_object(&mut stdout, 8);
        assert!(matches!(read(), Ok(Object::Content(content)) if content == b"abc"));
        assert!(matches!(read(), Ok(Object::Unreadable)), "missing");
        assert!(matches!(read(), Ok(Object::Unreadable)), "longer than allowed");
        assert_eq!(read().err().map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn names_are_digits() {
        let present = |text: &str| ObjectId::parse_present(text).is_some();
        assert!(present(&"a1".repeat(20)) && present(&"a1".repeat(32)));
        for wrong in ["", "a1", &"A1".repeat(20), &"0".repeat(40), &"g".repeat(40)] {
            assert!(!present(wrong), "{wrong}");
        }
    }
}
