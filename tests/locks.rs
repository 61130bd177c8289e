//! Locks among clones: of any number that try, one wins; what was given back stays so.
#![cfg(feature = "cli")]

mod clones;
mod ended;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use clones::{World, from_environment};
use ended::{DEADLINE, end};
use serde_json::Value;

const CLONES: [&str; 4] = ["a", "b", "c", "d"];

/// Lets `racers` processes in all clones try at once; gives back who won: clone and actor.
fn race(world: &World, racers: usize, round: usize) -> (String, String) {
    let started: Vec<(&str, String, Child)> = (0..racers)
        .map(|number| {
            let clone = CLONES[number % CLONES.len()];
            let actor = format!("racer {number}");
            let way = if number % 3 == 0 { "socket" } else { "direct" };
            let arguments = [
                "lock",
                "acquire",
                "one",
                "--ttl",
                "10m",
                "--margin",
                "1ms",
                "--actor",
                &actor,
                "--transport",
                way,
                "--json",
            ];
            let child = world.command(clone, &arguments).spawn().unwrap();
            (clone, actor, child)
        })
        .collect();
    let mut winners = Vec::new();
    let mut holders = Vec::new();
    for (clone, actor, child) in started {
        let ended = end(child, "");
        let document: Value = ended.document();
        match ended.status.code() {
            Some(0) => winners.push((clone.to_owned(), actor)),
            Some(4) => holders.push(document["error"]["message"].as_str().unwrap().to_owned()),
            _ => panic!("round {round}: {document}"),
        }
    }
    assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
    let winner = winners.remove(0);
    let named = format!("held by {},", winner.1);
    assert!(holders.iter().all(|message| message.contains(&named)), "round {round}: {winner:?} {holders:?}");
    winner
}

/// `GRITE_TEST_ROUNDS=200 GRITE_TEST_RACERS=32` for the long run.
#[test]
fn of_all_who_race_for_a_lock_exactly_one_wins_each_time() {
    let rounds = from_environment("GRITE_TEST_ROUNDS", 2);
    let racers = from_environment("GRITE_TEST_RACERS", 8);
    let world = World::new(&CLONES);
    for round in 0..rounds {
        let (clone, actor) = race(&world, racers, round);
        let held = world.data("a", &["lock", "status"]);
        assert_eq!(held["items"][0]["holder"], actor.as_str(), "round {round}");
        if round % 2 == 0 {
            // Given back: gone for everybody, whatever anybody fetches.
            world.done(&clone, &["lock", "release", "one", "--actor", &actor, "--direct"]);
            for clone in CLONES {
                world.done(clone, &["sync", "--direct"]);
                let status = world.data(clone, &["lock", "status", "--direct"]);
                assert_eq!(status["items"].as_array().unwrap().len(), 0, "round {round}: {clone}");
            }
        } else {
            // Over: the next race takes it from whoever had it.
            let over = ["lock", "renew", "one", "--ttl", "1ms", "--actor", &actor, "--direct"];
            // Mostly it is over before the remote has it, and says so.
            world.run(&clone, &over);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn the_loser_learns_who_holds_it_and_for_how_long() {
    let world = World::new(&["a", "b"]);
    let mine = world.data("a", &["lock", "acquire", "deploy", "--ttl", "2m"]);
    assert_eq!((&mine["holder"], &mine["remote"]), (&"a".into(), &"origin".into()));
    let left = mine["remaining_ms"].as_u64().unwrap();
    assert!((60_000..=120_000).contains(&left), "{left}");
    // Nobody else can have it until the margin is over, too.
    assert_eq!(mine["free_in_ms"].as_u64().unwrap() - left, 30_000);
    let (error, exit) = world.failure("b", &["lock", "acquire", "deploy"]);
    assert_eq!((&error["code"], exit, &error["retryable"]), (&"conflict".into(), 4, &true.into()));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("held by a,") && message.contains(" s more"), "{message}");
    // The same author does not hold it twice, nor does a clone of that author's.
    for arguments in [&["lock", "acquire", "deploy"][..], &["lock", "release", "deploy", "--actor", "other"]]
    {
        assert_eq!(world.failure("a", arguments).1, 4, "{arguments:?}");
    }
    assert_eq!(world.failure("b", &["lock", "release", "deploy", "--actor", "a"]).1, 4);
    assert_eq!(world.failure("b", &["lock", "renew", "deploy", "--actor", "a"]).1, 4);
    // Other locks are other locks.
    world.done("b", &["lock", "acquire", "other"]);
    let all = world.data("a", &["lock", "status"]);
    let resources: Vec<&str> =
        all["items"].as_array().unwrap().iter().map(|lock| lock["resource"].as_str().unwrap()).collect();
    assert_eq!(resources, ["deploy", "other"]);
}

#[test]
fn a_repeated_command_finds_that_it_has_the_lock() {
    let world = World::new(&["a"]);
    let acquire = ["lock", "acquire", "deploy", "--idempotency-key", "k"];
    world.done("a", &acquire);
    world.done("a", &acquire);
    assert_eq!(world.failure("a", &["lock", "acquire", "deploy", "--idempotency-key", "l"]).1, 4);
}

/// Whoever did not hear the answer repeats the command, and another agent of the same name may have the lock by then.
#[test]
fn a_repeat_of_what_gave_a_lock_back_or_kept_it_leaves_the_next_one_alone() {
    let world = World::new(&["a"]);
    for way in ["--transport=socket", "--direct"] {
        let keyed = |key| format!("--idempotency-key={key}{way}");
        let (kept, given) = (keyed("kept"), keyed("given"));
        let renew = ["lock", "renew", "deploy", "--ttl", "10h", &kept, way];
        let release = ["lock", "release", "deploy", &given, way];
        world.done("a", &["lock", "acquire", "deploy", way]);
        let kept = world.data("a", &renew);
        let again = world.data("a", &renew);
        assert!(
            again["remaining_ms"].as_u64() <= kept["remaining_ms"].as_u64(),
            "it is not kept anew: {again}"
        );
        let freed = world.data("a", &release);

        for next in ["a", "other"] {
            let acquire = ["lock", "acquire", "deploy", "--ttl", "1h", "--actor", next, way];
            let taken = world.data("a", &acquire);
            // Nobody is told that a lock is his that is another one's by now.
            let (error, exit) = world.failure("a", &renew);
            let held = format!("held by {next},");
            assert!(exit == 4 && error["message"].as_str().unwrap().contains(&held), "{way}: {error}");
            assert_eq!(world.data("a", &release), freed, "{way}");
            let held = world.data("a", &["lock", "status"])["items"][0].take();
            assert!(held["remaining_ms"].as_u64() <= taken["remaining_ms"].as_u64(), "{way}: {held}");
            world.done("a", &["lock", "release", "deploy", "--actor", next, way]);
        }
        assert_eq!(world.failure("a", &renew).1, 4, "{way}: it is nobody's");
        let (error, exit) = world.failure("a", &["lock", "release", "other", &given, way]);
        assert!(exit == 4 && error["message"].as_str().unwrap().contains("key"), "{error}");
        // Within the clone alone it is the same.
        if way == "--transport=socket" {
            world.git("a", &["remote", "remove", "origin"]);
        }
    }
}

/// A lock on a remote is not in the store, and whoever writes there for long keeps nobody from it.
#[test]
fn a_lock_on_a_remote_is_kept_and_given_back_beside_a_long_write() {
    let world = World::new(&["a"]);
    world.done("a", &["lock", "acquire", "deploy"]);
    let store = rusqlite::Connection::open(world.state("a").join("issues.db")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Something is left of it when its holder hears of it.
    let kept = world.data("a", &["lock", "renew", "deploy", "--ttl", "5s", "--transport", "socket"]);
    assert!(kept["remaining_ms"].as_u64() > Some(0), "{kept}");
    world.done("a", &["lock", "release", "deploy", "--direct"]);
    drop(store);
    assert_eq!(world.data("a", &["lock", "status"])["items"].as_array().unwrap().len(), 0);
}

#[test]
fn after_its_time_and_margin_a_lock_is_the_next_ones() {
    let world = World::new(&["a", "b"]);
    // No push is so fast, and nobody is told that he has what is over; the remote has it all the same.
    let (error, exit) = world.failure("a", &["lock", "acquire", "deploy", "--ttl", "1ms", "--margin", "1h"]);
    let key = error["idempotency_key"].as_str();
    assert!(exit == 6 && error["retryable"] == true && key.is_some(), "{error}");
    assert_eq!(world.failure("b", &["lock", "acquire", "deploy"]).1, 4, "the margin is not over");
    // Its holder can still go on with it.
    world.done("a", &["lock", "renew", "deploy", "--ttl", "1m"]);
    world.done("a", &["lock", "release", "deploy"]);
    world.run("a", &["lock", "acquire", "deploy", "--ttl", "100ms", "--margin", "1ms"]);
    let until = Instant::now() + DEADLINE;
    while world.run("b", &["lock", "acquire", "deploy"]).status.code() == Some(4) {
        assert!(Instant::now() < until, "it never becomes free");
    }
    assert_eq!(world.failure("a", &["lock", "renew", "deploy"]).1, 4, "it is another one's now");
    assert_eq!(world.failure("a", &["lock", "release", "deploy"]).1, 4);
}

#[test]
fn without_a_remote_locks_hold_within_the_clone_and_it_says_so() {
    let world = World::new(&["a"]);
    world.git("a", &["remote", "remove", "origin"]);
    let said = world.done("a", &["lock", "acquire", "deploy"]);
    assert!(said.contains("within this clone alone"), "{said}");
    let (error, exit) = world.failure("a", &["lock", "acquire", "deploy", "--actor", "other", "--direct"]);
    assert_eq!((&error["code"], exit), (&"conflict".into(), 4), "{error}");
    let status = world.data("a", &["lock", "status"]);
    assert_eq!((&status["items"][0]["holder"], &status["remote"]), (&"a".into(), &Value::Null));
    world.done("a", &["lock", "renew", "deploy"]);
    world.done("a", &["lock", "release", "deploy", "--direct"]);
    assert!(world.done("a", &["lock", "status"]).contains("nothing is locked"));
    world.done("a", &["lock", "acquire", "deploy", "--actor", "other"]);
}

#[test]
fn a_lock_holds_among_clones_whatever_their_remote_is_called() {
    let world = World::new(&["a", "b"]);
    for (clone, name) in [("a", "team/origin"), ("b", "größe")] {
        world.git(clone, &["remote", "rename", "origin", name]);
    }
    for way in ["--transport=socket", "--direct"] {
        let taken = world.data("a", &["lock", "acquire", "deploy", way]);
        assert_eq!(taken["remote"], "team/origin", "{way}");
        let (error, exit) = world.failure("b", &["lock", "acquire", "deploy", way]);
        assert_eq!((&error["code"], exit), (&"conflict".into(), 4), "{way}: {error}");
        world.done("a", &["lock", "release", "deploy", way]);
    }
    let id = world.create("a", "synced");
    world.done("a", &["sync"]);
    assert_eq!(world.data("b", &["sync"])["remote"], "größe");
    assert_eq!(world.data("b", &["issue", "show", &id])["title"], "synced");
    assert!(world.broken("a", &[]).is_empty() && world.broken("b", &[]).is_empty());
}

/// The issues of a clone whose state folder is a link belong to the repository in which the link lies.
#[test]
fn a_linked_state_folder_has_one_repository_by_every_way() {
    let world = World::new(&["a", "b"]);
    fs::rename(world.state("a"), world.path("elsewhere")).unwrap();
    symlink(world.path("elsewhere"), world.state("a")).unwrap();
    let ways = ["--transport=socket", "--direct"];
    for (one, other) in [(ways[0], ways[1]), (ways[1], ways[0])] {
        assert_eq!(world.data("a", &["lock", "acquire", "deploy", one])["remote"], "origin", "{one}");
        assert_eq!(world.failure("a", &["lock", "acquire", "deploy", "--actor", "x", other]).1, 4, "{other}");
        assert_eq!(world.failure("b", &["lock", "acquire", "deploy"]).1, 4);
        world.done("a", &["lock", "release", "deploy", other]);
        let id = world.create("a", "sent");
        assert_eq!(world.data("a", &["sync", one])["sent"], 1, "{one}");
        world.done("b", &["sync"]);
        assert_eq!(world.data("b", &["issue", "show", &id])["title"], "sent");
    }
    assert_eq!(world.broken("a", &[]), [] as [Value; 0]);
}

#[test]
fn where_a_remote_cannot_be_used_nobody_gets_a_lock() {
    let world = World::new(&["a"]);
    world.git("a", &["remote", "remove", "origin"]);
    world.git("a", &["config", "remote.two words.url", "../remote.git"]);
    for arguments in [&["lock", "acquire", "deploy"][..], &["sync"], &["sync", "--remote", "two words"]] {
        for way in ["--transport=socket", "--direct"] {
            let (error, exit) = world.failure("a", &[arguments, &[way]].concat());
            let words = format!("{} {}", error["message"], error["hint"]);
            assert!(
                exit == 7 && words.contains("two words") && words.contains("git remote rename"),
                "{words}"
            );
        }
    }
    assert_eq!(world.broken("a", &[])[0]["check"], "locks");
    // Of several, one has to be chosen.
    world.git("a", &["remote", "add", "one", "../remote.git"]);
    let (error, exit) = world.failure("a", &["lock", "acquire", "deploy"]);
    assert!(exit == 7 && error["hint"].as_str().unwrap().contains("--remote"), "{error}");
    world.done("a", &["lock", "acquire", "deploy", "--remote", "one"]);
    assert!(world.broken("a", &[]).is_empty());
}

#[test]
fn what_cannot_be_a_lock_is_refused() {
    let world = World::new(&["a"]);
    let long = "x".repeat(257);
    for arguments in [
        &["lock", "acquire", ""][..],
        &["lock", "acquire", &long],
        &["lock", "acquire", "x", "--ttl", "25h"],
        &["lock", "acquire", "x", "--margin", "2h"],
    ] {
        assert_eq!(world.failure("a", arguments).1, 2, "{arguments:?}");
    }
    world.done("a", &["lock", "acquire", &"x".repeat(256), "--ttl", "24h", "--margin", "1h"]);
}
