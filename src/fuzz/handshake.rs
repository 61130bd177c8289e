//! Hello and answer over a socket, with any descriptors: the peer that is played here sends what it likes
//! to the real client, and to the real server's reactor.
//!
//! Whatever comes, nobody waits for more than has come, no descriptor stays open, and a client over rings
//! has got exactly the two regions that it must have.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
    sendmsg, shutdown, socketpair,
};

use super::script::Script;
use crate::client::{ClientBuilder, Transport};
use crate::error::ErrorKind;
use crate::grite::{Grite, IpcCommand};
use crate::handshake::{ANSWER_LENGTH, Answer, Hello, Mode, Refuse, RefuseCode, Sizes, Stance, Welcome};
use crate::identity::Party;
use crate::protocol::identity;
use crate::server::{ByHand, ServerBuilder};
use crate::shm::{DATA, MIN_CAPACITY, Role, create};
use crate::stream::Stream;

/// The release of the client and the server that are tried.
const RELEASE: u32 = 5;

/// What the rings of both have, and their longest message.
const SIZES: Sizes = Sizes { request: MIN_CAPACITY, reply: MIN_CAPACITY, max_message: MIN_CAPACITY };

/// The most descriptors of one message, by the kernel's word.
const MOST_DESCRIPTORS: usize = 253;

/// How often a reactor may have to look until it has taken its leave of somebody who is gone.
const MOST_TURNS: u32 = 1000;

/// Whether nobody else opens or closes descriptors in this process: then they are counted.
pub(super) static ALONE: AtomicBool = AtomicBool::new(cfg!(fuzzing));

/// One handshake.
pub fn handshake(input: &[u8]) {
    thread_local! {
        /// Never given back, as the server in it.
        static STAGE: &'static RefCell<Stage> = Box::leak(Box::new(RefCell::new(Stage::new())));
    }
    STAGE.with(|stage| {
        let stage = &mut *stage.borrow_mut();
        let count = || if ALONE.load(Ordering::Relaxed) { open_descriptors() } else { 0 };
        let before = count();
        let mut script = Script::new(input);
        match script.byte() % 2 {
            0 => answer_client(&stage.props, &mut script),
            _ => greet_server(stage, &mut script),
        }
        assert_eq!(count(), before, "every descriptor is closed");
    });
}

/// What is made once.
struct Stage {
    props: Vec<OwnedFd>,
    server: ByHand,
}

impl Stage {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("grite-by-hand-{}", std::process::id()));
        let builder = ServerBuilder::<Grite>::new().release(RELEASE).max_ring(MIN_CAPACITY);
        let server = ByHand::bind(builder.max_message(MIN_CAPACITY), &path).expect("a server");
        // Nobody connects to it by its name.
        fs::remove_file(path).expect("the socket's file");
        Stage { props: props(), server }
    }
}

fn party() -> Party {
    Party { identity: identity::<Grite>(), release: RELEASE }
}

/// Plays the daemon to a client.
fn answer_client(props: &[OwnedFd], script: &mut Script<'_>) {
    let transport = [Transport::Ring, Transport::Socket, Transport::Auto][usize::from(script.byte() % 3)];
    let welcome = |mode| Welcome { mode, session: 7, sizes: SIZES, in_flight: 16 };
    let refuse = || Refuse { code: RefuseCode::Limit, text: "enough".to_owned() };
    let verdict = match script.byte() % 4 {
        0 | 1 => Ok(welcome(Mode::Ring)),
        2 => Ok(welcome(Mode::Socket)),
        _ => Err(refuse()),
    };
    let mut bytes = Answer { daemon: party(), verdict: verdict.clone() }.to_bytes().to_vec();
    let is_damaged = damage(&mut bytes, script);
    let sent = Delivery::new(bytes, props, script);
    let (near, far) = pair();
    sent.send(&far, props, |_| {});
    // Without a writer nobody waits for more.
    shutdown(&far, Shutdown::Write).expect("our own socket");

    let builder = ClientBuilder::<Grite>::new().transport(transport).release(RELEASE);
    let builder = builder.request_ring(MIN_CAPACITY).reply_ring(MIN_CAPACITY).max_message(MIN_CAPACITY);
    let client = builder.timeout(Duration::from_secs(60)).greet_over(near);
    let fitting = [0, 1];
    let beside: Vec<usize> = sent.beside(ANSWER_LENGTH).collect();
    match client {
        Ok(mut client) => {
            if client.uses_ring() {
                assert_eq!(beside, fitting, "the regions that fit");
            } else {
                assert_eq!(beside, [], "no descriptors where none belong");
                // Whatever frames lie behind the answer.
                drop(client.send(&IpcCommand::Ping));
            }
        }
        Err(error) => {
            let kind = error.kind();
            let expected = [
                ErrorKind::PeerMisbehaved,
                ErrorKind::PeerDied,
                ErrorKind::Refused,
                ErrorKind::VersionMismatch,
            ];
            assert!(expected.contains(&kind), "{error}");
            let fits = verdict == Ok(welcome(Mode::Ring))
                && beside == fitting
                && transport != Transport::Socket
                || verdict == Ok(welcome(Mode::Socket)) && beside.is_empty() && transport != Transport::Ring;
            assert!(!fits || is_damaged || sent.is_cut, "an honest daemon's answer: {error}");
        }
    }
}

/// Plays a client to a server.
fn greet_server(stage: &mut Stage, script: &mut Script<'_>) {
    let mode = if script.byte().is_multiple_of(2) { Mode::Socket } else { Mode::Ring };
    let stance =
        [Stance::Take, Stance::Take, Stance::Decline, Stance::Retire][usize::from(script.byte() % 4)];
    let mut bytes = Hello::new(party(), mode, stance, SIZES).to_bytes().to_vec();
    let length = bytes.len();
    let is_damaged = damage(&mut bytes, script);
    let sent = Delivery::new(bytes, &stage.props, script);
    let (near, far) = pair();
    let server = &mut stage.server;
    let mut near = Some(near);
    sent.send(&far, &stage.props, |_| match near.take() {
        Some(near) => server.greet(near),
        None => server.turn().expect("the reactor goes on"),
    });
    if let Some(near) = near {
        server.greet(near);
    }
    let far = Stream::from(far);
    let (mut answer, mut regions) = ([0; ANSWER_LENGTH], Vec::new());
    let answered = far.read_with(&mut answer, &mut regions).unwrap_or(0);
    let is_whole = !sent.is_cut && sent.bytes.len() == length;
    let honest = !is_damaged && is_whole && sent.beside(usize::MAX).next().is_none();
    if answered > 0 {
        assert_eq!(answered, ANSWER_LENGTH);
        match Answer::parse(&answer).expect("the server's answer is one").verdict {
            Ok(welcome) => {
                assert!(welcome.sizes.max_message == MIN_CAPACITY && welcome.sizes.reply == MIN_CAPACITY);
                assert_eq!(regions.len(), if welcome.mode == Mode::Ring { 2 } else { 0 });
                assert!(welcome.mode == Mode::Socket || mode == Mode::Ring || is_damaged);
            }
            Err(_) => assert!(!honest || stance == Stance::Retire, "an honest client is welcome"),
        }
    } else {
        assert!(!honest, "an honest client is answered");
    }
    drop((far, regions));
    let turns = (0..MOST_TURNS).take_while(|_| {
        let is_there = server.connections() > 0;
        if is_there {
            server.turn().expect("the reactor goes on");
        }
        is_there
    });
    assert!(turns.count() < MOST_TURNS as usize, "who is gone is let go");
}

/// Overwrites a few bytes, or all; says so.
fn damage(bytes: &mut Vec<u8>, script: &mut Script<'_>) -> bool {
    let before = bytes.clone();
    match script.byte() {
        255 => *bytes = script.take(bytes.len()).to_vec(),
        count => {
            for _ in 0..count % 8 {
                let (at, byte) = (usize::from(script.byte()), script.byte());
                let at = at % bytes.len();
                bytes[at] = byte;
            }
        }
    }
    *bytes != before
}

/// What is sent: bytes in up to three pieces, each with descriptors beside it.
struct Delivery {
    bytes: Vec<u8>,
    /// Whether not all of what should stand first does.
    is_cut: bool,
    /// Where each piece ends, and which props go with it.
    pieces: Vec<(usize, Vec<usize>)>,
}

impl Delivery {
    /// Bytes that stand first, or as many of them as the script says, and what it says of the rest.
    fn new(mut bytes: Vec<u8>, props: &[OwnedFd], script: &mut Script<'_>) -> Self {
        let plan = script.byte();
        let mut pieces = Vec::new();
        let mut start = 0;
        for _ in 0..plan % 3 {
            start = (start + usize::from(script.byte())).min(bytes.len());
            pieces.push((start, choose(props, script)));
        }
        let whole = bytes.len();
        if plan & 64 != 0 {
            bytes.truncate(usize::from(script.u16()));
        }
        let is_cut = bytes.len() < whole;
        let last = choose(props, script);
        if plan & 128 != 0 {
            bytes.extend_from_slice(script.rest());
        }
        pieces.push((bytes.len(), last));
        Delivery { bytes, is_cut, pieces }
    }

    /// Sends piece by piece, and calls `between` after each.
    fn send(&self, socket: &OwnedFd, props: &[OwnedFd], mut between: impl FnMut(usize)) {
        let mut start = 0;
        for (end, chosen) in &self.pieces {
            let end = (*end).min(self.bytes.len());
            // Descriptors go with bytes, or not at all.
            if end > start {
                let chosen: Vec<BorrowedFd<'_>> = chosen.iter().map(|&prop| props[prop].as_fd()).collect();
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !chosen.is_empty() {
                    assert!(control.push(SendAncillaryMessage::ScmRights(&chosen)));
                }
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                // A peer that has closed already hears no more.
                let _ = sendmsg(socket, &[IoSlice::new(&self.bytes[start..end])], &mut control, flags);
                start = end;
                between(end);
            }
        }
    }

    /// The props beside those pieces of which some bytes are among the first `length`.
    fn beside(&self, length: usize) -> impl Iterator<Item = usize> {
        let mut start = 0;
        self.pieces.iter().flat_map(move |(end, chosen)| {
            let end = (*end).min(self.bytes.len());
            let arrives = start < length && end > start;
            start = start.max(end);
            if arrives { &chosen[..] } else { &[] }.iter().copied()
        })
    }
}

/// Which props go with a piece: none, the right ones, or any.
fn choose(props: &[OwnedFd], script: &mut Script<'_>) -> Vec<usize> {
    let plan = script.byte();
    match plan {
        0..128 => Vec::new(),
        128..160 => vec![0, 1],
        160..192 => vec![usize::from(script.byte()) % props.len(), usize::from(script.byte()) % props.len()],
        _ => {
            let count = usize::from(script.byte()).min(MOST_DESCRIPTORS);
            (0..count).map(|number| (number + usize::from(plan)) % props.len()).collect()
        }
    }
}

/// Descriptors of all kinds. The first two are those that belong into a welcome.
fn props() -> Vec<OwnedFd> {
    let fixed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let whole = DATA as u64 + u64::from(MIN_CAPACITY);
    let made = |role| create(role, MIN_CAPACITY).expect("a region").0;
    let mut props = vec![made(Role::Daemon), made(Role::Client)];
    for all in [fixed | SealFlags::FUTURE_WRITE, fixed] {
        // A daemon's region that lacks the seal of its own is a client's.
        props.extend(fixed.iter().map(|missing| memfd(all.difference(missing), whole)));
        props.push(memfd(all | SealFlags::WRITE, whole));
        props.extend([0, 1, whole / 2, whole - 1, whole + 1, 2 * whole].map(|length| memfd(all, length)));
    }
    props.push(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("an eventfd"));
    props.push(File::open("/proc/self/exe").expect("our program").into());
    props.push(File::open("/dev/null").expect("nothing").into());
    props.push(File::open("/").expect("a folder").into());
    props.extend(<[OwnedFd; 2]>::from(pair()));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    props.extend([reader.into(), writer.into()]);
    props
}

fn memfd(seals: SealFlags, length: u64) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create("fuzz", flags).expect("a memfd");
    rustix::fs::ftruncate(&memfd, length).expect("its length");
    rustix::fs::fcntl_add_seals(&memfd, seals).expect("its seals");
    memfd
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a pair of sockets")
}

/// How many descriptors this process has.
fn open_descriptors() -> usize {
    // Newer kernels tell by the folder's size.
    match fs::metadata("/proc/self/fd").map(|folder| folder.len()) {
        Ok(count @ 1..) => count as usize,
        _ => fs::read_dir("/proc/self/fd").expect("our descriptors").count(),
    }
}
