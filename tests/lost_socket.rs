//! A live daemon whose socket's file is taken away or replaced: nobody finds it any more, so it makes way.
#![cfg(not(loom))]

mod common;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use common::daemon::{answered_by, be_the_daemon, end_daemon, start_daemon, visit};
use common::process::{Process, role as own_role, until};
use common::{Order, Work};
use libgrite_ipc::{Client, DaemonLock, ErrorKind};

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    match role.as_str() {
        "daemon" => be_the_daemon(&folder),
        "visitor" => visit(&folder),
        other => panic!("no such role: {other}"),
    }
}

/// What becomes of the socket's file, which stands in its folder.
type Loss = fn(&Path);

fn socket(folder: &Path) -> std::path::PathBuf {
    DaemonLock::socket_path_in(folder).unwrap()
}

const LOSSES: &[(&str, Loss)] = &[
    ("unlinked", |folder| fs::remove_file(socket(folder)).unwrap()),
    ("renamed", |folder| fs::rename(socket(folder), folder.join("elsewhere")).unwrap()),
    ("replaced by another that is dead", |folder| {
        fs::remove_file(socket(folder)).unwrap();
        drop(UnixListener::bind(socket(folder)).unwrap());
    }),
    ("overwritten by another that is dead", |folder| {
        drop(UnixListener::bind(folder.join("other")).unwrap());
        fs::rename(folder.join("other"), socket(folder)).unwrap();
    }),
    ("lost with its folder", |folder| fs::remove_dir_all(folder).unwrap()),
];

/// Waits until a daemon has ended by itself.
fn await_end(daemon: &mut Process) {
    let mut ended = None;
    let took = until("the daemon ends", || {
        ended = daemon.child.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
    println!("the daemon ended after {took:?}");
}

/// Fault 55. The socket's file of a live daemon is taken away, or something else is put in its place: the
/// daemon ends within a few seconds, and gives its lock back. A client that comes in that moment waits for its
/// end and is answered by the next daemon; one that was connected before is told, and by then is served by
/// nobody.
#[test]
fn a_daemon_that_nobody_finds_any_more_makes_way_and_the_next_visitor_is_answered() {
    std::thread::scope(|scope| {
        for &(what, lose) in LOSSES {
            scope.spawn(move || makes_way(what, lose));
        }
    });
}

fn makes_way(what: &str, lose: Loss) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let mut daemon = start_daemon(&folder);
    let mut connected = Client::<Work>::connect(socket(&folder)).unwrap();
    lose(&folder);
    let next = answered_by(&folder);
    assert_ne!(next, daemon.id(), "{what}");
    await_end(&mut daemon);
    let error = connected.send(&Order::Make(10)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PeerDied | ErrorKind::Refused), "{what}: {error}");
    assert_eq!(answered_by(&folder), next, "{what}");
    end_daemon(&folder);
}

/// Fault 55. Another server listens where a daemon did. The daemon ends and leaves that one alone: at no time
/// do both serve who connects, and the other's file stays.
#[test]
fn a_daemon_whose_socket_was_replaced_by_a_live_one_leaves_that_alone() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let mut daemon = start_daemon(&folder);
    let other = UnixListener::bind(folder.join("other")).unwrap();
    fs::rename(folder.join("other"), socket(&folder)).unwrap();
    await_end(&mut daemon);
    assert_eq!(DaemonLock::read(&folder).unwrap(), None);
    let calling = std::os::unix::net::UnixStream::connect(socket(&folder)).unwrap();
    drop(other.accept().unwrap());
    drop(calling);
}
