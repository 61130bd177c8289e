//! An export that is imported again, where it came from and in another clone: what was known stays as it was.
#![cfg(feature = "cli")]

mod clones;
mod ended;

use std::collections::BTreeSet;
use std::fs;

use clones::World;
use serde_json::{Value, json};

/// What `gh issue list` prints of one issue.
const GITHUB: &str = r#"[{"number": 1, "title": "theirs", "body": "", "state": "OPEN", "labels": [],
    "assignees": [], "author": {"login": "cyd"}, "url": "https://github.com/o/r/issues/1", "comments": [],
    "createdAt": "2025-11-02T21:58:07Z", "updatedAt": "2025-11-02T21:58:07Z"}]"#;

/// The issue in it.
const THEIRS: &str = "o/r#1";

/// Two clones, of which the first has imported that.
fn world() -> World {
    let world = World::new(&["a", "b"]);
    fs::write(world.path("gh.json"), GITHUB).unwrap();
    import(&world, "a", "gh.json");
    world
}

fn import(world: &World, clone: &str, file: &str) -> Value {
    world.data(clone, &["--direct", "import", &format!("../{file}")])
}

fn show(world: &World, clone: &str) -> Value {
    world.data(clone, &["--direct", "issue", "show", THEIRS])
}

/// Exports the issues of a clone to a file beside it.
fn export(world: &World, clone: &str, file: &str) -> String {
    let exported = world.done(clone, &["--direct", "export"]);
    fs::write(world.path(file), &exported).unwrap();
    exported
}

/// Imports a clone's own export, twice.
fn go_round(world: &World, clone: &str) {
    let exported = export(world, clone, "round.jsonl");
    let issues = exported.lines().count();
    for _ in 0..2 {
        assert_eq!(
            import(world, clone, "round.jsonl"),
            json!({"created": 0, "updated": 0, "unchanged": issues})
        );
        assert_eq!(export(world, clone, "round.jsonl"), exported);
    }
}

/// What the first clone did to that issue reaches the second one by a file first, and then by a sync.
fn meet(world: &World) {
    let exported = export(world, "a", "out.jsonl");
    let line = exported.lines().find(|line| line.contains(&format!(r#""id":"{THEIRS}""#))).unwrap();
    fs::write(world.path("out.jsonl"), line).unwrap();
    import(world, "b", "out.jsonl");
    for clone in ["a", "b", "a"] {
        world.done(clone, &["--direct", "sync"]);
    }
}

#[test]
fn a_comment_made_here_is_there_once_after_its_export_was_imported() {
    let world = world();
    world.done("a", &["--direct", "issue", "comment", THEIRS, "--body", "hi"]);
    go_round(&world, "a");
    meet(&world);
    for clone in ["a", "b"] {
        assert_eq!(show(&world, clone)["comments"].as_array().unwrap().len(), 1, "{clone}");
    }
    assert_eq!(export(&world, "b", "b.jsonl"), export(&world, "a", "a.jsonl"));
}

#[test]
fn a_dependency_on_an_issue_made_here_is_there_once_after_its_export_was_imported() {
    let world = world();
    let own = world.create("a", "ours");
    world.done("a", &["--direct", "issue", "dep", "add", THEIRS, &own]);
    go_round(&world, "a");
    meet(&world);
    for clone in ["a", "b"] {
        assert_eq!(show(&world, clone)["depends_on"], json!([own]), "{clone}");
        assert_eq!(world.data(clone, &["--direct", "issue", "ready"])["items"][0]["id"], own, "{clone}");
        assert!(world.broken(clone, &["--direct"]).is_empty());
    }
    assert_eq!(world.failure("b", &["--direct", "issue", "dep", "add", &own, THEIRS]).0["code"], "conflict");
    world.done("b", &["--direct", "issue", "dep", "remove", THEIRS, &own]);
    assert_eq!(show(&world, "b")["depends_on"], json!([]));
}

/// Their names in a file have another order than their ids.
#[test]
fn an_issue_made_here_that_waits_for_many_imported_ones_comes_back_unchanged() {
    let world = World::new(&["a"]);
    let one: Value = serde_json::from_str::<Value>(GITHUB).unwrap()[0].take();
    let many = (1..=6).map(|number| {
        let mut issue = one.clone();
        issue["number"] = number.into();
        issue["url"] = format!("https://github.com/o/r/issues/{number}").into();
        issue
    });
    fs::write(world.path("gh.json"), Value::from_iter(many).to_string()).unwrap();
    import(&world, "a", "gh.json");
    let own = world.create("a", "ours");
    let native = world.create("a", "another of ours");
    let names = (1..=6).map(|number| format!("o/r#{number}")).chain([native]);
    names.for_each(|on| drop(world.done("a", &["--direct", "issue", "dep", "add", &own, &on])));
    go_round(&world, "a");
}

#[test]
fn an_earlier_export_brings_back_what_is_missing_and_leaves_what_was_done_here() {
    let world = World::new(&["a", "b"]);
    let closed = world.create("a", "closed since");
    export(&world, "a", "old.jsonl");
    world.done("a", &["--direct", "issue", "close", &closed]);
    let other = world.create("b", "of another store");
    let both = fs::read_to_string(world.path("old.jsonl")).unwrap() + &export(&world, "b", "b.jsonl");
    fs::write(world.path("both.jsonl"), both).unwrap();
    assert_eq!(import(&world, "a", "both.jsonl"), json!({"created": 1, "updated": 0, "unchanged": 1}));
    assert_eq!(import(&world, "a", "both.jsonl"), json!({"created": 0, "updated": 0, "unchanged": 2}));
    let shown = |id: &str| world.data("a", &["--direct", "issue", "show", id]);
    assert_eq!(
        (&shown(&closed)["state"], &shown(&other)["title"]),
        (&json!("closed"), &json!("of another store"))
    );
}

/// An issue of one clone reaches another one by a file, is changed there, and comes by a sync as well.
#[test]
fn an_export_that_was_imported_before_the_first_sync_leaves_every_export_importable() {
    let mut world = world();
    let own = world.create("a", "ours");
    export(&world, "a", "out.jsonl");
    import(&world, "b", "out.jsonl");
    world.done("b", &["--direct", "issue", "comment", &own, "--body", "hi"]);
    for clone in ["b", "a", "b"] {
        world.done(clone, &["--direct", "sync"]);
    }
    let listed = world.data("b", &["--direct", "issue", "list", "--search", "ours"]);
    let ids: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    let copy = *ids.iter().find(|id| **id != own).unwrap();
    world.done("b", &["--direct", "issue", "dep", "add", THEIRS, copy]);
    for clone in ["a", "b"] {
        world.done(clone, &["--direct", "sync"]);
        go_round(&world, clone);
        let exported = export(&world, clone, "both.jsonl");
        for id in [&own, copy] {
            assert!(exported.contains(&format!(r#"{{"id":"{id}""#)), "{clone}: {exported}");
        }
    }
    let shown = |clone, id| world.data(clone, &["--direct", "issue", "show", id]);
    assert_eq!(shown("a", &own)["comments"], json!([]));
    assert_eq!(shown("a", copy)["comments"][0]["body"], "hi");

    // It holds for copies of copies, too.
    world.clone("c");
    import(&world, "c", "both.jsonl");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let both = fs::read_to_string(world.path("both.jsonl")).unwrap();
    assert_eq!(lines(&export(&world, "c", "c.jsonl")), lines(&both));
    go_round(&world, "c");
    world.done("c", &["--direct", "sync"]);
    go_round(&world, "c");
}
