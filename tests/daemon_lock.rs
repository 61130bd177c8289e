//! One daemon a folder: the lock is held for exactly as long as its holder lives, whatever its file says.
//!
//! The parts are played by this test program itself, started again with a role.
#![cfg(not(loom))]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use common::at_end::AtEnd;
use common::daemon::{answered_by, be_the_daemon, end_daemon, start_daemon, visit};
use common::process::{PATIENCE, Process, role as own_role, signal, until};
use common::{Work, work};
use libgrite_ipc::{Client, DaemonLock, ErrorKind, Server};
use rustix::process::{Pid, Signal, test_kill_process};

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    match role.as_str() {
        "daemon" => be_the_daemon(&folder),
        "daemon with a child" => be_the_daemon_with_a_child(&folder),
        "visitor" => visit(&folder),
        other => panic!("no such role: {other}"),
    }
}

/// Is a daemon that has started another program and does not wait for it.
fn be_the_daemon_with_a_child(folder: &Path) {
    let lock = DaemonLock::acquire(folder).unwrap();
    let server = Server::<Work>::bind(lock.socket_path()).unwrap();
    let mut sleep = bystander();
    println!("its child is {}", sleep.id());
    server.serve(work).unwrap();
    sleep.kill().unwrap();
    sleep.wait().unwrap();
}

/// A process that has nothing to do with the lock, and that any signal would end.
fn bystander() -> Child {
    let mut command = Command::new("sleep");
    command.arg(PATIENCE.as_secs().to_string()).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().unwrap()
}

/// Fault 47, for the lock alone: eight processes would be the daemon, and one is.
#[test]
fn of_many_daemons_at_once_one_is_the_daemon() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let mut all: Vec<Process> = (0..8).map(|_| Process::start("daemon", &folder)).collect();
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

/// Fault 48, for the lock alone: what a killed daemon has left counts as nothing, and nobody removes it.
#[test]
fn after_a_kill_the_lock_is_free_and_the_next_daemon_takes_over() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    for _ in 0..5 {
        let mut daemon = start_daemon(&folder);
        let live = DaemonLock::read(&folder).unwrap().unwrap();
        assert_eq!(live.pid(), Some(daemon.id()));
        let error = DaemonLock::acquire(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(&daemon.id().to_string()), "{error}");
        daemon.kill();
        daemon.child.wait().unwrap();
        assert_eq!(DaemonLock::read(&folder).unwrap(), None, "a stale record is no daemon");
        let error = Client::<Work>::connect(live.socket_path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotRunning, "a stale socket is no daemon: {error}");
    }
}

/// Fault 49. The lock file is empty, or garbage, or a megabyte long, or names a process, by its number alone
/// or in a whole record: one that lives and has nothing to do with it, the first of all, none, all, or one
/// that cannot be. Nobody is taken for the daemon, the next visitor is answered by one that it starts, and
/// the process that was named lives on.
#[test]
fn whatever_stands_in_the_lock_file_a_daemon_starts_and_nobody_is_signalled() {
    let mut unrelated = bystander();
    let own = std::process::id().to_string();
    let mut contents: Vec<Vec<u8>> = vec![vec![], b"garbage".to_vec(), vec![b'x'; 1 << 20], vec![0; 1 << 20]];
    for process in [&unrelated.id().to_string(), &own, "1", "0", "-1", "99999999"] {
        contents.push(process.as_bytes().to_vec());
        let record = format!("libgrite-ipc daemon\npid {process}\nversion 0.1.0\nsocket /nowhere.sock\n");
        contents.push(record.into_bytes());
    }
    for content in contents {
        let shown = String::from_utf8_lossy(&content[..content.len().min(60)]).into_owned();
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("run");
        drop(DaemonLock::acquire(&folder).unwrap());
        std::fs::write(folder.join("daemon.lock"), &content).unwrap();
        assert_eq!(DaemonLock::read(&folder).unwrap(), None, "{shown}");
        let daemon = answered_by(&folder);
        assert_eq!(DaemonLock::read(&folder).unwrap().unwrap().pid(), Some(daemon), "{shown}");
        end_daemon(&folder);
    }
    assert!(unrelated.try_wait().unwrap().is_none(), "the bystander lives on");
    unrelated.kill().unwrap();
    unrelated.wait().unwrap();
}

/// Fault 53. Two threads ask about the lock as fast as they can, some thousand times a second, while daemons
/// start and end: no start fails for it, since asking takes nothing.
#[test]
fn any_number_of_questions_about_the_lock_disturb_no_daemon_that_starts() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    drop(DaemonLock::acquire(&folder).unwrap());
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begin = Instant::now();
    let mut starts = 0;
    std::thread::scope(|scope| {
        let _over = AtEnd(|| over.store(true, Ordering::Relaxed));
        let ask = || {
            while !over.load(Ordering::Relaxed) {
                DaemonLock::read(&folder).unwrap();
                asked.fetch_add(1, Ordering::Relaxed);
            }
        };
        let asking = [scope.spawn(ask), scope.spawn(ask)];
        while starts < 20 || asked.load(Ordering::Relaxed) < 1000 {
            assert!(!asking.iter().any(|asking| asking.is_finished()), "start {starts}");
            let mut daemon = Process::start("daemon", &folder);
            let said = daemon.lines.by_ref().map(Result::unwrap).find(|line| line.contains("the daemon"));
            assert_eq!(said.as_deref(), Some("the daemon"), "start {starts}");
            starts += 1;
        }
    });
    let rate = asked.into_inner() as f64 / begin.elapsed().as_secs_f64();
    println!("{starts} starts, none failed, {rate:.0} questions a second meanwhile");
}

/// Fault 54. A daemon has started another program and is killed. The child lives on, without the lock and
/// without any other file of the daemon's: the next daemon starts at once.
#[test]
fn a_killed_daemons_child_holds_nothing_of_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let mut daemon = Process::start("daemon with a child", &folder);
    let child: u32 = daemon.line("its child is ").unwrap().parse().unwrap();
    let mut client = Client::<Work>::connect(DaemonLock::socket_path_in(&folder).unwrap()).unwrap();
    client.send(&common::Order::Make(10)).unwrap();
    #[cfg(target_os = "linux")]
    {
        // Whoever started the tests may have left them some.
        let mut usual = bystander();
        let held = |process: u32| std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
        until("the child is another program and holds no more than any", || held(child) == held(usual.id()));
        usual.kill().unwrap();
        usual.wait().unwrap();
    }
    daemon.kill();
    daemon.child.wait().unwrap();
    assert_eq!(DaemonLock::read(&folder).unwrap(), None);
    drop(DaemonLock::acquire(&folder).unwrap());
    assert_ne!(answered_by(&folder), daemon.id());
    test_kill_process(Pid::from_raw(child as i32).unwrap()).expect("the child lives on");
    signal(child, Signal::KILL);
    end_daemon(&folder);
}
