//! A state folder of its own for a test, and commands on it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::ended::{DEADLINE, Ended, end};

/// The ways to the tracker that this system has.
pub const WAYS: &[&str] = if cfg!(all(target_os = "linux", not(grite_portable))) {
    &["direct", "socket", "ring", "auto"]
} else {
    &["direct", "socket", "auto"]
};

/// A state folder, a session and temporary files of its own. Its daemon ends with it.
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// Without a state folder.
    pub fn bare() -> Self {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(home.path("tmp")).unwrap();
        fs::create_dir(home.path("session")).unwrap();
        home
    }

    /// With an empty store.
    pub fn new() -> Self {
        let home = Home::bare();
        home.done(&["init"]);
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grite"));
        command
            .args(arguments)
            .env_clear()
            .env("GRITE_DIR", self.path("state"))
            .env("GRITE_ACTOR", "tester")
            // Should a test be killed, its daemon does not stay for long.
            .env("GRITE_IDLE_TIMEOUT", "60")
            .env("XDG_RUNTIME_DIR", self.path("session"))
            .env("TMPDIR", self.path("tmp"))
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str], input: &str) -> Ended {
        end(self.command(arguments).spawn().unwrap(), input)
    }

    /// A command that must succeed.
    fn success(&self, arguments: &[&str]) -> Ended {
        let ended = self.run(arguments, "");
        assert!(ended.status.success(), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
        ended
    }

    /// What a command printed that must succeed.
    pub fn done(&self, arguments: &[&str]) -> String {
        self.success(arguments).stdout
    }

    /// `data` of a command that must succeed.
    pub fn data(&self, arguments: &[&str]) -> Value {
        self.success(&[&["--json"], arguments].concat()).data()
    }

    /// The error and the exit code of a command that must fail.
    pub fn failure(&self, arguments: &[&str]) -> (Value, i32) {
        let ended = self.run(&[&["--json"], arguments].concat(), "");
        let mut document = ended.document();
        assert_eq!(document["ok"], false, "{arguments:?}: {document}");
        (document["error"].take(), ended.status.code().unwrap())
    }

    pub fn create(&self, title: &str) -> String {
        self.data(&["issue", "create", title])["id"].as_str().unwrap().to_owned()
    }

    /// The daemon's process, if one runs.
    pub fn pid(&self) -> Option<u32> {
        self.data(&["daemon", "status"])["pid"].as_u64().map(|pid| pid as u32)
    }

    /// The folder of the daemon's lock, once there was a daemon.
    pub fn runtime(&self) -> PathBuf {
        let mut folders = fs::read_dir(self.path("session/grite")).unwrap();
        let folder = folders.next().unwrap().unwrap().path();
        assert!(folders.next().is_none(), "one folder for one state folder");
        folder
    }

    /// The processes that were started for this home and still run.
    pub fn processes(&self) -> Vec<String> {
        processes(self.dir.path())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.command(&["daemon", "stop", "--timeout", "20s"]).stdin(Stdio::null()).output();
    }
}

/// Waits until `done` says so, or fails at the deadline.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} has not come to pass");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether all pages of the store in `state` are as they must be.
pub fn integrity(state: &Path) -> String {
    let store = rusqlite::Connection::open(state.join("issues.db")).unwrap();
    store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

/// The names in a folder, in order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// The processes that were started with this folder in their environment and still run.
#[cfg(target_os = "linux")]
fn processes(folder: &Path) -> Vec<String> {
    let mark = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name| fs::read(entry.path().join(name)).unwrap_or_default();
        if String::from_utf8_lossy(&read("environ")).contains(mark) {
            found.push(String::from_utf8_lossy(&read("cmdline")).replace('\0', " "));
        }
    }
    found
}

#[cfg(not(target_os = "linux"))]
fn processes(_: &Path) -> Vec<String> {
    Vec::new()
}
