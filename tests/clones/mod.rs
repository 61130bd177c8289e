//! Clones of one repository with a bare remote between them, and the tracker in each.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../../src/bin/grite/dice.rs"]
pub mod dice;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::ended::{Ended, end};

/// A bare remote, and clones of it. Their daemons end with it.
pub struct World {
    dir: TempDir,
    names: Vec<String>,
}

impl World {
    /// With clones that are called so, each with an empty store.
    pub fn new(names: &[&str]) -> Self {
        let mut world = World { dir: tempfile::tempdir().unwrap(), names: Vec::new() };
        for folder in ["session", "home", "tmp"] {
            fs::create_dir(world.path(folder)).unwrap();
        }
        world.git("", &["init", "--quiet", "--bare", "remote.git"]);
        names.iter().for_each(|name| world.clone(name));
        world
    }

    /// One clone more.
    pub fn clone(&mut self, name: &str) {
        self.git("", &["init", "--quiet", name]);
        self.git(name, &["remote", "add", "origin", "../remote.git"]);
        self.names.push(name.to_owned());
        self.done(name, &["init"]);
    }

    /// One clone more, which is a copy of the files of another one.
    pub fn copy(&mut self, from: &str, to: &str) {
        let status = Command::new("cp").arg("-r").arg(self.path(from)).arg(self.path(to)).status().unwrap();
        assert!(status.success());
        self.names.push(to.to_owned());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The state folder of a clone.
    pub fn state(&self, clone: &str) -> PathBuf {
        self.path(clone).join(".git/grite")
    }

    /// A program in a clone's folder, with nothing of the user's own.
    pub fn program(&self, program: impl AsRef<OsStr>, clone: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GRITE_ACTOR", clone)
            // Should a test be killed, its daemons do not stay for long.
            .env("GRITE_IDLE_TIMEOUT", "60")
            .env("XDG_RUNTIME_DIR", self.path("session"))
            .env("TMPDIR", self.path("tmp"))
            .current_dir(self.path(clone))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn command(&self, clone: &str, arguments: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_grite"), clone);
        command.args(arguments);
        command
    }

    pub fn run(&self, clone: &str, arguments: &[&str]) -> Ended {
        end(self.command(clone, arguments).spawn().unwrap(), "")
    }

    /// What a command printed that must succeed.
    pub fn done(&self, clone: &str, arguments: &[&str]) -> String {
        let ended = self.run(clone, arguments);
        assert!(ended.status.success(), "{clone}: {arguments:?}: {}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// `data` of a command that must succeed.
    pub fn data(&self, clone: &str, arguments: &[&str]) -> Value {
        let text = self.done(clone, &[arguments, &["--json"]].concat());
        serde_json::from_str::<Value>(&text).unwrap()["data"].take()
    }

    /// The error and the exit code of a command that must fail.
    pub fn failure(&self, clone: &str, arguments: &[&str]) -> (Value, i32) {
        let ended = self.run(clone, &[arguments, &["--json"]].concat());
        let mut document = ended.document();
        assert_eq!(document["ok"], false, "{clone}: {arguments:?}: {document}");
        (document["error"].take(), ended.status.code().unwrap())
    }

    pub fn create(&self, clone: &str, title: &str) -> String {
        self.data(clone, &["--direct", "issue", "create", title])["id"].as_str().unwrap().to_owned()
    }

    /// What git printed; it must succeed.
    pub fn git(&self, clone: &str, arguments: &[&str]) -> String {
        self.git_with_input(clone, arguments, b"")
    }

    pub fn git_with_input(&self, clone: &str, arguments: &[&str], input: &[u8]) -> String {
        use std::io::Write;
        let mut child = self.program("git", clone).args(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The bytes of a blob.
    pub fn blob(&self, clone: &str, id: &str) -> Vec<u8> {
        self.program("git", clone).args(["cat-file", "blob", id]).output().unwrap().stdout
    }

    /// The chunks in the history of a ref: each blob with its name.
    pub fn chunks(&self, clone: &str, of: &str) -> Vec<(String, String)> {
        let listed = self.git(clone, &["rev-list", "--objects", of]);
        let pairs =
            listed.lines().filter_map(|line| line.split_once(' ')).filter(|(_, name)| name.len() == 64);
        pairs.map(|(blob, name)| (blob.to_owned(), name.to_owned())).collect()
    }

    /// The name of a clone's own ref.
    pub fn own_ref(&self, clone: &str) -> String {
        format!("refs/grite/events/{}", self.actor(clone))
    }

    pub fn actor(&self, clone: &str) -> String {
        fs::read_to_string(self.state(clone).join("actor")).unwrap().trim().to_owned()
    }

    /// The checks that doctor finds broken.
    pub fn broken(&self, clone: &str, arguments: &[&str]) -> Vec<Value> {
        let ended = self.run(clone, &[&["doctor"], arguments, &["--json"]].concat());
        let document = ended.document();
        let items = document["data"]["items"].as_array().unwrap_or_else(|| panic!("{document}")).clone();
        assert_eq!(ended.status.success(), items.iter().all(|item| item["ok"] == true), "{document}");
        items.into_iter().filter(|item| item["ok"] == false).collect()
    }

    /// The checks that doctor mended, which must be all that was broken.
    pub fn mended(&self, clone: &str) -> Vec<String> {
        let data = self.data(clone, &["doctor", "--fix"]);
        let items = data["items"].as_array().unwrap();
        let mended = items.iter().filter(|item| item["fixed"] == true);
        mended.map(|item| item["check"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in &self.names {
            if self.path(name).is_dir() {
                let _ = self.command(name, &["daemon", "stop", "--timeout", "20s"]).output();
            }
        }
    }
}

/// The file of a loose object.
pub fn loose(clone: &Path, id: &str) -> PathBuf {
    clone.join(".git/objects").join(&id[..2]).join(&id[2..])
}

/// A number that a longer run sets.
pub fn from_environment(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}
