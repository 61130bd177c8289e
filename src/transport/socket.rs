//! Frames over the socket: the same frames as in a ring, one after the other.
//!
//! A message is one frame whatever its length, so there are no fragments, skips and aborts here.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BadFrame, Broken, Interrupted};
use crate::frame::{self, ALIGN, Expiry, HEADER, Header, Kind};
use crate::payload::{Bytes, Limited, Sink, TooLong, is_long, trim, trim_longest};
use crate::stream::Stream;
use crate::wait::{Deadline, Spin};

/// The sending half.
#[derive(Debug)]
pub(crate) struct Outbox {
    stream: Arc<Stream>,
    max_message: usize,
    /// Whole frames, front first.
    frames: Bytes,
    /// How much of them the socket has taken.
    sent: usize,
    /// Where the last of them is, without its padding.
    last: Range<usize>,
    /// Whether one needed more memory than messages mostly do, since the last [`trim`](Self::trim).
    was_long: bool,
}

impl Outbox {
    pub(crate) fn new(stream: Arc<Stream>, max_message: usize) -> Self {
        Outbox { stream, max_message, frames: Bytes::new(), sent: 0, last: 0..0, was_long: false }
    }

    /// Puts bytes that are no frame in front of the first one: a hello or an answer.
    pub(crate) fn preface(&mut self, bytes: &[u8]) {
        assert!(self.frames.is_empty(), "nothing was sent yet");
        self.frames.extend_from_slice(bytes);
    }

    pub(super) fn send(
        &mut self,
        kind: Kind,
        id: u64,
        write: impl FnOnce(&mut dyn Sink) -> Result<(), TooLong>,
    ) -> Result<Result<(), TooLong>, Broken> {
        let start = self.frames.len();
        self.frames.extend_from_slice(&[0; HEADER]);
        let mut payload = Behind { bytes: &mut self.frames, start: start + HEADER, limit: self.max_message };
        if let Err(too_long) = write(&mut payload) {
            self.frames.resize(start, 0);
            return Ok(Err(too_long));
        }
        let length = self.frames.len() - start - HEADER;
        let header = Header::new(kind, id, length as u32, false);
        self.last = start..self.frames.len();
        self.was_long |= is_long(length);
        self.frames[start..start + HEADER].copy_from_slice(&header.to_bytes());
        self.frames.extend_from_slice(&[0; ALIGN][..frame::padding(length)]);
        self.flush()?;
        Ok(Ok(()))
    }

    pub(super) fn flush(&mut self) -> Result<bool, Broken> {
        while self.sent < self.frames.len() {
            match self.stream.write(&self.frames[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.frames.clear();
        trim_longest(&mut self.frames);
        self.sent = 0;
        self.last = 0..0;
        Ok(true)
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Gives memory back that only longer messages needed, if there was none since the last time.
    pub(super) fn trim(&mut self) {
        if !std::mem::take(&mut self.was_long) && self.frames.is_empty() {
            trim(&mut self.frames);
        }
    }

    pub(super) fn drain(
        &mut self,
        until: &mut Deadline,
        slice: Duration,
        severed: &mut dyn FnMut() -> bool,
    ) -> Result<(), Interrupted> {
        while !self.flush()? {
            if !self.stream.wait_writable(until.slice(slice)).map_err(Broken::from)? {
                if severed() {
                    return Err(Broken::Severed.into());
                }
                if until.is_over() {
                    return Err(Interrupted::Deadline);
                }
            }
        }
        Ok(())
    }

    /// Gives up the request that was sent last. One that the socket has taken a part of goes on its way, but ends in a
    /// time that has passed; says whether it could.
    pub(super) fn abort(&mut self) -> bool {
        if self.sent <= self.last.start {
            self.frames.resize(self.last.start, 0);
            return true;
        }
        let expiry = self.last.end - Expiry::LENGTH..self.last.end;
        let is_unsent = self.sent <= expiry.start;
        if is_unsent {
            self.frames[expiry].copy_from_slice(&Expiry::PAST.to_bytes());
        }
        is_unsent
    }
}

/// A payload behind other frames in one buffer. Frames start at multiples of 16 there, except
/// behind an answer, whose length is one too.
struct Behind<'a> {
    bytes: &'a mut Bytes,
    start: usize,
    limit: usize,
}

impl Sink for Behind<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        Limited { bytes: self.bytes, limit: self.start + self.limit }
            .append(bytes)
            .map_err(|_| TooLong { limit: self.limit })
    }

    fn limit(&self) -> usize {
        self.limit
    }
}

/// Looks at the socket for as long as that pays, then sleeps until there is something to read. Says whether the
/// time sufficed.
pub(crate) fn wait_readable(stream: &Stream, spin: &mut Spin, until: &mut Deadline) -> io::Result<bool> {
    if spin.until(&mut (), |()| stream.is_readable().then_some(()), |()| false, |()| false).is_some() {
        return Ok(true);
    }
    let start = Instant::now();
    let readable = stream.wait_readable(until.end())?;
    spin.slept_on_socket(start.elapsed());
    Ok(readable)
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct Inbox {
    stream: Arc<Stream>,
    max_message: usize,
    /// Bytes that were read and not yet looked at: `staged[looked..]`.
    staged: Vec<u8>,
    looked: usize,
    /// The header of the message that is coming in, and how much of its extent has come.
    current: Option<(Header, usize)>,
    message: Bytes,
    /// Whether one needed more memory than messages mostly do, since the last [`trim`](Self::trim).
    was_long: bool,
    ended: bool,
}

/// How much is read at a time; longer payloads are read straight into their place.
const STAGE: usize = 4096;

/// How much of a long payload is read at a time: what a peer announces is not allocated, what it
/// sends is.
const PART: usize = 64 << 10;

impl Inbox {
    /// Starts with bytes that were read from the stream already.
    pub(crate) fn new(stream: Arc<Stream>, max_message: usize, already: &[u8]) -> Self {
        Inbox {
            stream,
            max_message,
            staged: already.to_vec(),
            looked: 0,
            current: None,
            message: Bytes::new(),
            was_long: false,
            ended: false,
        }
    }

    pub(crate) fn message(&self) -> &Bytes {
        &self.message
    }

    /// Gives the payload away for other memory.
    pub(crate) fn swap_message(&mut self, other: &mut Bytes) {
        std::mem::swap(&mut self.message, other);
    }

    /// The next whole message, if it has come. Reads until there is one or nothing more to read.
    pub(crate) fn poll(&mut self) -> Result<Option<(Kind, u64)>, Broken> {
        self.poll_within(u32::MAX)
    }

    /// The same for one who has others to hear: a peer that writes as fast as this side reads has its say in `reads`
    /// of 64 KiB at most. What is left then is left on the socket: of what was read no message is whole.
    pub(crate) fn poll_within(&mut self, reads: u32) -> Result<Option<(Kind, u64)>, Broken> {
        if self.current.is_none() {
            trim_longest(&mut self.message);
        }
        let mut left = reads;
        loop {
            if let Some(done) = self.take_staged()? {
                return Ok(Some(done));
            }
            if self.ended {
                return Err(Broken::Severed);
            }
            if left == 0 || !self.read()? {
                return Ok(None);
            }
            left -= 1;
        }
    }

    /// The kind of the next message, or of the one that comes in, if so much has come: it is still to be received. Reads
    /// until that is known or nothing more is to be read.
    #[cold]
    pub(crate) fn next_kind(&mut self) -> Result<Option<Kind>, Broken> {
        loop {
            if let Some((header, _)) = self.current {
                return Ok(Some(header.kind()));
            }
            if let Some(bytes) = self.staged[self.looked..].first_chunk::<HEADER>() {
                let header = Header::from_bytes(bytes).map_err(BadFrame::from)?;
                return Ok(Some(header.kind()));
            }
            if self.ended {
                return Err(Broken::Severed);
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Gives memory back that only longer messages needed, if there was none since the last time.
    pub(crate) fn trim(&mut self) {
        if !std::mem::take(&mut self.was_long) && self.current.is_none() {
            trim(&mut self.message);
        }
    }

    /// Whether a message has come in part.
    pub(crate) fn is_amid_message(&self) -> bool {
        self.current.is_some() || self.looked < self.staged.len()
    }

    /// Waits until there is something to read.
    pub(super) fn wait(&mut self, spin: &mut Spin, until: &mut Deadline) -> Result<(), Interrupted> {
        match wait_readable(&self.stream, spin, until).map_err(Broken::from)? {
            true => Ok(()),
            false => Err(Interrupted::Deadline),
        }
    }

    /// Moves staged bytes into the message; says which message that completed.
    fn take_staged(&mut self) -> Result<Option<(Kind, u64)>, Broken> {
        let staged = &self.staged[self.looked..];
        let (header, have) = match self.current {
            Some(current) => current,
            None => {
                let Some(bytes) = staged.first_chunk::<HEADER>() else { return Ok(None) };
                let header = self.admit(bytes)?;
                self.was_long |= is_long(header.length() as usize);
                self.looked += HEADER;
                self.message.clear();
                self.message.reserve((header.length() as usize).min(PART));
                (header, 0)
            }
        };
        let staged = &self.staged[self.looked..];
        let whole = header.extent() as usize - HEADER;
        let taken = staged.len().min(whole - have);
        let payload = taken.min((header.length() as usize).saturating_sub(have));
        self.message.extend_from_slice(&staged[..payload]);
        self.looked += taken;
        if have + taken == whole {
            self.current = None;
            return Ok(Some((header.kind(), header.id())));
        }
        self.current = Some((header, have + taken));
        Ok(None)
    }

    fn admit(&self, bytes: &[u8; HEADER]) -> Result<Header, BadFrame> {
        let header = Header::from_bytes(bytes)?;
        if header.length() as usize > self.max_message {
            return Err(BadFrame::TooLong {
                id: header.id(),
                length: header.length(),
                limit: self.max_message,
            });
        }
        if header.more() || matches!(header.kind(), Kind::Skip | Kind::Abort) {
            return Err(BadFrame::NotHere);
        }
        Ok(header)
    }

    /// Reads what has come; says whether that was anything, the end included.
    fn read(&mut self) -> Result<bool, Broken> {
        // What was looked at is done with; what is left is less than a header.
        self.staged.drain(..self.looked);
        self.looked = 0;
        let missing = self.missing();
        if missing > STAGE {
            return self.read_payload(missing);
        }
        let start = self.staged.len();
        self.staged.resize(STAGE, 0);
        let read = self.stream.read_refusing(&mut self.staged[start..]);
        self.staged.truncate(start + length_of(&read));
        self.note(read)
    }

    /// How many bytes of the current payload have not come yet.
    fn missing(&self) -> usize {
        self.current.map_or(0, |(header, have)| (header.length() as usize).saturating_sub(have))
    }

    /// Reads a long payload straight into its place, a part at a time: memory grows as bytes come.
    fn read_payload(&mut self, missing: usize) -> Result<bool, Broken> {
        let start = self.message.len();
        self.message.resize(start + missing.min(PART), 0);
        let read = self.stream.read_refusing(&mut self.message[start..]);
        self.message.resize(start + length_of(&read), 0);
        if let Some((_, have)) = &mut self.current {
            *have += length_of(&read);
        }
        self.note(read)
    }

    /// What a read amounts to: whether anything has come, the end included.
    fn note(&mut self, read: io::Result<(usize, bool)>) -> Result<bool, Broken> {
        match read {
            Ok((_, true)) => Err(BadFrame::Descriptors.into()),
            Ok((length, false)) => {
                self.ended = length == 0;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn length_of(read: &io::Result<(usize, bool)>) -> usize {
    read.as_ref().map_or(0, |&(length, _)| length)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::payload::LONGEST;

    /// Both ends of a socket, for messages of any length.
    fn ends() -> (Outbox, Inbox) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let (near, far) = pair.expect("a pair of sockets");
        let stream = |end| Arc::new(Stream::from(end));
        (Outbox::new(stream(near), LONGEST as usize), Inbox::new(stream(far), LONGEST as usize, &[]))
    }

    /// Passes a message; how much memory both ends have then.
    fn pass(outbox: &mut Outbox, inbox: &mut Inbox, length: usize) -> [usize; 2] {
        outbox
            .send(Kind::Request, 1, |sink| sink.append(&vec![7; length]))
            .expect("a peer")
            .expect("it fits");
        while inbox.poll().expect("a peer").is_none() {
            outbox.flush().expect("a peer");
        }
        assert_eq!(inbox.message().len(), length);
        assert_eq!(inbox.poll().expect("a peer"), None);
        [outbox.frames.capacity(), inbox.message().capacity()]
    }

    #[test]
    fn the_memory_of_long_messages_is_kept_until_none_has_come_for_a_while() {
        const LONG: usize = 100_000;
        let (mut outbox, mut inbox) = ends();
        let mut trimmed = |length| {
            let before = pass(&mut outbox, &mut inbox, length);
            outbox.trim();
            inbox.trim();
            (before, [outbox.frames.capacity(), inbox.message().capacity()])
        };
        for _ in 0..2 {
            let (before, after) = trimmed(LONG);
            assert!(before == after && after.iter().all(|&kept| kept >= LONG), "the next one may be as long");
        }
        let (before, after) = trimmed(10);
        assert!(before.iter().all(|&kept| kept >= LONG) && after == [0; 2], "{before:?} {after:?}");
    }

    #[test]
    fn the_memory_of_the_longest_messages_is_given_back_at_once() {
        let (mut outbox, mut inbox) = ends();
        assert_eq!(pass(&mut outbox, &mut inbox, 5 << 20), [0; 2]);
    }

    #[test]
    fn a_request_under_way_can_be_given_up_until_its_expiry_is_under_way_too() {
        let (mut outbox, _inbox) = ends();
        let request = vec![0xff; 1 << 20];
        outbox.send(Kind::Request, 1, |sink| sink.append(&request)).expect("a peer").expect("it fits");
        assert!(outbox.sent > 0 && outbox.has_backlog(), "the socket takes a part");
        let end = outbox.last.end;
        for (sent, can) in [(end - 7, false), (end - 8, true)] {
            outbox.sent = sent;
            assert_eq!(outbox.abort(), can);
            assert_eq!(outbox.frames[end - 8..end] == Expiry::PAST.to_bytes(), can);
        }
    }

    #[test]
    fn a_long_message_comes_in_as_many_looks_as_it_takes_and_no_bytes_are_lost() {
        let (mut outbox, mut inbox) = ends();
        let sent: Vec<u8> = (0..150_000).map(|index| (index / 7) as u8).collect();
        for length in [150_000, 10, 100_000, 0] {
            let sent = &sent[..length];
            outbox.send(Kind::Request, 1, |sink| sink.append(sent)).expect("a peer").expect("it fits");
            let mut looks = 1;
            while inbox.poll_within(1).expect("a peer").is_none() {
                outbox.flush().expect("a peer");
                looks += 1;
            }
            assert_eq!(inbox.message()[..], *sent);
            // The first of them finds the header, and what comes with it.
            assert!(looks > length.saturating_sub(STAGE).div_ceil(PART), "{length} bytes, {looks} looks");
        }
    }
}
