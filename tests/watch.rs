//! `grite watch`: what a watcher is told, by whom, and how it ends.
#![cfg(feature = "cli")]

mod ended;
mod home;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};
use std::thread;
use std::time::{Duration, Instant};

use ended::{DEADLINE, Ended, end};
use home::{Home, WAYS, signal, until};
use libgrite_ipc::DaemonLock;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A watcher that is killed when its test fails.
struct Watcher {
    child: Option<Child>,
    lines: BufReader<ChildStdout>,
}

impl Watcher {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut child = home.command(&[&["watch", "--json"], arguments].concat()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Watcher { child: Some(child), lines }
    }

    /// One that watches by now; says which number is next.
    fn watching(home: &Home, arguments: &[&str]) -> (Self, u64) {
        let mut watcher = Watcher::start(home, arguments);
        let start = watcher.line();
        assert_eq!(start["type"], "start", "{start}");
        (watcher, start["next"].as_u64().unwrap())
    }

    /// The next line. A watcher that tells nothing hangs, until its test is ended.
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(line["schema_version"], 1, "{line}");
        line
    }

    /// The next line, which must tell of this change.
    fn change(&mut self, seq: u64, id: &str, change: &str) {
        let line = self.line();
        let told = json!([line["type"], line["seq"], line["id"], line["change"]]);
        assert_eq!(told, json!(["issue_changed", seq, id, change]), "{line}");
        assert!(line["actor"].is_string() && line["at"].is_string(), "{line}");
    }

    fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Waits for its end; what it has printed since the last line comes with it.
    fn end(mut self) -> Ended {
        let mut child = self.child.take().unwrap();
        let rest = thread::scope(|scope| {
            let read = scope.spawn(|| ended::read(&mut self.lines));
            let deadline = Instant::now() + DEADLINE;
            while child.try_wait().unwrap().is_none() {
                if Instant::now() > deadline {
                    child.kill().unwrap();
                }
                thread::sleep(Duration::from_millis(2));
            }
            read.join().unwrap()
        });
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Ended { status: output.status, stdout: rest, stderr }
    }

    fn ends_quietly(self) {
        let ended = self.end();
        let printed = (ended.stdout.as_str(), ended.stderr.as_str());
        assert_eq!((ended.status.code(), printed), (Some(0), ("", "")));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ways() -> impl Iterator<Item = &'static str> {
    WAYS.iter().copied().filter(|way| *way != "direct")
}

#[test]
fn every_change_is_told_once_and_in_order_whoever_makes_it() {
    for way in ways() {
        let home = Home::new();
        let (mut watcher, next) = Watcher::watching(&home, &["--transport", way, "--count", "14"]);
        let mut seq = next..;
        for direct in [&[][..], &["--direct"]] {
            let run = |arguments: &[&str]| home.data(&[arguments, direct].concat());
            let made = run(&["issue", "create", "t", "-l", "a", "-l", "b", "-a", "bob"]);
            let id = made["id"].as_str().unwrap();
            run(&["issue", "update", id, "--title", "u", "--add-label", "c", "--remove-label", "a"]);
            run(&["issue", "update", id, "--title", "u"]);
            run(&["issue", "close", id]);
            run(&["issue", "close", id]);
            run(&["issue", "show", id]);
            run(&["issue", "reopen", id]);
            run(&["issue", "comment", id, "said"]);
            for change in ["created", "updated", "closed", "reopened", "commented"] {
                watcher.change(seq.next().unwrap(), id, change);
            }
            let file = home.path("in.jsonl");
            let mut sources = vec!["x-1", "x-2"];
            fs::write(&file, records(&sources, direct.len())).unwrap();
            run(&["import", file.to_str().unwrap()]);
            run(&["import", file.to_str().unwrap()]);
            // The first import makes two issues, the second one changes one of them.
            sources.truncate(2 - direct.len());
            for source in sources {
                let shown = home.data(&["issue", "show", source]);
                watcher.change(seq.next().unwrap(), shown["id"].as_str().unwrap(), "imported");
            }
        }
        home.create("the fourteenth");
        let last = watcher.line();
        assert_eq!((&last["seq"], &last["change"]), (&json!(next + 13), &json!("created")));
        watcher.ends_quietly();
    }
}

/// A file of these issues, the first of which depends on `version`.
fn records(sources: &[&str], version: usize) -> String {
    let at = "2026-01-01T00:00:00Z";
    let record = |number: usize, id: &str| {
        json!({
            "id": id, "title": if number == 0 { format!("version {version}") } else { String::from("as ever") },
            "body": "", "state": "open", "labels": [], "assignees": [], "author": "ann", "created_at": at,
            "updated_at": at, "comments": [], "depends_on": [],
        })
    };
    sources.iter().enumerate().map(|(number, id)| format!("{}\n", record(number, id))).collect()
}

#[test]
fn a_watcher_goes_on_where_it_left_off() {
    let home = Home::new();
    let (mut watcher, next) = Watcher::watching(&home, &[]);
    let ids: Vec<String> = (0..5).map(|number| home.create(&format!("number {number}"))).collect();
    watcher.change(next, &ids[0], "created");
    drop(watcher);
    let since = next.to_string();
    let (mut watcher, start) = Watcher::watching(&home, &["--since", &since, "--count", "4"]);
    assert_eq!(start, next + 1);
    for (id, seq) in ids[1..].iter().zip(start..) {
        watcher.change(seq, id, "created");
    }
    watcher.ends_quietly();
    // Numbers that this daemon has not given.
    for since in ["0", "1", "18446744073709551615"] {
        let mut watcher = Watcher::start(&home, &["--since", since]);
        let gap = watcher.line();
        assert_eq!(gap, json!({"schema_version": 1, "type": "gap", "lost": null, "next": next}));
        watcher.change(next, &ids[0], "created");
    }
}

#[test]
fn a_lost_daemon_is_followed_by_the_next_one_and_the_gap_is_told() {
    for way in ways() {
        let home = Home::new();
        let (mut watcher, next) = Watcher::watching(&home, &["--transport", way]);
        let before = home.create("before");
        watcher.change(next, &before, "created");
        signal(home.pid().unwrap(), Signal::KILL);
        let gap = watcher.line();
        assert_eq!((&gap["type"], &gap["lost"]), (&json!("gap"), &Value::Null), "{gap}");
        let next = gap["next"].as_u64().unwrap();
        home.data(&["issue", "close", &before]);
        watcher.change(next, &before, "closed");

        home.data(&["daemon", "stop"]);
        let stopping = watcher.line();
        assert_eq!((&stopping["type"], &stopping["seq"]), (&json!("stopping"), &json!(next + 1)));
        let gap = watcher.line();
        assert_eq!((&gap["type"], &gap["lost"]), (&json!("gap"), &Value::Null), "{gap}");
        assert!(gap["next"].as_u64().unwrap() > next + 1, "{gap}");
        home.data(&["issue", "reopen", &before, "--direct"]);
        watcher.change(gap["next"].as_u64().unwrap(), &before, "reopened");
    }
}

/// Nobody asks the daemon anything meanwhile.
#[test]
fn a_watcher_goes_on_with_the_store_that_was_put_in_the_place_of_its_own() {
    let home = Home::new();
    let (mut watcher, next) = Watcher::watching(&home, &[]);
    let mut init = home.command(&["init"]);
    assert!(ended::end(init.env("GRITE_DIR", home.path("new")).spawn().unwrap(), "").status.success());
    fs::rename(home.path("state"), home.path("old")).unwrap();
    fs::rename(home.path("new"), home.path("state")).unwrap();
    let stopping = watcher.line();
    assert_eq!((&stopping["type"], &stopping["seq"]), (&json!("stopping"), &json!(next)));
    let gap = watcher.line();
    assert_eq!((&gap["type"], &gap["lost"]), (&json!("gap"), &Value::Null), "{gap}");
    let id = home.data(&["issue", "create", "in the new store", "--direct"])["id"].clone();
    watcher.change(gap["next"].as_u64().unwrap(), id.as_str().unwrap(), "created");
}

#[test]
fn without_leave_to_start_a_daemon_its_end_ends_the_watch() {
    let home = Home::new();
    let ended = home.run(&["watch", "--json", "--no-spawn"], "");
    assert_eq!((ended.status.code(), &ended.document()["error"]["code"]), (Some(6), &json!("not_running")));
    home.data(&["daemon", "start"]);
    let (watcher, next) = Watcher::watching(&home, &["--no-spawn"]);
    home.data(&["daemon", "stop"]);
    let ended = watcher.end();
    assert_eq!(ended.status.code(), Some(6));
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({"schema_version": 1, "type": "stopping", "seq": next}));
    assert_eq!((lines.len(), &lines[1]["error"]["code"]), (2, &json!("daemon_gone")));
    assert_eq!(home.pid(), None);
}

#[test]
fn a_signal_its_time_or_a_reader_that_stops_reading_ends_it_quietly() {
    let home = Home::new();
    for asked in [Signal::TERM, Signal::INT] {
        let (watcher, _) = Watcher::watching(&home, &[]);
        signal(watcher.id(), asked);
        watcher.ends_quietly();
    }
    Watcher::watching(&home, &["--for", "50ms"]).0.ends_quietly();
    // Nothing is written after the reader has gone.
    let (mut watcher, _) = Watcher::watching(&home, &[]);
    let child = watcher.child.take().unwrap();
    drop(watcher);
    let output = thread::spawn(move || child.wait_with_output().unwrap()).join().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_daemon_lives_for_as_long_as_somebody_watches() {
    let home = Home::new();
    let mut start = home.command(&["daemon", "start"]);
    assert!(end(start.env("GRITE_IDLE_TIMEOUT", "0.3").spawn().unwrap(), "").status.success());
    let (watcher, _) = Watcher::watching(&home, &["--no-spawn"]);
    let daemon = || DaemonLock::read(home.runtime()).unwrap().and_then(|daemon| daemon.pid());
    let pid = daemon();
    thread::sleep(Duration::from_secs(1));
    assert!(pid.is_some() && daemon() == pid);
    drop(watcher);
    until("the idle daemon's end", || daemon().is_none());
}

#[test]
fn people_read_lines_without_anything_that_a_terminal_obeys() {
    let home = Home::new();
    home.data(&["daemon", "start"]);
    let mut child = home.command(&["watch", "--count", "1"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("watching from"), "{line}");
    let id = home.data(&["issue", "create", "t", "--actor", "\u{202e}ann"]);
    line.clear();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains(id["id"].as_str().unwrap()) && line.contains("created"), "{line}");
    assert!(line.contains("ann") && !line.contains('\u{202e}'), "{line:?}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_watched_is_refused_with_advice() {
    let home = Home::new();
    for (arguments, exit) in
        [(&["watch", "--direct"][..], 2), (&["watch", "--count", "0"], 2), (&["watch", "--since", "x"], 2)]
    {
        let ended = home.run(&[arguments, &["--json"]].concat(), "");
        let error = &ended.document()["error"];
        assert_eq!((ended.status.code(), &error["code"]), (Some(exit), &json!("usage")), "{error}");
        assert_ne!(error["hint"], "");
    }
    assert!(!home.path("session/grite").exists(), "no daemon was started");
}
