//! `grite batch`: a line of words in, the line that the command alone prints out.
#![cfg(feature = "cli")]

mod ended;
mod home;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout};
use std::thread;

use ended::{Ended, end};
use home::{Home, WAYS, signal};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The documents that answer these lines.
fn batch(home: &Home, way: &str, lines: &[Value]) -> Vec<Value> {
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let ended = home.run(&["batch", "--transport", way], &input);
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    let answers: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), lines.len(), "{}", ended.stdout);
    answers
}

#[test]
fn every_line_is_answered_as_the_command_alone_is() {
    let home = Home::new();
    let id = home.create("asked for \u{1b} \"quoted\"");
    home.create("another");
    let (prefix, long) = (&id[..8], "x".repeat(2000));
    let made = ["issue", "create", "once", "--idempotency-key", "k"];
    let lines: &[&[&str]] = &[
        &["issue", "show", &id],
        &["issue", "show", prefix, "--json"],
        &["--json", "issue", "show", &id],
        &["issue", "show", "nothing"],
        &["issue", "show", "--", "-x"],
        &["issue", "show"],
        &["issue", "show", &id, "too much"],
        &["issue", "list"],
        &["issue", "list", "--limit", "0"],
        &["issue", "list", "--state", "odd"],
        &["issue", "list", "--cursor", "x"],
        &made,
        &made,
        &["issue", "create", "other", "--idempotency-key", "k"],
        &["issue", "create", &long],
        &["issue", "create", "t", "--body-file", "gone"],
        &["issue", "close", &id, "--idempotency-key", "closed", "--actor", "somebody"],
        &["issue", "comment", &id, "said", "--idempotency-key", "said"],
        &["issue", "comment", &id],
        &["issue", "update", &id],
        &["issue", "show", &id],
        &["issue", "reopen", "nothing"],
        &["issue"],
        &["bogus"],
        &[],
        &["--help"],
        &["issue", "create", "--help"],
        &["--version"],
        &["init"],
        &["completions", "bash"],
        &["import", "gone.jsonl"],
        &["issue", "list", "--search", "quoted"],
    ];
    let input: String = lines.iter().map(|words| format!("{}\n", json!(words))).collect();
    // The writes with a key are carried out by this one; all later ones are answered as it was.
    assert!(home.run(&["batch"], &input).status.success());
    for way in WAYS {
        let ended = home.run(&["batch", "--transport", way], &input);
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
        let answers: Vec<&str> = ended.stdout.split_inclusive('\n').collect();
        assert_eq!(answers.len(), lines.len(), "{way}: {}", ended.stdout);
        for (words, answer) in lines.iter().zip(answers) {
            let others = words.iter().copied().filter(|word| *word != "--json");
            let alone = home.run(&std::iter::once("--json").chain(others).collect::<Vec<_>>(), "").stdout;
            assert_eq!(answer, alone, "{words:?} by {way}");
        }
    }
}

#[test]
fn reads_see_the_writes_before_them_and_not_those_behind() {
    let home = Home::new();
    let id = home.create("0");
    for way in WAYS {
        let mut lines = Vec::new();
        for number in 0..100 {
            lines.push(json!(["issue", "update", id, "--title", format!("{way} {number}")]));
            // Several, so that they are under way together.
            lines.extend((0..number % 4).map(|_| json!(["issue", "show", id])));
        }
        let mut title = Value::Null;
        for (line, answer) in lines.iter().zip(batch(&home, way, &lines)) {
            assert_eq!(answer["ok"], true, "{answer}");
            if line[1] == "update" {
                title = line[4].clone();
                assert_eq!(answer["data"]["changed"], true, "{answer}");
            } else {
                assert_eq!(answer["data"]["title"], title);
            }
        }
    }
}

#[test]
fn many_lines_are_answered_in_their_order() {
    let home = Home::new();
    let ids: Vec<String> = (0..7).map(|number| home.create(&format!("number {number}"))).collect();
    let lines: Vec<Value> = (0..3000)
        .map(|number| match number % 11 {
            10 => json!(["issue", "show", format!("no-{number}")]),
            other => json!(["issue", "show", ids[other % 7]]),
        })
        .collect();
    for way in WAYS {
        for (line, answer) in lines.iter().zip(batch(&home, way, &lines)) {
            if answer["ok"] == true {
                assert_eq!(answer["data"]["id"], line[2]);
            } else {
                assert!(answer["error"]["message"].as_str().unwrap().contains(line[2].as_str().unwrap()));
            }
        }
    }
}

#[test]
fn a_bad_line_is_answered_and_the_rest_goes_on() {
    let home = Home::new();
    let id = home.create("there");
    let good = format!("[\"issue\",\"show\",\"{id}\"]");
    let too_long = format!("[\"issue\",\"show\",\"{}\"]", "x".repeat(9 << 20));
    let bad: &[(&str, &str)] = &[
        ("", "usage"),
        ("nonsense", "usage"),
        ("{\"issue\":1}", "usage"),
        ("[\"issue\",1]", "usage"),
        ("[\"issue\",\"show\"", "usage"),
        ("[\"batch\"]", "usage"),
        ("[\"export\"]", "usage"),
        ("[\"demo\"]", "usage"),
        ("[\"bench\"]", "usage"),
        ("[\"daemon\",\"run\"]", "usage"),
        ("[\"issue\",\"list\",\"--direct\"]", "usage"),
        ("[\"issue\",\"comment\",\"x\",\"-\"]", "usage"),
        ("[\"issue\",\"create\",\"x\",\"--body-file\",\"-\"]", "usage"),
        ("[\"import\",\"-\"]", "usage"),
        (&too_long, "invalid"),
    ];
    let input: String = bad.iter().map(|(line, _)| format!("{good}\n{line}\n")).collect();
    // The last line needs no end.
    let ended = home.run(&["batch"], &(input + &good));
    assert!(ended.status.success(), "{}", ended.stderr);
    let answers: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2 * bad.len() + 1);
    for (number, answer) in answers.iter().enumerate() {
        if number % 2 == 0 {
            assert_eq!(answer["data"]["id"], id.as_str());
        } else {
            let (line, code) = bad[number / 2];
            assert_eq!(answer["error"]["code"], code, "{line:.80}: {answer}");
            assert_ne!(answer["error"]["hint"], "", "{line:.80}: {answer}");
        }
    }
    let not_text = [good.as_bytes(), b"\n[\"issue\",\"show\",\"\xff\"]\n", good.as_bytes()].concat();
    let mut child = home.command(&["batch"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&not_text).unwrap();
    let ended = end(child, "");
    assert_eq!(ended.stdout.lines().count(), 3, "{}", ended.stdout);
}

/// A batch whose lines are written one by one.
struct Talk {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Talk {
    fn start(home: &Home, way: &str) -> Self {
        let mut child = home.command(&["batch", "--transport", way]).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Talk { child, stdin, stdout: BufReader::new(stdout) }
    }

    fn ask(&mut self, words: &Value) -> Value {
        self.stdin.write_all(format!("{words}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_answer_comes_before_the_next_line_is_written() {
    let home = Home::new();
    for way in WAYS {
        let mut talk = Talk::start(&home, way);
        for number in 0..20 {
            let made = talk.ask(&json!(["issue", "create", format!("{way} {number}")]));
            let id = made["data"]["id"].clone();
            assert_eq!(talk.ask(&json!(["issue", "show", id]))["data"]["id"], id);
            assert_eq!(talk.ask(&json!("?"))["ok"], false);
        }
    }
}

#[test]
fn a_batch_outlives_its_daemon() {
    let home = Home::new();
    let id = home.create("asked for again and again");
    let mut talk = Talk::start(&home, "auto");
    for round in 0..5 {
        assert_eq!(talk.ask(&json!(["issue", "show", id]))["ok"], true);
        if round % 2 == 0 {
            signal(home.pid().unwrap(), Signal::KILL);
        } else {
            assert_eq!(talk.ask(&json!(["daemon", "stop"]))["data"]["stopped"], true);
        }
        let said = talk.ask(&json!(["issue", "comment", id, format!("round {round}")]));
        assert_eq!(said["data"]["comment_count"], round + 1, "{said}");
    }
}

#[test]
fn a_batch_whose_daemon_is_killed_on_the_way_loses_no_answer() {
    let home = Home::new();
    let id = home.create("asked for by all");
    let line = format!("[\"issue\",\"show\",\"{id}\"]\n");
    for _ in 0..3 {
        let pid = home.pid().unwrap();
        let child = home.command(&["batch"]).spawn().unwrap();
        let killer = thread::spawn(move || {
            thread::sleep(std::time::Duration::from_millis(30));
            signal(pid, Signal::KILL);
        });
        let ended = end(child, &line.repeat(20_000));
        killer.join().unwrap();
        assert_eq!(ended.stdout.lines().count(), 20_000);
        let answer = ended.stdout.lines().next().unwrap();
        assert!(answer.contains(&id) && ended.stdout.lines().all(|other| other == answer));
    }
}

#[test]
fn a_reader_that_stops_reading_ends_a_batch_quietly_and_is_no_success() {
    let home = Home::new();
    let id = home.create("asked for in vain");
    let mut child = home.command(&["batch"]).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    // Until the batch has ended, and nobody reads these any more.
    let line = format!("[\"issue\",\"show\",\"{id}\"]\n");
    while stdin.write_all(line.repeat(100).as_bytes()).is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}

#[test]
fn without_a_store_or_a_daemon_every_line_says_so() {
    let home = Home::new();
    let lines = [json!(["issue", "list"]), json!(["issue", "show", "x"]), json!(["issue", "create", "x"])];
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let ended = home.run(&["batch", "--no-spawn", "--transport", "socket"], &input);
    assert!(ended.status.success());
    let codes = |ended: &Ended| -> Vec<Value> {
        let answers = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        answers.map(|answer| answer["error"]["code"].clone()).collect()
    };
    assert_eq!(codes(&ended), ["not_running"; 3]);
    fs::remove_dir_all(home.path("state")).unwrap();
    assert_eq!(codes(&home.run(&["batch"], &input)), ["environment"; 3]);
}
