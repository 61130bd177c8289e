//! The binary is upgraded while commands run: two hundred a second, each a process of its own, beside
//! agents that keep a connection. `GRITE_TEST_ROUNDS=20` upgrades twenty times; the suite does it a few.
#![cfg(feature = "cli")]

#[path = "common/at_end.rs"]
mod at_end;
mod ended;
mod home;
mod rounds;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use at_end::AtEnd;
use ended::{Ended, end};
use home::Home;
use libgrite_ipc::{DaemonLock, IpcClient, IpcCommand, IpcResponse, Transport};
use rounds::rounds;
use serde_json::Value;

/// How many commands start in a second, if the machine starts so many.
const RATE: u32 = 200;

/// How many commands each release lives for at least.
const COMMANDS: u32 = 200;

/// How many threads wait for commands to end.
const WAITERS: usize = 32;

/// How many commands more may have been started: where the machine does not keep up, they start later.
const AHEAD: usize = 32;

/// A release that has not taken over after so many commands never does.
const PATIENCE: u32 = 50 * COMMANDS;

/// The program as if it were this release.
fn command(home: &Home, release: u32, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command.env("GRITE_RELEASE", release.to_string());
    command
}

/// `data` of a command that must succeed.
fn data(home: &Home, release: u32, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    succeed(&arguments, end(command(home, release, &arguments).spawn().unwrap(), ""))
}

fn succeed(arguments: &[impl AsRef<str>], ended: Ended) -> Value {
    let words: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    assert!(ended.status.success(), "{words:?}: {}{}", ended.stdout, ended.stderr);
    ended.data()
}

#[test]
fn status_shows_both_releases_and_an_older_command_leaves_the_newer_daemon() {
    let home = Home::new();
    assert_eq!(data(&home, 7, &["daemon", "start"])["release"], 7);
    let status = data(&home, 8, &["daemon", "status"]);
    assert_eq!((&status["release"], &status["program"]["release"]), (&7.into(), &8.into()));
    assert_eq!(status["program"]["version"], env!("CARGO_PKG_VERSION"));
    data(&home, 6, &["issue", "list"]);
    assert_eq!(data(&home, 6, &["daemon", "status"])["pid"], status["pid"]);
    data(&home, 8, &["issue", "list"]);
    let status = data(&home, 6, &["daemon", "status"]);
    assert_eq!(status["release"], 8);
    assert_eq!(data(&home, 9, &["daemon", "start"])["started"], true);
    assert_eq!(data(&home, 8, &["daemon", "start"])["started"], false);
}

/// A command that has been started.
struct Started {
    child: Child,
    at: Instant,
    arguments: Vec<String>,
    /// The title of the issue that it creates or shows.
    title: String,
}

/// What all threads of the test below know.
struct Scene {
    home: Home,
    newest: AtomicU32,
    over: AtomicBool,
    /// Issues whose creation was acknowledged: ids by title.
    created: Mutex<BTreeMap<String, String>>,
    durations: Mutex<Vec<Duration>>,
    /// Answers to agents that keep a connection.
    answers: AtomicUsize,
    /// Who served, as seen from outside: releases and processes, in order.
    served: Mutex<Vec<(u32, u32)>>,
}

#[test]
fn no_command_fails_and_nothing_is_lost_while_the_program_is_upgraded() {
    let scene = Scene {
        home: Home::new(),
        newest: AtomicU32::new(1),
        over: AtomicBool::new(false),
        created: Mutex::default(),
        durations: Mutex::default(),
        answers: AtomicUsize::new(0),
        served: Mutex::default(),
    };
    let (scene, rounds) = (&scene, rounds(3) as u32);
    let first = data(&scene.home, 1, &["issue", "create", "the first"]);
    scene.created.lock().unwrap().insert("the first".to_owned(), first["id"].as_str().unwrap().to_owned());

    let begin = Instant::now();
    let (started, waiting) = sync_channel::<Started>(AHEAD);
    let waiting = Arc::new(Mutex::new(waiting));
    let elapsed = thread::scope(|scope| {
        let over = AtEnd(|| scene.over.store(true, Ordering::Relaxed));
        let wait = || {
            let waiting = Arc::clone(&waiting);
            scope.spawn(move || scene.wait(&waiting))
        };
        let waiters: Vec<_> = (0..WAITERS).map(|_| wait()).collect();
        // Should all of them fail, no command waits to be waited for.
        drop(waiting);
        let others = [
            scope.spawn(move || scene.ask_over_one_connection(Transport::Auto)),
            scope.spawn(move || scene.ask_over_one_connection(Transport::Socket)),
            scope.spawn(move || scene.watch()),
        ];
        let (mut number, mut since) = (0, 0);
        loop {
            let newest = scene.newest.load(Ordering::Relaxed);
            let serves = scene.served.lock().unwrap().last().is_some_and(|(release, _)| *release == newest);
            if serves && since >= COMMANDS {
                if newest > rounds {
                    break;
                }
                scene.newest.store(newest + 1, Ordering::Relaxed);
                since = 0;
            }
            assert!(since < PATIENCE, "release {newest} does not take over");
            let due = begin + Duration::from_secs(1) * number / RATE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if started.send(scene.start(number)).is_err() {
                break;
            }
            (number, since) = (number + 1, since + 1);
        }
        drop(started);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        let elapsed = begin.elapsed();
        drop(over);
        others.into_iter().for_each(|other| other.join().unwrap());
        elapsed
    });
    scene.judge(rounds, elapsed);
}

impl Scene {
    /// Starts a command: of three, one creates an issue and the others read. Of eight, one is of the
    /// release before, as those of an agent that was started earlier.
    fn start(&self, number: u32) -> Started {
        let newest = self.newest.load(Ordering::Relaxed);
        let release = if number.is_multiple_of(8) { newest.max(2) - 1 } else { newest };
        let mut title = format!("issue {number}");
        let words = match number % 3 {
            0 => vec!["issue", "create", &title],
            1 => vec!["issue", "list", "--limit", "20"],
            _ => vec!["issue", "show", ""],
        };
        let mut arguments: Vec<String> = words.into_iter().map(str::to_owned).collect();
        if number % 3 == 2 {
            let created = self.created.lock().unwrap();
            let (known, id) = created.iter().nth(number as usize * 31 % created.len()).unwrap();
            arguments[2].clone_from(id);
            title.clone_from(known);
        }
        arguments.push("--json".to_owned());
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let at = Instant::now();
        let child = command(&self.home, release, &words).spawn().unwrap();
        Started { child, at, arguments, title }
    }

    /// Waits for commands to end, and holds them to what they must print.
    fn wait(&self, waiting: &Mutex<Receiver<Started>>) {
        loop {
            let next = waiting.lock().unwrap().recv();
            let Ok(Started { child, at, arguments, title }) = next else { return };
            let data = succeed(&arguments, end(child, ""));
            self.durations.lock().unwrap().push(at.elapsed());
            match arguments[1].as_str() {
                "create" => {
                    let id = data["id"].as_str().unwrap().to_owned();
                    self.created.lock().unwrap().insert(title, id);
                }
                "show" => assert_eq!(data["title"], title.as_str()),
                _ => assert!(data["total"].as_u64().unwrap() > 0),
            }
        }
    }

    /// An agent of the newest release that keeps its connection for as long as it lasts.
    fn ask_over_one_connection(&self, transport: Transport) {
        let builder = IpcClient::builder().transport(transport).release(1);
        let command = command(&self.home, 1, &["daemon", "run"]);
        let (program, arguments) = (command.get_program().to_owned(), ["daemon", "run"]);
        let envs: Vec<_> =
            command.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect();
        let again = move || {
            let mut command = Command::new(&program);
            command.args(arguments).env_clear().envs(envs.iter().cloned());
            command
        };
        let mut client = builder.connect_or_spawn(self.home.runtime(), again).unwrap();
        let id = self.created.lock().unwrap()["the first"].clone();
        while !self.over.load(Ordering::Relaxed) {
            let answer = client.send_with_retry(&IpcCommand::IssueShow { id: id.clone() });
            match answer.unwrap().to_value().unwrap() {
                IpcResponse::IssueShow(issue) => assert_eq!(issue.title, "the first"),
                other => panic!("{other:?}"),
            }
            self.answers.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Notes who serves, without asking anybody to make way.
    fn watch(&self) {
        let runtime = self.home.runtime();
        let socket = DaemonLock::socket_path_in(&runtime).unwrap();
        let builder = IpcClient::builder().transport(Transport::Socket);
        while !self.over.load(Ordering::Relaxed) {
            if let Ok(mut client) = builder.connect(&socket)
                && let Ok(answer) = client.send(&IpcCommand::Status)
                && let IpcResponse::Status(status) = answer.to_value().unwrap()
            {
                let mut served = self.served.lock().unwrap();
                let now = (client.daemon_release(), status.pid);
                if served.last() != Some(&now) {
                    served.push(now);
                }
            }
            thread::sleep(Duration::from_millis(3));
        }
    }

    fn judge(&self, rounds: u32, elapsed: Duration) {
        let served = self.served.lock().unwrap();
        let releases: Vec<u32> = served.iter().map(|(release, _)| *release).collect();
        assert!(releases.into_iter().eq(1..=rounds + 1), "one daemon a release, in turn: {served:?}");

        let created = self.created.lock().unwrap();
        let list = data(&self.home, rounds + 1, &["issue", "list", "--limit", "10000"]);
        let items = list["items"].as_array().unwrap();
        let stored: BTreeMap<&str, &str> = items
            .iter()
            .map(|item| (item["title"].as_str().unwrap(), item["id"].as_str().unwrap()))
            .collect();
        let acknowledged: BTreeMap<&str, &str> =
            created.iter().map(|(title, id)| (title.as_str(), id.as_str())).collect();
        assert_eq!(stored, acknowledged);
        assert_eq!(items.len(), created.len(), "each is there once");
        let ids: BTreeSet<&str> = stored.values().copied().collect();
        assert_eq!(ids.len(), created.len());

        let mut durations = self.durations.lock().unwrap();
        durations.sort();
        let all = durations.len();
        assert!(all as u32 >= COMMANDS * (rounds + 1));
        println!(
            "{all} commands in {elapsed:.1?}, {:.0} a second, none failed; {} answers over kept connections; {} \
             daemons; half took less than {:.1?}, 99 of 100 {:.1?}, all {:.1?}",
            all as f64 / elapsed.as_secs_f64(),
            self.answers.load(Ordering::Relaxed),
            served.len(),
            durations[all / 2],
            durations[all * 99 / 100],
            durations[all - 1],
        );
    }
}
