//! Commands whose time is up before they are answered: they end then, and say what to do.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod ended;
mod home;

use std::fs;
use std::os::unix::net::UnixListener;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use ended::Ended;
use home::{Home, signal};
use libgrite_ipc::grite::{ArchivedIpcResponse, WriteContext};
use libgrite_ipc::{ChangeCounter, DaemonLock, IpcClient, IpcCommand, Transport};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Keeps all others from writing to the store until it is dropped.
fn writing(home: &Home) -> rusqlite::Connection {
    let store = rusqlite::Connection::open(home.path("state/issues.db")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    store
}

/// The error of a command.
fn error(document: &Value) -> &Value {
    assert_eq!(document["ok"], false, "{document}");
    &document["error"]
}

/// A process that stands still until this is dropped.
struct Still(u32);

impl Still {
    fn new(pid: u32) -> Self {
        signal(pid, Signal::STOP);
        Still(pid)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

/// What a command ends with, which has one second.
fn within_a_second(home: &Home, arguments: &[&str]) -> Ended {
    let start = Instant::now();
    let ended = home.run(arguments, "");
    assert!(start.elapsed() < Duration::from_secs(4), "{arguments:?} took {:?}", start.elapsed());
    ended
}

#[test]
fn a_daemon_that_stands_still_keeps_no_command_beyond_its_time() {
    let home = Home::new();
    home.create("starts the daemon");
    let pid = home.pid().unwrap();
    let still = Still::new(pid);
    let ask = |arguments: &[&str]| within_a_second(&home, &[arguments, &["--json"]].concat());
    let status = ask(&["daemon", "status", "--timeout", "1s"]).data();
    assert_eq!((&status["running"], &status["answers"]), (&json!(true), &json!(false)), "{status}");
    for arguments in [
        &["daemon", "stop", "--timeout", "1s"][..],
        &["issue", "list", "--timeout", "1s", "--transport", "ring"],
        &["watch", "--timeout", "1s"],
        &["watch", "--for", "1s"],
    ] {
        let ended = ask(arguments);
        assert_eq!(ended.status.code(), Some(6), "{arguments:?}: {}", ended.stdout);
    }
    drop(still);
    assert_eq!(home.pid(), Some(pid), "it lives on");
}

#[test]
fn a_daemon_whose_socket_is_gone_is_stopped_all_the_same() {
    let home = Home::new();
    home.create("starts the daemon");
    let status = home.data(&["daemon", "status"]);
    let pid = home.pid().unwrap();
    // So that it does not find out by itself first.
    let still = Still::new(pid);
    fs::remove_file(status["socket"].as_str().unwrap()).unwrap();
    thread::scope(|scope| {
        let stop = scope.spawn(|| within_a_second(&home, &["daemon", "stop", "--timeout", "30s", "--json"]));
        thread::sleep(Duration::from_secs(2));
        drop(still);
        let stopped = stop.join().unwrap().data();
        assert_eq!((&stopped["pid"], &stopped["by_signal"]), (&json!(pid), &json!(true)), "{stopped}");
    });
    assert_eq!(home.pid(), None);
}

/// The lock is held, and nobody listens at first; what stands in it is of the daemon before.
#[test]
fn a_daemon_that_has_just_begun_is_asked_to_stop_once_it_listens() {
    let home = Home::new();
    home.create("starts the daemon");
    let status = home.data(&["daemon", "status"]);
    let (socket, aside) = (status["socket"].as_str().unwrap(), home.path("aside"));
    let lock = home.runtime().join("daemon.lock");
    let record = fs::read_to_string(&lock).unwrap();
    fs::rename(socket, &aside).unwrap();
    fs::write(&lock, record.replace(&format!("pid {}", status["pid"]), "pid 99999999")).unwrap();
    thread::scope(|scope| {
        let stop = scope.spawn(|| within_a_second(&home, &["daemon", "stop", "--json"]));
        thread::sleep(Duration::from_millis(100));
        fs::write(&lock, &record).unwrap();
        thread::sleep(Duration::from_millis(100));
        fs::rename(&aside, socket).unwrap();
        let stopped = stop.join().unwrap().data();
        assert_eq!((&stopped["stopped"], &stopped["pid"]), (&json!(true), &status["pid"]), "{stopped}");
    });
    assert_eq!(home.pid(), None);
}

/// The daemon that was to stop ends while it is asked, and another command starts the next one.
#[test]
fn a_daemon_that_another_command_has_started_meanwhile_is_not_stopped() {
    let home = Home::new();
    home.done(&["daemon", "start"]);
    home.done(&["daemon", "stop"]);
    let first = DaemonLock::acquire(home.runtime()).unwrap();
    let listener = UnixListener::bind(first.socket_path()).unwrap();
    thread::scope(|scope| {
        let stop = scope.spawn(|| home.data(&["daemon", "stop"]));
        let (asked, _) = listener.accept().unwrap();
        drop((listener, first));
        home.done(&["daemon", "start"]);
        let next = home.pid();
        drop(asked);
        let stopped = stop.join().unwrap();
        assert_eq!(
            (&stopped["stopped"], &stopped["pid"]),
            (&json!(true), &json!(process::id())),
            "{stopped}"
        );
        assert!(next.is_some() && home.pid() == next);
    });
}

#[test]
fn a_process_that_writes_for_long_keeps_no_command_beyond_its_time() {
    let home = Home::new();
    let other = writing(&home);
    let create = ["issue", "create", "late", "--direct", "--json", "--timeout", "1s"];
    let ended = within_a_second(&home, &create);
    assert_eq!(ended.status.code(), Some(6), "{}", ended.stdout);
    let document = ended.document();
    let error = error(&document);
    assert_eq!((&error["code"], &error["retryable"]), (&json!("timeout"), &json!(true)), "{error}");
    assert!(error["idempotency_key"].is_string(), "{error}");
    drop(other);
    assert_eq!(within_a_second(&home, &create).status.code(), Some(0));
}

/// The daemon answers others while a write of its own waits for what another process writes.
#[test]
fn a_write_that_waits_for_another_process_keeps_no_other_command() {
    let home = Home::new();
    home.create("starts the daemon");
    let socket = DaemonLock::read(home.runtime()).unwrap().unwrap().socket_path().to_owned();
    for transport in [Transport::Socket, Transport::Auto] {
        let client = IpcClient::builder().transport(transport).connect(&socket).unwrap();
        let write = WriteContext { actor: "tester".to_owned(), idempotency_key: format!("{transport:?}") };
        let title = "waits".to_owned();
        let (body, labels, assignees) = (String::new(), Vec::new(), Vec::new());
        let other = writing(&home);
        // It may be about to commit.
        ChangeCounter::open(home.path("state/changes")).unwrap().bump();
        let waiting =
            client.start(&IpcCommand::IssueCreate { write, title, body, labels, assignees }).unwrap();
        let list = ["issue", "list", "--transport", "socket"];
        // The one came to the daemon before the other.
        let behind = client.start(&IpcCommand::Ping).unwrap().wait().unwrap();
        assert!(matches!(*behind, ArchivedIpcResponse::Pong));
        drop(behind);
        home.done(&list);
        assert!(!waiting.is_ready().unwrap(), "{transport:?}: nobody waited");
        drop(other);
        assert!(matches!(*waiting.wait().unwrap(), ArchivedIpcResponse::IssueCreate(_)));
    }
}

#[test]
fn a_write_whose_answer_did_not_come_in_time_is_done_once_with_the_key_that_the_error_names() {
    let home = Home::new();
    home.create("starts the daemon");
    for (number, way) in ["socket", "batch"].iter().enumerate() {
        let create = ["issue", "create", &format!("by {way}")].map(str::to_owned).to_vec();
        let run = |words: &[String], timeout: &str| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if *way == "batch" {
                let line = format!("{}\n", json!(words));
                home.run(&["batch", "--timeout", timeout, "--transport", "socket"], &line)
            } else {
                home.run(&[&words[..], &["--json", "--timeout", timeout, "--transport", way]].concat(), "")
            }
        };
        let other = writing(&home);
        let failed = run(&create, "300ms").document();
        drop(other);
        let error = error(&failed);
        assert!(error["retryable"] == true && error["code"] != "conflict", "{error}");
        let key = error["idempotency_key"].as_str().unwrap();
        let option = format!("--idempotency-key {key}");
        assert!(error["hint"].as_str().unwrap().contains(&option), "{error}");
        // The daemon may have carried it out by now, and may not.
        let repeat = [create, vec!["--idempotency-key".to_owned(), key.to_owned()]].concat();
        assert_eq!(run(&repeat, "60s").document()["ok"], true);
        assert_eq!(home.data(&["issue", "list"])["total"], 2 + number);
    }
    // Nobody has to be told for a read.
    let missing = home.run(&["issue", "show", "nothing", "--json"], "").document();
    assert_eq!(error(&missing)["idempotency_key"], Value::Null);
}
