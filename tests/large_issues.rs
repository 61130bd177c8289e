//! Issues that hold as much as one may: nothing makes them larger here, clones that were apart make them so
//! together, and then they are shown whole by every way.
#![cfg(feature = "cli")]

mod clones;
mod ended;
mod home;

use std::fs;

use clones::World;
use home::WAYS;
use serde_json::{Value, json};

/// The most text of a comment, and of an issue.
const COMMENT: usize = 1 << 20;
const ISSUE: usize = 8 * COMMENT;

/// A line of a file to import, with as much text as an issue may have, which is the author's alone.
fn full(id: &str, author: &str) -> Value {
    full_of(id, author, &author[..1])
}

/// A line of a file to import, with as much text as an issue may have, which is `letter` again and again.
fn full_of(id: &str, author: &str, letter: &str) -> Value {
    let title = author;
    let mut room = ISSUE - title.len();
    let mut comments = Vec::new();
    while room > 0 {
        let body = letter.repeat(room.min(COMMENT));
        room -= body.len();
        comments.push(json!({"author": author, "created_at": "2026-01-01T00:00:00Z", "body": body}));
    }
    json!({
        "id": id, "title": title, "body": "", "state": "open", "labels": [author], "assignees": [],
        "author": "cyd", "created_at": "2025-11-02T21:58:07Z", "updated_at": "2025-11-02T21:58:07Z",
        "comments": comments, "depends_on": [],
    })
}

fn import(world: &World, clone: &str, line: &Value) -> (Value, i32) {
    fs::write(world.path("in.jsonl"), format!("{line}\n")).unwrap();
    let ended = world.run(clone, &["--direct", "import", "../in.jsonl", "--json"]);
    (ended.document(), ended.status.code().unwrap())
}

/// Two clones, each of which has filled the issue `x-1` with comments of its own, and both of which have both.
fn filled_together() -> World {
    let world = World::new(&["ann", "bob"]);
    for clone in ["ann", "bob"] {
        assert_eq!(import(&world, clone, &full("x-1", clone)).1, 0);
    }
    world.create("bob", "later");
    for clone in ["ann", "bob", "ann"] {
        world.done(clone, &["--direct", "sync"]);
    }
    world
}

#[test]
fn an_import_does_not_make_an_issue_larger_than_one_may_be() {
    let world = World::new(&["ann"]);
    let line = full("x-1", "ann");
    assert_eq!(import(&world, "ann", &line).1, 0);
    let before = world.done("ann", &["--direct", "export"]);
    let (document, exit) = import(&world, "ann", &full("x-1", "bob"));
    let error = &document["error"];
    assert_eq!((error["code"].as_str(), exit), (Some("invalid"), 2), "{error}");
    assert!(error["message"].as_str().unwrap().contains("x-1"), "{error}");
    assert_eq!(world.done("ann", &["--direct", "export"]), before);
    assert_eq!(import(&world, "ann", &line).0["data"]["unchanged"], 1);
}

/// Each of its characters takes six bytes of an export.
#[test]
fn the_largest_issue_can_be_imported_from_its_export_whatever_its_text_is() {
    let world = World::new(&["ann", "bob"]);
    assert_eq!(import(&world, "ann", &full_of("x-1", "ann", "\u{1b}")).1, 0);
    let exported = world.done("ann", &["--direct", "export"]);
    assert!(exported.len() > 5 * ISSUE);
    fs::write(world.path("out.jsonl"), &exported).unwrap();
    assert_eq!(world.data("bob", &["--direct", "import", "../out.jsonl"])["created"], 1);
    assert!(world.done("bob", &["--direct", "export"]) == exported);
}

#[test]
fn an_issue_that_is_too_large_can_be_changed_but_not_grow() {
    let world = filled_together();
    let issue = |change: &[&str]| world.run("ann", &[&["--direct", "issue"], change].concat());
    for change in [
        &["update", "x-1", "--title", "t"][..],
        &["update", "x-1", "--remove-label", "ann"],
        &["update", "x-1", "--add-assignee", "eve"],
        &["close", "x-1"],
    ] {
        let ended = issue(change);
        assert!(ended.status.success(), "{change:?}: {}", ended.stderr);
    }
    for change in [&["update", "x-1", "--body", "more"][..], &["comment", "x-1", "--body", "more"]] {
        assert_eq!(issue(change).status.code(), Some(2), "{change:?}");
    }
}

#[test]
fn an_issue_that_is_larger_than_a_message_is_shown_whole_by_every_way() {
    let world = filled_together();
    for command in [&["issue", "show", "x-1", "--json"][..], &["export"]] {
        let printed = |way: &str| world.done("ann", &[command, &["--transport", way]].concat());
        let directly = printed("direct");
        assert!(directly.len() > 2 * ISSUE - COMMENT, "{command:?}");
        for way in &WAYS[1..] {
            assert!(printed(way) == directly, "{command:?}, {way}");
        }
    }
    let exported = world.done("ann", &["--transport", "socket", "export"]);
    assert!(exported.lines().last().unwrap().contains("later"), "what comes behind it is exported, too");
}
