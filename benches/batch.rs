//! What `grite batch` saves: 10,000 questions in one batch, and beside them the same questions as commands of
//! their own, in interleaved rounds. Every answer is read, and must be the same bytes either way.
//!
//! Asks about the issues of `../shared/data/issues.jsonl`, or about made-up ones where that is not there.
//! Touches a temporary folder and a daemon in it, both gone afterwards.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use common::median;

/// How many questions one batch holds.
const LINES: usize = 10_000;

/// How many separate commands are run in all.
const COMMANDS: usize = 200;

const ROUNDS: usize = 10;

fn main() {
    // `cargo test` builds benches and runs them with an option of its own; it wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let home = Home::new();
    let ids = home.import();
    let asked: Vec<&str> = (0..LINES).map(|number| ids[number % ids.len()].as_str()).collect();
    let input: String = asked.iter().map(|id| format!("[\"issue\",\"show\",\"{id}\"]\n")).collect();

    let (mut alone, mut batches, mut answers) = (Vec::new(), Vec::new(), String::new());
    for round in 0..ROUNDS {
        let start = Instant::now();
        let answered = home.run(&["batch"], &input);
        batches.push(start.elapsed());
        assert_eq!(answered.lines().count(), LINES, "an answer a line");
        assert!(round == 0 || answers == answered, "the same answers in every round");
        answers = answered;

        let range = round * COMMANDS / ROUNDS..(round + 1) * COMMANDS / ROUNDS;
        for (id, expected) in
            asked.iter().zip(answers.split_inclusive('\n')).take(range.end).skip(range.start)
        {
            let start = Instant::now();
            let answered = home.run(&["--json", "issue", "show", id], "");
            alone.push(start.elapsed());
            assert_eq!(answered, expected, "the same bytes as in the batch");
        }
    }
    let (command, batch) = (median(&mut alone), median(&mut batches));
    let line = batch / LINES as u32;
    println!("{} issues, {ROUNDS} interleaved rounds, medians", ids.len());
    println!("a command of its own: {command:?} ({COMMANDS} of them)");
    println!("a batch of {LINES} lines: {batch:?}, {line:?} a line, {} bytes answered", answers.len());
    println!("ratio of the rates: {:.0}", command.as_secs_f64() / line.as_secs_f64());
}

/// A state folder and its daemon, which ends with it.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Home { dir: tempfile::tempdir().expect("a temporary folder") };
        home.run(&["init"], "");
        home
    }

    /// Takes issues over; says their ids.
    fn import(&self) -> Vec<String> {
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
    fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input.as_bytes()).expect("it reads all"));
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{arguments:?}");
            String::from_utf8(output.stdout).expect("text")
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
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
