//! One daemon a directory, whatever dies, and whatever stands where its files belong.
//!
//! The parts are played by this test program itself, started again with a role.
#![cfg(not(loom))]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::process::{PATIENCE, Process, role as own_role, role_command};
use common::{Order, Work, pattern, work};
use libgrite_ipc::{Client, DaemonLock, ErrorKind, Readiness, Server};

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

fn be_the_daemon(folder: &Path) {
    let readiness = Readiness::of_this_process();
    let lock = match DaemonLock::acquire(folder) {
        Ok(lock) => lock,
        Err(error) => {
            println!("not the daemon: {error}");
            return readiness.failed(&error.to_string());
        }
    };
    let server = Server::<Work>::builder().idle_timeout(PATIENCE).bind(lock.socket_path()).unwrap();
    println!("the daemon");
    readiness.ready();
    server.serve(work).unwrap();
}

/// Finds the daemon, starts it if need be, and says which one answered.
fn visit(folder: &Path) {
    let home = folder.to_owned();
    let reached = Client::<Work>::builder().connect_or_spawn(folder, move || role_command("daemon", &home));
    let mut client = reached.unwrap();
    assert!(client.send(&Order::Make(10)).unwrap().bytes == pattern(10)[..]);
    let daemon = DaemonLock::read(folder).unwrap().unwrap();
    println!("answered by {}", daemon.pid().unwrap());
}

#[test]
fn of_many_daemons_at_once_one_is_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("run");
    let mut all: Vec<Process> = (0..8).map(|_| Process::start("daemon", &directory)).collect();
    let mut daemons = 0;
    for process in &mut all {
        let mut said = None;
        for line in process.lines.by_ref() {
            let line = line.unwrap();
            if line.contains("the daemon") {
                said = Some(line);
                break;
            }
        }
        let said = said.expect("each says what it is");
        daemons += usize::from(!said.contains("not the daemon"));
    }
    assert_eq!(daemons, 1);
}

#[test]
fn after_a_kill_the_lock_is_free_and_the_next_daemon_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("run");
    for _ in 0..5 {
        let mut daemon = Process::start("daemon", &directory);
        daemon.line("the daemon").unwrap();
        let live = DaemonLock::read(&directory).unwrap().unwrap();
        assert_eq!(live.pid(), Some(daemon.id()));
        let error = DaemonLock::acquire(&directory).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(&daemon.id().to_string()), "{error}");
        daemon.kill();
        daemon.child.wait().unwrap();
        assert_eq!(DaemonLock::read(&directory).unwrap(), None, "a stale record is no daemon");
        let error = Client::<Work>::connect(live.socket_path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotRunning, "a stale socket is no daemon: {error}");
    }
}

#[test]
fn whatever_stands_in_the_lock_file_a_daemon_starts() {
    let own = std::process::id().to_string();
    for content in ["", "garbage", "1", "0", "-1", "99999999", &own, &"x".repeat(1 << 20)] {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("run");
        drop(DaemonLock::acquire(&directory).unwrap());
        std::fs::write(directory.join("daemon.lock"), content).unwrap();
        assert_eq!(DaemonLock::read(&directory).unwrap(), None, "{content:.20}");
        let lock = DaemonLock::acquire(&directory).unwrap();
        assert_eq!(DaemonLock::read(&directory).unwrap().unwrap().pid(), Some(std::process::id()));
        drop(lock);
    }
}

#[test]
fn many_visitors_without_a_daemon_start_exactly_one() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("run");
    let mut visitors: Vec<Process> = (0..12).map(|_| Process::start("visitor", &directory)).collect();
    let answers: Vec<String> = visitors
        .iter_mut()
        .map(|visitor| visitor.line("answered by ").expect("every visitor is answered"))
        .collect();
    end_daemon(&directory);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// Ends the daemon that the visitors have started: a grandchild, so nobody else does.
fn end_daemon(directory: &Path) {
    let daemon = DaemonLock::read(directory).unwrap().expect("it lives");
    let pid = rustix::process::Pid::from_raw(daemon.pid().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let end = Instant::now() + PATIENCE;
    while DaemonLock::read(directory).unwrap().is_some() {
        assert!(Instant::now() < end, "the killed daemon still holds its lock");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_socket_file_that_a_dead_daemon_left_is_replaced_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(Server::<Work>::bind(&path).unwrap());
    assert!(!path.exists(), "a server takes its own socket file away");

    std::os::unix::fs::symlink("/nowhere/at/all", &path).unwrap();
    assert_eq!(Server::<Work>::bind(&path).unwrap_err().kind(), ErrorKind::Io);
    std::fs::remove_file(&path).unwrap();

    std::fs::create_dir(&path).unwrap();
    assert_eq!(Server::<Work>::bind(&path).unwrap_err().kind(), ErrorKind::Io);
    std::fs::remove_dir(&path).unwrap();

    let live = Server::<Work>::bind(&path).unwrap();
    let error = Server::<Work>::bind(&path).unwrap_err();
    assert!(error.to_string().contains("a live daemon"), "{error}");
    drop(live);
}
