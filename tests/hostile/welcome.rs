//! What a daemon may send in place of a welcome, or of the memory that belongs to it: the client refuses it,
//! and keeps nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use libgrite_ipc::ErrorKind;
use rustix::fs::SealFlags;
use rustix::process::Signal;

use crate::client::*;
use crate::common::process::{Daemon, Process};
use crate::common::{Way, builder_for};
use crate::daemon::*;
use crate::filter::{SHARED_MAPPINGS, die_of};

/// The descriptors of memfds with that name in this process. Each test uses its own name: they share a process.
fn open_memfds(name: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let named = all.filter(|path| {
        let target = std::fs::read_link(path).unwrap_or_default();
        target.display().to_string().contains(&format!("memfd:{name} "))
    });
    named.map(|path| path.file_name().unwrap().display().to_string()).collect()
}

/// Fault 16. Any number of descriptors but two is refused, and every one that came is closed.
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

/// Fault 16. While an answer is half there, the descriptors that came with its first half are the client's,
/// and close themselves in any program that it starts.
#[test]
fn descriptors_that_were_received_are_closed_on_exec() {
    let play = |listener| {
        let mut stream = hear(&listener);
        let welcome = honest_welcome();
        let (first, rest) = welcome.split_at(100);
        let fds = [(); 2].map(|()| memfd("held", 4096, SealFlags::SEAL));
        send_with(&mut stream, first, &[fds[0].as_fd(), fds[1].as_fd()]);
        // From now on each that is open is the client's, or in flight to it.
        drop(fds);
        assert!(wait_for_peer(&stream, || open_memfds("held").len() == 2));
        for fd in open_memfds("held") {
            const O_CLOEXEC: u32 = 0o2_000_000;
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            assert_ne!(u32::from_str_radix(flags.trim(), 8).unwrap() & O_CLOEXEC, 0, "{info}");
        }
        send_with(&mut stream, rest, &[]);
    };
    let ((), error) = beside(play, |path| builder_for(Way::Ring).connect(path).map(drop).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{error}");
    assert_eq!(open_memfds("held"), [""; 0]);
}

/// A daemon could send as many descriptors as a process may have, some with each byte of its answer, and keep them
/// all in the client by sending no last byte. The first one too many ends the handshake.
#[test]
fn one_descriptor_too_many_ends_the_handshake_before_the_answer_is_whole() {
    let play = |listener| {
        let mut stream = hear(&listener);
        for byte in &honest_welcome()[..2] {
            let fds = [(); 2].map(|()| memfd("many", 4096, SealFlags::SEAL));
            send_with(&mut stream, &[*byte], &[fds[0].as_fd(), fds[1].as_fd()]);
        }
        wait_for_peer(&stream, || false);
    };
    let patient = builder_for(Way::Ring).handshake_timeout(PATIENCE);
    let ((), error) = beside(play, |path| patient.connect(path).map(drop).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{error}");
    assert_eq!(open_memfds("many"), [""; 0]);
}

/// Fault 15. A descriptor that lacks a seal, or has one too many, or another size, or is no memfd at all, is
/// refused for that reason, before anything of it is mapped, and closed.
#[test]
fn descriptors_that_are_not_what_they_must_be_are_refused() {
    let welcome = honest_welcome();
    for (name, fds) in unfit_pairs() {
        let error = fake_daemon(welcome, fds());
        assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{name}: {error}");
        let text = error.to_string();
        assert!(
            text.contains("seals") || text.contains("bytes") || text.contains("no memfd"),
            "{name}: {text}"
        );
        assert_eq!(open_memfds("judged"), [""; 0], "{name}");
    }
}

/// Fault 15. A client that would die of it has mapped none of them.
#[test]
fn descriptors_that_are_not_what_they_must_be_are_never_mapped() {
    let server = Daemon::start("server");
    let mut client = Process::start("client that dies of mapping", server.folder.path());
    client.line("all were refused").expect("it lives on");
    assert_eq!(client.child.wait().unwrap().signal(), Some(Signal::SYS.as_raw()), "it does die of that");
}

/// Is that client: of an honest server, in `folder`, it dies.
pub fn meet_unfit_pairs_and_a_server(folder: &Path) {
    let welcome = honest_welcome();
    die_of(SHARED_MAPPINGS);
    for (name, fds) in unfit_pairs() {
        let error = fake_daemon(welcome, fds());
        assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{name}: {error}");
    }
    println!("all were refused");
    builder_for(Way::Ring).connect(folder.join("work.sock")).unwrap();
}

/// What is wrong with two descriptors, and how to make them.
type Unfit = (&'static str, fn() -> Vec<OwnedFd>);

/// Pairs of which one is not what it must be.
fn unfit_pairs() -> Vec<Unfit> {
    const WHOLE: u64 = LENGTH as u64;
    fn daemon(length: u64, missing: SealFlags) -> OwnedFd {
        memfd("judged", length, DAEMON_SEALS.difference(missing))
    }
    fn client(length: u64, missing: SealFlags) -> OwnedFd {
        memfd("judged", length, CLIENT_SEALS.difference(missing))
    }
    const NONE: SealFlags = SealFlags::empty();
    vec![
        ("a daemon's region that others may write", || vec![client(WHOLE, NONE), client(WHOLE, NONE)]),
        ("a client's region that we may not write", || vec![daemon(WHOLE, NONE), daemon(WHOLE, NONE)]),
        ("a daemon's region without SHRINK", || vec![daemon(WHOLE, SealFlags::SHRINK), client(WHOLE, NONE)]),
        ("a daemon's region without GROW", || vec![daemon(WHOLE, SealFlags::GROW), client(WHOLE, NONE)]),
        ("a daemon's region without SEAL", || vec![daemon(WHOLE, SealFlags::SEAL), client(WHOLE, NONE)]),
        ("a client's region without SHRINK", || vec![daemon(WHOLE, NONE), client(WHOLE, SealFlags::SHRINK)]),
        ("a client's region without GROW", || vec![daemon(WHOLE, NONE), client(WHOLE, SealFlags::GROW)]),
        ("a client's region without SEAL", || vec![daemon(WHOLE, NONE), client(WHOLE, SealFlags::SEAL)]),
        ("a client's region that nobody may write", || {
            vec![daemon(WHOLE, NONE), memfd("judged", WHOLE, CLIENT_SEALS | SealFlags::WRITE)]
        }),
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
