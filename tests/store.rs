//! The store when its daemon is killed amid writes, when the disk is full, and when nothing can be written.
#![cfg(all(feature = "cli", target_os = "linux"))]

#[path = "common/at_end.rs"]
mod at_end;
mod ended;
mod home;
#[path = "common/not_tested.rs"]
mod not_tested;
mod rounds;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use at_end::AtEnd;
use ended::{Ended, end};
use home::{Home, integrity, signal};
use libgrite_ipc::grite::WriteContext;
use libgrite_ipc::{DaemonLock, IpcClient, IpcCommand, IpcResponse};
use not_tested::not_tested;
use rounds::rounds;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// No request takes longer, however often its daemon is killed.
const PATIENCE: Duration = Duration::from_secs(60);

const WRITERS: usize = 3;

/// The titles of all issues by id, read from the events alone.
fn titles(home: &Home) -> BTreeMap<String, String> {
    let exported = home.run(&["export", "--direct"], "").stdout;
    let read = |line: &str| -> (String, String) {
        let issue: Value = serde_json::from_str(line).unwrap();
        (issue["id"].as_str().unwrap().to_owned(), issue["title"].as_str().unwrap().to_owned())
    };
    exported.lines().map(read).collect()
}

/// Writes under a key of its own each time, until `over`: what was acknowledged, by id.
fn write(
    home: &Home,
    runtime: &Path,
    writer: usize,
    written: &AtomicU64,
    over: &AtomicBool,
) -> BTreeMap<String, String> {
    let spawn = {
        let (program, state) = (env!("CARGO_BIN_EXE_grite"), home.path("state"));
        let session = home.path("session");
        move || {
            let mut command = Command::new(program);
            command.args(["daemon", "run"]).env_clear().current_dir("/").env("GRITE_DIR", &state);
            command.env("GRITE_IDLE_TIMEOUT", "60").env("XDG_RUNTIME_DIR", &session);
            command
        }
    };
    let builder = IpcClient::builder().timeout(PATIENCE).handshake_timeout(PATIENCE).spawn_timeout(PATIENCE);
    let mut client = builder.connect_or_spawn(runtime, spawn).unwrap();
    let mut acknowledged = BTreeMap::new();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let title = format!("writer {writer}, number {number}");
        let write = WriteContext { actor: "tester".to_owned(), idempotency_key: title.clone() };
        let create = IpcCommand::IssueCreate {
            write,
            title: title.clone(),
            body: "x".repeat(number % 3000),
            labels: vec!["kept".to_owned()],
            assignees: Vec::new(),
        };
        match client.send_with_retry(&create).unwrap().to_value().unwrap() {
            IpcResponse::IssueCreate(created) => acknowledged.insert(created.id, title),
            other => panic!("{other:?}"),
        };
        written.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
    }
    acknowledged
}

/// `kill -9` of the daemon amid the writes of several clients, which repeat under the same key what was not
/// acknowledged: every acknowledged write is there, none twice, and the file is sound.
/// `GRITE_TEST_ROUNDS=1000` for the long run.
#[test]
fn a_daemon_killed_amid_writes_loses_none_and_doubles_none() {
    let home = Home::new();
    home.create("the first one");
    let runtime = home.runtime();
    let (written, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let acknowledged = std::thread::scope(|scope| {
        let over_at_end = AtEnd(|| over.store(true, Ordering::Relaxed));
        let write = |writer| write(&home, &runtime, writer, &written, &over);
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let (mut killed, end) = (0, Instant::now() + PATIENCE * rounds(8) as u32);
        while killed < rounds(8) && !writers.iter().any(|writer| writer.is_finished()) {
            assert!(Instant::now() < end, "{killed} killed so far");
            let before = written.load(Ordering::Relaxed);
            while written.load(Ordering::Relaxed) < before + 2
                && !writers.iter().any(|writer| writer.is_finished())
            {
                std::thread::sleep(Duration::from_micros(100));
            }
            // At another place of a write each time.
            std::thread::sleep(Duration::from_micros(killed * 7919 % 10_000));
            let Some(pid) = DaemonLock::read(&runtime).unwrap().and_then(|daemon| daemon.pid()) else {
                continue;
            };
            signal(pid, Signal::KILL);
            killed += 1;
            if killed % 50 == 0 {
                assert_eq!(integrity(&home.path("state")), "ok", "after {killed} kills");
            }
        }
        drop(over_at_end);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<BTreeMap<_, _>>()
    });
    // Where nobody wrote after the last kill, its socket lies there until the next daemon.
    home.create("the last one");
    home.data(&["daemon", "stop"]);
    assert_eq!(integrity(&home.path("state")), "ok");
    let mut found = titles(&home);
    found.retain(|_, title| !["the first one", "the last one"].contains(&title.as_str()));
    println!("{} writes acknowledged, {} found", acknowledged.len(), found.len());
    assert!(acknowledged.iter().all(|(id, title)| found.get(id) == Some(title)), "none is lost");
    assert_eq!(found.values().collect::<BTreeSet<_>>().len(), found.len(), "none is there twice");
    // All were acknowledged in the end, and nothing else was written.
    assert_eq!(found, acknowledged);
    let checked = home.run(&["doctor", "--json"], "");
    assert!(checked.status.success(), "{}", checked.stdout);
}

/// A file system of its own, which can be full or read-only, whoever writes.
struct Disk {
    /// Keeps it mounted, where nobody else sees it.
    keeper: Child,
    enter: Vec<String>,
    folder: TempDir,
    session: TempDir,
}

impl Disk {
    /// Nothing where this system lets nobody mount.
    fn new(kib: u32) -> Option<Self> {
        let disk = [&["-m"][..], &["-m", "-U", "-r"]].into_iter().find_map(|how| Disk::mounted(kib, how));
        if disk.is_none() {
            not_tested("a full disk: no file system can be mounted here");
        }
        disk
    }

    fn mounted(kib: u32, how: &[&str]) -> Option<Self> {
        let (folder, session) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mount = format!(
            "mount --make-rprivate / && mount -t tmpfs -o size={kib}k none {} && echo mounted && exec cat",
            folder.path().display()
        );
        let mut command = Command::new("unshare");
        command.args(how).args(["sh", "-c", &mount]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.stderr(Stdio::null()).spawn().ok()?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut enter = vec!["-t".to_owned(), keeper.id().to_string(), "-m".to_owned()];
        if how.contains(&"-U") {
            enter.extend(["-U", "--preserve-credentials"].map(str::to_owned));
        }
        let disk = Disk { keeper, enter, folder, session };
        (line == "mounted\n").then_some(disk)
    }

    /// A program that sees the file system.
    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(&self.enter).arg(program).args(arguments).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn grite(&self, arguments: &[&str]) -> Ended {
        let mut command = self.program(env!("CARGO_BIN_EXE_grite"), arguments);
        command.arg("--json").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("GRITE_DIR", self.folder.path().join("state")).env("GRITE_ACTOR", "tester");
        command.env("GRITE_IDLE_TIMEOUT", "60").env("XDG_RUNTIME_DIR", self.session.path());
        end(command.spawn().unwrap(), "")
    }

    fn create(&self, number: usize) -> Ended {
        let (title, body) = (format!("number {number}"), "x".repeat(20_000));
        self.grite(&["issue", "create", &title, "--body", &body, "--idempotency-key", &title])
    }

    /// How many issues a list shows.
    fn total(&self, more: &[&str]) -> u64 {
        let list = self.grite(&[&["issue", "list", "--limit", "1"], more].concat());
        assert!(list.status.success(), "{}{}", list.stdout, list.stderr);
        list.data()["total"].as_u64().unwrap()
    }

    /// Whether the store is sound, of which a copy is looked at: SQLite does not find its way into `/proc`.
    fn integrity(&self) -> String {
        assert!(self.grite(&["daemon", "stop"]).status.success());
        let copy = tempfile::tempdir().unwrap();
        for name in ["issues.db", "issues.db-wal"] {
            let found = self.path("state").join(name);
            if found.exists() {
                std::fs::copy(found, copy.path().join(name)).unwrap();
            }
        }
        integrity(copy.path())
    }

    /// A path in it, as this process can reach it.
    fn path(&self, name: &str) -> PathBuf {
        let below = self.folder.path().strip_prefix("/").unwrap();
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(below).join(name)
    }

    fn remount(&self, how: &str) {
        let folder = self.folder.path().to_str().unwrap();
        let ended = end(self.program("mount", &["-o", how, folder]).spawn().unwrap(), "");
        assert!(ended.status.success(), "{}", ended.stderr);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.grite(&["daemon", "stop", "--timeout", "20s"]);
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// The error of a command that must fail, which tells of the disk and not of a daemon that died.
fn failure(ended: &Ended) -> Value {
    let mut document = ended.document();
    assert_eq!(document["ok"], false, "{document}");
    let error = document["error"].take();
    assert_ne!(error["code"], "daemon_gone", "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
    error
}

#[test]
fn on_a_full_disk_a_write_says_so_and_nothing_is_lost() {
    let Some(disk) = Disk::new(2048) else { return };
    std::fs::write(disk.path("ballast"), vec![1; 300 << 10]).unwrap();
    assert!(disk.grite(&["init"]).status.success());
    let written = (0..).find(|&number| !disk.create(number).status.success()).unwrap();
    assert!(written > 3, "{written}");
    for more in [&[][..], &["--direct"]] {
        let error = failure(&disk.create(written));
        assert!(error["message"].as_str().unwrap().contains("full"), "{error}");
        assert_eq!(disk.total(more), written as u64, "reads go on");
    }
    // Nor does a daemon that was killed there lose anything.
    let pid = disk.grite(&["daemon", "status"]).data()["pid"].as_u64();
    signal(pid.expect("it lives") as u32, Signal::KILL);
    assert_eq!(disk.total(&[]), written as u64);
    failure(&disk.create(written));

    // Nor does a command die of the file that all map, where that has to be made anew.
    assert!(disk.grite(&["daemon", "stop"]).status.success());
    std::fs::remove_file(disk.path("state/changes")).unwrap();
    let mut rest = std::fs::File::create(disk.path("rest")).unwrap();
    while rest.write_all(&[1; 512]).is_ok() {}
    let error = failure(&disk.grite(&["issue", "create", "x", "--direct"]));
    assert!(error["message"].as_str().unwrap().contains("No space"), "{error}");
    std::fs::remove_file(disk.path("rest")).unwrap();

    std::fs::remove_file(disk.path("ballast")).unwrap();
    for number in 0..=written {
        let ended = disk.create(number);
        assert!(ended.status.success(), "{}", ended.stdout);
    }
    assert_eq!(disk.total(&[]), written as u64 + 1, "what was written before is not written again");
    assert_eq!(disk.integrity(), "ok");
}

#[test]
fn where_nothing_can_be_written_a_write_says_so_and_nothing_is_lost() {
    let Some(disk) = Disk::new(4096) else { return };
    assert!(disk.grite(&["init"]).status.success());
    (0..3).for_each(|number| assert!(disk.create(number).status.success()));
    assert!(disk.grite(&["daemon", "stop"]).status.success());
    disk.remount("remount,ro");
    for more in [&[][..], &["--direct"]] {
        let error = failure(&disk.grite(&[&["issue", "create", "x"], more].concat()));
        let message = error["message"].as_str().unwrap().to_lowercase();
        assert!(message.contains("read-only") || message.contains("readonly"), "{error}");
        assert_eq!(error["retryable"], false, "{error}");
    }
    disk.remount("remount,rw");
    assert_eq!(disk.total(&[]), 3);
    assert!(disk.create(3).status.success());
    assert_eq!(disk.integrity(), "ok");
}

/// A limit that the command has, and the daemon that it starts.
#[test]
fn where_no_file_may_grow_a_write_says_so_and_nothing_is_lost() {
    for way in ["direct", "socket"] {
        let home = Home::new();
        home.create("before");
        home.data(&["daemon", "stop"]);
        let limited = |body: &str| {
            let model = home.command(&[]);
            let mut shell = Command::new("sh");
            let script = "ulimit -f 64 && exec \"$0\" --json --transport \"$1\" issue create x --body \"$2\"";
            shell.args(["-c", script, env!("CARGO_BIN_EXE_grite"), way, body]).env_clear();
            shell.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
            shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            end(shell.spawn().unwrap(), "")
        };
        let ended = limited(&"x".repeat(100_000));
        let error = failure(&ended);
        assert_eq!((&error["code"], ended.status.code()), (&"storage".into(), Some(1)), "{way}: {error}");
        assert!(error["hint"].as_str().unwrap().contains("ulimit -f"), "{error}");
        assert_eq!(home.data(&["issue", "list"])["total"], 1, "{way}: reads go on");
        let _ = home.run(&["daemon", "stop"], "");
        home.create("after");
        assert_eq!(home.data(&["issue", "list"])["total"], 2);
        assert_eq!(integrity(&home.path("state")), "ok");
    }
}
