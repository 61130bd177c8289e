//! A command that has run to its end: what it printed, and how it ended.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// After this, a command that has not ended is taken for hung, and killed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a command left.
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ended {
    /// The one document on standard output.
    pub fn document(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {:?}", self.stdout))
    }

    /// The `data` of a document of success.
    pub fn data(&self) -> Value {
        let mut document = self.document();
        assert_eq!((&document["schema_version"], &document["ok"]), (&json!(1), &json!(true)));
        document["data"].take()
    }
}

/// Gives a child its input and waits for its end, or kills it at the deadline.
pub fn end(mut child: Child, input: &str) -> Ended {
    let stdin = child.stdin.take();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        let stdout = scope.spawn(move || read(&mut stdout));
        let stderr = scope.spawn(move || read(&mut stderr));
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("process {} did not end", child.id());
            }
            thread::sleep(Duration::from_millis(2));
        };
        Ended { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    })
}

/// All that a stream holds until its end.
pub fn read(stream: &mut impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
