//! A forked child that uses its parent's handle: an error there, and no harm here.
#![cfg(all(target_os = "linux", not(grite_portable), not(loom)))]
#![allow(unsafe_code, reason = "fork is what is tested")]

mod common;

use common::{Order, Running, Way, pattern};
use libgrite_ipc::ErrorKind;

/// One test in this program: a fork of a process with other tests' threads would be a trap.
#[test]
fn a_forked_child_gets_an_error_and_the_parent_goes_on() {
    let server = Running::start();
    for way in [Way::Ring, Way::Socket] {
        let mut client = server.client(way);
        assert!(client.send(&Order::Make(10)).unwrap().bytes == pattern(10)[..]);
        // SAFETY: the child calls nothing that waits for the parent's other threads, and leaves
        // with `_exit`.
        let child = unsafe { nix::libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let forked = client.send(&Order::Make(10)).is_err_and(|error| error.kind() == ErrorKind::Forked);
            // SAFETY: ends the child without running the parent's destructors in it.
            unsafe { nix::libc::_exit(if forked { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child, into a local.
        assert_eq!(unsafe { nix::libc::waitpid(child, &mut status, 0) }, child);
        assert!(
            nix::libc::WIFEXITED(status) && nix::libc::WEXITSTATUS(status) == 7,
            "{way:?}: status {status}"
        );
        assert!(client.send(&Order::Make(20)).unwrap().bytes == pattern(20)[..], "{way:?}");
        #[cfg(feature = "tokio")]
        fork_with_an_async_client(&server, way);
    }
}

/// The same, for an async client that the child even drops.
#[cfg(feature = "tokio")]
fn fork_with_an_async_client(server: &Running, way: Way) {
    let runtime = common::runtimes::one_thread();
    let client = runtime.block_on(common::runtimes::connect(way, server.socket()));
    runtime.block_on(client.send(&Order::Wait(2))).unwrap();
    // SAFETY: as above.
    let child = unsafe { nix::libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let own = common::runtimes::one_thread();
        let asked = own.block_on(client.send(&Order::Make(10)));
        let forked = asked.is_err_and(|error| error.kind() == ErrorKind::Forked);
        drop(client);
        // SAFETY: as above.
        unsafe { nix::libc::_exit(if forked { 7 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: as above.
    assert_eq!(unsafe { nix::libc::waitpid(child, &mut status, 0) }, child);
    assert!(nix::libc::WIFEXITED(status) && nix::libc::WEXITSTATUS(status) == 7, "{way:?}: status {status}");
    for millis in [0, 2] {
        runtime.block_on(client.send(&Order::Wait(millis))).unwrap();
    }
}
