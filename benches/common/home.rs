//! A tracker that benches of the `grite` binary ask: [`Home`].

#![allow(dead_code, reason = "each bench uses its part")]

#[path = "../../tests/issues/mod.rs"]
mod issues;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A state folder and its daemon, which ends with it.
pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// A new one, without issues.
    pub fn new() -> Self {
        let home = Home { dir: tempfile::tempdir().expect("a temporary folder") };
        home.run(&["init"], "");
        home
    }

    /// The folder that all of it lies in.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes [issues](issues::file) over; says their ids.
    pub fn import(&self) -> Vec<String> {
        let file = issues::file(self.path());
        self.run(&["import", file.to_str().expect("a path of text")], "");
        let list = self.run(&["--json", "issue", "list", "--limit", "10000"], "");
        let list: serde_json::Value = serde_json::from_str(&list).expect("a document");
        let items = list["data"]["items"].as_array().expect("a list");
        items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// What a command prints that must succeed.
    pub fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input.as_bytes()).expect("it reads all"));
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{arguments:?}");
            String::from_utf8(output.stdout).expect("text")
        })
    }

    /// A command, with what it prints piped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grite"));
        command
            .args(arguments)
            .env_clear()
            .env("GRITE_DIR", self.dir.path().join("state"))
            .env("GRITE_IDLE_TIMEOUT", "60")
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .stdout(Stdio::piped());
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.command(&["daemon", "stop"]).stdin(Stdio::null()).output();
    }
}
