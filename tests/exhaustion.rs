//! A system that has run out of something: descriptors, address space, room for files, memory. Who comes is
//! served in a lesser way or told why not, who is there goes on, and it is over when the want is.
//!
//! Limits are for whole processes, so daemons and clients are processes of their own here.
#![cfg(all(not(loom), target_os = "linux", not(grite_portable)))]

mod common;
mod filter;
mod held;
mod rounds;

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use common::process::{Daemon, PATIENCE, Process, role as own_role, until};
use common::{ArchivedOrder, Order, Way, Work, builder_for, pattern, work};
use filter::{Calls, SHARED_MAPPINGS, forbid, forbid_everywhere};
use held::{address_space, cpu, held, until_no_more_than};
use libgrite_ipc::{Client, ErrorKind, Server, Transport};
use nix::libc::{
    ENFILE, ENOMEM, ENOSPC, ETOOMANYREFS, SYS_fallocate, SYS_ftruncate, SYS_memfd_create, SYS_sendmsg,
};
use rounds::whole;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What may fail while memory for rings is made and handed over, and how.
const FAILURES: [(Calls, i32); 8] = [
    (Calls::all(SYS_memfd_create), ENOMEM),
    (Calls::all(SYS_memfd_create), ENFILE),
    (Calls::all(SYS_ftruncate), ENOSPC),
    (Calls::all(SYS_fallocate), ENOSPC),
    (Calls::all(SYS_fallocate), ENOMEM),
    (SHARED_MAPPINGS, ENOMEM),
    (SHARED_MAPPINGS, ENFILE),
    (Calls::all(SYS_sendmsg), ETOOMANYREFS),
];

/// Rings for which there is no room where room is short.
const LARGE: u32 = 16 << 20;

/// How much room is left for all else where it is short.
const REST: u64 = 8 << 20;

/// The parts that this program plays when a test starts it again: a name, and what goes with it.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    let path = folder.join("work.sock");
    match role.split(' ').collect::<Vec<_>>()[..] {
        ["daemon"] => serve(&path, || {}),
        ["daemon", "with", "files"] => serve(&path, || allow_files(20)),
        ["daemon", "with", "files", "for", "one"] => serve(&path, || allow_files(5)),
        ["daemon", "with", "small", "files"] => serve(&path, || limit(Resource::Fsize, 8192)),
        ["daemon", "with", "little", "space"] => serve(&path, limit_space),
        ["daemon", "about", "to", "fail", which] => {
            let (calls, error) = FAILURES[which.parse::<usize>().unwrap()];
            let server = Server::<Work>::bind(&path).unwrap();
            println!("ready");
            let handler = |order: &ArchivedOrder, cx: &_| {
                if matches!(order, ArchivedOrder::Session) {
                    forbid_everywhere(calls, error);
                }
                work(order, cx)
            };
            server.serve(handler).unwrap();
        }
        ["client", "with", "files", count] => {
            let count = count.parse().unwrap();
            ask_in_want(&path, || allow_files(count));
        }
        ["client", "with", "little", "space"] => ask_in_want(&path, limit_space),
        ["client", "without", "mappings"] => ask_in_want(&path, || forbid(SHARED_MAPPINGS, ENOMEM)),
        _ => panic!("no such role: {role}"),
    }
}

/// A daemon for which something is short from when it is ready on.
fn serve(path: &Path, be_short: impl FnOnce()) {
    let server = Server::<Work>::builder().max_ring(LARGE).bind(path).unwrap();
    be_short();
    println!("ready");
    server.serve(work).unwrap();
}

/// A client for which something is short; says what each way of connecting has come to.
fn ask_in_want(path: &Path, be_short: impl FnOnce()) {
    let builder = Client::<Work>::builder().request_ring(LARGE).reply_ring(LARGE).timeout(PATIENCE);
    be_short();
    for transport in [Transport::Ring, Transport::Auto] {
        match builder.clone().transport(transport).connect(path) {
            Ok(mut client) => {
                let answered = client.send(&Order::Make(1000)).unwrap().bytes == pattern(1000)[..];
                println!("{transport:?}: ring {}, answered {answered}", client.uses_ring());
            }
            Err(error) => println!("{transport:?}: {:?}: {error}", error.kind()),
        }
    }
}

/// Leaves room for so many descriptors beside those that are open.
fn allow_files(count: u64) {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u64>().ok());
    let highest = numbers.max().unwrap();
    // The limit is one of numbers, and those below it that are free count, too.
    let free = loop {
        let plug = std::fs::File::open("/dev/null").unwrap();
        let number = plug.as_raw_fd() as u64;
        if number >= highest {
            break number;
        }
        std::mem::forget(plug);
    };
    limit(Resource::Nofile, free + count);
}

/// Leaves room in the address space for what a daemon or a client needs, but not for large rings.
fn limit_space() {
    limit(Resource::As, address_space(std::process::id()) * 1024 + REST);
}

fn limit(resource: Resource, value: u64) {
    let limit = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(value), ..limit }).unwrap();
}

/// That who connects as it likes gets the socket, and who wants nothing but rings is told of them.
fn is_without_rings(daemon: &Daemon) {
    let builder = Client::<Work>::builder().request_ring(LARGE).reply_ring(LARGE).timeout(PATIENCE);
    let mut client = builder.connect(daemon.path()).unwrap();
    assert!(!client.uses_ring());
    ask(&mut client);
    let error = builder.transport(Transport::Ring).connect(daemon.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("socket"), "{error}");
}

fn ask(client: &mut Client<Work>) {
    for length in [0, 100, 100_000] {
        assert!(client.send(&Order::Echo(pattern(length))).unwrap().bytes == pattern(length)[..]);
    }
}

/// Fault 31. A daemon at its limit of open files tells those who come, uses no CPU for want of them, goes on
/// with those who are there, and takes others as soon as there is room.
#[test]
fn a_daemon_that_may_open_no_more_files_says_so_and_recovers() {
    let daemon = Daemon::start("daemon with files");
    let mut clients = Vec::new();
    let error = loop {
        match builder_for(Way::Socket).connect(daemon.path()) {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
        assert!(clients.len() < 30, "the limit is not one");
    };
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("may open no more files"), "{error}");
    println!("{} clients, then: {error}", clients.len());

    let time = Duration::from_secs(if whole().is_some() { 5 } else { 1 });
    let before = cpu(daemon.id());
    let visitors: Vec<_> =
        (0..100).map(|_| std::os::unix::net::UnixStream::connect(daemon.path()).unwrap()).collect();
    std::thread::sleep(time);
    let used = cpu(daemon.id()) - before;
    println!("{used:?} of CPU time in {time:?}");
    assert!(used < time / 20, "{used:?} of CPU time in {time:?}");
    drop(visitors);

    clients.iter_mut().for_each(ask);
    for way in [Way::Ring, Way::Socket] {
        clients.truncate(clients.len() - 4);
        until("there is room again", || {
            builder_for(way).connect(daemon.path()).is_ok_and(|mut client| {
                ask(&mut client);
                true
            })
        });
    }
}

/// Fault 31. A daemon that has descriptors for a client, but not for its rings, serves it over the socket.
#[test]
fn a_client_for_whose_rings_there_are_no_descriptors_gets_the_socket() {
    let daemon = Daemon::start("daemon with files for one");
    // What the daemon opens when it begins to serve takes the rest.
    let mut client = Client::<Work>::builder().connect(daemon.path()).unwrap();
    ask(&mut client);
    println!("over rings: {}", client.uses_ring());
    let kinds: Vec<_> = (0..3)
        .filter_map(|_| builder_for(Way::Ring).connect(daemon.path()).err())
        .map(|error| error.kind())
        .collect();
    assert_eq!(kinds, [ErrorKind::Refused; 3]);
    ask(&mut client);
}

/// Fault 42. A daemon that may write no large files, or has no address space for rings, is neither killed by
/// a signal nor stopped: its clients get the socket.
#[test]
fn a_daemon_without_room_for_rings_serves_over_the_socket() {
    for role in ["daemon with small files", "daemon with little space"] {
        println!("{role}");
        let daemon = Daemon::start(role);
        for _ in 0..3 {
            is_without_rings(&daemon);
        }
        if role.ends_with("space") {
            // There is room for small ones.
            let mut client = daemon.client(Way::Ring);
            ask(&mut client);
        }
    }
}

/// Fault 42. Whatever call fails while memory for rings is made and handed over, and with whichever error: that client gets
/// the socket, what was made is given back, and those who have rings notice nothing.
#[test]
fn a_failure_to_make_rings_is_a_matter_of_that_client_alone() {
    for (which, failure) in FAILURES.iter().enumerate() {
        println!("{failure:?}");
        let daemon = Daemon::start(&format!("daemon about to fail {which}"));
        let mut earlier = daemon.client(Way::Ring);
        ask(&mut earlier);
        let before = held(daemon.id());
        earlier.send(&Order::Session).unwrap();
        for _ in 0..3 {
            is_without_rings(&daemon);
            ask(&mut earlier);
        }
        until_no_more_than(before, daemon.id());
    }
}

/// Fault 42. A client that may not open two files more, or cannot map what it was sent, is told so where it
/// wants nothing but rings, and gets the socket else. The daemon keeps nothing for it.
#[test]
fn a_client_without_room_for_rings_is_told_or_gets_the_socket() {
    let daemon = Daemon::start("daemon");
    let mut other = daemon.client(Way::Ring);
    ask(&mut other);
    let before = held(daemon.id());
    // One descriptor is for the connection: of the two of the rings, none or one finds room.
    for role in
        ["client with files 1", "client with files 2", "client with little space", "client without mappings"]
    {
        println!("{role}");
        let mut client = Process::start(role, daemon.folder.path());
        let ring = client.line("Ring: ").unwrap();
        assert!(ring.starts_with("Io: "), "{ring}");
        assert_eq!(client.line("Auto: ").unwrap(), "ring false, answered true");
        ask(&mut other);
    }
    until_no_more_than(before, daemon.id());
}
