//! The binary with its daemon: started and found, stopped and killed, asked by every way.
#![cfg(feature = "cli")]

mod ended;
#[cfg(all(target_os = "linux", not(grite_portable)))]
mod filter;
mod home;
mod issues;
mod rounds;

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use ended::{Ended, end};
#[cfg(all(target_os = "linux", not(grite_portable)))]
use filter::{Calls, forbid};
use home::{WAYS, until};
use libgrite_ipc::{DaemonLock, IpcCommand, IpcResponse, Protocol, Server};
#[cfg(all(target_os = "linux", not(grite_portable)))]
use nix::libc::{EPERM, SYS_memfd_create};
use rounds::rounds;
use rustix::process::Signal;
use serde_json::Value;

/// A home whose commands get no input.
struct Home(home::Home);

impl Home {
    fn bare() -> Self {
        Home(home::Home::bare())
    }

    fn new() -> Self {
        Home(home::Home::new())
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.0.run(arguments, "")
    }

    /// The daemon's process, if one runs.
    fn pid(&self) -> Option<u64> {
        self.0.pid().map(u64::from)
    }
}

impl Deref for Home {
    type Target = home::Home;

    fn deref(&self) -> &home::Home {
        &self.0
    }
}

fn signal(pid: u64, signal: Signal) {
    home::signal(pid.try_into().unwrap(), signal);
}

/// Fault 60, as commands print it.
#[test]
fn every_way_prints_the_same_bytes() {
    let home = Home::new();
    let file = issues::file(&home.path("tmp"));
    let imported = home.data(&["import", file.to_str().unwrap()]);
    let repeated = home.data(&["import", file.to_str().unwrap(), "--transport", "socket"]);
    assert_eq!((&repeated["created"], &repeated["unchanged"]), (&0.into(), &imported["created"]));

    let list = home.data(&["issue", "list", "--limit", "10000"]);
    let items = list["items"].as_array().unwrap();
    let ids: Vec<&str> = items.iter().step_by(200).map(|item| item["id"].as_str().unwrap()).collect();
    let mut questions = vec![
        vec!["issue", "list"],
        vec!["issue", "list", "--limit", "10000", "--json"],
        vec!["issue", "list", "--state", "open", "--limit", "7"],
        vec!["issue", "list", "--search", "daemon", "--json"],
        vec!["issue", "list", "--search", "no-such-word-anywhere"],
        vec!["issue", "list", "--search", "---"],
        vec!["issue", "show", "nothing", "--json"],
        vec!["export"],
    ];
    for id in &ids {
        questions.push(vec!["issue", "show", id]);
        questions.push(vec!["issue", "show", &id[..12], "--json"]);
    }
    for question in questions {
        let answer = |way| home.run(&[&question[..], &["--transport", way]].concat());
        let first = answer(WAYS[0]);
        for way in &WAYS[1..] {
            let other = answer(way);
            assert!(first.stdout == other.stdout, "{question:?} over {way}");
            assert_eq!(
                (first.status, &first.stderr),
                (other.status, &other.stderr),
                "{question:?} over {way}"
            );
        }
    }
}

#[test]
fn a_daemon_is_started_looked_at_and_stopped() {
    let home = Home::new();
    assert_eq!(home.data(&["daemon", "status"])["running"], false);
    let started = home.data(&["daemon", "start"]);
    assert_eq!(started["started"], true);
    let again = home.data(&["daemon", "start"]);
    assert_eq!((&again["started"], &again["pid"]), (&false.into(), &started["pid"]));

    home.create("first");
    let status = home.data(&["daemon", "status"]);
    assert_eq!(status["pid"], started["pid"]);
    assert_eq!((&status["running"], &status["answers"]), (&true.into(), &true.into()));
    assert_eq!((&status["issues"], &status["open"]), (&1.into(), &1.into()));
    assert!(Path::new(status["socket"].as_str().unwrap()).exists());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));

    // The clock cannot express the end of that time.
    let stopped = home.data(&["daemon", "stop", "--timeout", "1e19"]);
    assert_eq!((&stopped["stopped"], &stopped["pid"]), (&true.into(), &started["pid"]));
    assert!(!Path::new(status["socket"].as_str().unwrap()).exists());
    assert_eq!(home.data(&["daemon", "stop"])["stopped"], false);
    assert_eq!(home.processes(), Vec::<String>::new());
}

#[test]
fn the_first_command_starts_a_daemon_and_the_next_ones_use_it() {
    let home = Home::new();
    assert_eq!(home.pid(), None);
    home.create("first");
    let pid = home.pid();
    assert!(pid.is_some());
    for way in WAYS {
        home.done(&["ping", "--transport", way]);
        home.done(&["issue", "list", "--transport", way]);
    }
    assert_eq!(home.pid(), pid);
    assert_eq!(home.processes().len(), usize::from(cfg!(target_os = "linux")));
}

#[test]
fn commands_about_the_daemon_or_the_program_start_none() {
    let home = Home::new();
    for arguments in [
        vec!["--help"],
        vec!["daemon", "status"],
        vec!["daemon", "stop"],
        vec!["completions", "bash"],
        vec!["init"],
    ] {
        home.done(&arguments);
    }
    home.done(&["issue", "list", "--direct"]);
    assert_eq!(home.pid(), None);
}

#[test]
fn without_leave_to_start_one_a_missing_daemon_is_an_error() {
    let home = Home::new();
    for way in WAYS.iter().filter(|way| **way != "direct") {
        let (error, exit) = home.failure(&["issue", "list", "--no-spawn", "--transport", way]);
        assert_eq!((&error["code"], exit), (&"not_running".into(), 6), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("grite daemon start"), "{error}");
    }
    let mut command = home.command(&["issue", "list"]);
    assert_eq!(end(command.env("GRITE_NO_SPAWN", "1").spawn().unwrap(), "").status.code(), Some(6));
    assert_eq!(home.pid(), None);
    home.done(&["daemon", "start"]);
    home.done(&["issue", "list", "--no-spawn"]);
}

/// Fault 48, for what was written.
#[test]
fn a_killed_daemon_is_replaced_and_nothing_written_is_lost() {
    let home = Home::new();
    for round in 0..rounds(2) {
        let made: Vec<String> = (0..3).map(|number| home.create(&format!("{round}.{number}"))).collect();
        let pid = home.pid().unwrap();
        signal(pid, Signal::KILL);
        // The very next command, whether the kernel is done with the killed process or not.
        for id in &made {
            assert_eq!(home.data(&["issue", "show", id])["id"], id.as_str());
        }
        assert_ne!(home.pid().unwrap(), pid);
        let total = home.data(&["issue", "list"])["total"].as_u64().unwrap();
        assert_eq!(total, (round + 1) * 3);
    }
}

#[test]
fn what_is_written_beside_the_daemon_is_in_its_next_answer() {
    let home = Home::new();
    home.create("by the daemon");
    for number in 0..5 {
        let before = home.data(&["issue", "list"])["total"].as_u64().unwrap();
        let id = home.data(&["issue", "create", &format!("direct {number}"), "--direct"])["id"].clone();
        let list = home.data(&["issue", "list"]);
        assert_eq!(list["total"].as_u64().unwrap(), before + 1);
        assert_eq!(home.data(&["issue", "show", id.as_str().unwrap()])["id"], id);
        home.done(&["issue", "close", id.as_str().unwrap(), "--direct"]);
        assert_eq!(home.data(&["issue", "show", id.as_str().unwrap()])["state"], "closed");
        home.done(&["issue", "reopen", id.as_str().unwrap()]);
        assert_eq!(home.data(&["issue", "show", id.as_str().unwrap(), "--direct"])["state"], "open");
    }
}

#[test]
fn a_daemon_that_nobody_asks_ends_by_itself() {
    let home = Home::new();
    let mut command = home.command(&["daemon", "start"]);
    assert!(end(command.env("GRITE_IDLE_TIMEOUT", "0.3").spawn().unwrap(), "").status.success());
    // Looking by a command would be asking it.
    until("the idle daemon's end", || DaemonLock::read(home.runtime()).unwrap().is_none());
    until("the end of its process", || home.processes().is_empty());
    home.create("the next command starts another");
}

#[test]
fn a_daemon_in_the_foreground_ends_in_order_when_it_is_asked_to() {
    for asked in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let child = home.command(&["daemon", "run", "--json"]).spawn().unwrap();
        until("the daemon", || home.data(&["daemon", "status"])["answers"] == true);
        assert_eq!(home.pid(), Some(child.id().into()));

        let (error, exit) = home.failure(&["daemon", "run"]);
        assert_eq!((&error["code"], exit), (&"conflict".into(), 4));
        assert!(error["message"].as_str().unwrap().contains(&child.id().to_string()), "{error}");

        signal(child.id().into(), asked);
        let ended = end(child, "");
        assert!(ended.status.success(), "{}", ended.stderr);
        assert!(ended.stdout.contains("\"stopped\":true"), "{}", ended.stdout);
        assert!(!home.runtime().join("daemon.sock").exists());
        assert_eq!(home.pid(), None);
    }
}

/// Fault 55, for commands: the socket's file is gone, and the next command is answered by another daemon.
#[test]
fn a_command_that_finds_no_socket_is_answered_all_the_same() {
    let home = Home::new();
    home.create("first");
    let pid = home.pid().unwrap();
    fs::remove_file(home.runtime().join("daemon.sock")).unwrap();
    // The old one notices within some seconds, and the machine may have others to run.
    assert_eq!(home.data(&["issue", "list", "--timeout", "60s"])["total"], 1);
    assert_ne!(home.pid().unwrap(), pid);
    until("the end of the one that nobody finds", || home.processes().len() <= 1);
}

/// Fault 59, for commands: a daemon that is stopped is said not to answer when the command's time is up, no
/// other is started, and it serves on when it goes on.
#[test]
#[cfg(target_os = "linux")]
fn a_command_does_not_wait_longer_for_a_stopped_daemon_than_it_may() {
    let home = Home::new();
    home.create("first");
    let pid = home.pid().unwrap();
    signal(pid, Signal::STOP);
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    until("the daemon stands still", || state().rsplit(") ").next().unwrap().starts_with('T'));
    let (error, exit) = home.failure(&["issue", "list", "--timeout", "300ms"]);
    assert_eq!((&error["code"], exit), (&"daemon_gone".into(), 6), "{error}");
    assert!(error["message"].as_str().unwrap().contains("does not answer"), "{error}");
    assert_eq!(home.processes().len(), 1, "no other was started");
    signal(pid, Signal::CONT);
    assert_eq!(home.data(&["issue", "list"])["total"], 1);
    assert_eq!(home.pid(), Some(pid));
}

#[test]
fn a_state_folder_that_is_named_is_found_from_a_folder_that_is_gone() {
    let home = Home::new();
    for arguments in
        [&["issue", "list", "--direct"][..], &["issue", "create", "x"], &["issue", "list"], &["doctor"]]
    {
        let model = home.command(&[]);
        let mut shell = Command::new("sh");
        let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" \"$@\"";
        shell.args(["-c", script, env!("CARGO_BIN_EXE_grite")]).args(arguments).env_clear();
        shell.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("PATH", std::env::var_os("PATH").unwrap()).current_dir(home.path(""));
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = end(shell.spawn().unwrap(), "");
        assert!(ended.status.success(), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    }
    assert_eq!(home.data(&["issue", "list"])["total"], 1);
}

/// Fault 58, for commands.
#[test]
fn a_daemon_that_cannot_start_says_why() {
    let home = Home::new();
    home.done(&["daemon", "start"]);
    home.done(&["daemon", "stop"]);
    fs::create_dir(home.runtime().join("daemon.sock")).unwrap();
    for way in WAYS.iter().filter(|way| **way != "direct") {
        let (error, exit) = home.failure(&["issue", "list", "--transport", way]);
        assert_eq!((&error["code"], exit), (&"not_running".into(), 6), "{error}");
        assert!(
            error["message"].as_str().unwrap().contains("cannot listen on the daemon's socket"),
            "{error}"
        );
    }
}

#[test]
fn a_variable_that_holds_no_time_is_named() {
    let home = Home::new();
    let fail = |name: &str, value: &str, arguments: &[&str]| {
        let mut command = home.command(&[arguments, &["--json"]].concat());
        let ended = end(command.env(name, value).spawn().unwrap(), "");
        let error = ended.document()["error"].clone();
        assert_eq!(
            (&error["code"], ended.status.code()),
            (&"usage".into(), Some(2)),
            "{arguments:?}: {error}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(name) && message.contains(value), "{arguments:?}: {message}");
    };
    for name in ["GRITE_IDLE_TIMEOUT", "GRITE_SYNC_EVERY"] {
        for way in WAYS.iter().filter(|way| **way != "direct") {
            fail(name, "bogus", &["issue", "list", "--transport", way]);
        }
        for command in [&["daemon", "run"][..], &["daemon", "start"], &["watch"]] {
            fail(name, "-1s", command);
        }
        let mut unset = home.command(&["ping"]);
        assert!(end(unset.env(name, "").spawn().unwrap(), "").status.success());
        home.done(&["daemon", "stop"]);
    }
}

/// A daemon cannot start then, and the command says of the store what it says without a daemon.
#[test]
fn a_store_that_nobody_can_use_is_told_of_in_the_same_words_by_every_way() {
    let spoil = |store: &Path, how| match how {
        "damaged" => fs::write(store, vec![b'x'; 8192]).unwrap(),
        "newer" => {
            let connection = rusqlite::Connection::open(store).unwrap();
            connection.execute_batch("UPDATE meta SET value = 99 WHERE name = 'schema'").unwrap();
        }
        // Not even a superuser may read it.
        _ => {
            fs::remove_file(store).unwrap();
            fs::create_dir(store).unwrap();
        }
    };
    for (how, code, exit, hint) in [
        ("damaged", "integrity", 8, "`grite doctor --fix`"),
        ("newer", "environment", 5, "newer version"),
        ("unreadable", "environment", 5, "permissions"),
    ] {
        let home = Home::new();
        spoil(&home.path("state/issues.db"), how);
        let (direct, found) = home.failure(&["issue", "list", "--direct"]);
        assert_eq!((&direct["code"], found), (&code.into(), exit), "{direct}");
        assert_eq!(direct["retryable"], false, "{direct}");
        assert!(direct["hint"].as_str().unwrap().contains(hint), "{direct}");
        for way in WAYS {
            assert_eq!(home.failure(&["issue", "list", "--transport", way]), (direct.clone(), exit), "{way}");
        }
        for command in [&["daemon", "start"][..], &["daemon", "run"], &["watch"]] {
            assert_eq!(home.failure(command), (direct.clone(), exit), "{command:?}");
        }
    }
}

/// Permission bits do not bind a superuser, but a folder that others may enter is refused to all.
#[test]
fn where_the_daemon_is_out_of_reach_commands_work_directly_and_say_so_once() {
    let home = Home::new();
    DirBuilder::new().mode(0o755).create(home.path("session/grite")).unwrap();
    fs::set_permissions(home.path("session/grite"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let created = home.run(&["issue", "create", "without a daemon"]);
    assert!(created.status.success(), "{}", created.stderr);
    assert_eq!(created.stderr.lines().count(), 1, "{}", created.stderr);
    assert!(created.stderr.contains("without the daemon") && created.stderr.contains("0700"));
    let list = home.run(&["issue", "list", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&list.stdout).unwrap()["data"]["total"], 1);
    for way in WAYS.iter().filter(|way| matches!(**way, "ring" | "socket")) {
        let (error, exit) = home.failure(&["issue", "list", "--transport", way]);
        assert_eq!((&error["code"], exit), (&"environment".into(), 5), "{error}");
    }
}

/// A repeat does not mend that, and whoever obeys `retryable` would repeat it for ever.
#[cfg(all(target_os = "linux", not(grite_portable)))]
#[test]
fn where_the_daemon_has_no_rings_who_wants_nothing_else_is_not_told_to_try_again() {
    let home = Home::new();
    let mut start = home.command(&["daemon", "start"]);
    let start = move || {
        forbid(Calls::all(SYS_memfd_create), EPERM);
        start.spawn().unwrap()
    };
    assert!(end(thread::spawn(start).join().unwrap(), "").status.success());
    let (error, exit) = home.failure(&["issue", "list", "--transport", "ring"]);
    assert_eq!((&error["code"], &error["retryable"], exit), (&"failure".into(), &false.into(), 1), "{error}");
    home.done(&["issue", "list"]);
}

/// The tracker's protocol as a later version might have it.
enum Later {}

impl Protocol for Later {
    type Request = IpcCommand;
    type Response = IpcResponse;
    const NAME: &'static str = "grite";
    const VERSION: u16 = 999;
}

/// The other process of the test below: a daemon of a later version.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn serve_a_later_version() {
    let Some(runtime) = std::env::var_os("LATER_RUNTIME") else { return };
    let lock = DaemonLock::acquire(runtime).unwrap();
    let server = Server::<Later>::bind(lock.socket_path()).unwrap();
    server.serve(|_, _| IpcResponse::Pong).unwrap();
}

/// Starts a daemon that speaks another version of the protocol, and waits until it listens.
fn start_a_later_version(home: &Home) -> Child {
    let mut later = Command::new(std::env::current_exe().unwrap());
    later
        .args(["--exact", "--ignored", "serve_a_later_version"])
        .env("LATER_RUNTIME", home.runtime())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let later = later.spawn().unwrap();
    until("the later daemon", || home.runtime().join("daemon.sock").exists());
    later
}

#[test]
fn a_daemon_of_another_version_is_told_apart_and_can_be_stopped() {
    let home = Home::new();
    home.done(&["daemon", "start"]);
    home.done(&["daemon", "stop"]);
    let later = start_a_later_version(&home);

    let (error, exit) = home.failure(&["issue", "list"]);
    assert_eq!((&error["code"], exit), (&"environment".into(), 5), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("grite daemon stop"), "{error}");
    let status = home.data(&["daemon", "status"]);
    assert_eq!((&status["running"], &status["answers"]), (&true.into(), &false.into()));
    assert_eq!(status["pid"], later.id());
    let stopped = home.data(&["daemon", "stop"]);
    assert_eq!((&stopped["pid"], &stopped["by_signal"]), (&later.id().into(), &true.into()));
    end(later, "");
    home.create("the next command starts this version");
}

/// Fault 49, for whoever ends a daemon by a signal: the process that the lock's file names does not hold the
/// lock, so nobody is signalled, and the command says so.
#[test]
#[cfg(target_os = "linux")]
fn a_process_that_only_stands_in_the_lock_file_is_not_signalled() {
    let home = Home::new();
    home.done(&["daemon", "start"]);
    home.done(&["daemon", "stop"]);
    let mut later = start_a_later_version(&home);
    let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();

    let lock = home.runtime().join("daemon.lock");
    let record = fs::read_to_string(&lock).unwrap();
    let named = format!("pid {}\n", later.id());
    for process in [bystander.id().to_string(), "1".to_owned(), "99999999".to_owned()] {
        fs::write(&lock, record.replace(&named, &format!("pid {process}\n"))).unwrap();
        let (error, exit) = home.failure(&["daemon", "stop", "--timeout", "300ms"]);
        if process == "99999999" {
            // Nobody has that number.
            assert_eq!((&error["code"], exit), (&"timeout".into(), 6), "{error}");
            continue;
        }
        assert_eq!((&error["code"], exit), (&"environment".into(), 5), "{error}");
        assert!(error["message"].as_str().unwrap().contains("cannot be told"), "{error}");
    }
    assert!(bystander.try_wait().unwrap().is_none() && later.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    later.kill().unwrap();
    later.wait().unwrap();
}

#[test]
fn the_demo_shows_equal_answers_and_leaves_nothing_behind() {
    let home = Home::bare();
    let data = home.data(&["demo"]);
    assert_eq!((&data["issues"], &data["removed"]), (&400.into(), &true.into()));
    assert!(data["checks"].as_array().unwrap().iter().all(|check| check["same"] == true));
    let ways = if WAYS.contains(&"ring") { 3 } else { 2 };
    assert_eq!(data["runs"].as_array().unwrap().len(), 4 * ways);
    assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0);
    assert_eq!(home.processes(), Vec::<String>::new());

    let line = r#"{"id":"a-1","title":"One","body":"","state":"open","labels":[],"assignees":[],"author":"ann","created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z","comments":[],"depends_on":[]}"#;
    let mut file = fs::File::create(home.path("one.jsonl")).unwrap();
    writeln!(file, "{line}").unwrap();
    let shown = home.done(&["demo", "one.jsonl"]);
    assert!(shown.contains("byte for byte") && shown.contains("1 issues"), "{shown}");
    let (error, exit) = home.failure(&["demo", "missing.jsonl"]);
    assert_eq!((&error["code"], exit), (&"environment".into(), 5));
    assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0);
}

#[test]
fn an_interrupted_demo_or_bench_leaves_nothing_behind() {
    for arguments in [&["demo"][..], &["bench", "--seconds", "60"]] {
        let home = Home::bare();
        let child = home.command(arguments).spawn().unwrap();
        until("its first child", || home.processes().len() > 1 || !cfg!(target_os = "linux"));
        thread::sleep(Duration::from_millis(100));
        signal(child.id().into(), Signal::INT);
        let ended = end(child, "");
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
        assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0, "{arguments:?}");
        assert_eq!(home.processes(), Vec::<String>::new(), "{arguments:?}");
    }
}

#[test]
fn the_bench_reports_limits_and_runs() {
    let home = Home::bare();
    let data = home.data(&["bench", "--seconds", "1", "--svg", "card.svg"]);
    let card = fs::read_to_string(home.path("card.svg")).unwrap();
    assert!(card.starts_with("<svg ") && card.ends_with("</svg>\n"));
    for limit in ["spin_p50_ns", "futex_p50_ns", "socket_p50_ns"] {
        assert!(data["raw"][limit].as_u64().unwrap() > 0, "{limit}");
    }
    let runs = data["runs"].as_array().unwrap();
    let ways = if WAYS.contains(&"ring") { 5 } else { 2 };
    assert_eq!(runs.len(), 3 * ways);
    for run in runs {
        let number = |field: &str| run[field].as_u64().unwrap_or_else(|| panic!("{field}: {run}"));
        assert!(number("n") > 0 && number("bytes") > 0 && number("rate_per_s") > 0, "{run}");
        assert!(number("p50_ns") <= number("p99_ns") && number("p99_ns") <= number("p999_ns"), "{run}");
        assert_eq!(run["transport"] == "ring", run["wait"].is_string(), "{run}");
        let command = run["command"].as_str().unwrap();
        assert!(["ping", "issue show", "issue list"].contains(&command));
        assert!(card.contains(command), "the card shows {command}");
    }
    assert!(data["machine"]["cpus"].as_u64().unwrap() > 0);
    assert_eq!(home.processes(), Vec::<String>::new());

    let (error, exit) = home.failure(&["bench", "--seconds", "3600", "--svg", "nowhere/card.svg"]);
    assert_eq!((&error["code"], exit), (&"environment".into(), 5), "it is told at once: {error}");
    let (error, exit) = home.failure(&["bench", "--seconds", "1", "--own"]);
    assert_eq!((&error["code"], exit), (&"environment".into(), 5), "there is no state folder");
    home.done(&["init"]);
    let (error, exit) = home.failure(&["bench", "--seconds", "1", "--own"]);
    assert_eq!((&error["code"], exit), (&"invalid".into(), 2));
    home.create("the only one");
    assert_eq!(home.data(&["bench", "--seconds", "1", "--own"])["issues"], 1);
}
