//! A daemon that shakes hands as it likes: [`fake_daemon`], or honestly, and keeps no rule from then on:
//! [`Impostor`].

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use libgrite_ipc::{Client, Encoded, Transport, Wire};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::client::*;
use crate::common::{Running, Way, Work, builder_for};

/// The seals of a client's region, and of a daemon's.
pub const CLIENT_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);
pub const DAEMON_SEALS: SealFlags = CLIENT_SEALS.union(SealFlags::FUTURE_WRITE);

/// A daemon that answers any hello with these bytes and these descriptors.
pub fn fake_daemon(answer: [u8; 256], fds: Vec<OwnedFd>) -> libgrite_ipc::Error {
    let play = |listener: UnixListener| {
        let mut stream = hear(&listener);
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        send_with(&mut stream, &answer, &fds);
    };
    beside(play, |path| builder_for(Way::Ring).connect(path).map(drop).unwrap_err()).1
}

/// What came of a daemon that `play`s on a thread of its own, and of those who `ask` at its socket.
pub fn beside<D: Send, A>(
    play: impl FnOnce(UnixListener) -> D + Send,
    ask: impl FnOnce(&Path) -> A,
) -> (D, A) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fake.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        let playing = scope.spawn(|| play(listener));
        let answer = ask(&path);
        (playing.join().unwrap(), answer)
    })
}

/// The next connection, once its hello has come.
pub fn hear(listener: &UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut hello = [0; 80];
    stream.read_exact(&mut hello).unwrap();
    stream
}

/// Sends bytes, and descriptors with the first of them.
pub fn send_with(stream: &mut UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let sent = sendmsg(&*stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    stream.write_all(&bytes[sent..]).unwrap();
}

/// The welcome that an honest daemon sends to a client that asks for rings.
pub fn honest_welcome() -> [u8; 256] {
    static WELCOME: OnceLock<[u8; 256]> = OnceLock::new();
    *WELCOME.get_or_init(|| {
        let server = Running::start();
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.write_all(&honest_hello(Transport::Ring)).unwrap();
        receive(&stream).0
    })
}

pub fn memfd(name: &str, length: u64, seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, length).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

/// A daemon that has shaken hands honestly and keeps no rule from then on.
pub struct Impostor {
    pub stream: UnixStream,
    /// The daemon's region S, to be written, and the client's region C, to be read.
    pub ours: MmapRaw,
    pub theirs: MmapRaw,
    /// The client's region as a descriptor.
    pub client: OwnedFd,
}

impl Impostor {
    /// Welcomes the next client of `listener`; its memory has `name`.
    pub fn welcome(listener: &UnixListener, name: &str) -> Self {
        let mut stream = hear(listener);
        let daemon = memfd(name, LENGTH as u64, SealFlags::empty());
        // Mapped before the seal that forbids it.
        let ours = MmapOptions::new().len(LENGTH).map_raw(&daemon).unwrap();
        rustix::fs::fcntl_add_seals(&daemon, DAEMON_SEALS).unwrap();
        let client = memfd(name, LENGTH as u64, CLIENT_SEALS);
        let theirs = MmapOptions::new().len(LENGTH).map_raw_read_only(&client).unwrap();
        send_with(&mut stream, &honest_welcome(), &[daemon.as_fd(), client.as_fd()]);
        Impostor { stream, ours, theirs, client }
    }

    pub fn store(&self, at: usize, value: u64) {
        word(&self.ours, at).store(value, Ordering::SeqCst);
    }

    /// What the client has written in this word.
    pub fn seen(&self, at: usize) -> u64 {
        word(&self.theirs, at).load(Ordering::SeqCst)
    }

    /// Waits for something that the client is going to do; says whether it did before it left.
    pub fn wait_until(&self, done: impl FnMut() -> bool) -> bool {
        wait_for_peer(&self.stream, done)
    }

    /// Waits for the client's first request, and says under which id it came; nothing if the client leaves.
    pub fn hear_request(&self) -> Option<u64> {
        self.wait_until(|| self.seen(PUBLISHED) > 0).then(|| self.seen(DATA + 8))
    }

    /// Writes a header at the start of the ring and publishes `published` bytes.
    pub fn publish(&self, length: u32, kind: u16, flags: u16, id: u64, published: u64) {
        self.store(DATA, header(length, kind, flags));
        self.store(DATA + 8, id);
        self.tell(published);
    }

    /// Publishes a whole answer as the frame at `position`; says where the next one may start.
    pub fn reply<T: Wire>(&self, position: u64, id: u64, answer: &T) -> u64 {
        let payload = Encoded::new(answer).unwrap();
        let end = write_frame(&self.ours, position, REPLY, id, payload.as_bytes());
        self.tell(end);
        end
    }

    /// Publishes so many bytes.
    pub fn tell(&self, published: u64) {
        self.store(PUBLISHED, published);
        wake(&self.ours, PUBLISHED, 64);
    }
}

/// Lets an impostor `play` against an honest client that does `ask`; both have left in the end.
pub fn against_impostor<T>(
    name: &str,
    play: impl FnOnce(&Impostor) + Send,
    ask: impl FnOnce(Client<Work>) -> T,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fake.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| play(&Impostor::welcome(&listener, name)));
        ask(builder_for(Way::Ring).timeout(PATIENCE).connect(&path).unwrap())
    })
}
