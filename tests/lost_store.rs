//! The state folder of a live daemon is removed or replaced: nothing that was acknowledged after that is lost,
//! and nobody is answered from the store that is gone for long.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod ended;
mod home;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use home::{Home, WAYS};
use serde_json::{Value, json};

/// The titles of the issues that a command lists.
fn titles(home: &Home, options: &[&str]) -> Vec<String> {
    let list = home.data(&[&["issue", "list"], options].concat());
    let title = |item: &Value| item["title"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(title).collect()
}

/// By each way: a write after the folder was removed and another store was made in its place, whether the daemon
/// was told or not.
#[test]
fn what_is_acknowledged_after_the_state_folder_was_replaced_is_in_the_new_one() {
    for init in [&["init"][..], &["issue", "list", "--direct"]] {
        for way in WAYS.iter().filter(|way| **way != "direct") {
            let home = Home::new();
            home.create("in the old store");
            let before = home.pid();
            assert!(before.is_some());
            fs::remove_dir_all(home.path("state")).unwrap();
            fs::create_dir(home.path("state")).unwrap();
            home.data(init);
            let created = home.data(&["issue", "create", "in the new store", "--transport", way]);
            assert_eq!(titles(&home, &["--direct"]), ["in the new store"], "{init:?} {way}: {created}");
            assert_eq!(titles(&home, &["--transport", way]), ["in the new store"]);
            assert_ne!(home.pid(), before);
        }
    }
}

/// A daemon that is only asked to read looks now and then.
#[test]
fn reads_are_answered_from_the_store_that_is_there() {
    let home = Home::new();
    fs::create_dir(home.path("backup")).unwrap();
    let mut command = home.command(&["issue", "create", "in the backup", "--direct"]);
    let made = ended::end(command.env("GRITE_DIR", home.path("backup")).spawn().unwrap(), "");
    assert!(made.status.success(), "{}", made.stderr);
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
