//! What is promised to more clients than one sleep of the daemon can be on: each is answered, is let go when
//! it leaves, hears what is published, and nobody exceeds a limit.
#![cfg(all(not(loom), target_os = "linux", not(grite_portable)))]

mod common;
mod held;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::at_end::AtEnd;
use common::gate::Gate;
use common::process::{PATIENCE, until};
use common::{Order, Running, Way, Work, builder_for, pattern};
use held::{Held, held};
use libgrite_ipc::{Client, ErrorKind, Server, Transport};

/// More than two sleeps of 127.
const CROWD: usize = 300;

fn crowd(server: &Running, count: usize) -> Vec<Client<Work>> {
    let builder = builder_for(Way::Ring).request_ring(4096).reply_ring(4096).timeout(PATIENCE);
    (0..count).map(|_| builder.connect(server.socket()).unwrap()).collect()
}

/// Long enough for the daemon to sleep, and to hand over those who do not fit into its sleep.
fn let_it_sleep() {
    std::thread::sleep(Duration::from_millis(3));
}

fn ask_all(clients: &mut [Client<Work>]) {
    let count = clients.len();
    for turn in 0..count {
        // In no order that the daemon could have.
        let place = turn * 7919 % count;
        let length = (turn * 37 % 900) as u32;
        let done = clients[place].send(&Order::Make(length)).unwrap();
        assert!(done.bytes == pattern(length as usize)[..], "client {place}");
        if turn % 50 == 0 {
            let_it_sleep();
        }
    }
}

/// What this process holds now.
fn now() -> Held {
    held(std::process::id())
}

/// One test at a time, since one counts what the whole process has.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_crowd_is_answered_and_leaves_nothing_behind() {
    let _alone = alone();
    let before = now();
    for pollers in [1, 3] {
        let server = Running::start_with(|| Server::<Work>::builder().pollers(pollers));
        let mut clients = crowd(&server, CROWD);
        ask_all(&mut clients);
        let_it_sleep();
        ask_all(&mut clients);

        // Half of them leave while they are watched.
        let_it_sleep();
        let mapped = now().mappings;
        clients.truncate(CROWD / 2);
        until("the memory of those who left is unmapped", || {
            now().mappings <= mapped - 4 * (CROWD - CROWD / 2)
        });
        clients.extend(crowd(&server, CROWD / 2));
        ask_all(&mut clients);

        // One that floods, and one whose answers lie there unread, hold up nobody.
        let flood = clients.pop().unwrap();
        let lazy = clients.pop().unwrap();
        let orders: Vec<Order> = (0..flood.max_open()).map(|_| Order::Make(200)).collect();
        let pending = flood.start_all(&orders).unwrap();
        let unread: Vec<_> = (0..30).map(|_| lazy.start(&Order::Make(900)).unwrap()).collect();
        let_it_sleep();
        ask_all(&mut clients);
        pending.into_iter().for_each(|answer| assert_eq!(answer.wait().unwrap().bytes.len(), 200));
        unread.into_iter().for_each(|answer| assert_eq!(answer.wait().unwrap().bytes.len(), 900));
    }
    until("descriptors and mappings are as before", || {
        now().descriptors <= before.descriptors && now().mappings <= before.mappings
    });
}

#[test]
fn what_a_watched_client_has_asked_before_the_stop_is_answered() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::<Work>::bind(folder.path().join("work.sock")).unwrap();
    let stop = server.handle();
    std::thread::scope(|scope| {
        let stop = AtEnd(|| stop.stop());
        let serving = scope.spawn(|| server.serve(common::work));
        let builder = builder_for(Way::Ring).timeout(PATIENCE);
        let clients: Vec<_> =
            (0..200).map(|_| builder.connect(folder.path().join("work.sock")).unwrap()).collect();
        let_it_sleep();
        // While this one is answered, the others ask, and the stop comes.
        let gate = Gate::new();
        let busy = clients[0].start(&gate.order(9)).unwrap();
        gate.until_reached();
        let pending: Vec<_> =
            clients[1..].iter().map(|client| client.start(&Order::Make(9)).unwrap()).collect();
        drop(stop);
        drop(gate);
        busy.wait().unwrap();
        let mut answered = 0;
        for answer in pending {
            match answer.wait() {
                Ok(answer) => answered += usize::from(answer.bytes.len() == 9),
                // On a machine on which that took longer than a stopped server has.
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
        println!("{answered} of {} were answered", clients.len() - 1);
        assert!(answered > 0);
        serving.join().unwrap().unwrap();
    });
}

#[test]
fn rings_for_which_there_is_no_memory_are_not_made() {
    let _alone = alone();
    let each = 2 * 4096;
    let server = Running::start_with(|| Server::<Work>::builder().max_memory(3 * each));
    let builder = Client::<Work>::builder().request_ring(4096).reply_ring(4096);
    let mut clients: Vec<_> = (0..5).map(|_| builder.connect(server.socket()).unwrap()).collect();
    let ways: Vec<bool> = clients.iter().map(Client::uses_ring).collect();
    assert_eq!(ways, [true, true, true, false, false]);
    for client in &mut clients {
        client.send(&Order::Session).unwrap();
    }
    let only_rings = builder.clone().transport(Transport::Ring);
    let error = only_rings.connect(server.socket()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    clients.remove(0);
    until("there is room again", || only_rings.connect(server.socket()).is_ok());
}

#[test]
fn as_many_requests_are_in_flight_as_the_server_allows() {
    let _alone = alone();
    for way in [Way::Ring, Way::Socket] {
        let server = Running::start_with(|| Server::<Work>::builder().max_in_flight(3));
        let client = server.client(way);
        assert_eq!(client.max_open(), 3, "{way:?}");
        let _pending: Vec<_> = (0..3).map(|_| client.start(&Order::Session).unwrap()).collect();
        let error = client.start(&Order::Session).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, true), "{way:?}: {error}");
    }
}

#[test]
fn requests_that_wait_for_a_thread_are_bounded_in_bytes() {
    let _alone = alone();
    let server = Running::start_with(|| {
        let may_block = |order: &common::ArchivedOrder| !matches!(order, common::ArchivedOrder::Session);
        Server::<Work>::builder().may_block(may_block).max_workers(1).max_memory(1 << 20)
    });
    for way in [Way::Ring, Way::Socket] {
        let client = server.client(way);
        let gate = Gate::new();
        let busy = client.start(&gate.order(10)).unwrap();
        gate.until_reached();
        let fits = client.start(&Order::Echo(pattern(600_000))).unwrap();
        let more = client.start(&Order::Echo(pattern(600_000))).unwrap();
        let error = more.wait().unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, true), "{way:?}: {error}");
        drop(gate);
        busy.wait().unwrap();
        assert_eq!(fits.wait().unwrap().bytes.len(), 600_000);
    }
}
