//! Crowds of commands that find no daemon: one of them starts it, all are answered, nobody cleans up.
//!
//! The kernel is witness. A daemon that takes the lock writes its record into the lock file, and one that
//! listens makes its socket under a name with its process in it; the folder of both is watched. The suite
//! does a round or a few; `GRITE_TEST_ROUNDS` says how many.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod ended;
mod home;
mod rounds;

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ended::{Ended, end};
use home::{Home, signal};
use libgrite_ipc::DaemonLock;
use rounds::rounds;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::process::Signal;
use serde_json::Value;

/// What a command of the crowd does, in turn: one says who serves, the others read.
const COMMANDS: &[&[&str]] =
    &[&["daemon", "start", "--json"], &["issue", "list", "--json"], &["issue", "show", "", "--json"]];

/// A state folder with one issue, and the folder of its daemon.
struct Scene {
    home: Home,
    runtime: PathBuf,
    issue: String,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        let issue = home.create("asked for by all");
        let runtime = home.runtime();
        home.data(&["daemon", "stop"]);
        Scene { home, runtime, issue }
    }

    /// Starts so many commands, all of which run when `gate` closes.
    fn crowd(&self, count: usize) -> (std::io::PipeWriter, Vec<Child>) {
        let (far, gate) = std::io::pipe().unwrap();
        let start = |number: usize| {
            let mut arguments = COMMANDS[number % COMMANDS.len()].to_vec();
            if let Some(issue) = arguments.iter_mut().find(|argument| argument.is_empty()) {
                *issue = &self.issue;
            }
            let command = self.home.command(&arguments);
            let mut gated = Command::new("/bin/sh");
            gated.args(["-c", "read _; exec \"$0\" \"$@\""]).arg(command.get_program()).args(&arguments);
            gated.env_clear().envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
            let far = far.try_clone().unwrap();
            gated.stdin(far).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children = (0..count).map(start).collect();
        (gate, children)
    }

    /// Waits for all of a crowd, and holds each to its answer; says which processes served.
    fn await_answers(&self, children: Vec<Child>) -> BTreeSet<u32> {
        let ended: Vec<Ended> = children.into_iter().map(|child| end(child, "")).collect();
        let failed: Vec<String> = ended
            .iter()
            .filter(|ended| !ended.status.success() || !ended.stderr.is_empty())
            .map(|ended| format!("{}{}", ended.stdout, ended.stderr))
            .collect();
        assert_eq!(failed, [""; 0], "{} of {} commands", failed.len(), ended.len());
        let mut served = BTreeSet::new();
        for (number, ended) in ended.iter().enumerate() {
            let data = ended.data();
            match number % COMMANDS.len() {
                0 => drop(served.insert(number_of(&data["pid"]))),
                1 => assert_eq!(data["items"][0]["id"], self.issue.as_str()),
                _ => assert_eq!(data["id"], self.issue.as_str()),
            }
        }
        served
    }
}

fn number_of(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

/// What the kernel told of a folder.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Who wrote its record, which only the holder of the lock does.
    held: BTreeSet<u32>,
    /// Who made a socket.
    listened: BTreeSet<u32>,
    /// How many sockets came to their place.
    published: usize,
}

/// Sees which processes take the lock of a folder and listen there, from its beginning on.
struct Witness {
    end: Sender<()>,
    thread: JoinHandle<Seen>,
}

impl Witness {
    /// How long it rests between two looks.
    const PAUSE: Duration = Duration::from_millis(1);

    fn of(folder: &Path) -> Self {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let what = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MODIFY;
        inotify::add_watch(&events, folder, what).unwrap();
        let (end, ended) = channel();
        let folder = folder.to_owned();
        let thread = thread::spawn(move || {
            let mut seen = Seen { held: BTreeSet::new(), listened: BTreeSet::new(), published: 0 };
            while ended.recv_timeout(Self::PAUSE) == Err(RecvTimeoutError::Timeout) {
                look(&events, &folder, &mut seen);
            }
            look(&events, &folder, &mut seen);
            seen
        });
        Witness { end, thread }
    }

    fn end(self) -> Seen {
        drop(self.end);
        self.thread.join().unwrap()
    }
}

/// Adds what has happened since the last look.
fn look(events: &OwnedFd, folder: &Path, seen: &mut Seen) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(events, &mut buffer);
    while let Ok(event) = reader.next() {
        assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW));
        let name = event.file_name().unwrap_or_default().to_str().unwrap();
        if name == "daemon.lock" {
            seen.held.extend(DaemonLock::read(folder).unwrap().and_then(|daemon| daemon.pid()));
        } else if name == "daemon.sock" {
            seen.published += 1;
        } else if let Some(maker) = name.strip_prefix('.') {
            let process = maker.split('.').next().unwrap();
            seen.listened.insert(u32::from_str_radix(process, 16).unwrap());
        }
    }
}

/// Lets a crowd loose after `before`, and holds it to one daemon, which is given back, and to an answer each.
fn stampede(scene: &Scene, count: usize, before: impl FnOnce()) -> (u32, Duration) {
    let witness = Witness::of(&scene.runtime);
    let (gate, children) = scene.crowd(count);
    before();
    let begin = Instant::now();
    drop(gate);
    let served = scene.await_answers(children);
    let elapsed = begin.elapsed();
    let seen = witness.end();
    let &daemon = served.first().unwrap();
    let one = BTreeSet::from([daemon]);
    assert_eq!(seen, Seen { held: one.clone(), listened: one.clone(), published: 1 });
    assert_eq!(served, one);
    (daemon, elapsed)
}

/// What `rounds` took.
fn report(what: &str, count: usize, mut rounds: Vec<Duration>) {
    rounds.sort();
    println!(
        "{} times {count} commands {what}: one daemon each time, all answered; half the rounds took less than \
         {:.1?}, the longest {:.1?}",
        rounds.len(),
        rounds[rounds.len() / 2],
        rounds[rounds.len() - 1]
    );
}

/// Fault 47. Two hundred commands start at the same moment and find no daemon. One daemon ever holds the
/// lock, by the kernel's word; every command gets its answer, and none has anything to complain of.
/// `GRITE_TEST_ROUNDS=100` does it a hundred times.
#[test]
fn two_hundred_commands_without_a_daemon_start_exactly_one() {
    const COMMANDS: usize = 200;
    let scene = Scene::new();
    let mut took = Vec::new();
    for _ in 0..rounds(1) {
        assert_eq!(scene.home.pid(), None);
        took.push(stampede(&scene, COMMANDS, || {}).1);
        let left = scene.home.processes();
        assert_eq!(left.len(), 1, "{left:?}");
        scene.home.data(&["daemon", "stop"]);
    }
    report("without a daemon", COMMANDS, took);
}

/// Fault 48. The daemon is killed, and fifty commands start in the same moment, whether the kernel is done
/// with it or not. One daemon follows, every command gets its answer, and nobody has to clean up, a thousand
/// times on end with `GRITE_TEST_ROUNDS=1000`.
#[test]
fn fifty_commands_after_a_kill_get_one_new_daemon_and_fifty_answers() {
    const COMMANDS: usize = 50;
    let scene = Scene::new();
    scene.home.data(&["daemon", "start"]);
    let mut daemon = scene.home.pid().unwrap();
    let mut took = Vec::new();
    for _ in 0..rounds(3) {
        let (next, elapsed) = stampede(&scene, COMMANDS, || signal(daemon, Signal::KILL));
        assert_ne!(next, daemon);
        daemon = next;
        took.push(elapsed);
    }
    let left = scene.home.processes();
    assert_eq!(left.len(), 1, "{left:?}");
    report("after a kill", COMMANDS, took);
}
