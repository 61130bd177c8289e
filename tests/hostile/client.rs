//! A client that shakes hands honestly and keeps no rule from then on: [`Hostile`].

use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use libgrite_ipc::{Client, Encoded, Transport, Wire};
use memmap2::{MmapOptions, MmapRaw};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

pub use crate::common::hello::{honest_hello, honest_hello_of};
pub use crate::common::process::PATIENCE;
use crate::common::{Order, Work, pattern};

/// The bytes of either ring, as a client gets them that asks for nothing else.
pub const CAPACITY: u32 = 64 << 10;
/// Where a region's ring starts.
pub const DATA: usize = 4096;
/// The length of a region.
pub const LENGTH: usize = DATA + CAPACITY as usize;

/// How far the owner of a region has filled its ring.
pub const PUBLISHED: usize = 0;
/// How far the owner of a region has read the other ring.
pub const CONSUMED: usize = 128;
/// Whether the owner of a region sleeps for frames.
pub const AWAIT_DATA: usize = 256;
/// Whether the owner of a region sleeps for space.
pub const AWAIT_SPACE: usize = 264;

/// The kinds of frames.
pub const REQUEST: u16 = 1;
pub const REPLY: u16 = 2;
pub const FAILURE: u16 = 3;
pub const SKIP: u16 = 4;
pub const ABORT: u16 = 5;
pub const CANCEL: u16 = 6;
pub const PART: u16 = 7;
pub const SUBSCRIBE: u16 = 8;
pub const UNSUBSCRIBE: u16 = 9;
pub const NOTICE: u16 = 10;
pub const GAP: u16 = 11;

/// A client that has shaken hands honestly and keeps no rule from then on.
pub struct Hostile {
    pub stream: UnixStream,
    /// The daemon's region S, and the client's region C, as descriptors.
    pub daemon: OwnedFd,
    pub own: OwnedFd,
    /// The same as mappings.
    pub theirs: MmapRaw,
    pub ours: MmapRaw,
}

impl Hostile {
    /// Joins as a client of the test protocol.
    pub fn join(socket: &Path) -> Self {
        static HELLO: OnceLock<[u8; 80]> = OnceLock::new();
        Self::join_with(socket, HELLO.get_or_init(|| honest_hello(Transport::Ring)))
    }

    /// Joins with a hello that was made before.
    pub fn join_with(socket: &Path, hello: &[u8; 80]) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(hello).unwrap();
        let (answer, mut fds) = receive(&stream);
        assert_eq!((&answer[..8], answer[10]), (&b"gritehow"[..], 1), "welcome");
        assert_eq!(fds.len(), 2);
        let (own, daemon) = (fds.pop().unwrap(), fds.pop().unwrap());
        let theirs = MmapOptions::new().len(LENGTH).map_raw_read_only(&daemon).unwrap();
        let ours = MmapOptions::new().len(LENGTH).map_raw(&own).unwrap();
        Hostile { stream, daemon, own, theirs, ours }
    }

    pub fn store(&self, at: usize, value: u64) {
        word(&self.ours, at).store(value, Ordering::SeqCst);
    }

    /// What the daemon has written in this word.
    pub fn seen(&self, at: usize) -> u64 {
        word(&self.theirs, at).load(Ordering::SeqCst)
    }

    /// Writes a header at the start of the ring and publishes `published` bytes.
    pub fn publish(&self, length: u32, kind: u16, flags: u16, id: u64, published: u64) {
        self.store(DATA, header(length, kind, flags));
        self.store(DATA + 8, id);
        self.store(PUBLISHED, published);
        self.wake();
    }

    /// Publishes a whole request as the first frame after `position`; says where the next one may start.
    ///
    /// # Panics
    /// When the frame crosses the end of the ring.
    pub fn request<T: Wire>(&self, position: u64, id: u64, request: &T) -> u64 {
        let payload = payload_of(request);
        let end = write_frame(&self.ours, position, REQUEST, id, &payload);
        self.store(PUBLISHED, end);
        self.wake();
        end
    }

    /// Wakes the daemon if it sleeps for frames.
    pub fn wake(&self) {
        wake(&self.ours, PUBLISHED, 64);
    }

    /// The same, without a system call where it says that it is awake.
    pub fn wake_if_asleep(&self) {
        if self.seen(AWAIT_DATA) != 0 {
            self.wake();
        }
    }

    /// Waits until the daemon has read up to `position`; says whether it did before it hung up.
    pub fn wait_until_read(&self, position: u64) -> bool {
        self.wait_until(|| self.seen(CONSUMED) == position)
    }

    /// Waits for something that the daemon is going to do; says whether it did before it hung up.
    pub fn wait_until(&self, done: impl FnMut() -> bool) -> bool {
        wait_for_peer(&self.stream, done)
    }

    /// Whether the daemon has closed the connection.
    pub fn has_ended(&self) -> bool {
        has_ended(&self.stream)
    }

    /// Waits until the daemon has closed the connection. The memory and the socket stay.
    pub fn wait_for_the_end(&mut self) {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut byte = [0];
        assert_eq!(self.stream.read(&mut byte).expect("the daemon closes in time"), 0);
    }
}

fn has_ended(stream: &UnixStream) -> bool {
    let mut byte = [0];
    rustix::net::recv(stream, &mut byte[..], RecvFlags::DONTWAIT | RecvFlags::PEEK)
        .is_ok_and(|(read, _)| read == 0)
}

/// Waits for something that the peer is going to do; says whether it did before it hung up.
pub fn wait_for_peer(stream: &UnixStream, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        if (0..64).any(|_| done()) {
            return true;
        }
        if has_ended(stream) {
            return done();
        }
        assert!(Instant::now() < end, "the peer neither goes on nor hangs up");
        std::thread::yield_now();
    }
}

/// The first word of a header.
pub fn header(length: u32, kind: u16, flags: u16) -> u64 {
    u64::from(length) | u64::from(kind) << 32 | u64::from(flags) << 48
}

/// The payload of a request that lives for ever.
pub fn payload_of<T: Wire>(request: &T) -> Vec<u8> {
    [Encoded::new(request).unwrap().as_bytes(), &[0; 8]].concat()
}

/// Writes a whole frame into a ring, unpublished; says where it ends.
pub fn write_frame(map: &MmapRaw, position: u64, kind: u16, id: u64, payload: &[u8]) -> u64 {
    let start = DATA + (position % u64::from(CAPACITY)) as usize;
    word(map, start).store(header(payload.len() as u32, kind, 0), Ordering::SeqCst);
    word(map, start + 8).store(id, Ordering::SeqCst);
    for (index, part) in payload.chunks(8).enumerate() {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        word(map, start + 16 + index * 8).store(u64::from_ne_bytes(bytes), Ordering::SeqCst);
    }
    position + 16 + payload.len().next_multiple_of(16) as u64
}

/// Wakes as many as `count` who sleep on the low half of a word.
pub fn wake(map: &MmapRaw, at: usize, count: u32) {
    let _ = rustix::thread::futex::wake(half(map, at), rustix::thread::futex::Flags::empty(), count);
}

/// The half of a word that is slept on.
pub fn half(map: &MmapRaw, at: usize) -> &AtomicU32 {
    let half = word(map, at).as_ptr().cast::<u32>();
    // SAFETY: the word lies in a mapping that is borrowed, and is aligned.
    unsafe { AtomicU32::from_ptr(half) }
}

/// A word of a region.
pub fn word(map: &MmapRaw, at: usize) -> &AtomicU64 {
    assert!(at + 8 <= map.len() && at.is_multiple_of(8));
    // SAFETY: in bounds of the mapping, as asserted.
    let word = unsafe { map.as_mut_ptr().add(at) };
    // SAFETY: in bounds and aligned, as asserted, and mapped while `map` is borrowed.
    unsafe { AtomicU64::from_ptr(word.cast()) }
}

/// The daemon's answer, and the descriptors that come with it.
pub fn receive(stream: &UnixStream) -> ([u8; 256], Vec<OwnedFd>) {
    let mut answer = [0; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut answer)];
    let received = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert_eq!(received.bytes, 256);
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    (answer, fds)
}

/// Whether an honest client gets its answer.
pub fn answers(client: &mut Client<Work>) -> bool {
    client.send(&Order::Make(100)).unwrap().bytes == pattern(100)[..]
}
