//! A state folder of its own for a test, and commands on it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::ended::{Ended, end};

/// The ways to the tracker that this system has.
pub const WAYS: &[&str] = if cfg!(all(target_os = "linux", not(grite_portable))) {
    &["direct", "socket", "ring", "auto"]
} else {
    &["direct", "socket", "auto"]
};

/// A state folder of its own. Its daemon ends with it.
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// With an empty store.
    pub fn new() -> Self {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        assert!(home.run(&["init"], "").status.success());
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
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .env("TMPDIR", self.dir.path())
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str], input: &str) -> Ended {
        end(self.command(arguments).spawn().unwrap(), input)
    }

    /// `data` of a command that must succeed.
    pub fn data(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[&["--json"], arguments].concat(), "");
        assert!(ended.status.success(), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
        ended.data()
    }

    pub fn create(&self, title: &str) -> String {
        self.data(&["issue", "create", title])["id"].as_str().unwrap().to_owned()
    }

    /// The daemon's process, if one runs.
    pub fn pid(&self) -> Option<u32> {
        self.data(&["daemon", "status"])["pid"].as_u64().map(|pid| pid as u32)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.command(&["daemon", "stop", "--timeout", "20s"]).stdin(Stdio::null()).output();
    }
}

pub fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// The processes that were started with this folder in their environment and still run.
#[cfg(target_os = "linux")]
pub fn processes(folder: &Path) -> Vec<String> {
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
pub fn processes(_: &Path) -> Vec<String> {
    Vec::new()
}
