//! Real processes that really die: what the other side notices, and what remains.
//!
//! The parts are played by this test program itself, started again with a role.
#![cfg(not(loom))]

mod common;
#[cfg(target_os = "linux")]
mod held;
mod rounds;

use std::path::Path;
use std::time::{Duration, Instant};

use common::process::{PATIENCE, Process, looks_in_vain, role as own_role, role_command, serve, until};
use common::{ArchivedOrder, Order, Way, Work, builder_for, pattern, served_ways, work};
#[cfg(target_os = "linux")]
use held::{Held, held, private, resident, until_no_more_than};
use libgrite_ipc::{Client, ErrorKind, Server};
use rounds::{is_in_time, rounds};

/// How soon a client learns that its server was killed, at the latest.
const PROMISED: Duration = Duration::from_millis(500);

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    match role.as_str() {
        "server" => serve(&folder),
        "server with a pool" => serve_on_a_pool(&folder),
        "client over rings" => wait_for_long(&folder, Way::Ring),
        "client over the socket" => wait_for_long(&folder, Way::Socket),
        "flood over rings" => flood(&folder, Way::Ring),
        "flood over the socket" => flood(&folder, Way::Socket),
        other => panic!("no such role: {other}"),
    }
}

/// A server that works on requests that take long on threads of their own.
fn serve_on_a_pool(folder: &Path) {
    let may_block = |order: &ArchivedOrder| matches!(order, ArchivedOrder::Wait(_));
    let server = Server::<Work>::builder().may_block(may_block).bind(folder.join("work.sock")).unwrap();
    println!("ready");
    server.serve(work).unwrap();
}

/// Asks for what takes longer than any test, with an answer behind it so that it is known to be under way.
fn wait_for_long(folder: &Path, way: Way) {
    let client = builder_for(way).connect(folder.join("work.sock")).unwrap();
    let long = client.start(&Order::Wait(60_000)).unwrap();
    client.start(&Order::Session).unwrap().wait().unwrap();
    println!("ready");
    let _ = long.wait();
}

/// Sends messages that take many frames each way, until it is killed.
fn flood(folder: &Path, way: Way) {
    let builder = builder_for(way).request_ring(4096).reply_ring(4096);
    let mut client = builder.connect(folder.join("work.sock")).unwrap();
    println!("ready");
    let bytes = pattern(1 << 20);
    loop {
        client.send(&Order::Echo(bytes.clone())).unwrap();
    }
}

fn start_server(folder: &Path) -> Process {
    let mut server = Process::start("server", folder);
    server.line("ready").unwrap();
    server
}

/// Fault 36. (That it is a matter of milliseconds is for `benches/liveness.rs` to measure.)
#[test]
fn a_client_that_waits_learns_at_once_that_the_server_was_killed() {
    for way in served_ways() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = start_server(folder.path());
        let mut client = builder_for(way).timeout(PATIENCE).connect(folder.path().join("work.sock")).unwrap();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            server.kill();
            Instant::now()
        });
        let error = client.send(&Order::Wait(60_000)).unwrap_err();
        let learned = Instant::now();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
        let late = learned.saturating_duration_since(killer.join().unwrap());
        assert!(is_in_time(late, PROMISED), "{way:?}: learned {late:?} after the kill");
        let error = client.send(&Order::Make(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}, the next request: {error}");
    }
}

/// Fault 36. So does one that never waits, but looks again and again whether its answer has come.
#[test]
fn a_client_that_only_looks_learns_that_the_server_was_killed() {
    for way in served_ways() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = start_server(folder.path());
        let client = builder_for(way).timeout(2 * PATIENCE).connect(folder.path().join("work.sock")).unwrap();
        let answer = client.start(&Order::Wait(60_000)).unwrap();
        assert!(!answer.is_ready().unwrap(), "{way:?}");
        server.kill();
        let error = looks_in_vain(&answer);
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
        assert_eq!(answer.wait().map(drop).unwrap_err().kind(), ErrorKind::PeerDied, "{way:?}");
    }
}

/// Fault 36. Eight clients wait, each over its connection; all learn that the server was killed.
#[test]
fn all_clients_that_wait_learn_that_the_server_was_killed() {
    for way in served_ways() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = start_server(folder.path());
        let builder = builder_for(way).timeout(PATIENCE);
        let connect = |_| builder.connect(folder.path().join("work.sock")).unwrap();
        // All before the first of them asks: the server may shake hands on the thread that answers.
        let clients: Vec<_> = (0..8).map(connect).collect();
        let wait = |mut client: Client<Work>| {
            let error = client.send(&Order::Wait(60_000)).map(drop).unwrap_err();
            (error, Instant::now())
        };
        let waiting: Vec<_> =
            clients.into_iter().map(|client| std::thread::spawn(move || wait(client))).collect();
        std::thread::sleep(Duration::from_millis(100));
        server.kill();
        let killed = Instant::now();
        for waiting in waiting {
            let (error, learned) = waiting.join().unwrap();
            assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
            let late = learned.saturating_duration_since(killed);
            assert!(is_in_time(late, PROMISED), "{way:?}: learned {late:?} after the kill");
        }
    }
}

#[test]
fn a_client_learns_of_a_server_killed_in_the_middle_of_its_answer() {
    for way in served_ways() {
        for millis in [1, 5, 20] {
            let folder = tempfile::tempdir().unwrap();
            let mut server = start_server(folder.path());
            let builder = builder_for(way).reply_ring(4096).timeout(PATIENCE);
            let mut client = builder.connect(folder.path().join("work.sock")).unwrap();
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(millis));
                server.kill();
                server
            });
            let error = loop {
                match client.send(&Order::Make(4 << 20)) {
                    Ok(done) => assert_eq!(done.bytes.len(), 4 << 20),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
            killer.join().unwrap();
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn clients_killed_in_the_middle_of_their_messages_leave_nothing_behind() {
    let rounds = rounds(10);
    let folder = tempfile::tempdir().unwrap();
    let server = start_server(folder.path());
    let mut polite = builder_for(served_ways()[0]).connect(folder.path().join("work.sock")).unwrap();
    assert!(polite.send(&Order::Make(100)).unwrap().bytes == pattern(100)[..]);
    let before = held(server.id());
    for round in 0..rounds {
        for role in ["flood over rings", "flood over the socket"] {
            if role.contains("rings") && !served_ways().contains(&Way::Ring) {
                continue;
            }
            let mut flood = Process::start(role, folder.path());
            flood.line("ready").unwrap();
            std::thread::sleep(Duration::from_micros(500 * (round % 17)));
            flood.kill();
            assert!(polite.send(&Order::Make(100)).unwrap().bytes == pattern(100)[..]);
        }
    }
    until_no_more_than(before, server.id());
}

/// Fault 37. A client that is killed gives back its memory and its socket at once, though a request of it is
/// still worked on, and will be for long.
#[test]
#[cfg(target_os = "linux")]
fn a_client_killed_amid_a_long_request_leaves_nothing_but_the_work_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::start("server with a pool", folder.path());
    server.line("ready").unwrap();
    let mut polite = builder_for(served_ways()[0]).connect(folder.path().join("work.sock")).unwrap();
    polite.send(&Order::Make(9)).unwrap();
    // Threads go on working: one for each of the clients below.
    let before = held(server.id());
    let before = Held { threads: before.threads + 2, ..before };
    for role in ["client over rings", "client over the socket"] {
        if role.contains("rings") && !served_ways().contains(&Way::Ring) {
            continue;
        }
        let mut client = Process::start(role, folder.path());
        client.line("ready").unwrap();
        client.kill();
        println!("{role}: all was given back after {:?}", until_no_more_than(before, server.id()));
    }
    assert!(polite.send(&Order::Make(9)).unwrap().bytes == pattern(9)[..]);
}

/// Fault 39. (For a client that stands still, see `stopped.rs`.)
#[test]
#[cfg(target_os = "linux")]
fn a_client_that_reads_no_answers_costs_the_server_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_server(folder.path());
    for way in served_ways() {
        let builder = builder_for(way).timeout(Duration::from_millis(20));
        let mut client = builder.connect(folder.path().join("work.sock")).unwrap();
        for _ in 0..30 {
            let _ = client.send(&Order::MakeLate((8 << 20, 30)));
        }
        let resident = resident(server.id());
        assert!(resident < 100_000, "{way:?}: {resident} KiB");
    }
}

/// A long message leaves nothing behind with a client that is connected still.
#[test]
#[cfg(target_os = "linux")]
fn a_client_that_had_a_long_answer_once_costs_the_server_little_memory() {
    const LONG: usize = 8 << 20;
    for way in served_ways() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = role_command("server", folder.path());
        // What is freed shows only where the allocator gives it back at once.
        command.env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072");
        let mut server = Process::run(command);
        server.line("ready").unwrap();
        let connect = || builder_for(way).connect(folder.path().join("work.sock")).unwrap();
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let mut client = connect();
                assert_eq!(client.send(&Order::Echo(pattern(LONG))).unwrap().bytes.len(), LONG);
                client
            })
            .collect();
        // What a poller or the reactor gives back, it gives back at one of its next looks.
        until("the long messages are forgotten", || {
            assert_eq!(connect().send(&Order::Make(10)).unwrap().bytes.len(), 10);
            private(server.id()) < (LONG / 1024) as u64
        });
        drop(clients);
    }
}
