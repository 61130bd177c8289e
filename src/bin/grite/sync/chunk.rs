//! A chunk: events on their way between clones, as one blob under the name of its hash.
//!
//! ```text
//! grite events 1 <count>
//! <canonical bytes of an event>
//! …
//! ```
//!
//! Each line ends in a line feed, and no canonical form holds one. The name is the SHA-256 of all bytes,
//! in hexadecimal digits: whoever reads a chunk knows that it is whole. Git packs chunks as it packs all
//! blobs, so the lines, which are alike, take little room.

use crate::model::{BadEvent, EventId, Sealed};

/// How many events a chunk holds at most.
const MAX_EVENTS: usize = 1000;

/// How many bytes of events a chunk holds at most; a larger event is alone.
const MAX_BYTES: usize = 1 << 20;

/// The longest chunk that is read, in bytes: an event may have a body of 1 MiB, and escapes in it.
pub const MAX_READ: u64 = 16 << 20;

/// The first words of a chunk.
const MAGIC: &str = "grite events";

/// The version of the format.
const VERSION: u32 = 1;

/// A chunk to be published.
pub struct Chunk {
    /// The hash of its bytes.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Writes `events` into chunks.
pub fn write<'a>(events: impl IntoIterator<Item = &'a [u8]>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let (mut lines, mut count) = (Vec::new(), 0);
    let mut close = |lines: &mut Vec<u8>, count: &mut usize| {
        if *count > 0 {
            let mut bytes = format!("{MAGIC} {VERSION} {count}\n").into_bytes();
            bytes.append(lines);
            chunks.push(Chunk { name: name(&bytes), bytes });
            *count = 0;
        }
    };
    for event in events {
        if count == MAX_EVENTS || lines.len() + event.len() > MAX_BYTES {
            close(&mut lines, &mut count);
        }
        lines.extend_from_slice(event);
        lines.push(b'\n');
        count += 1;
    }
    close(&mut lines, &mut count);
    chunks
}

/// The name of a chunk with these bytes.
pub fn name(bytes: &[u8]) -> String {
    EventId::of(bytes).to_string()
}

/// Whether `name` can be the name of a chunk.
pub fn is_name(name: &str) -> bool {
    name.parse::<EventId>().is_ok()
}

/// Reads the chunk `name`, all of it or nothing.
///
/// # Errors
/// [`BadChunk`] when any byte is not as it was written, or an event is none that this program understands.
pub fn read(name: &str, bytes: &[u8]) -> Result<Vec<Sealed>, BadChunk> {
    if self::name(bytes) != name {
        return Err(BadChunk::Changed);
    }
    let mut lines = bytes.strip_suffix(b"\n").ok_or(BadChunk::Malformed)?.split(|byte| *byte == b'\n');
    let header = lines.next().and_then(|line| std::str::from_utf8(line).ok()).ok_or(BadChunk::Malformed)?;
    let rest =
        header.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' ')).ok_or(BadChunk::Malformed)?;
    let (version, count) = rest.split_once(' ').ok_or(BadChunk::Malformed)?;
    match version.parse::<u32>() {
        Ok(VERSION) => {}
        Ok(newer) if newer > VERSION => return Err(BadChunk::Newer(newer)),
        _ => return Err(BadChunk::Malformed),
    }
    let events = lines.map(|line| Sealed::read(line.to_vec())).collect::<Result<Vec<_>, _>>()?;
    if count.parse() == Ok(events.len()) { Ok(events) } else { Err(BadChunk::Malformed) }
}

/// Why bytes are not a chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChunk {
    /// The repository does not have it, or cannot read it.
    #[error("git cannot read it")]
    Unreadable,
    /// The bytes are not those that the name stands for.
    #[error("its bytes are not those that were written")]
    Changed,
    /// It has another form.
    #[error("it does not have the form of a chunk")]
    Malformed,
    /// A newer program wrote it.
    #[error("it has format {0}, and this program reads up to {VERSION}")]
    Newer(u32),
    /// It holds something that is no event.
    #[error("{0}")]
    Event(#[from] BadEvent),
}

impl BadChunk {
    /// Whether nothing is wrong with it but that a newer program wrote it, or an event in it.
    pub fn is_newer(&self) -> bool {
        matches!(self, BadChunk::Newer(_) | BadChunk::Event(BadEvent::Newer(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, LogicalTime, Moment, Operation, Origin};

    fn event(body: &str) -> Sealed {
        Sealed::seal(Event {
            v: Event::VERSION,
            actor: "ann".to_owned(),
            time: LogicalTime::from((1, 0)),
            at: Moment::parse("2026-01-02T03:04:05Z").unwrap(),
            origin: Origin::Command,
            issue: None,
            cause: None,
            op: Operation::Create {
                source: None,
                nonce: None,
                title: "T\n".to_owned(),
                body: body.to_owned(),
            },
        })
        .unwrap()
    }

    #[test]
    fn events_come_back_as_they_were() {
        let events: Vec<Sealed> = (0..2 * MAX_EVENTS + 1).map(|number| event(&number.to_string())).collect();
        let chunks = write(events.iter().map(Sealed::bytes));
        assert_eq!(chunks.len(), 3);
        let read = chunks.iter().flat_map(|chunk| read(&chunk.name, &chunk.bytes).unwrap());
        assert_eq!(read.collect::<Vec<_>>(), events);
        assert!(write([]).is_empty());
        let large = event(&"x".repeat(MAX_BYTES));
        let chunks = write([large.bytes(), large.bytes()]);
        assert_eq!(chunks.len(), 2, "a large event is alone");
    }

    #[test]
    fn no_byte_can_be_another_one() {
        let event = event("x");
        let chunk = write([event.bytes()]).remove(0);
        for index in 0..chunk.bytes.len() {
            let mut bytes = chunk.bytes.clone();
            bytes[index] ^= 1;
            assert_eq!(read(&chunk.name, &bytes), Err(BadChunk::Changed), "{index}");
        }
        assert_eq!(read(&chunk.name, &chunk.bytes[1..]), Err(BadChunk::Changed));
        assert_eq!(read(&chunk.name, b""), Err(BadChunk::Changed));
    }

    #[test]
    fn what_has_its_name_but_not_the_form_is_told_apart() {
        let judge = |bytes: &[u8]| read(&EventId::of(bytes).to_string(), bytes);
        for malformed in [
            "",
            "\n",
            "grite events 1 0",
            "grite events 0 0\n",
            "grite events x 0\n",
            "grite events 1\n",
            "grite events 1 1\n",
            "other 1 0\n",
        ] {
            assert_eq!(judge(malformed.as_bytes()), Err(BadChunk::Malformed), "{malformed:?}");
        }
        assert_eq!(judge(b"grite events 1 0\n"), Ok(Vec::new()));
        assert_eq!(judge(b"grite events 2 something\n"), Err(BadChunk::Newer(2)));
        assert!(matches!(judge(b"grite events 1 1\n{\n"), Err(BadChunk::Event(_))));
        for (bytes, is_newer) in [
            (&b"grite events 2 something\n"[..], true),
            (b"grite events 1 1\n{\"v\":9}\n", true),
            (b"grite events 1 1\n{\"v\":1}\n", false),
            (b"grite events x\n", false),
        ] {
            assert_eq!(judge(bytes).unwrap_err().is_newer(), is_newer);
        }
        assert_eq!(judge(b"grite events 1 1\n{\"v\":9}\n"), Err(BadChunk::Event(BadEvent::Newer(9))));
    }
}
