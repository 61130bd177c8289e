//! Real processes that really die: what the other side notices, and what remains.
//!
//! The parts are played by this test program itself, started again with a role.
#![cfg(not(loom))]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Order, Way, Work, builder_for, pattern, work};
use libgrite_ipc::{Client, DaemonLock, ErrorKind, Readiness, Server};

const ROLE: &str = "PROCESSES_ROLE";
const FOLDER: &str = "PROCESSES_FOLDER";

/// No child lives longer than its test, and no test waits longer than this for one.
const PATIENCE: Duration = Duration::from_secs(30);

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = std::env::var(FOLDER).unwrap();
    let folder = Path::new(&folder);
    match role.as_str() {
        "server" => serve(folder),
        "daemon" => be_the_daemon(folder),
        "flood over rings" => flood(folder, Way::Ring),
        "flood over the socket" => flood(folder, Way::Socket),
        "visitor" => visit(folder),
        other => panic!("no such role: {other}"),
    }
}

fn serve(folder: &Path) {
    let server = Server::<Work>::bind(folder.join("work.sock")).unwrap();
    println!("ready");
    server.serve(work).unwrap();
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

/// Finds the daemon, starts it if need be, and says which one answered.
fn visit(folder: &Path) {
    let home = folder.to_owned();
    let reached = Client::<Work>::builder().connect_or_spawn(folder, move || role_command("daemon", &home));
    let mut client = reached.unwrap();
    assert!(client.send(&Order::Make(10)).unwrap().bytes == pattern(10)[..]);
    let daemon = DaemonLock::read(folder).unwrap().unwrap();
    println!("answered by {}", daemon.pid().unwrap());
}

fn role_command(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["role", "--exact", "--nocapture", "--quiet"]).env(ROLE, role).env(FOLDER, folder);
    command
}

/// A child that is killed and waited for when dropped.
struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn start(role: &str, folder: &Path) -> Self {
        let mut command = role_command(role, folder);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines }
    }

    /// Waits for a line that starts so, and gives back the rest of it.
    fn line(&mut self, start: &str) -> Option<String> {
        for line in self.lines.by_ref() {
            // The test harness writes before and after what the role says.
            if let Some(rest) = line.unwrap().strip_prefix(start) {
                return Some(rest.to_owned());
            }
        }
        None
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_server(folder: &Path) -> Process {
    let mut server = Process::start("server", folder);
    server.line("ready").unwrap();
    server
}

fn ways() -> Vec<Way> {
    common::WAYS.iter().copied().filter(|&way| way != Way::Pair).collect()
}

#[test]
fn a_client_that_waits_learns_at_once_that_the_server_was_killed() {
    for way in ways() {
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
        assert!(late < PATIENCE / 3, "{way:?}: learned {late:?} after the kill");
        let error = client.send(&Order::Make(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}, the next request: {error}");
    }
}

#[test]
fn a_client_learns_of_a_server_killed_in_the_middle_of_its_answer() {
    for way in ways() {
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
    let rounds = std::env::var("GRITE_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
    let folder = tempfile::tempdir().unwrap();
    let server = start_server(folder.path());
    let held = || {
        let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", server.id())).unwrap().count();
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.id())).unwrap();
        [count("fd"), count("task"), maps.lines().filter(|line| line.contains("memfd")).count()]
    };
    let mut polite = builder_for(ways()[0]).connect(folder.path().join("work.sock")).unwrap();
    assert!(polite.send(&Order::Make(100)).unwrap().bytes == pattern(100)[..]);
    let before = held();
    for round in 0..rounds {
        for role in ["flood over rings", "flood over the socket"] {
            if role.contains("rings") && !ways().contains(&Way::Ring) {
                continue;
            }
            let mut flood = Process::start(role, folder.path());
            flood.line("ready").unwrap();
            std::thread::sleep(Duration::from_micros(500 * (round % 17)));
            flood.kill();
            assert!(polite.send(&Order::Make(100)).unwrap().bytes == pattern(100)[..]);
        }
    }
    let end = Instant::now() + PATIENCE;
    // Less than before is no leak: memory that is being handed over is still open for a moment.
    while held().iter().zip(&before).any(|(now, before)| now > before) {
        assert!(
            Instant::now() < end,
            "descriptors, threads, mappings: {before:?} before, {:?} after",
            held()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_that_reads_no_answers_costs_the_server_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_server(folder.path());
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    for way in ways() {
        let builder = builder_for(way).timeout(Duration::from_millis(20));
        let mut client = builder.connect(folder.path().join("work.sock")).unwrap();
        for _ in 0..30 {
            let _ = client.send(&Order::MakeLate((8 << 20, 30)));
        }
        assert!(resident() < 100_000, "{way:?}: {} KiB", resident());
    }
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
