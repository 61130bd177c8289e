//! Processes that are dead while a forked child of theirs keeps all their sockets open: the sockets do not end,
//! and the other side learns of the death all the same.
//!
//! The parts are played by this test program itself, started again with a role.
#![cfg(all(not(loom), target_os = "linux", not(grite_portable)))]
#![allow(unsafe_code, reason = "fork is what is tested")]

mod common;
mod held;
mod rounds;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::process::{PATIENCE, Process, looks_in_vain, role as own_role, until};
use common::{ArchivedOrder, Order, Way, Work, builder_for, pattern, work};
use held::{held, until_no_more_than, watched};
use libgrite_ipc::{Client, ErrorKind, Server};
use nix::libc;
use rounds::{is_in_time, rounds};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

const WAYS: [(Way, &str); 2] = [(Way::Ring, "client over rings"), (Way::Socket, "client over the socket")];

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    let path = folder.join("work.sock");
    match role.as_str() {
        "daemon" => serve(&path),
        "daemon that moves to its child" => serve_in_a_child(&path),
        "client over rings" => fork_and_stay(&path, Way::Ring),
        "client over the socket" => fork_and_stay(&path, Way::Socket),
        "client over rings, parting" => fork_and_part(&path, Way::Ring),
        "client over the socket, parting" => fork_and_part(&path, Way::Socket),
        other => panic!("no such role: {other}"),
    }
}

/// Forks a child that has all that this process has, does nothing, and ends by itself one day.
fn fork_an_orphan() {
    // SAFETY: the child calls nothing but what a signal handler may call, too.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: ends the child one day, should its test be killed.
        unsafe { libc::alarm(120) };
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    println!("orphan {child}");
}

/// A daemon that forks when it is asked for its session.
fn serve(path: &Path) {
    let server = Server::<Work>::bind(path).unwrap();
    println!("ready");
    let handler = |order: &ArchivedOrder, cx: &_| {
        if matches!(order, ArchivedOrder::Session) {
            fork_an_orphan();
        }
        work(order, cx)
    };
    server.serve(handler).unwrap();
}

/// A daemon that binds in one process and serves in another, as daemons do that leave their terminal so.
fn serve_in_a_child(path: &Path) {
    let server = Server::<Work>::bind(path).unwrap();
    // SAFETY: no other thread of this process works on anything, and the parent leaves with `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child > 0 {
        println!("orphan {child}");
        // SAFETY: ends the parent without running destructors that are the child's to run.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: ends the child one day, should its test be killed.
    unsafe { libc::alarm(120) };
    server.serve(work).unwrap();
}

/// Asks once, forks, and stays until it is killed.
fn fork_and_stay(path: &Path, way: Way) {
    let mut client = builder_for(way).connect(path).unwrap();
    client.send(&Order::Make(9)).unwrap();
    fork_an_orphan();
    std::thread::sleep(PATIENCE);
}

/// Asks once, forks, drops its client, and stays until it is killed.
fn fork_and_part(path: &Path, way: Way) {
    let mut client = builder_for(way).connect(path).unwrap();
    client.send(&Order::Make(9)).unwrap();
    fork_an_orphan();
    drop(client);
    println!("has parted");
    std::thread::sleep(PATIENCE);
}

/// A grandchild, ended with this value: its parent does not wait for it.
struct Orphan(Pid);

impl Orphan {
    fn of(parent: &mut Process) -> Self {
        let number = parent.line("orphan ").unwrap().parse().unwrap();
        Orphan(Pid::from_raw(number).unwrap())
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        // It lives until now: nobody else ends it.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn start(role: &str) -> (tempfile::TempDir, PathBuf, Process) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    let process = Process::start(role, folder.path());
    (folder, path, process)
}

fn start_daemon() -> (tempfile::TempDir, PathBuf, Process) {
    let (folder, path, mut daemon) = start("daemon");
    daemon.line("ready").unwrap();
    (folder, path, daemon)
}

/// Fault 35. To watch a client's process takes a descriptor: a daemon that has none then does it later.
#[test]
fn a_client_is_watched_once_its_daemon_may_open_files_again() {
    let (folder, path, daemon) = start_daemon();
    let mut polite = builder_for(Way::Socket).connect(&path).unwrap();
    polite.send(&Order::Make(9)).unwrap();
    until("it is watched", || watched(daemon.id()) == 1);
    let before = held(daemon.id());
    let allow = |limit| prlimit(Pid::from_raw(daemon.id() as i32), Resource::Nofile, limit).unwrap();
    let enough = getrlimit(Resource::Nofile);
    let (mut client, _orphan) = loop {
        let mut client = Process::start("client over the socket", folder.path());
        let orphan = Orphan::of(&mut client);
        allow(Rlimit { current: Some(3), ..enough });
        if watched(daemon.id()) == 1 {
            break (client, orphan);
        }
        // It took so long that this one is watched already.
        allow(enough);
        drop(client);
        until_no_more_than(before, daemon.id());
    };
    // By then it has tried.
    std::thread::sleep(Duration::from_millis(700));
    allow(enough);
    client.kill();
    client.child.wait().unwrap();
    until_no_more_than(before, daemon.id());
}

/// Fault 35. A client that is killed while a child of it keeps its socket is let go of, within a second.
#[test]
fn a_client_that_is_killed_is_let_go_of_though_its_child_keeps_the_socket() {
    let (folder, path, daemon) = start_daemon();
    let mut polite = WAYS.map(|(way, _)| builder_for(way).timeout(PATIENCE).connect(&path).unwrap());
    for polite in &mut polite {
        polite.send(&Order::Make(9)).unwrap();
    }
    // What is held then is all that there will be: over the socket, its process is watched after a while only.
    until("those who stay are watched", || watched(daemon.id()) == polite.len());
    let before = held(daemon.id());
    let mut slowest = Duration::ZERO;
    for round in 0..rounds(3).min(1000) {
        for (way, role) in WAYS {
            let mut client = Process::start(role, folder.path());
            let _orphan = Orphan::of(&mut client);
            if round % 2 == 1 {
                std::thread::sleep(Duration::from_millis(600));
            }
            client.kill();
            let took = until_no_more_than(before, daemon.id());
            println!("over {way:?}: all was given back after {took:?}");
            slowest = slowest.max(took);
        }
    }
    assert!(is_in_time(slowest, Duration::from_secs(1)), "what was given back");
    polite
        .iter_mut()
        .for_each(|polite| assert!(polite.send(&Order::Make(9)).unwrap().bytes == pattern(9)[..]));
}

/// A client that is dropped is let go of though its process lives on, and a child of that keeps the socket.
#[test]
fn a_client_that_is_dropped_is_let_go_of_though_a_child_keeps_the_socket() {
    for (way, role) in WAYS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("work.sock");
        let builder = Server::<Work>::builder().idle_timeout(Duration::from_millis(500));
        let server = builder.bind(&path).unwrap();
        let serving = std::thread::spawn(move || server.serve(work));
        // For as long as this one stays, the daemon does, too.
        let first = builder_for(way).connect(&path).unwrap();
        let mut client = Process::start(&format!("{role}, parting"), folder.path());
        let _orphan = Orphan::of(&mut client);
        client.line("has parted").unwrap();
        drop(first);
        until("nobody is there any more", || serving.is_finished());
        serving.join().unwrap().unwrap();
    }
}

/// Fault 35, the other way round. Clients of a daemon that is killed learn of it at once though a child of it
/// keeps their sockets: those that wait, those that look, and those that ask next, whether there is space for what
/// they send or not.
#[test]
fn a_client_learns_that_its_daemon_was_killed_though_its_child_keeps_the_socket() {
    for (way, _) in WAYS {
        let (_folder, path, mut daemon) = start_daemon();
        let builder = builder_for(way).timeout(PATIENCE);
        let mut waiting = builder.connect(&path).unwrap();
        let mut quiet = builder.connect(&path).unwrap();
        let mut sending = builder.connect(&path).unwrap();
        let looking = builder.connect(&path).unwrap();
        quiet.send(&Order::Session).unwrap();
        let _orphan = Orphan::of(&mut daemon);
        let looked_for = looking.start(&Order::Wait(60_000)).unwrap();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            daemon.kill();
            Instant::now()
        });
        let error = waiting.send(&Order::Wait(60_000)).map(drop).unwrap_err();
        let learned = Instant::now();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
        println!(
            "over {way:?}: {:?} after the kill",
            learned.saturating_duration_since(killer.join().unwrap())
        );
        let error = quiet.send(&Order::Make(9)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
        let error = looks_in_vain(&looked_for);
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
        let begin = Instant::now();
        let error = sending.send(&Order::Echo(pattern(1 << 20))).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}, more than there is space for: {error}");
        assert!(begin.elapsed() < PATIENCE / 3, "{way:?}: learned {:?} after the question", begin.elapsed());
        let error = builder.connect(&path).map(drop).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::PeerDied | ErrorKind::Unresponsive), "{way:?}: {error}");
    }
}

/// The same for async clients.
#[cfg(feature = "tokio")]
#[test]
fn a_task_learns_that_its_daemon_was_killed_though_its_child_keeps_the_socket() {
    let runtime = common::runtimes::one_thread();
    for (way, _) in WAYS {
        let (_folder, path, mut daemon) = start_daemon();
        runtime.block_on(async {
            let builder = builder_for(way).timeout(PATIENCE);
            let client = builder.connect_async(&path).await.unwrap();
            client.send(&Order::Session).await.unwrap();
            let _orphan = Orphan::of(&mut daemon);
            let mut parts = client.stream(&Order::Wait(60_000)).await.unwrap();
            let kill = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                daemon.kill();
            };
            let order = Order::Wait(60_000);
            let (asked, part, ()) = tokio::join!(client.send(&order), parts.next(), kill);
            assert_eq!(asked.map(drop).unwrap_err().kind(), ErrorKind::PeerDied, "{way:?}");
            assert_eq!(part.map(drop).unwrap_err().kind(), ErrorKind::PeerDied, "{way:?}");
        });
    }
}

/// A daemon may bind and then fork: who serves is whose end counts, not who has bound.
#[test]
fn a_daemon_that_has_moved_to_its_child_is_as_good_as_any() {
    let (_folder, path, mut parent) = start("daemon that moves to its child");
    let orphan = Orphan::of(&mut parent);
    parent.child.wait().unwrap();
    let end = Instant::now() + PATIENCE;
    for (way, _) in WAYS {
        let builder = builder_for(way).timeout(PATIENCE);
        // Who connects before the child serves has the kernel's word that its daemon is dead.
        let mut client: Client<Work> = loop {
            let connected = builder.connect(&path);
            match connected.and_then(|mut client| client.send(&Order::Wait(20)).map(drop).map(|()| client)) {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
        };
        for millis in [0, 20, 700] {
            client.send(&Order::Wait(millis)).unwrap();
        }
        let mut waiting = builder.connect(&path).unwrap();
        if way == Way::Socket {
            let asked = std::thread::spawn(move || waiting.send(&Order::Wait(60_000)).map(drop).unwrap_err());
            std::thread::sleep(Duration::from_millis(50));
            kill_process(orphan.0, Signal::KILL).unwrap();
            assert_eq!(asked.join().unwrap().kind(), ErrorKind::PeerDied);
        }
    }
}
