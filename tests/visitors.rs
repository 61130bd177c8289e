//! Who comes to the socket, and what becomes of those who do not come in, or leave at once: they cost the
//! daemon little and its clients nothing.
//!
//! The daemon is a process of its own, so that what it holds can be counted.
#![cfg(all(not(loom), target_os = "linux", not(grite_portable)))]

mod common;
mod filter;
mod held;
mod rounds;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use common::hello::{honest_hello, try_send_with};
use common::not_tested::not_tested;
use common::process::{Daemon, PATIENCE, Process, role as own_role, until};
use common::{Order, Way, Work, builder_for, pattern, work};
use filter::{Calls, die_of, forbid};
use held::{held, until_no_more_than};
use libgrite_ipc::{Client, ErrorKind, Server, Transport};
use nix::libc::{ENOPROTOOPT, SYS_memfd_create, SYS_setsockopt};
use rounds::{is_at_the_deadline, is_in_time, rounds, whole};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const WAYS: [Way; 2] = [Way::Ring, Way::Socket];

const SECOND: Duration = Duration::from_secs(1);

/// A deadline for handshakes that the ordinary suite has the time for.
const SHORT: Duration = Duration::from_millis(600);

/// The deadline that a daemon has by default.
const DEFAULT: Duration = Duration::from_secs(5);

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    let builder = Server::<Work>::builder();
    let server = match role.as_str() {
        "daemon" => builder,
        "hasty daemon" => builder.handshake_timeout(SHORT),
        "patient daemon" => builder.handshake_timeout(Duration::from_secs(3600)),
        "daemon for two" => builder.max_connections(2),
        "daemon for nobody" => {
            die_of(Calls::all(SYS_memfd_create));
            builder.max_connections(0)
        }
        "daemon that dies of making memory" => {
            die_of(Calls::all(SYS_memfd_create));
            builder
        }
        "daemon of an older kernel" => {
            const SO_PASSRIGHTS: u64 = 83;
            forbid(Calls::with(SYS_setsockopt, 2, SO_PASSRIGHTS), ENOPROTOOPT);
            builder
        }
        "client over rings" => return stay(&folder, Way::Ring),
        "client over the socket" => return stay(&folder, Way::Socket),
        "foreigner" => return come_as_nobody(&folder),
        other => panic!("no such role: {other}"),
    };
    let server = server.bind(folder.join("work.sock")).unwrap();
    println!("ready");
    server.serve(work).unwrap();
}

/// Comes in as soon as there is a place, and stays until it is killed.
fn stay(folder: &Path, way: Way) {
    let mut client = None;
    until("there is a place", || {
        client = builder_for(way).connect(folder.join("work.sock")).ok();
        client.is_some()
    });
    println!("in");
    std::thread::sleep(PATIENCE);
}

fn visit(daemon: &Daemon) -> UnixStream {
    UnixStream::connect(daemon.path()).unwrap()
}

/// A client that has been answered, so that all that a first client starts is there.
fn polite(daemon: &Daemon) -> Client<Work> {
    WAYS.map(|way| answered(daemon.client(way))).into_iter().next().unwrap()
}

fn answered(mut client: Client<Work>) -> Client<Work> {
    assert!(client.send(&Order::Make(100)).unwrap().bytes == pattern(100)[..]);
    client
}

/// Lets this process have as many files open as it may.
fn open_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// What a daemon does not say before it closes a connection whose handshake never ends; and when it closes it.
fn end_of(mut visitor: UnixStream, start: Instant) -> (Vec<u8>, Duration) {
    visitor.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    match visitor.read_to_end(&mut said) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("never closed: {error}"),
        _ => (said, start.elapsed()),
    }
}

fn deadline() -> (&'static str, Duration) {
    if whole().is_some() { ("daemon", DEFAULT) } else { ("hasty daemon", SHORT) }
}

/// Fault 26. A visitor who says nothing is let go when the time for a handshake is up, and 63 clients that are
/// there meanwhile notice nothing of it.
#[test]
fn a_visitor_who_says_nothing_is_let_go_at_the_deadline() {
    let (role, deadline) = deadline();
    let daemon = Daemon::start(role);
    let mut others: Vec<_> =
        (0..63).map(|number| answered(daemon.client(WAYS[number % WAYS.len()]))).collect();
    let start = Instant::now();
    let silent = visit(&daemon);
    let end = std::thread::spawn(move || end_of(silent, start));
    while !end.is_finished() {
        for other in &mut others {
            assert!(other.send(&Order::Make(9)).unwrap().bytes == pattern(9)[..]);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (said, elapsed) = end.join().unwrap();
    assert!(said.is_empty() && is_at_the_deadline(elapsed, deadline), "{elapsed:?}");
}

/// Fault 27. A hello that comes byte by byte has no more time in all than one that does not come.
#[test]
fn a_visitor_who_says_hello_very_slowly_is_let_go_at_the_deadline() {
    let (role, deadline) = deadline();
    let daemon = Daemon::start(role);
    for way in [Transport::Ring, Transport::Socket] {
        let hello = honest_hello(way);
        let start = Instant::now();
        let slow = visit(&daemon);
        let mut speaks = slow.try_clone().unwrap();
        std::thread::spawn(move || {
            for byte in hello {
                if speaks.write_all(&[byte]).is_err() {
                    break;
                }
                std::thread::sleep(deadline / 5);
            }
        });
        let (said, elapsed) = end_of(slow, start);
        assert!(said.is_empty() && is_at_the_deadline(elapsed, deadline), "{elapsed:?}");
    }
}

/// Fault 28. Of a thousand connections that say nothing, no more than 64 are kept, and a client comes in
/// between them at once.
#[test]
fn a_crowd_of_silent_visitors_keeps_nobody_out() {
    open_many_files();
    let daemon = Daemon::start("patient daemon");
    let _polite = polite(&daemon);
    let before = held(daemon.id());
    let silent: Vec<_> = (0..1000).map(|_| visit(&daemon)).collect();
    for way in WAYS {
        let start = Instant::now();
        answered(daemon.client(way));
        assert!(is_in_time(start.elapsed(), SECOND), "a client over {way:?} among silent visitors");
    }
    until("no more than 64 are kept", || held(daemon.id()).descriptors <= before.descriptors + 64);
    drop(silent);
    until_no_more_than(before, daemon.id());
}

/// Fault 29. What is no hello is answered with a refusal and closed as soon as that shows, however much of it
/// there is. (That little is allocated for it is for `allocations.rs` to show.)
#[test]
fn a_visitor_who_does_not_say_hello_is_let_go_at_once() {
    let daemon = Daemon::start("patient daemon");
    let mut polite = polite(&daemon);
    let mut long = honest_hello(Transport::Socket).to_vec();
    long[12..14].copy_from_slice(&u16::MAX.to_le_bytes());
    long.resize(1 << 20, 7);
    for bytes in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], &[0xff; 1 << 20], &[0; 1 << 20], &long] {
        let mut visitor = visit(&daemon);
        // The connection may end before all of it is there.
        let _ = visitor.write_all(bytes);
        let (said, _) = end_of(visitor, Instant::now());
        assert_eq!((&said[..8], said[10]), (&b"gritehow"[..], 2), "a refusal");
        polite = answered(polite);
    }
}

/// Fault 30. Descriptors that come with a hello, as many as one message takes, never enter the daemon: the
/// kernel refuses them at their sender, or drops them where it is older, and the connection ends.
#[test]
fn a_visitor_who_brings_descriptors_leaves_none_behind() {
    let hello = honest_hello(Transport::Socket);
    for (role, refused) in [("daemon", true), ("daemon of an older kernel", false)] {
        let daemon = Daemon::start(role);
        let polite = polite(&daemon);
        let before = held(daemon.id());
        for _ in 0..rounds(50) {
            let visitor = visit(&daemon);
            let many: Vec<_> = (0..253).map(|_| visitor.as_fd()).collect();
            match try_send_with(&visitor, &hello, &many) {
                Ok(_) if !refused || !at_least(6, 16) => {
                    let (said, _) = end_of(visitor, Instant::now());
                    assert!(said.is_empty(), "no answer to a hello with descriptors");
                }
                sent => assert!(refused && sent == Err(Errno::PERM), "{role}: {sent:?}"),
            }
        }
        until_no_more_than(before, daemon.id());
        answered(polite);
    }
}

/// Whether the kernel is of this release or a later one.
fn at_least(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
}

/// Becomes another user, and says what a daemon and this library make of that.
fn come_as_nobody(folder: &Path) {
    const NOBODY: u32 = 65534;
    let path = folder.join("work.sock");
    let hello = honest_hello(Transport::Ring);
    nix::unistd::setgid(NOBODY.into()).unwrap();
    nix::unistd::setuid(NOBODY.into()).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    let _ = stream.write_all(&hello);
    let (said, _) = end_of(stream, Instant::now());
    println!("refused for {}", u16::from_le_bytes([said[14], said[15]]));
    println!("library {:?}", Client::<Work>::connect(&path).unwrap_err().kind());
}

/// Fault 32. Another user's process that reaches the socket all the same is refused before any memory is made
/// for it; and such a process does not trust our daemon either.
#[test]
fn a_visitor_of_another_user_is_refused_before_memory_is_made() {
    const FOREIGN: &str = "3";
    if !rustix::process::geteuid().is_root() {
        return not_tested("a visitor of another user: only root can become one");
    }
    let daemon = Daemon::start("daemon that dies of making memory");
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(daemon.folder.path(), 0o755);
    open(&daemon.folder.path().join("work.sock"), 0o666);
    let mut foreigner = Process::start("foreigner", daemon.folder.path());
    assert_eq!(foreigner.line("refused for ").as_deref(), Some(FOREIGN));
    assert_eq!(foreigner.line("library ").as_deref(), Some("Refused"));
    answered(daemon.client(Way::Socket));
    let path = daemon.folder.path().join("work.sock");
    assert_eq!(
        builder_for(Way::Ring).connect(path).unwrap_err().kind(),
        ErrorKind::PeerDied,
        "it does die of that"
    );
}

/// Fault 33. A client too many is refused before any memory is made for it.
#[test]
fn a_client_too_many_is_refused_before_memory_is_made() {
    let daemon = Daemon::start("daemon for nobody");
    for way in WAYS {
        let error = builder_for(way).connect(daemon.folder.path().join("work.sock")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{way:?}: {error}");
        assert!(error.to_string().contains("limit"), "{error}");
    }
}

/// Fault 33. The place of a client that was killed is free again, within a second.
#[test]
fn the_place_of_a_client_that_was_killed_is_free_again() {
    let daemon = Daemon::start("daemon for two");
    let _polite = daemon.client(Way::Socket);
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds(3).min(1000) {
        for (way, role) in WAYS.into_iter().zip(["client over rings", "client over the socket"]) {
            let mut client = Process::start(role, daemon.folder.path());
            client.line("in").unwrap();
            let path = daemon.folder.path().join("work.sock");
            assert_eq!(builder_for(way).connect(&path).unwrap_err().kind(), ErrorKind::Refused);
            let start = Instant::now();
            client.kill();
            until("the place is free", || builder_for(way).connect(&path).is_ok());
            slowest = slowest.max(start.elapsed());
        }
    }
    assert!(is_in_time(slowest, SECOND), "the place of a client that was killed");
}

/// Fault 33. As many clients as a daemon takes by default are there at once, and one more is refused.
#[test]
fn a_daemon_takes_as_many_clients_as_it_says() {
    const LIMIT: usize = 1024;
    open_many_files();
    let daemon = Daemon::start("daemon");
    let path = daemon.folder.path().join("work.sock");
    let mut clients: Vec<_> = (0..LIMIT).map(|_| daemon.client(Way::Socket)).collect();
    let error = builder_for(Way::Socket).connect(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(clients[LIMIT - 1].send(&Order::Make(9)).unwrap().bytes == pattern(9)[..]);
    clients.pop();
    until("there is room again", || builder_for(Way::Socket).connect(&path).is_ok());
}

/// Fault 34. A visitor may leave at any moment: before its hello, behind it, or when it has its memory.
#[test]
fn a_visitor_who_leaves_amid_the_handshake_leaves_nothing_behind() {
    let daemon = Daemon::start("daemon");
    let polite = polite(&daemon);
    let before = held(daemon.id());
    let hellos = [Transport::Ring, Transport::Socket].map(honest_hello);
    for round in 0..rounds(30) as usize {
        drop(visit(&daemon));
        for hello in &hellos {
            let mut visitor = visit(&daemon);
            visitor.write_all(&hello[..round % hello.len()]).unwrap();
            drop(visitor);
            let mut visitor = visit(&daemon);
            visitor.write_all(hello).unwrap();
            drop(visitor);
            let mut visitor = visit(&daemon);
            visitor.write_all(hello).unwrap();
            // The first byte of the welcome brings the descriptors, which the kernel drops here.
            visitor.read_exact(&mut [0]).unwrap();
        }
        WAYS.into_iter().for_each(|way| drop(daemon.client(way)));
    }
    println!("at the baseline after {:?}", until_no_more_than(before, daemon.id()));
    answered(polite);
}

/// Fault 45. However often clients come and go, in the end the daemon holds what it held before.
#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let daemon = Daemon::start("daemon");
    let polite = polite(&daemon);
    let before = held(daemon.id());
    let resident_before = held::resident(daemon.id());
    for round in 0..rounds(200) as usize {
        let mut client = daemon.client(WAYS[round % 2]);
        if round % 16 < 2 {
            assert!(client.send(&Order::Make(9)).unwrap().bytes == pattern(9)[..]);
        }
    }
    println!("at the baseline of {before:?} after {:?}", until_no_more_than(before, daemon.id()));
    println!("resident: {resident_before} KiB before, {} KiB after", held::resident(daemon.id()));
    answered(polite);
}
