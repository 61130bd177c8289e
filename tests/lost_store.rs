//! The state folder of a live daemon is removed or replaced: nothing that was acknowledged after that is lost,
//! and nobody is answered from the store that is gone for long. Where no store is, only `init` and a rebuild of one
//! that was there make any.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod ended;
mod home;

use std::fs;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use ended::{Ended, end};
use home::{Home, WAYS, names};
use serde_json::{Value, json};

/// The titles of the issues that a command lists.
fn titles(home: &Home, options: &[&str]) -> Vec<String> {
    let list = home.data(&[&["issue", "list"], options].concat());
    let title = |item: &Value| item["title"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(title).collect()
}

/// A command on the folder `name` of a home, in place of its state folder.
fn elsewhere(home: &Home, name: &str, arguments: &[&str]) -> Ended {
    let mut command = home.command(arguments);
    end(command.env("GRITE_DIR", home.path(name)).spawn().unwrap(), "[\"issue\",\"list\"]\n")
}

/// The code, the message with the hint, and the exit code of a command that must fail.
fn failure(ended: &Ended) -> (String, String, Option<i32>) {
    let document = ended.document();
    let error = &document["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("{document}")).to_owned();
    (text("code"), format!("{}; {}", text("message"), text("hint")), ended.status.code())
}

/// All commands that need a store, by each way.
fn needing_a_store() -> Vec<Vec<&'static str>> {
    let mut commands = Vec::new();
    for way in WAYS {
        for command in [
            &["issue", "list"][..],
            &["issue", "create", "x"],
            &["export"],
            &["ping"],
            &["sync"],
            &["lock", "status"],
        ] {
            commands.push([command, &["--json", "--transport", way]].concat());
        }
    }
    commands.push(vec!["watch", "--json", "--for", "5s"]);
    commands.push(vec!["daemon", "start", "--json"]);
    commands.push(vec!["daemon", "run", "--json"]);
    commands
}

#[test]
fn no_command_takes_a_folder_of_others_for_a_state_folder() {
    let home = Home::new();
    let folder = home.path("any");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    // A name that is also one of ours tells nothing.
    fs::write(folder.join("changes"), "of somebody else").unwrap();
    let mut commands = needing_a_store();
    commands.extend(
        [&["doctor"][..], &["doctor", "--fix"], &["rebuild"]].map(|words| [words, &["--json"]].concat()),
    );
    for command in commands {
        let (code, words, exit) = failure(&elsewhere(&home, "any", &command));
        assert_eq!((code.as_str(), exit), ("environment", Some(5)), "{command:?}: {words}");
        assert!(
            words.contains("is no state folder") && words.contains("`grite init`"),
            "{command:?}: {words}"
        );
    }
    let batch = elsewhere(&home, "any", &["batch"]);
    assert_eq!(batch.document()["error"]["code"], "environment");
    assert_eq!(names(&folder), ["changes"]);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(elsewhere(&home, "any", &["init"]).status.success());
    assert!(elsewhere(&home, "any", &["issue", "list", "--direct"]).status.success());
}

#[test]
fn a_store_that_is_gone_or_empty_is_named_and_no_command_but_a_rebuild_makes_another() {
    for empty in [false, true] {
        let home = Home::new();
        home.create("in the lost store");
        home.data(&["daemon", "stop"]);
        let store = home.path("state/issues.db");
        if empty {
            fs::write(&store, "").unwrap();
        } else {
            fs::remove_file(&store).unwrap();
        }
        let before = names(&home.path("state"));
        for command in needing_a_store() {
            let (code, words, exit) = failure(&home.run(&command, ""));
            assert_eq!((code.as_str(), exit), ("integrity", Some(8)), "{command:?}: {words}");
            assert!(words.contains("lost") && words.contains("`grite rebuild`"), "{command:?}: {words}");
        }
        let (code, words, exit) = failure(&home.run(&["init", "--json"], ""));
        assert_eq!((code.as_str(), exit), ("integrity", Some(8)), "an empty one would hide that: {words}");
        assert_eq!(names(&home.path("state")), before);
        assert_eq!(fs::metadata(&store).map_or(0, |found| found.len()), 0);
        let looked = home.run(&["doctor", "--json"], "").document();
        let items = looked["data"]["items"].as_array().unwrap();
        assert!(items.iter().any(|item| item["check"] == "store" && item["ok"] == false), "{looked}");
        home.data(&["rebuild"]);
        assert_eq!(titles(&home, &[]), Vec::<String>::new());
    }
}

/// By each way: a write after the folder was removed and another store was made in its place, whether the daemon
/// was told or not.
#[test]
fn what_is_acknowledged_after_the_state_folder_was_replaced_is_in_the_new_one() {
    for told in [true, false] {
        for way in WAYS.iter().filter(|way| **way != "direct") {
            let home = Home::new();
            home.create("in the old store");
            let before = home.pid();
            assert!(before.is_some());
            fs::remove_dir_all(home.path("state")).unwrap();
            if told {
                home.data(&["init"]);
            } else {
                assert!(elsewhere(&home, "new", &["init"]).status.success());
                fs::rename(home.path("new"), home.path("state")).unwrap();
            }
            let created = home.data(&["issue", "create", "in the new store", "--transport", way]);
            assert_eq!(titles(&home, &["--direct"]), ["in the new store"], "{told} {way}: {created}");
            assert_eq!(titles(&home, &["--transport", way]), ["in the new store"]);
            assert_ne!(home.pid(), before);
        }
    }
}

/// A daemon that is only asked to read looks now and then.
#[test]
fn reads_are_answered_from_the_store_that_is_there() {
    let home = Home::new();
    for command in [&["init"][..], &["issue", "create", "in the backup", "--direct"]] {
        let made = elsewhere(&home, "backup", command);
        assert!(made.status.success(), "{}", made.stderr);
    }
    home.create("in the store");
    assert_eq!(titles(&home, &[]), ["in the store"]);
    fs::rename(home.path("state"), home.path("old")).unwrap();
    fs::rename(home.path("backup"), home.path("state")).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(titles(&home, &[]), ["in the backup"]);
    // Where no new store is there, the next command finds none, as it would without a daemon.
    fs::remove_dir_all(home.path("state")).unwrap();
    assert_eq!(home.run(&["issue", "create", "nowhere"], "").status.code(), Some(5));
}

/// A new store ends the daemon of the one that was there, so that the very next read is of the new one.
#[test]
fn a_store_that_is_made_anew_is_not_hidden_by_the_old_daemon() {
    let home = Home::new();
    home.create("in the old store");
    fs::remove_dir_all(home.path("state")).unwrap();
    home.data(&["init"]);
    assert_eq!(titles(&home, &[]), Vec::<String>::new());
    let pid = home.pid();
    assert_eq!(home.data(&["init"])["created"], false);
    assert_eq!(home.pid(), pid, "a store that is there keeps its daemon");
}

/// A batch without a daemon has the store open while a rebuild puts another one in its place.
#[test]
fn what_an_open_batch_is_told_after_a_rebuild_is_in_the_new_store() {
    let home = Home::new();
    let mut batch = home.command(&["batch", "--direct"]).spawn().unwrap();
    let mut lines = batch.stdin.take().unwrap();
    let mut answers = BufReader::new(batch.stdout.take().unwrap()).lines();
    for title in ["in the old store", "in the new store"] {
        writeln!(lines, "{}", json!(["issue", "create", title])).unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        if title == "in the old store" {
            home.data(&["rebuild"]);
        }
    }
    drop(lines);
    assert!(batch.wait().unwrap().success());
    assert_eq!(titles(&home, &["--direct"]), ["in the new store", "in the old store"]);
}
