//! The daemon of a folder, and a visitor who asks it, as parts that a test program plays.

use std::path::Path;

use libgrite_ipc::{Client, DaemonLock, Readiness, Server};
use rustix::process::Signal;

use super::process::{PATIENCE, Process, role_command, signal, until};
use super::{Order, Work, pattern, work};

/// Is the daemon of `folder`, if nobody else is, and says so. It ends by itself, but not while a test waits for its end.
pub fn be_the_daemon(folder: &Path) {
    let readiness = Readiness::of_this_process();
    let lock = match DaemonLock::acquire(folder) {
        Ok(lock) => lock,
        Err(error) => {
            println!("not the daemon: {error}");
            return readiness.failed(&error.to_string());
        }
    };
    match Server::<Work>::builder().idle_timeout(2 * PATIENCE).bind(lock.socket_path()) {
        Ok(server) => {
            println!("the daemon");
            readiness.ready();
            server.serve(work).unwrap();
        }
        Err(error) => readiness.failed(&error.to_string()),
    }
}

/// Finds the daemon, starts it if need be, and says which one answered, or why none did.
pub fn visit(folder: &Path) {
    let home = folder.to_owned();
    let reached = Client::<Work>::builder().connect_or_spawn(folder, move || role_command("daemon", &home));
    let mut client = match reached {
        Ok(client) => client,
        Err(error) => return println!("failed as {:?}: {error}", error.kind()),
    };
    assert!(client.send(&Order::Make(10)).unwrap().bytes == pattern(10)[..]);
    let daemon = DaemonLock::read(folder).unwrap().unwrap();
    println!("answered by {}", daemon.pid().unwrap());
}

/// Starts the daemon of `folder` as a child of the test.
pub fn start_daemon(folder: &Path) -> Process {
    let mut daemon = Process::start("daemon", folder);
    daemon.line("the daemon").expect("it is the daemon");
    daemon
}

/// Sends a visitor, and says which process answered it.
pub fn answered_by(folder: &Path) -> u32 {
    let answered = Process::start("visitor", folder).line("answered by ");
    answered.expect("the visitor is answered").parse().unwrap()
}

/// Ends the daemon that visitors have started: a grandchild, so nobody else does.
pub fn end_daemon(folder: &Path) {
    let daemon = DaemonLock::read(folder).unwrap().expect("it lives");
    signal(daemon.pid().unwrap(), Signal::KILL);
    until("the killed daemon's lock is free", || DaemonLock::read(folder).unwrap().is_none());
}
