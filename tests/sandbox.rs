//! Systems that lack a call: the daemon serves all the same, and says what it cannot, and a client asks.
//!
//! Each is this test program itself, started again behind a filter that answers the call as a kernel
//! without it does, or as a sandbox that forbids it.
#![cfg(all(not(loom), target_os = "linux", not(grite_portable)))]

mod common;
mod filter;

use common::process::{Daemon, Process, role as own_role};
use common::{Order, Work, pattern, work};
use filter::{Calls, forbid};
use libgrite_ipc::{Client, ErrorKind, Server, Transport};
use nix::libc::{
    EINVAL, ENOSYS, EPERM, F_GET_SEALS, SYS_fcntl, SYS_futex_waitv, SYS_getsockopt, SYS_memfd_create,
    SYS_pidfd_open, SYS_sched_setaffinity, SYS_setsockopt,
};

/// The parts that this program plays when a test starts it again: a daemon, or a client, and the call that it
/// does not have, with the error that it gets.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    let path = folder.join("work.sock");
    let mut words = role.split(' ');
    let part = words.next().unwrap();
    let numbers: Vec<i64> = words.map(|word| word.parse().unwrap()).collect();
    for call in numbers.chunks(2) {
        forbid(call_of(call[0]), call[1] as i32);
    }
    if part == "daemon" {
        let server = Server::<Work>::bind(path).unwrap();
        println!("ready");
        return server.serve(work).unwrap();
    }
    for transport in [Transport::Ring, Transport::Socket, Transport::Auto] {
        let mut client = match Client::<Work>::builder().transport(transport).connect(&path) {
            Ok(client) => client,
            Err(error) => {
                println!("over rings: {:?}", error.kind());
                continue;
            }
        };
        ask(&mut client);
        client.send(&Order::Wait(20)).unwrap();
        println!("over rings: {}", client.uses_ring());
    }
}

/// All calls of this number; of those that ask about a socket, only those about the peer's process, and of those about a
/// descriptor, only those about seals.
fn call_of(number: i64) -> Calls {
    const SO_PEERPIDFD: u64 = 77;
    if number == SYS_getsockopt {
        Calls::with(number, 2, SO_PEERPIDFD)
    } else if number == SYS_fcntl {
        Calls::with(number, 1, F_GET_SEALS as u64)
    } else {
        Calls::all(number)
    }
}

fn daemon_without(calls: &[(i64, i32)]) -> Daemon {
    Daemon::start(&role_without("daemon", calls))
}

fn connect(daemon: &Daemon, transport: Transport) -> Result<Client<Work>, libgrite_ipc::Error> {
    Client::builder().transport(transport).connect(daemon.path())
}

fn role_without(part: &str, calls: &[(i64, i32)]) -> String {
    calls.iter().fold(part.to_owned(), |role, (call, error)| format!("{role} {call} {error}"))
}

fn ask(client: &mut Client<Work>) {
    for length in [0, 100, 1 << 20] {
        assert!(client.send(&Order::Echo(pattern(length))).unwrap().bytes == pattern(length)[..]);
    }
}

/// Fault 43. A daemon that cannot make rings, or cannot sleep on many, serves over the socket, and refuses
/// those who want nothing but rings.
#[test]
fn without_futex_waitv_or_memfd_create_clients_get_the_socket() {
    for call in [SYS_futex_waitv, SYS_memfd_create] {
        for error in [ENOSYS, EPERM] {
            let daemon = daemon_without(&[(call, error)]);
            let mut client = connect(&daemon, Transport::Auto).unwrap();
            assert!(!client.uses_ring(), "call {call}");
            ask(&mut client);
            ask(&mut connect(&daemon, Transport::Socket).unwrap());
            let refused = connect(&daemon, Transport::Ring).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Refused, "call {call}: {refused}");
            assert!(refused.to_string().contains("socket"), "{refused}");
        }
    }
}

#[test]
fn who_may_not_choose_a_cpu_is_answered_all_the_same() {
    for error in [EPERM, EINVAL] {
        let daemon = daemon_without(&[(SYS_sched_setaffinity, error)]);
        let mut client = connect(&daemon, Transport::Ring).unwrap();
        for _ in 0..3 {
            ask(&mut client);
        }
    }
}

/// Fault 43. A client needs none of these calls: it makes no memory, and sleeps on one word.
#[test]
fn a_client_without_futex_waitv_or_memfd_create_has_rings_all_the_same() {
    let daemon = daemon_without(&[]);
    for error in [ENOSYS, EPERM] {
        let calls = [SYS_futex_waitv, SYS_memfd_create].map(|call| (call, error));
        let mut client = Process::start(&role_without("client", &calls), daemon.folder.path());
        for expected in ["true", "false", "true"] {
            assert_eq!(client.line("over rings: ").as_deref(), Some(expected), "error {error}");
        }
    }
}

/// Fault 43. A client that may not look at a descriptor's seals trusts no memory; that is not the daemon's fault, and
/// the socket is left.
#[test]
fn a_client_that_may_not_ask_for_seals_is_answered_over_the_socket() {
    let daemon = daemon_without(&[]);
    for (error, kind) in [(ENOSYS, "Io"), (EPERM, "Sandboxed")] {
        let mut client = Process::start(&role_without("client", &[(SYS_fcntl, error)]), daemon.folder.path());
        for expected in [kind, "false", "false"] {
            assert_eq!(client.line("over rings: ").as_deref(), Some(expected), "error {error}");
        }
    }
}

/// Fault 43. Where neither side can watch the other's process, the socket's end is what tells; where descriptors
/// cannot be refused at their sender, they are dropped here.
#[test]
fn who_cannot_watch_the_others_process_asks_and_answers_all_the_same() {
    for error in [ENOSYS, EPERM] {
        let calls = [SYS_pidfd_open, SYS_getsockopt, SYS_setsockopt].map(|call| (call, error));
        let daemon = daemon_without(&calls);
        let mut client = Process::start(&role_without("client", &calls), daemon.folder.path());
        for expected in ["true", "false", "true"] {
            assert_eq!(client.line("over rings: ").as_deref(), Some(expected), "error {error}");
        }
        for transport in [Transport::Ring, Transport::Socket] {
            let mut client = connect(&daemon, transport).unwrap();
            ask(&mut client);
            drop(client);
        }
    }
}
