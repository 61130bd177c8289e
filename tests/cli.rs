//! The binary as a user runs it, without a daemon: what it prints, and what it ends with.
#![cfg(feature = "cli")]

mod ended;
mod issues;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use ended::{Ended, end, read};
use serde_json::{Value, json};
use sources::sources;
use tempfile::TempDir;

/// A state folder of its own, and commands on it.
struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// An empty place, without a state folder.
    fn bare() -> Self {
        Scratch { dir: tempfile::tempdir().unwrap() }
    }

    /// A place with an empty store.
    fn new() -> Self {
        let scratch = Scratch::bare();
        scratch.done(&["init"]);
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grite"));
        command
            .args(arguments)
            .env_clear()
            .env("GRITE_DIR", self.path("state"))
            .env("GRITE_ACTOR", "tester")
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .env("TMPDIR", self.dir.path())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        // Meta commands take the option too, and this suite is about no daemon.
        end(self.command(&[&["--direct"], arguments].concat()).spawn().unwrap(), "")
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(&[&["--direct"], arguments].concat());
        end(command.stdin(Stdio::piped()).spawn().unwrap(), input)
    }

    /// What a command printed that must succeed.
    fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert!(ended.status.success(), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// `data` of a command that must succeed.
    fn data(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["--json"]].concat());
        assert!(ended.status.success(), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
        ended.data()
    }

    /// `error.code`, `error.message` and the exit code of a command that must fail.
    fn failure(&self, arguments: &[&str]) -> (String, String, i32) {
        let ended = self.run(&[arguments, &["--json"]].concat());
        let document = ended.document();
        assert_eq!(document["ok"], false, "{arguments:?}: {document}");
        assert_eq!(document["schema_version"], 1);
        let error = &document["error"];
        assert!(error["hint"].is_string() && error["retryable"].is_boolean(), "{document}");
        let text = |field: &str| error[field].as_str().unwrap().to_owned();
        (text("code"), text("message"), ended.status.code().unwrap())
    }

    fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn create(&self, title: &str) -> String {
        self.data(&["issue", "create", title])["id"].as_str().unwrap().to_owned()
    }
}

/// A line of a file to import.
fn record(id: &str) -> Value {
    json!({
        "id": id,
        "title": format!("Title of {id}"),
        "body": "Text\nof it",
        "state": "closed",
        "labels": ["p:1", "t:bug"],
        "assignees": ["bob"],
        "author": "cyd",
        "created_at": "2025-11-02T21:58:07.295058-08:00",
        "updated_at": "2025-11-03T21:58:07.295058123-08:00",
        "comments": [
            {"author": "dee", "created_at": "2025-12-30T15:44:43.356435-08:00", "body": "first"},
            {"author": "dee", "created_at": "2025-12-30T00:41:45.168318-08:00", "body": "second"},
        ],
        "depends_on": ["x-9"],
    })
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn by_id(lines: &str) -> BTreeMap<String, Value> {
    let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|record| (record["id"].as_str().unwrap().to_owned(), record)).collect()
}

#[test]
fn init_makes_a_private_folder_once() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::bare();
    let (code, message, exit) = scratch.failure(&["issue", "list"]);
    assert_eq!((code.as_str(), exit), ("environment", 5));
    assert!(message.contains(scratch.path("state").to_str().unwrap()), "{message}");
    assert_eq!(scratch.data(&["init"])["created"], true);
    assert_eq!(scratch.data(&["init"])["created"], false);
    assert_eq!(fs::metadata(scratch.path("state")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_state_is_found_from_inside_a_repository() {
    let scratch = Scratch::bare();
    let deep = scratch.path("repo/src");
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir_all(scratch.path("repo/.git")).unwrap();
    let within = |arguments: &[&str]| {
        end(scratch.command(arguments).env_remove("GRITE_DIR").current_dir(&deep).spawn().unwrap(), "")
    };
    let missing = within(&["--direct", "issue", "list"]);
    assert_eq!(missing.status.code(), Some(5));
    assert!(missing.stderr.contains("grite init"), "{}", missing.stderr);
    assert!(within(&["init"]).status.success());
    assert!(scratch.path("repo/.git/grite").is_dir());
    assert!(within(&["--direct", "issue", "list"]).status.success());
}

#[test]
fn an_issue_goes_through_its_life() {
    let scratch = Scratch::new();
    let body = scratch.write("body.md", "from a file\n");
    let made = scratch.data(&["issue", "create", "A title", "--body-file", &body, "-l", "bug", "-a", "bob"]);
    let id = made["id"].as_str().unwrap();
    let changes = ["issue", "update", id, "--title", "New", "--add-label", "ui", "--remove-label", "bug"];
    assert_eq!(scratch.data(&changes), json!({"id": id, "changed": true}));
    assert_eq!(scratch.data(&changes), json!({"id": id, "changed": false}));
    assert_eq!(
        scratch.data(&["issue", "close", &id[..6]]),
        json!({"id": id, "state": "closed", "changed": true})
    );
    assert_eq!(scratch.data(&["issue", "close", id]), json!({"id": id, "state": "closed", "changed": false}));
    assert_eq!(scratch.data(&["issue", "reopen", id]), json!({"id": id, "state": "open", "changed": true}));
    assert_eq!(scratch.data(&["issue", "comment", id, "said"]), json!({"id": id, "comment_count": 1}));
    let said = scratch.run_with_input(&["issue", "comment", id, "-", "--json"], "from stdin");
    assert_eq!(said.data(), json!({"id": id, "comment_count": 2}));

    let issue = scratch.data(&["issue", "show", id]);
    let created_at = issue["created_at"].as_str().unwrap();
    assert!(created_at.ends_with('Z'));
    let comment = |index: usize, body: &str| json!({"author": "tester", "created_at": issue["comments"][index]["created_at"], "body": body});
    assert_eq!(
        issue,
        json!({
            "id": id, "source_id": null, "title": "New", "body": "from a file\n", "state": "open",
            "labels": ["ui"], "assignees": ["bob"], "depends_on": [], "author": "tester",
            "created_at": created_at, "updated_at": issue["comments"][1]["created_at"], "comment_count": 2,
            "comments": [comment(0, "said"), comment(1, "from stdin")],
        })
    );
    assert_eq!(
        scratch.data(&["issue", "list"]),
        json!({"items": [{
            "id": id, "title": "New", "state": "open", "labels": ["ui"], "assignees": ["bob"],
            "created_at": created_at, "updated_at": issue["updated_at"], "comment_count": 2,
        }], "total": 1, "truncated": false})
    );
    for (arguments, expected) in [
        (vec!["issue", "show", id], "from a file"),
        (vec!["issue", "list"], "New"),
        (vec!["issue", "close", id], "is now closed"),
        (vec!["issue", "close", id], "is already closed"),
    ] {
        let text = scratch.done(&arguments);
        assert!(text.contains(expected) && !text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn a_list_pages_filters_and_searches() {
    let scratch = Scratch::new();
    for number in 0..5 {
        scratch.create(&format!("number {number}"));
    }
    let first = scratch.data(&["issue", "list", "--limit", "2"]);
    assert_eq!((&first["total"], &first["truncated"]), (&json!(5), &json!(true)));
    let cursor = format!("--cursor={}", first["next"].as_str().unwrap());
    let second = scratch.data(&["issue", "list", "--limit", "3", &cursor]);
    assert_eq!((second["items"].as_array().unwrap().len(), &second["truncated"]), (3, &json!(false)));
    let found = scratch.data(&["issue", "list", "--search", "NUMBER 3"]);
    assert_eq!((&found["total"], &found["items"][0]["title"]), (&json!(1), &json!("number 3")));
    for text in ["\"", "a AND", "title:", "*", "-x", "number (", "NEAR(", "'"] {
        let ended = scratch.run(&["issue", "list", "--search", text, "--json"]);
        assert!(matches!(ended.status.code(), Some(0 | 2)), "{text}: {}", ended.stdout);
    }
    assert_eq!(scratch.data(&["issue", "list", "--state", "closed"])["total"], 0);
    assert!(scratch.done(&["issue", "list", "--state", "closed"]).contains("no issues"));
}

#[test]
fn a_write_with_the_same_key_happens_once() {
    let scratch = Scratch::new();
    let create = ["issue", "create", "once", "--idempotency-key", "k"];
    let first = scratch.run(&[&create[..], &["--json"]].concat()).stdout;
    assert_eq!(scratch.run(&[&create[..], &["--json"]].concat()).stdout, first);
    assert_eq!(scratch.data(&["issue", "list"])["total"], 1);
    let (code, _, exit) = scratch.failure(&["issue", "create", "other", "--idempotency-key", "k"]);
    assert_eq!((code.as_str(), exit), ("conflict", 4));
}

#[test]
fn an_import_comes_out_as_it_went_in_and_a_repeat_changes_nothing() {
    let scratch = Scratch::new();
    let records = [record("x-2"), record("x-1"), record("x-9")];
    let file = scratch.write("in.jsonl", &lines(&records));
    assert_eq!(scratch.data(&["import", &file]), json!({"created": 3, "updated": 0, "unchanged": 0}));
    let exported = scratch.done(&["export"]);
    assert_eq!(by_id(&exported), by_id(&lines(&records)));
    assert_eq!(scratch.data(&["import", &file]), json!({"created": 0, "updated": 0, "unchanged": 3}));
    assert!(scratch.done(&["import", &file]).contains("nothing changed"));
    assert_eq!(scratch.done(&["export"]), exported);
    let issue = scratch.data(&["issue", "show", "x-1"]);
    assert_eq!(issue["source_id"], "x-1");
    assert_eq!(issue["depends_on"][0], scratch.data(&["issue", "show", "x-9"])["id"]);

    let mut changed = record("x-1");
    changed["title"] = json!("Changed");
    let input = lines(&[record("x-2"), changed.clone()]);
    let ended = scratch.run_with_input(&["import", "-", "--json"], &input);
    assert_eq!(ended.data(), json!({"created": 0, "updated": 1, "unchanged": 1}));
    assert_eq!(by_id(&scratch.done(&["export"]))["x-1"], changed);

    // An issue of our own goes out under our id, and a store elsewhere gives all of it back.
    let id = scratch.create("ours");
    let elsewhere = Scratch::new();
    let exported = scratch.done(&["export", "--json"]);
    assert!(by_id(&exported).contains_key(&id));

    // Here it is known already, and stays as it is, whatever a file says of it.
    let out = scratch.write("out.jsonl", &exported);
    assert_eq!(scratch.data(&["import", &out]), json!({"created": 0, "updated": 0, "unchanged": 4}));
    let mut other = by_id(&exported)[&id].clone();
    other["title"] = json!("Somebody else's");
    let ended = scratch.run_with_input(&["import", "-", "--json"], &lines(&[other]));
    assert_eq!(ended.data(), json!({"created": 0, "updated": 0, "unchanged": 1}));
    assert_eq!(scratch.done(&["export", "--json"]), exported);

    elsewhere.data(&["import", &elsewhere.write("out.jsonl", &exported)]);
    assert_eq!(by_id(&elsewhere.done(&["export"])), by_id(&exported));
}

#[test]
fn a_bad_line_is_named_and_nothing_is_imported() {
    let scratch = Scratch::new();
    let without = |field: &str| {
        let mut record = record("x-2");
        record.as_object_mut().unwrap().remove(field);
        record
    };
    let with = |field: &str, value: Value| {
        let mut record = record("x-2");
        record[field] = value;
        record
    };
    let mut cases: Vec<(Value, &str)> = [
        ("id", json!("")),
        ("title", json!(1)),
        ("body", json!(null)),
        ("state", json!("in_progress")),
        ("labels", json!("bug")),
        ("created_at", json!("2025-11-02")),
        ("updated_at", json!("later")),
        ("updated_at", json!("2025-11-02T21:58:0éZ")),
        ("comments", json!({})),
        ("depends_on", json!([1])),
    ]
    .map(|(field, value)| (with(field, value), field))
    .into();
    cases.extend(
        ["id", "title", "body", "state", "author", "created_at", "updated_at"]
            .map(|field| (without(field), field)),
    );
    let mut twice = record("x-1");
    twice["title"] = json!("another");
    cases.push((twice, "id"));
    for (bad, field) in cases {
        let file = scratch.write("bad.jsonl", &lines(&[record("x-1"), bad, record("x-3")]));
        let (code, message, exit) = scratch.failure(&["import", &file]);
        assert_eq!((code.as_str(), exit), ("invalid", 2), "{message}");
        assert!(message.contains(&format!("line 2, {field}")), "{field}: {message}");
        assert!(message.contains("bad.jsonl"), "{message}");
    }
    let (_, message, _) = scratch.failure(&["import", &scratch.write("bad.jsonl", "{}\n{\n")]);
    assert!(message.contains("line 1"), "{message}");
    assert_eq!(scratch.data(&["issue", "list"])["total"], 0);
    let (code, message, exit) = scratch.failure(&["import", "gone.jsonl"]);
    assert_eq!((code.as_str(), exit), ("environment", 5));
    assert!(message.contains("gone.jsonl"), "{message}");
}

#[test]
fn failures_have_their_codes() {
    let scratch = Scratch::new();
    let id = scratch.create("there");
    for (arguments, code, exit) in [
        (vec!["issue", "show", "ffffffff"], "not_found", 3),
        (vec!["issue", "close", "x-404"], "not_found", 3),
        (vec!["issue", "create", " "], "invalid", 2),
        (vec!["issue", "comment", &id, ""], "invalid", 2),
        (vec!["issue", "comment", &id], "usage", 2),
        (vec!["issue", "update", &id], "invalid", 2),
        (vec!["issue", "list", "--cursor", "x"], "invalid", 2),
        (vec!["issue", "list", "--limit", "0"], "usage", 2),
        (vec!["issue", "list", "--state", "odd"], "usage", 2),
        (vec!["issue", "create"], "usage", 2),
        (vec!["issue"], "usage", 2),
        (vec![], "usage", 2),
        (vec!["bogus"], "usage", 2),
        (vec!["issue", "show"], "usage", 2),
        (vec!["issue", "create", "t", "--body", "x", "--body-file", "y"], "usage", 2),
        (vec!["issue", "create", "t", "--body-file", "gone"], "environment", 5),
        (vec!["issue", "list", "--transport", "pigeon"], "usage", 2),
    ] {
        let (found, message, found_exit) = scratch.failure(&arguments);
        assert_eq!((found.as_str(), found_exit), (code, exit), "{arguments:?}: {message}");
        assert!(!message.is_empty() && !message.starts_with("error:"));
        let human = scratch.run(&arguments);
        assert_eq!((human.status.code(), human.stdout.as_str()), (Some(exit), ""), "{arguments:?}");
        assert!(!human.stderr.is_empty());
    }
}

#[test]
fn a_command_that_is_missing_is_said_to_be_and_no_hidden_one_is_named() {
    let scratch = Scratch::bare();
    for words in [&[][..], &["issue"], &["issue", "dep"], &["lock"], &["daemon"]] {
        let command = [&["grite"], words].concat().join(" ");
        for arguments in [[&["--json"], words].concat(), [words, &["--json"]].concat()] {
            let ended = end(scratch.command(&arguments).spawn().unwrap(), "");
            let error = &ended.document()["error"];
            assert_eq!(
                (&error["code"], ended.status.code()),
                (&"usage".into(), Some(2)),
                "{arguments:?}: {error}"
            );
            assert_eq!(error["message"], format!("a subcommand is missing after `{command}`"));
            assert_eq!(error["hint"], format!("see `{command} --help`"));
        }
        for arguments in [words.to_vec(), [&["--direct"], words].concat()] {
            let ended = end(scratch.command(&arguments).spawn().unwrap(), "");
            assert_eq!(ended.status.code(), Some(2));
            assert!(
                ended.stderr.contains("Usage:") && !ended.stderr.contains("bench-peer"),
                "{}",
                ended.stderr
            );
        }
    }
}

#[test]
fn what_is_asked_for_as_json_is_never_markdown() {
    let scratch = Scratch::new();
    scratch.create("there");
    let (code, message, exit) = scratch.failure(&["export", "--format", "md"]);
    assert_eq!((code.as_str(), exit), ("usage", 2), "{message}");
    assert!(scratch.done(&["export", "--format", "md"]).contains("there"));
    let lines = scratch.done(&["export", "--json"]);
    assert!(serde_json::from_str::<Value>(lines.trim()).is_ok(), "{lines}");
}

#[test]
fn an_ambiguous_prefix_names_its_candidates() {
    let scratch = Scratch::new();
    let records: Vec<Value> = (0..1500)
        .map(|number| {
            let mut record = record(&format!("m-{number}"));
            record["comments"] = json!([]);
            record
        })
        .collect();
    scratch.data(&["import", &scratch.write("many.jsonl", &lines(&records))]);
    let list = scratch.data(&["issue", "list", "--limit", "2000"]);
    let mut ids: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let twins = ids.windows(2).find(|pair| pair[0][..4] == pair[1][..4]).unwrap();
    let (code, message, exit) = scratch.failure(&["issue", "show", &twins[0][..4]]);
    assert_eq!((code.as_str(), exit), ("ambiguous", 4));
    assert!(message.contains(twins[0]) && message.contains(twins[1]), "{message}");
}

#[test]
fn meta_commands_answer_in_both_forms() {
    let scratch = Scratch::new();
    assert!(scratch.data(&["ping"])["round_trip_ns"].is_u64());
    assert!(scratch.data(&["completions", "bash"])["script"].as_str().unwrap().contains("grite"));
    assert!(scratch.done(&["completions", "zsh"]).contains("#compdef grite"));
    for arguments in [["--help"], ["--version"]] {
        assert!(scratch.done(&arguments).contains("grite"));
        assert!(scratch.data(&arguments)["text"].as_str().unwrap().contains("grite"));
    }
    // An option behind `--` is an argument.
    let ended = scratch.run(&["issue", "show", "--", "--json"]);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(3), ""));
}

/// But for those of tests, and the one with which a test has a program be another release.
#[test]
fn each_variable_that_the_program_reads_stands_in_its_help_and_in_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut variables = BTreeSet::from(["XDG_RUNTIME_DIR", "TMPDIR", "NO_COLOR"].map(str::to_owned));
    for path in sources(&root.join("src/bin/grite")) {
        let text = fs::read_to_string(path).unwrap();
        let quoted = text.split("\"GRITE_").skip(1).map(|rest| rest.split('"').next().unwrap());
        let read = quoted.filter(|name| !name.starts_with("TEST_") && *name != "RELEASE");
        variables.extend(read.map(|name| format!("GRITE_{name}")));
    }
    assert!(variables.len() >= 8, "{variables:?}");
    let (help, readme) =
        (Scratch::new().done(&["--help"]), fs::read_to_string(root.join("README.md")).unwrap());
    for variable in variables {
        assert!(help.contains(&variable), "{variable} in the help");
        assert!(readme.contains(&format!("`{variable}`")), "{variable} in the README");
    }
}

#[test]
fn what_a_terminal_would_obey_is_escaped() {
    let scratch = Scratch::new();
    let mut hostile = record("x-1");
    hostile["title"] = json!("\u{1b}[2Jgone\nsecond line");
    hostile["body"] = json!("\u{1b}]0;title\u{7}");
    hostile["comments"][0]["body"] = json!("\u{9b}31m");
    scratch.data(&["import", &scratch.write("in.jsonl", &lines(&[hostile.clone()]))]);
    for arguments in [vec!["issue", "list"], vec!["issue", "show", "x-1"]] {
        let text = scratch.done(&arguments);
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    }
    // Programs get it as it is.
    assert_eq!(scratch.data(&["issue", "show", "x-1"])["title"], hostile["title"]);
}

#[test]
fn a_reader_that_stops_reading_ends_it_quietly() {
    let scratch = Scratch::new();
    let records: Vec<Value> = (0..500).map(|number| record(&format!("x-{number}"))).collect();
    scratch.data(&["import", &scratch.write("in.jsonl", &lines(&records))]);
    for arguments in
        [vec!["export"], vec!["issue", "list"], vec!["--help"], vec!["issue", "show", "x-1", "--json"]]
    {
        let mut command = scratch.command(&[&["--direct"], arguments.as_slice()].concat());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = command.stdout(writer).spawn().unwrap();
        drop(command);
        let stderr = read(&mut child.stderr.take().unwrap());
        let status = child.wait().unwrap();
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn commands_at_once_lose_nothing() {
    let scratch = Scratch::bare();
    thread::scope(|scope| {
        for number in 0..8 {
            let scratch = &scratch;
            scope.spawn(move || {
                scratch.done(&["init"]);
                scratch.create(&format!("number {number}"));
            });
        }
    });
    assert_eq!(scratch.data(&["issue", "list"])["total"], 8);
}

#[test]
fn many_issues_come_out_as_they_went_in() {
    let scratch = Scratch::new();
    let file = issues::file(&scratch.path("."));
    let given = fs::read_to_string(&file).unwrap();
    let file = file.to_str().unwrap();
    let count = given.lines().count();
    assert_eq!(scratch.data(&["import", file]), json!({"created": count, "updated": 0, "unchanged": 0}));
    assert_eq!(scratch.data(&["import", file]), json!({"created": 0, "updated": 0, "unchanged": count}));
    assert_eq!(by_id(&scratch.done(&["export"])), by_id(&given));
    let elsewhere = Scratch::new();
    elsewhere.data(&["import", file]);
    assert_eq!(elsewhere.done(&["export"]), scratch.done(&["export"]));
    assert_eq!(scratch.data(&["issue", "list", "--limit", "5000"])["items"].as_array().unwrap().len(), count);
}
