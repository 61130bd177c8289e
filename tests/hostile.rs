//! Peers that break the rules on purpose: a client that writes what it likes into its region, and a
//! daemon that sends what it likes in the handshake.
//!
//! They speak the documented bytes by hand, so that nothing of the library keeps them honest.
#![cfg(all(target_os = "linux", not(grite_portable), not(loom)))]
#![allow(unsafe_code, reason = "a hostile peer writes raw memory")]

mod common;

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Order, Running, Way, Work, builder_for, pattern};
use libgrite_ipc::{Client, ErrorKind, Transport};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

const CAPACITY: u32 = 64 << 10;
const DATA: usize = 4096;
const LENGTH: usize = DATA + CAPACITY as usize;
const PUBLISHED: usize = 0;
const CONSUMED: usize = 128;
const AWAIT_DATA: usize = 256;
const AWAIT_SPACE: usize = 264;

/// The hello that an honest client of the test protocol sends.
fn honest_hello(transport: Transport) -> [u8; 80] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listen.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let client = std::thread::spawn(move || {
        let builder = Client::<Work>::builder().transport(transport);
        builder.handshake_timeout(Duration::from_secs(5)).connect(path).unwrap_err()
    });
    let (mut stream, _) = listener.accept().unwrap();
    let mut hello = [0; 80];
    stream.read_exact(&mut hello).unwrap();
    drop(stream);
    client.join().unwrap();
    hello
}

/// A client that has shaken hands honestly and keeps no rule from then on.
struct Hostile {
    stream: UnixStream,
    daemon: OwnedFd,
    own: OwnedFd,
    theirs: MmapRaw,
    ours: MmapRaw,
}

impl Hostile {
    fn join(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(&honest_hello(Transport::Ring)).unwrap();
        let (answer, mut fds) = receive(&stream);
        assert_eq!((&answer[..8], answer[10]), (&b"gritehow"[..], 1), "welcome");
        assert_eq!(fds.len(), 2);
        let (own, daemon) = (fds.pop().unwrap(), fds.pop().unwrap());
        let theirs = MmapOptions::new().len(LENGTH).map_raw_read_only(&daemon).unwrap();
        let ours = MmapOptions::new().len(LENGTH).map_raw(&own).unwrap();
        Hostile { stream, daemon, own, theirs, ours }
    }

    fn store(&self, at: usize, value: u64) {
        word(&self.ours, at).store(value, Ordering::SeqCst);
    }

    /// Writes a header at the start of the ring and publishes `published` bytes.
    fn publish(&self, length: u32, kind: u16, flags: u16, id: u64, published: u64) {
        self.store(DATA, u64::from(length) | u64::from(kind) << 32 | u64::from(flags) << 48);
        self.store(DATA + 8, id);
        self.store(PUBLISHED, published);
        self.wake();
    }

    fn wake(&self) {
        let word = word(&self.ours, PUBLISHED).as_ptr().cast::<u32>();
        // SAFETY: the word lies in our own mapping, aligned.
        let word = unsafe { std::sync::atomic::AtomicU32::from_ptr(word) };
        let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), 64);
    }

    /// Waits until the daemon has closed the connection.
    fn wait_for_the_end(mut self) {
        self.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut byte = [0];
        assert_eq!(self.stream.read(&mut byte).expect("the daemon closes in time"), 0);
    }
}

fn word(map: &MmapRaw, at: usize) -> &AtomicU64 {
    assert!(at + 8 <= map.len() && at.is_multiple_of(8));
    // SAFETY: in bounds of the mapping, as asserted.
    let word = unsafe { map.as_mut_ptr().add(at) };
    // SAFETY: in bounds and aligned, as asserted, and mapped while `map` is borrowed.
    unsafe { AtomicU64::from_ptr(word.cast()) }
}

fn receive(stream: &UnixStream) -> ([u8; 256], Vec<OwnedFd>) {
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

fn answers(client: &mut Client<Work>) -> bool {
    client.send(&Order::Make(100)).unwrap().bytes == pattern(100)[..]
}

/// Words and frames that no honest client writes: each ends its own connection and no other.
#[test]
fn a_client_that_breaks_the_rules_of_its_ring_is_cut_off_alone() {
    const REQUEST: u16 = 1;
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    type Misdeed = fn(&Hostile);
    let misdeeds: &[(&str, Misdeed)] = &[
        ("published past the capacity", |evil| evil.publish(0, REQUEST, 0, 1, u64::from(CAPACITY) + 16)),
        ("published backwards", |evil| evil.publish(0, REQUEST, 0, 1, 0u64.wrapping_sub(16))),
        ("published at no multiple of 16", |evil| evil.publish(0, REQUEST, 0, 1, 8)),
        ("a frame longer than what is published", |evil| evil.publish(1, REQUEST, 0, 1, 16)),
        ("a frame longer than a quarter of the ring", |evil| {
            evil.publish(CAPACITY / 4, REQUEST, 0, 1, u64::from(CAPACITY));
        }),
        ("a frame of 4 GiB", |evil| evil.publish(u32::MAX, REQUEST, 0, 1, u64::from(CAPACITY))),
        ("an unknown kind", |evil| evil.publish(0, 77, 0, 1, 16)),
        ("no kind at all", |evil| evil.publish(0, 0, 0, 0, 16)),
        ("unknown flags", |evil| evil.publish(0, REQUEST, 2, 1, 16)),
        ("a reply from a client", |evil| evil.publish(0, 2, 0, 1, 16)),
        ("a part of an answer from a client", |evil| evil.publish(0, 7, 0, 1, 16)),
        ("a notification from a client", |evil| evil.publish(0, 10, 0, 1, 16)),
        ("a request without a deadline", |evil| evil.publish(7, REQUEST, 0, 1, 32)),
        ("a skip in the middle", |evil| evil.publish(0, 4, 0, 0, 16)),
        ("an abort of nothing", |evil| evil.publish(0, 5, 0, 1, 16)),
        ("a fragment that is not full", |evil| evil.publish(16, REQUEST, 1, 1, 32)),
        ("an archive that is none", |evil| {
            for at in (16..80).step_by(8) {
                evil.store(DATA + at, u64::MAX);
            }
            evil.publish(64, REQUEST, 0, 1, 80);
        }),
        ("an empty archive", |evil| evil.publish(0, REQUEST, 0, 1, 16)),
    ];
    for (name, misdeed) in misdeeds {
        println!("{name}");
        let evil = Hostile::join(&server.socket());
        misdeed(&evil);
        evil.wait_for_the_end();
        assert!(answers(&mut polite), "after {name}");
    }
}

/// The position that the daemon relies on for its own writing.
#[test]
fn a_client_that_lies_about_what_it_has_read_is_cut_off_alone() {
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    for lie in [u64::from(CAPACITY) * 4, 8, 0u64.wrapping_sub(16), u64::MAX] {
        println!("consumed {lie}");
        let evil = Hostile::join(&server.socket());
        evil.store(CONSUMED, lie);
        // Only a daemon that needs space looks: requests for large answers make it need some.
        for place in 0..8u64 {
            write_make_request(&evil, place, 60_000);
        }
        evil.wait_for_the_end();
        assert!(answers(&mut polite), "after consumed {lie}");
    }
}

/// Publishes a whole request for `length` bytes as the frame number `place`.
fn write_make_request(evil: &Hostile, place: u64, length: u32) {
    let archive = archived_make(length);
    let extent = 16 + archive.len().next_multiple_of(16);
    let start = DATA + place as usize * extent;
    evil.store(start, archive.len() as u64 | 1 << 32);
    evil.store(start + 8, place + 1);
    for (index, part) in archive.chunks(8).enumerate() {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        evil.store(start + 16 + index * 8, u64::from_ne_bytes(bytes));
    }
    evil.store(PUBLISHED, (place + 1) * extent as u64);
    evil.wake();
}

/// The payload of a request that lives for ever.
fn archived_make(length: u32) -> Vec<u8> {
    let order = libgrite_ipc::Encoded::new(&Order::Make(length)).unwrap();
    [order.as_bytes(), &[0; 8]].concat()
}

/// Frames that are no requests, and that nothing comes of: each is taken, in its turn.
#[test]
fn a_flood_of_cancellations_and_subscriptions_keeps_nobody_waiting() {
    const CANCEL: u16 = 6;
    const SUBSCRIBE: u16 = 8;
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let evil = Hostile::join(&server.socket());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut published = 0u64;
            while !stop.load(Ordering::Relaxed) {
                // The daemon's word of how far it has read.
                let consumed = word(&evil.theirs, CONSUMED).load(Ordering::SeqCst);
                while published - consumed < u64::from(CAPACITY) {
                    let start = DATA + (published % u64::from(CAPACITY)) as usize;
                    let kind = if published.is_multiple_of(1024) { SUBSCRIBE } else { CANCEL };
                    evil.store(start, u64::from(kind) << 32);
                    evil.store(start + 8, published);
                    published += 16;
                }
                evil.store(PUBLISHED, published);
                evil.wake();
            }
        });
        for number in 0..2000 {
            assert!(answers(&mut polite), "request {number}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Fragments that are aborted and begun again, round and round: legal frames, and never a message.
#[test]
fn a_client_that_never_finishes_a_message_keeps_nobody_waiting() {
    const FULL: u32 = CAPACITY / 4 - 16;
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let evil = Hostile::join(&server.socket());
    let mut at = DATA;
    for id in 0..3 {
        for (length, kind, flags) in [(FULL, 1u64, 1u64), (0, 5, 0)] {
            evil.store(at, u64::from(length) | kind << 32 | flags << 48);
            evil.store(at + 8, id);
            at += 16 + length as usize;
        }
    }
    let rest = LENGTH - at - 16;
    evil.store(at, rest as u64 | 4 << 32);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let read = word(&evil.theirs, CONSUMED).load(Ordering::Relaxed);
                evil.store(PUBLISHED, read + u64::from(CAPACITY));
                evil.wake();
            }
        });
        for _ in 0..50 {
            assert!(answers(&mut polite));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn marks_of_sleep_that_are_garbage_hurt_nobody_else() {
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let evil = Hostile::join(&server.socket());
    for value in [0, 1, 17, u64::MAX, 0xdead_beef] {
        evil.store(AWAIT_DATA, value);
        evil.store(AWAIT_SPACE, value);
        write_make_request(&evil, 0, 10);
        for _ in 0..100 {
            assert!(answers(&mut polite));
        }
    }
}

#[test]
fn the_daemons_region_cannot_be_written_by_a_client() {
    let server = Running::start();
    let evil = Hostile::join(&server.socket());
    let daemon = evil.daemon.as_fd();
    let writable = MmapOptions::new().len(LENGTH).map_raw(&evil.daemon).unwrap_err();
    assert_eq!(writable.kind(), std::io::ErrorKind::PermissionDenied);
    // SAFETY: only the protection of our own mapping would change.
    let protect = unsafe {
        let base = evil.theirs.as_mut_ptr().cast();
        rustix::mm::mprotect(base, LENGTH, rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE)
    };
    assert_eq!(protect, Err(Errno::ACCESS));
    assert_eq!(rustix::io::pwrite(daemon, b"x", 0), Err(Errno::PERM));
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for fd in [daemon, evil.own.as_fd()] {
        assert_eq!(rustix::fs::ftruncate(fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(fd, 1 << 30), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(fd, SealFlags::WRITE), Err(Errno::PERM));
    }
    assert_eq!(rustix::fs::fallocate(daemon, punch, 0, 4096), Err(Errno::PERM));
    let fixed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let seals = |fd: BorrowedFd<'_>| rustix::fs::fcntl_get_seals(fd).unwrap().difference(SealFlags::EXEC);
    assert_eq!(seals(daemon), fixed | SealFlags::FUTURE_WRITE);
    assert_eq!(seals(evil.own.as_fd()), fixed);
}

#[test]
fn a_hole_in_the_clients_own_region_kills_nobody() {
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let evil = Hostile::join(&server.socket());
    write_make_request(&evil, 0, 10);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&evil.own, punch, 0, LENGTH as u64).unwrap();
    evil.wake();
    assert!(answers(&mut polite));
    // The hole reads as zeros: a published position that went back.
    write_make_request(&evil, 1, 10);
    assert!(answers(&mut polite));
}

#[test]
fn what_is_no_hello_is_refused_at_once() {
    let server = Running::start();
    let mut polite = server.client(Way::Socket);
    let honest = honest_hello(Transport::Socket);
    let mut later = honest;
    later[8] = 9;
    later[10] = 9;
    let mut long = honest;
    long[12..14].copy_from_slice(&2000u16.to_le_bytes());
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 4096], &later, &long] {
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        // A daemon that leaves bytes unread resets the connection behind its answer.
        let _ = stream.read_to_end(&mut answer);
        assert_eq!((&answer[..8], answer[10]), (&b"gritehow"[..], 2), "a refusal");
        assert!(answers(&mut polite));
    }
}

#[test]
fn a_question_that_has_come_in_part_when_the_server_stops_is_turned_away() {
    let server = Running::start();
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&honest_hello(Transport::Socket)).unwrap();
    stream.write_all(&[16, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let mut welcome = [0; 256];
    stream.read_exact(&mut welcome).unwrap();
    let path = server.socket();
    let stopping = std::thread::spawn(move || drop(server));
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while path.exists() {
        assert!(std::time::Instant::now() < end, "a server that stops is found no more");
        std::thread::sleep(Duration::from_millis(1));
    }
    stream.write_all(&[0; 16]).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer[8..16], 7u64.to_le_bytes(), "a frame for request 7: {answer:?}");
    assert!(String::from_utf8_lossy(&answer).contains("the daemon is stopping"), "{answer:?}");
    stopping.join().unwrap();
}

#[test]
fn a_frame_over_the_socket_that_is_too_long_ends_the_connection_alone() {
    let server = Running::start();
    let mut polite = server.client(Way::Socket);
    for header in [
        [0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [16, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [0xff; 16],
    ] {
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.write_all(&honest_hello(Transport::Socket)).unwrap();
        stream.write_all(&header).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 2048, "the welcome, a failure at most, and the end");
        assert!(answers(&mut polite));
    }
}

/// A daemon that answers any hello with these bytes and these descriptors.
fn fake_daemon(answer: [u8; 256], fds: Vec<OwnedFd>) -> libgrite_ipc::Error {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fake.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = [0; 80];
            stream.read_exact(&mut hello).unwrap();
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            send_with(&stream, &answer, &fds);
        });
        builder_for(Way::Ring).connect(&path).map(drop).unwrap_err()
    })
}

fn send_with(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

/// The welcome that an honest daemon sends to a client that asks for rings.
fn honest_welcome() -> [u8; 256] {
    let server = Running::start();
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream.write_all(&honest_hello(Transport::Ring)).unwrap();
    receive(&stream).0
}

fn memfd(name: &str, length: u64, seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, length).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

/// What memfds of that name this process has open. Each test uses its own: they share a process.
fn open_memfds(name: &str) -> Vec<String> {
    let targets = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let target = std::fs::read_link(entry.unwrap().path()).ok()?;
        Some(target.display().to_string())
    });
    targets.filter(move |target| target.contains(&format!("memfd:{name} "))).collect()
}

#[test]
fn any_number_of_descriptors_but_two_is_refused_and_all_are_closed() {
    let welcome = honest_welcome();
    for count in [0, 1, 3, 100, 253] {
        let fds = (0..count).map(|_| memfd("counted", LENGTH as u64, SealFlags::SEAL)).collect();
        let error = fake_daemon(welcome, fds);
        assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{count} descriptors: {error}");
        assert_eq!(open_memfds("counted"), [""; 0], "{count} descriptors");
    }
}

#[test]
fn descriptors_that_are_not_what_they_must_be_are_refused() {
    let welcome = honest_welcome();
    for (name, fds) in unfit_pairs() {
        let error = fake_daemon(welcome, fds());
        assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{name}: {error}");
        assert_eq!(open_memfds("judged"), [""; 0], "{name}");
    }
}

/// What is wrong with two descriptors, and how to make them.
type Unfit = (&'static str, fn() -> Vec<OwnedFd>);

/// Pairs of which one is not what it must be.
fn unfit_pairs() -> Vec<Unfit> {
    const FIXED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);
    const DAEMON: SealFlags = FIXED.union(SealFlags::FUTURE_WRITE);
    const WHOLE: u64 = LENGTH as u64;
    fn daemon(length: u64, missing: SealFlags) -> OwnedFd {
        memfd("judged", length, DAEMON.difference(missing))
    }
    fn client(length: u64, missing: SealFlags) -> OwnedFd {
        memfd("judged", length, FIXED.difference(missing))
    }
    const NONE: SealFlags = SealFlags::empty();
    vec![
        ("a daemon's region that others may write", || vec![client(WHOLE, NONE), client(WHOLE, NONE)]),
        ("a client's region that we may not write", || vec![daemon(WHOLE, NONE), daemon(WHOLE, NONE)]),
        ("no SHRINK", || vec![daemon(WHOLE, SealFlags::SHRINK), client(WHOLE, NONE)]),
        ("no GROW", || vec![daemon(WHOLE, NONE), client(WHOLE, SealFlags::GROW)]),
        ("no SEAL", || vec![daemon(WHOLE, SealFlags::SEAL), client(WHOLE, NONE)]),
        ("too short", || vec![daemon(WHOLE - 4096, NONE), client(WHOLE, NONE)]),
        ("too long", || vec![daemon(WHOLE, NONE), client(WHOLE + 4096, NONE)]),
        ("a regular file", || vec![tempfile::tempfile().unwrap().into(), client(WHOLE, NONE)]),
        ("an eventfd", || {
            let flags = rustix::event::EventfdFlags::CLOEXEC;
            vec![daemon(WHOLE, NONE), rustix::event::eventfd(0, flags).unwrap()]
        }),
    ]
}

#[test]
fn answers_that_are_none_are_refused() {
    let welcome = honest_welcome();
    let with = |at: usize, byte: u8| {
        let mut bytes = welcome;
        bytes[at] = byte;
        bytes
    };
    for (name, answer, kind) in [
        ("noise", [0xff; 256], ErrorKind::PeerMisbehaved),
        ("an unknown kind", with(10, 9), ErrorKind::PeerMisbehaved),
        ("an odd capacity", with(32, 1), ErrorKind::PeerMisbehaved),
        ("a larger max_message than wished", with(43, 0xff), ErrorKind::PeerMisbehaved),
        ("another protocol version", with(12, 99), ErrorKind::VersionMismatch),
        ("another layout", with(16, welcome[16] ^ 1), ErrorKind::VersionMismatch),
    ] {
        let error = fake_daemon(answer, Vec::new());
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
}
