//! `grite` when its daemon is killed between any two steps of a write, a sync or its start, or a rebuild of its own.
//!
//! Of a build with `--cfg grite_faults`, as `tests/crashes.rs`. `GRITE_TEST_ROUNDS=10000` for the long run.
#![cfg(all(grite_faults, feature = "cli", target_os = "linux", not(grite_portable)))]

mod clones;
mod ended;
mod home;
mod rounds;
mod victim;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use clones::World;
use ended::end;
use home::{Home, integrity, names};
use libgrite_ipc::DaemonLock;
use libgrite_ipc::fault::POINTS;
use victim::{Seen, Victim, seeds};

/// Faults 37 and 50, for `grite`. Its daemon is killed at each step of its start and of a write. The command
/// that waits for it repeats its write by itself and succeeds; the same write once more changes nothing; every
/// write is there once, the file is sound, and nothing is left in any folder.
#[test]
fn a_daemon_killed_at_any_step_of_a_write_costs_no_command_anything() {
    let home = Home::new();
    home.create("0");
    let runtime = home.runtime();
    home.data(&["daemon", "stop"]);
    let sides =
        ["store.begun", "store.app", "store.comm", "lock.", "bind.", "daemon.acc", "daemon.heard", "ring."];
    // Messages as short as these never meet the end of a ring.
    let passed =
        |point: &&&str| sides.iter().any(|side| point.starts_with(side)) && **point != "ring.skipped";
    let named = POINTS.iter().filter(passed);
    let named = named.flat_map(|point| {
        // A daemon starts once.
        let passages: &[u32] =
            if point.starts_with("lock.") || point.starts_with("bind.") { &[1] } else { &[1, 2] };
        passages.iter().map(move |passage| format!("{point} {passage}"))
    });
    let (mut written, mut killed) = (1_u64, 0);
    let mut state = None;
    for fault in named.chain(seeds(10).map(|seed| format!("* {seed}"))) {
        let mut command = home.command(&["daemon", "run"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut victim = Victim::start(command, &fault);
        victim.until(|| DaemonLock::read(&runtime).unwrap().and_then(|d| d.pid()) == Some(victim.id()));
        let mut gone = false;
        let mut run = |arguments: &[&str], way: &str| {
            let command = home.command(&[arguments, &["--json", "--transport", way]].concat()).spawn();
            let mut command = command.unwrap();
            if !gone && victim.until(|| command.try_wait().unwrap().is_some()) != Seen::Running {
                victim.child().kill().unwrap();
                victim.child().wait().unwrap();
                gone = true;
            }
            let ended = end(command, "");
            assert!(ended.status.success(), "{fault}: {}{}", ended.stdout, ended.stderr);
            (ended.data()["id"].take(), gone)
        };
        for _ in 0..5 {
            let key = format!("{written}");
            let create = ["issue", "create", &key, "--idempotency-key", &key, "--label", "kept"];
            let way = if fault.starts_with("ring") || written % 2 == 0 { "ring" } else { "socket" };
            let (first, _) = run(&create, way);
            let (again, gone) = run(&create, "auto");
            assert_eq!(first, again, "{fault}");
            written += 1;
            if gone {
                break;
            }
        }
        assert!(gone || fault.starts_with('*'), "{fault} is never passed");
        killed += u64::from(gone);
        drop(victim);
        assert_eq!(home.data(&["issue", "list"])["total"], written, "{fault}");
        let left = names(&runtime);
        assert_eq!(left, ["daemon.lock", "daemon.sock", "spawn.lock"], "{fault}");
        if killed % 20 == 0 {
            assert_eq!(integrity(&home.path("state")), "ok", "{fault}");
        }
        home.data(&["daemon", "stop"]);
        let left = names(&home.path("state"));
        assert_eq!(*state.get_or_insert_with(|| left.clone()), left, "{fault}");
    }
    println!("{killed} daemons killed, {written} writes");
    assert_eq!(integrity(&home.path("state")), "ok");
}

/// A daemon is killed at each step of a sync: after a chunk is in git and before the store knows, while events
/// of another clone are stored, and before and after what the log holds is written to its place. The command
/// that waits for it syncs once more by itself; in the end both clones have the same, and nothing twice.
#[test]
fn a_daemon_killed_at_any_step_of_a_sync_costs_no_clone_anything() {
    let world = World::new(&["a", "b"]);
    let named = ["sync.published 1", "store.written-back 1"].map(str::to_owned).into_iter();
    let numbered = ["store.begun", "store.committing", "store.committed", "store.appended"]
        .into_iter()
        .flat_map(|point| [1, 2].map(|passage| format!("{point} {passage}")));
    let mut written = 0;
    for fault in named.chain(numbered) {
        for clone in ["a", "b"] {
            for number in 0..3 {
                world.create(clone, &format!("{clone} {fault} {number}"));
                written += 1;
            }
        }
        world.data("b", &["sync"]);
        world.data("a", &["daemon", "stop"]);
        let mut command = world.command("a", &["daemon", "run"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut victim = Victim::start(command, &fault);
        victim.until(|| world.data("a", &["daemon", "status"])["answers"] == true);
        let mut sync = world.command("a", &["sync", "--json"]).spawn().unwrap();
        let mut seen = victim.until(|| sync.try_wait().unwrap().is_some());
        if seen == Seen::Running && fault.starts_with("store.written-back") {
            // The sync is answered before that.
            seen = victim.until(|| false);
        }
        assert_eq!(seen, Seen::Stopped, "{fault}");
        victim.child().kill().unwrap();
        victim.child().wait().unwrap();
        let ended = end(sync, "");
        assert!(ended.status.success(), "{fault}: {}{}", ended.stdout, ended.stderr);
        world.data("b", &["sync"]);
        let total = |clone| world.data(clone, &["issue", "list"])["total"].as_u64().unwrap();
        assert_eq!((total("a"), total("b")), (written, written), "{fault}");
        assert_eq!(world.done("a", &["export"]), world.done("b", &["export"]), "{fault}");
        assert!(world.broken("a", &[]).is_empty(), "{fault}");
    }
    assert_eq!(integrity(&world.state("a")), "ok");
}

/// A sync is killed at each step of taking a new name, which it does since a copy of its clone has sent something
/// else under the old one. The next one sends all that was made in this clone.
#[test]
fn a_sync_killed_while_it_takes_a_new_name_leaves_nothing_unsent() {
    for point in ["sync.renamed", "sync.published", "store.begun", "store.committing", "store.committed"] {
        for passage in 1.. {
            let mut world = World::new(&["a"]);
            world.create("a", "before the copy");
            world.data("a", &["sync", "--direct"]);
            world.copy("a", "b");
            world.create("b", "by the copy");
            world.data("b", &["sync", "--direct"]);
            world.create("a", "by the first");
            let fault = format!("{point} {passage}");
            let victim = Victim::start(world.command("a", &["sync", "--direct"]), &fault);
            let seen = victim.until(|| false);
            victim.kill();
            world.data("a", &["sync", "--direct"]);
            assert!(world.broken("a", &[]).is_empty(), "{fault}");
            world.clone("c");
            assert_eq!(world.data("c", &["sync", "--direct"])["received"], 3, "{fault}");
            if seen == Seen::Ended {
                assert!(passage > 1, "{fault} is never passed");
                break;
            }
        }
    }
}

/// A rebuild is killed at each step of putting the new store in the place of the old one, alone and beside a batch
/// that keeps much of the old one in its log. The name of the store leads to all that was written, with the old
/// store or the new one, and the next rebuild is as good as the first. Nobody writes to either meanwhile.
#[test]
fn a_rebuild_killed_at_any_step_loses_nothing() {
    for fault in ["renew.kept 1", "renew.replacing 1", "renew.replaced 1"] {
        for beside_a_batch in [false, true] {
            let home = Home::new();
            let mut batch = home.command(&["batch", "--direct"]).spawn().unwrap();
            writeln!(batch.stdin.as_ref().unwrap(), r#"["issue","create","by the batch"]"#).unwrap();
            let mut answer = String::new();
            BufReader::new(batch.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
            assert!(answer.contains("\"ok\":true"), "{answer}");
            if !beside_a_batch {
                drop(batch.stdin.take());
                assert!(batch.wait().unwrap().success());
            }
            home.data(&["issue", "create", "by a command", "--direct"]);
            let export = || home.run(&["export", "--direct"], "").stdout;
            let before = export();
            assert_eq!(before.lines().count(), 2);

            let mut command = home.command(&["rebuild"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let victim = Victim::start(command, fault);
            assert_eq!(victim.until(|| false), Seen::Stopped, "{fault}");
            // What is written now would be in the old store alone.
            let beside = home.run(&["issue", "create", "too late", "--direct", "--timeout", "1s"], "");
            assert!(!beside.status.success(), "{fault}: {}", beside.stdout);
            victim.kill();
            assert_eq!(export(), before, "{fault}, beside a batch: {beside_a_batch}");
            assert_eq!(integrity(&home.path("state")), "ok", "{fault}");
            if beside_a_batch {
                drop(batch.stdin.take());
                assert!(batch.wait().unwrap().success());
            }
            home.data(&["rebuild"]);
            assert_eq!(export(), before, "{fault}, and once more");
            let left = names(&home.path("state"));
            assert!(!left.contains(&"issues.db.new".to_owned()), "{left:?}");
        }
    }
}
