//! Clones that exchange issues through git: the same everywhere, whatever was killed, copied or damaged.
#![cfg(feature = "cli")]

mod clones;
mod ended;
mod home;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clones::dice::Dice;
use clones::{World, from_environment, loose};
use ended::{DEADLINE, end};
use home::WAYS;
use sha2::{Digest, Sha256};

fn events(world: &World, clone: &str) -> u64 {
    world.done(clone, &["daemon", "start"]);
    world.data(clone, &["daemon", "status"])["events"].as_u64().unwrap()
}

#[test]
fn what_one_clone_writes_another_one_reads_and_the_other_way_round() {
    let world = World::new(&["a", "b"]);
    let id = world.create("a", "from a");
    assert_eq!(world.data("a", &["sync"])["sent"], 1);
    let pulled = world.data("b", &["sync", "pull"]);
    assert_eq!((&pulled["received"], &pulled["remote"]), (&1.into(), &"origin".into()));
    world.done("b", &["issue", "comment", &id, "from b"]);
    assert_eq!(world.data("b", &["sync", "push"])["sent"], 1);
    assert_eq!(world.data("a", &["sync", "pull"])["received"], 1);
    assert_eq!(world.data("a", &["issue", "show", &id])["comments"][0]["body"], "from b");
    assert_eq!(world.done("a", &["export"]), world.done("b", &["export"]));
    for clone in ["a", "b"] {
        let nothing = world.data(clone, &["sync"]);
        assert_eq!((&nothing["received"], &nothing["sent"]), (&0.into(), &0.into()));
        assert!(world.broken(clone, &[]).is_empty());
    }
}

/// One clone as a random history goes on.
struct Player {
    name: &'static str,
    known: Vec<String>,
}

impl Player {
    fn act(&mut self, world: &World, dice: &mut Dice) {
        if self.known.is_empty() || dice.roll(6) == 0 {
            self.known.push(world.create(self.name, &format!("{} {}", self.name, dice.roll(1000))));
            return;
        }
        let id = dice.pick(&self.known).clone();
        let other = dice.pick(&self.known).clone();
        let word = *dice.pick(&["x", "y", "z"]);
        let arguments = match dice.roll(11) {
            0 => vec!["issue", "update", &id, "--title", word],
            1 => vec!["issue", "update", &id, "--body", word],
            2 => vec!["issue", "close", &id],
            3 => vec!["issue", "reopen", &id],
            4 => vec!["issue", "label", &id, word],
            5 => vec!["issue", "label", &id, "--remove", word],
            6 => vec!["issue", "assign", &id, word],
            7 => vec!["issue", "assign", &id, "--remove", word],
            8 => vec!["issue", "dep", "add", &id, &other],
            9 => vec!["issue", "dep", "remove", &id, &other],
            _ => vec!["issue", "comment", &id, word],
        };
        let way = if dice.roll(4) == 0 { "socket" } else { "direct" };
        let ended = world.run(self.name, &[&arguments[..], &["--transport", way]].concat());
        // A dependency may be one that would make a cycle.
        assert!(matches!(ended.status.code(), Some(0 | 4)), "{arguments:?}: {}", ended.stderr);
    }

    fn sync(&mut self, world: &World, dice: &mut Dice) {
        let what = *dice.pick(&["both", "both", "pull", "push"]);
        let way = *dice.pick(&["direct", "socket"]);
        let mut child = world.command(self.name, &["sync", what, "--transport", way]).spawn().unwrap();
        if dice.roll(3) == 0 {
            thread::sleep(Duration::from_micros(dice.roll(60_000) as u64));
            if way == "direct" {
                // It may have ended already.
                let _ = child.kill();
            } else if let Some(pid) = world.data(self.name, &["daemon", "status"])["pid"].as_i64() {
                let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            end(child, "");
        } else {
            let ended = end(child, "");
            assert!(ended.status.success(), "{}: {}", self.name, ended.stderr);
        }
        let list = world.data(self.name, &["--direct", "issue", "list", "--limit", "10000"]);
        let items = list["items"].as_array().unwrap().iter();
        self.known = items.map(|item| item["id"].as_str().unwrap().to_owned()).collect();
        self.known.sort();
    }
}

/// `GRITE_TEST_OPERATIONS=500` for the long run.
#[test]
fn three_clones_converge_whatever_is_killed_amid_a_sync() {
    let operations = from_environment("GRITE_TEST_OPERATIONS", 20);
    let seed = from_environment("GRITE_TEST_SEED", 1) as u64;
    let world = World::new(&["a", "b", "c"]);
    let mut dice = Dice(seed);
    let mut players = ["a", "b", "c"].map(|name| Player { name, known: Vec::new() });
    for _ in 0..operations {
        for player in &mut players {
            player.act(&world, &mut dice);
            if dice.roll(8) == 0 {
                player.sync(&world, &mut dice);
            }
        }
    }
    // What was killed may have left git at work for a moment.
    let until = Instant::now() + DEADLINE;
    for round in 0..2 {
        for player in &players {
            while !world.run(player.name, &["sync"]).status.success() {
                assert!(Instant::now() < until, "seed {seed}, round {round}: {} does not sync", player.name);
            }
        }
    }
    let exports = players.each_ref().map(|player| world.done(player.name, &["export"]));
    assert!(exports[0].lines().count() > operations / 4, "seed {seed}");
    assert!(exports[0] == exports[1] && exports[1] == exports[2], "seed {seed}: exports differ");
    for player in &players {
        let broken = world.broken(player.name, &[]);
        // Two clones can make a cycle together.
        assert!(broken.iter().all(|item| item["check"] == "dependencies"), "seed {seed}: {broken:?}");
    }
}

#[test]
fn two_copies_of_a_clone_do_not_write_to_one_ref() {
    let mut world = World::new(&["a", "c"]);
    world.create("a", "before the copy");
    world.done("a", &["sync"]);
    world.create("a", "not sent when it was copied");
    world.done("a", &["daemon", "stop"]);
    world.copy("a", "b");
    world.create("b", "by the copy");
    assert_eq!(world.data("b", &["sync"])["renamed"], false);
    world.create("a", "by the first");
    let renamed = world.data("a", &["sync"]);
    assert_eq!(renamed["renamed"], true);
    assert_ne!(world.actor("a"), world.actor("b"));
    for clone in ["b", "c", "a"] {
        world.done(clone, &["sync"]);
    }
    let export = world.done("a", &["export"]);
    assert_eq!(export.lines().count(), 4);
    assert!(export == world.done("b", &["export"]) && export == world.done("c", &["export"]));
    for clone in ["a", "b", "c"] {
        assert!(world.broken(clone, &[]).is_empty(), "{clone}");
    }
}

#[test]
fn a_remote_that_was_made_anew_gets_everything_again() {
    let world = World::new(&["a", "b"]);
    world.create("a", "kept");
    world.done("a", &["sync"]);
    fs::remove_dir_all(world.path("remote.git")).unwrap();
    world.git("", &["init", "--quiet", "--bare", "remote.git"]);
    assert_eq!(world.data("a", &["sync"])["sent"], 1);
    assert_eq!(world.data("b", &["sync"])["received"], 1);
}

/// A ref on the remote that holds one chunk under a name.
fn push_chunk(world: &World, actor: &str, name: &str, bytes: &[u8]) {
    let blob = world.git_with_input("a", &["hash-object", "-w", "--stdin"], bytes);
    let tree = world.git_with_input("a", &["mktree"], format!("100644 blob {blob}\t{name}\n").as_bytes());
    let identity = ["-c", "user.name=x", "-c", "user.email=x@x"];
    let commit = world.git("a", &[&identity[..], &["commit-tree", &tree, "-m", "x"]].concat());
    world.git("a", &["push", "--quiet", "--force", "origin", &format!("{commit}:refs/grite/events/{actor}")]);
}

/// `GRITE_TEST_FLIPS=2000` flips as many bytes, evenly spread; the suite a few.
#[test]
fn a_chunk_with_a_flipped_byte_is_named_and_costs_no_other_event() {
    let flips = from_environment("GRITE_TEST_FLIPS", 6);
    let world = World::new(&["a", "b"]);
    for number in 0..3 {
        world.create("a", &format!("issue {number}"));
    }
    world.done("a", &["sync", "push"]);
    let (blob, name) = world.chunks("a", &world.own_ref("a")).remove(0);
    let whole = world.blob("a", &blob);
    world.create("a", "in a chunk of its own");
    world.done("a", &["sync", "push"]);
    world.git("a", &["push", "--quiet", "origin", &format!(":{}", world.own_ref("a"))]);
    let (other, other_name) = world.chunks("a", &world.own_ref("a")).remove(0);
    push_chunk(&world, &"1".repeat(32), &other_name, &world.blob("a", &other));
    for flip in 0..flips {
        let mut bytes = whole.clone();
        let index = flip * (bytes.len() - 1) / (flips - 1).max(1);
        bytes[index] ^= 1 << (flip % 8);
        push_chunk(&world, &"0".repeat(32), &name, &bytes);
        let pulled = world.data("b", &["sync", "pull", "--direct"]);
        let damaged: Vec<&str> =
            pulled["damaged"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        assert!(damaged.iter().any(|text| text.contains(&name)), "byte {index}: {damaged:?}");
        let list = world.data("b", &["issue", "list", "--direct"]);
        assert_eq!(list["items"][0]["title"], "in a chunk of its own", "byte {index}");
        assert_eq!(list["total"], 1, "byte {index}");
    }
    let broken = world.broken("b", &[]);
    assert!(
        broken.iter().any(|item| item["check"] == "chunks" && item["detail"].to_string().contains(&name))
    );

    // The whole chunk comes at last, and nothing is damaged any more.
    push_chunk(&world, &"0".repeat(32), &name, &whole);
    let pulled = world.data("b", &["sync", "pull"]);
    assert_eq!(pulled["received"], 3);
    world.done("b", &["sync", "pull"]);
    assert_eq!(world.data("b", &["issue", "list"])["total"], 4);
}

/// A chunk has its form and its name, and in an event of it a character lies across the end of the seconds.
#[test]
fn an_event_whose_moment_cannot_be_read_is_named_and_costs_no_other_chunk() {
    let world = World::new(&["a", "b"]);
    world.create("a", "the one that suffers");
    world.done("a", &["sync", "push", "--direct"]);
    let (blob, _) = world.chunks("a", &world.own_ref("a")).remove(0);
    let mut chunk = String::from_utf8(world.blob("a", &blob)).unwrap();
    let at = chunk.find("\"at\":\"").unwrap() + 6;
    let end = at + chunk[at..].find('"').unwrap();
    chunk.replace_range(at..end, "2025-11-02T21:58:0éZ");
    let name: String = Sha256::digest(&chunk).iter().map(|byte| format!("{byte:02x}")).collect();
    push_chunk(&world, &"0".repeat(32), &name, chunk.as_bytes());

    let pulled = world.data("b", &["sync", "pull", "--direct"]);
    assert_eq!(pulled["received"], 1, "{pulled}");
    let damaged = pulled["damaged"].as_array().unwrap();
    assert!(damaged.len() == 1 && damaged[0].as_str().unwrap().contains(&name), "{pulled}");
    assert!(world.broken("b", &[]).iter().any(|item| item["check"] == "chunks"));
    world.done("b", &["rebuild"]);
    assert_eq!(world.data("b", &["issue", "list", "--direct"])["total"], 1);
}

#[test]
fn a_chunk_of_a_newer_program_is_not_called_damaged() {
    let world = World::new(&["a", "b"]);
    world.create("a", "as it is today");
    world.done("a", &["sync", "push", "--direct"]);
    for (number, bytes) in ["grite events 2 1\nx\n", "grite events 1 1\n{\"v\":9}\n"].into_iter().enumerate()
    {
        let name: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        push_chunk(&world, &number.to_string().repeat(32), &name, bytes.as_bytes());
    }
    let told = world.done("b", &["sync", "pull", "--direct"]);
    let skipped: Vec<&str> = told.lines().filter(|line| line.starts_with("skipped")).collect();
    assert_eq!(skipped.len(), 2, "{told}");
    for line in skipped {
        assert!(line.ends_with("use the newer program") && !line.contains("damaged"), "{told}");
    }
    assert_eq!(world.data("b", &["issue", "list", "--direct"])["total"], 1);
}

/// The same for what lies in git's own files.
#[test]
fn a_damaged_object_is_named_and_fetched_anew() {
    let flips = from_environment("GRITE_TEST_FLIPS", 3);
    let world = World::new(&["a", "b"]);
    world.create("a", "the one that suffers");
    world.done("a", &["sync", "push"]);
    let (blob, name) = world.chunks("a", &world.own_ref("a")).remove(0);
    world.create("a", "another one");
    world.done("a", &["sync", "push"]);
    let whole = fs::read(loose(&world.path("a"), &blob)).unwrap();
    let spec = "+refs/grite/events/*:refs/grite/remotes/origin/events/*";
    for flip in 0..flips {
        let clone = "b";
        fs::remove_dir_all(world.path(clone)).unwrap();
        world.git("", &["init", "--quiet", clone]);
        world.git(clone, &["remote", "add", "origin", "../remote.git"]);
        world.done(clone, &["init"]);
        world.git(clone, &["fetch", "--quiet", "origin", spec]);
        let file = loose(&world.path(clone), &blob);
        let mut bytes = whole.clone();
        // The first bytes say how it is packed, which may change without harm.
        let index = 2 + flip * (bytes.len() - 3) / flips.max(1);
        bytes[index] ^= 1 << (flip % 8);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&file, &bytes).unwrap();

        let pulled = world.data(clone, &["sync", "pull", "--direct"]);
        let harmed = pulled["damaged"].to_string().contains(&name);
        let list = world.data(clone, &["issue", "list", "--direct"]);
        assert_eq!(list["total"], if harmed { 1 } else { 2 }, "byte {index}: {pulled}");
        assert_eq!(list["items"][0]["title"], "another one", "byte {index}");
        if harmed {
            let broken = world.broken(clone, &[]);
            assert!(broken.iter().any(|item| item["detail"].to_string().contains(&name)), "{broken:?}");
        }
        if flip == 0 {
            assert!(harmed);
            let mended = world.mended(clone);
            assert!(mended.contains(&"chunks".to_owned()), "{mended:?}");
            assert!(world.broken(clone, &[]).is_empty());
            assert_eq!(world.data(clone, &["issue", "list", "--direct"])["total"], 2);
        }
    }
}

#[test]
fn every_way_prints_the_same_bytes() {
    let world = World::new(&["a"]);
    let first = world.create("a", "first");
    let second = world.create("a", "second");
    world.done("a", &["issue", "dep", "add", &second, &first]);
    world.done("a", &["sync"]);
    world.done("a", &["lock", "acquire", "taken", "--actor", "somebody"]);
    for question in [
        vec!["issue", "ready", "--json"],
        vec!["issue", "ready"],
        vec!["issue", "dep", "list", &second, "--json"],
        vec!["issue", "dep", "list", &first],
        vec!["issue", "dep", "add", &first, &second, "--json"],
        vec!["issue", "dep", "remove", &first, &second],
        vec!["issue", "claim", "nothing", "--json"],
        vec!["issue", "label", &first, "--remove", "absent"],
        vec!["issue", "assign", &first, "--remove", "absent", "--json"],
        vec!["export", "--format", "md"],
        vec!["export"],
        vec!["sync", "--json"],
        vec!["sync", "pull"],
        vec!["sync", "--remote", "nowhere", "--json"],
        vec!["lock", "release", "free", "--json"],
        vec!["lock", "renew", "free", "--json"],
        vec!["lock", "status", "free"],
    ] {
        let answer = |way| world.run("a", &[&question[..], &["--transport", way]].concat());
        let first = answer(WAYS[0]);
        for way in &WAYS[1..] {
            let other = answer(way);
            assert_eq!(first.stdout, other.stdout, "{question:?} over {way}");
            assert_eq!(
                (first.status, &first.stderr),
                (other.status, &other.stderr),
                "{question:?} over {way}"
            );
        }
    }
    // The time left differs, the rest does not.
    for way in WAYS {
        let status = world.data("a", &["lock", "status", "--transport", way]);
        assert_eq!(status["items"][0]["holder"], "somebody", "{way}");
        let (error, exit) = world.failure("a", &["lock", "acquire", "taken", "--transport", way]);
        assert_eq!((&error["code"], exit), (&"conflict".into(), 4), "{way}: {error}");
    }
}

/// Writes a program into a folder of its own, and gives back a path on which it comes first.
fn instead(world: &World, name: &str, script: &str) -> std::ffi::OsString {
    let folder = world.path("bin");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), script).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    let mut path = folder.into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    path
}

#[test]
fn reading_and_writing_issues_never_runs_git() {
    let world = World::new(&["a"]);
    let id = world.create("a", "read");
    let mark = world.path("ran");
    let path = instead(&world, "git", &format!("#!/bin/sh\necho \"$@\" >> {}\nexit 1\n", mark.display()));
    for arguments in [
        &["issue", "list"][..],
        &["issue", "show", &id],
        &["issue", "ready"],
        &["issue", "dep", "list", &id],
        &["issue", "comment", &id, "x"],
        &["issue", "claim", &id],
        &["export"],
        &["daemon", "status"],
    ] {
        for way in WAYS {
            let mut command = world.command("a", &[arguments, &["--transport", way]].concat());
            let ended = end(command.env("PATH", &path).spawn().unwrap(), "");
            assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
        }
    }
    assert!(!mark.exists(), "{}", fs::read_to_string(&mark).unwrap());
    let mut sync = world.command("a", &["sync", "--direct"]);
    assert_eq!(end(sync.env("PATH", &path).spawn().unwrap(), "").status.code(), Some(7));
    assert!(mark.exists(), "a sync does");
}

#[test]
fn ssh_is_told_not_to_ask_and_its_words_reach_the_user() {
    let world = World::new(&["a"]);
    world.git("a", &["remote", "add", "far", "ssh://nobody@host.invalid/x.git"]);
    let mark = world.path("ran");
    let script =
        format!("#!/bin/sh\necho \"$@\" >> {}\necho 'nobody may come in' >&2\nexit 255\n", mark.display());
    let path = instead(&world, "ssh", &script);
    let fail = |way: &str, variables: &[(&str, &str)]| {
        let mut command = world.command("a", &["sync", "pull", "--remote", "far", "--transport", way]);
        let ended = end(command.env("PATH", &path).envs(variables.iter().copied()).spawn().unwrap(), "");
        assert_eq!(ended.status.code(), Some(7), "{}", ended.stderr);
        assert!(ended.stderr.contains("nobody may come in"), "{}", ended.stderr);
        let ran = fs::read_to_string(&mark).unwrap();
        fs::remove_file(&mark).unwrap();
        ran
    };
    assert!(WAYS.iter().all(|way| fail(way, &[]).contains("-oBatchMode=yes")));
    assert!(!fail("direct", &[("GIT_SSH_COMMAND", "ssh -v")]).contains("BatchMode"));
    world.git("a", &["config", "core.sshCommand", "ssh -q"]);
    let ran: Vec<String> = WAYS.iter().map(|way| fail(way, &[])).collect();
    assert!(ran.iter().all(|ran| ran.contains("-q") && !ran.contains("BatchMode")), "{ran:?}");
}

#[test]
fn a_remote_that_does_not_answer_is_given_up_with_all_its_processes() {
    let world = World::new(&["a"]);
    world.git("a", &["remote", "add", "far", "ssh://nobody@host.invalid/x.git"]);
    let mark = world.path("pid");
    let path = instead(&world, "ssh", &format!("#!/bin/sh\necho $$ > {}\nexec sleep 600\n", mark.display()));
    let arguments = ["sync", "pull", "--remote", "far", "--direct", "--timeout", "500ms", "--json"];
    let ended = end(world.command("a", &arguments).env("PATH", &path).spawn().unwrap(), "");
    assert_eq!(ended.status.code(), Some(6), "{}", ended.stdout);
    let pid: i32 = fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
    let until = Instant::now() + DEADLINE;
    // A killed process is gone once whoever inherited it has looked.
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < until, "ssh lives on");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_cannot_be_synced_says_why() {
    let world = World::new(&["a"]);
    world.create("a", "alone");
    let actor = world.state("a").join("actor");
    fs::write(&actor, "nobody\n").unwrap();
    let (error, exit) = world.failure("a", &["sync", "--direct"]);
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("the file `actor`") && exit == 7, "{error}");
    fs::remove_file(&actor).unwrap();
    world.git("a", &["remote", "rename", "origin", "upstream"]);
    assert_eq!(world.data("a", &["sync"])["remote"], "upstream", "the only one there is");
    world.git("a", &["remote", "add", "second", "../remote.git"]);
    let (error, exit) = world.failure("a", &["sync", "--remote", "third"]);
    assert_eq!((&error["code"], exit), (&"git".into(), 7), "{error}");
    world.git("a", &["remote", "remove", "second"]);
    world.git("a", &["remote", "remove", "upstream"]);
    let (error, _) = world.failure("a", &["sync"]);
    assert!(error["hint"].as_str().unwrap().contains("git remote add"), "{error}");
    let outside = tempfile::tempdir().unwrap();
    let there = |arguments: &[&str]| {
        let mut command = world.command("a", arguments);
        end(command.env("GRITE_DIR", outside.path().join("state")).spawn().unwrap(), "")
    };
    assert!(there(&["init"]).status.success());
    let ended = there(&["sync", "--direct", "--json"]);
    assert!(ended.document()["error"]["message"].as_str().unwrap().contains("no git repository"));
}

#[test]
fn a_daemon_syncs_in_the_background_if_it_is_told_to() {
    let world = World::new(&["a", "b"]);
    let arrives = |every: &str| {
        let until = Instant::now() + DEADLINE;
        while world.data("b", &["sync", "pull"])["received"] == 0 {
            assert!(Instant::now() < until, "nothing comes, with {every}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    // The first one is at once: a daemon may end before the next is due.
    for every in ["1h", "50ms"] {
        world.create("a", "sent by nobody");
        let mut start = world.command("a", &["daemon", "start"]);
        assert!(end(start.env("GRITE_SYNC_EVERY", every).spawn().unwrap(), "").status.success());
        arrives(every);
        if every == "50ms" {
            world.create("a", "sent by the next one");
            arrives(every);
        }
        world.done("a", &["daemon", "stop"]);
    }
}

#[test]
fn a_pull_is_in_the_next_answer_of_a_warm_daemon() {
    let world = World::new(&["a", "b"]);
    let id = world.create("a", "old");
    world.done("a", &["sync"]);
    world.done("b", &["sync"]);
    assert_eq!(events(&world, "b"), 1);
    world.done("a", &["issue", "update", &id, "--title", "new"]);
    world.done("a", &["sync"]);
    // By the daemon itself, and beside it.
    for way in ["socket", "direct"] {
        world.done("b", &["sync", "--transport", way]);
        assert_eq!(world.data("b", &["issue", "show", &id])["title"], "new");
    }
}

#[test]
fn a_watch_shows_what_a_sync_brings_and_who_takes_locks() {
    let world = World::new(&["a", "b"]);
    let id = world.create("a", "of another clone");
    world.done("a", &["sync"]);
    world.done("b", &["daemon", "start"]);
    let watch = world.command("b", &["watch", "--json", "--count", "4"]).spawn().unwrap();
    // It says where it starts before anything else.
    let status = || world.data("b", &["daemon", "status"]);
    assert_eq!(status()["answers"], true);
    let until = Instant::now() + DEADLINE;
    let mut told = String::new();
    thread::scope(|scope| {
        let watching = scope.spawn(move || end(watch, ""));
        while !watching.is_finished() {
            assert!(Instant::now() < until, "nothing is told");
            world.done("b", &["sync"]);
            world.done("b", &["lock", "acquire", "deploy", "--ttl", "1m"]);
            world.done("b", &["lock", "release", "deploy"]);
            world.done("a", &["issue", "comment", &id, "more"]);
            world.done("a", &["sync"]);
        }
        told = watching.join().unwrap().stdout;
    });
    for what in ["\"sync_done\"", "\"lock_changed\"", &id] {
        assert!(told.contains(what), "{what} is not in {told}");
    }
}

/// Runs the commands that the README shows for two clones.
#[test]
fn the_tour_of_two_clones_works_as_it_is_written() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("### Two clones").nth(1).expect("the README has the section");
    let script = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let world = World::new(&[]);
    fs::create_dir(world.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_grite"), world.path("bin/grite")).unwrap();
    let mut path = world.path("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    fs::create_dir(world.path("tour")).unwrap();
    let mut shell = world.program("sh", "tour");
    let ended = end(shell.args(["-e", "-c", script]).env("PATH", path).spawn().unwrap(), "");
    assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("Rings wrap late"), "{}", ended.stdout);
    assert!(ended.stdout.contains("all is well"), "{}", ended.stdout);
    for clone in ["here", "there"] {
        let folder = format!("tour/{clone}");
        world.done(&folder, &["daemon", "stop"]);
    }
}
