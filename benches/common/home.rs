//! A tracker that benches of the `grite` binary ask: [`Home`].

#![allow(dead_code, reason = "each bench uses its part")]

use std::io::Write;
use std::path::{Path, PathBuf};
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

    /// Takes issues over, the project's real ones where they are there; says their ids.
    pub fn import(&self) -> Vec<String> {
        let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/issues.jsonl");
        let file = if given.exists() { given } else { self.make_up() };
        self.run(&["import", file.to_str().expect("a path of text")], "");
        let list = self.run(&["--json", "issue", "list", "--limit", "10000"], "");
        let list: serde_json::Value = serde_json::from_str(&list).expect("a document");
        let items = list["data"]["items"].as_array().expect("a list");
        items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    }

    fn make_up(&self) -> PathBuf {
        let path = self.dir.path().join("issues.jsonl");
        let mut file = std::fs::File::create(&path).expect("our own file");
        for number in 0..400 {
            let (body, at) = ("What was seen, and where. ".repeat(10), "2026-01-01T00:00:00Z");
            let issue = serde_json::json!({
                "id": format!("made-up-{number}"), "title": format!("Number {number}"), "body": body,
                "state": "open", "labels": ["a", "b"], "assignees": [], "author": "ann", "created_at": at,
                "updated_at": at, "comments": [], "depends_on": [],
            });
            writeln!(file, "{issue}").expect("our own file");
        }
        path
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
