//! Twelve breakages, prepared for real: doctor finds each, and mends what can be mended.
#![cfg(feature = "cli")]

mod clones;
mod ended;
mod home;
#[path = "common/not_tested.rs"]
mod not_tested;

use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use clones::{World, loose};
use ended::end;
use home::Home;
use not_tested::not_tested;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A clone with issues that are on the remote, and what it exports.
fn healthy() -> (World, String) {
    let world = World::new(&["a", "b"]);
    for number in 0..3 {
        world.create("a", &format!("issue {number}"));
    }
    world.create("b", "of another clone");
    world.done("b", &["sync", "--direct"]);
    world.done("a", &["sync", "--direct"]);
    assert!(world.broken("a", &[]).is_empty());
    let export = world.done("a", &["export", "--direct"]);
    assert_eq!(export.lines().count(), 4);
    (world, export)
}

/// The one check that is broken, with how to mend it.
fn finding(world: &World, check: &str) -> Value {
    let broken = world.broken("a", &[]);
    let found = broken.iter().find(|item| item["check"] == check);
    let found = found.unwrap_or_else(|| panic!("{check} is not among {broken:?}")).clone();
    assert!(found["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{found}");
    found
}

/// Mends it, and looks whether all is as it was.
fn mend(world: &World, check: &str, export: &str) {
    let mended = world.mended("a");
    assert!(mended.contains(&check.to_owned()), "{mended:?}");
    assert!(world.broken("a", &[]).is_empty(), "{:?}", world.broken("a", &[]));
    assert_eq!(world.mended("a"), Vec::<String>::new(), "there is nothing left to mend");
    assert_eq!(world.done("a", &["export", "--direct"]), export);
}

fn store(world: &World) -> PathBuf {
    world.state("a").join("issues.db")
}

fn sql(world: &World, script: &str) {
    let connection = rusqlite::Connection::open(store(world)).unwrap();
    connection.execute_batch(script).unwrap();
}

/// The folder of the daemon of `a`, made by running one.
fn runtime(world: &World) -> PathBuf {
    world.done("a", &["daemon", "start"]);
    let socket = world.data("a", &["daemon", "status"])["socket"].as_str().unwrap().to_owned();
    world.done("a", &["daemon", "stop"]);
    PathBuf::from(socket).parent().unwrap().to_owned()
}

#[test]
fn a_deleted_store_is_made_anew_from_git() {
    let (world, export) = healthy();
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(world.state("a").join(format!("issues.db{end}")));
    }
    finding(&world, "store");
    mend(&world, "store", &export);
}

#[test]
fn a_store_of_which_only_refs_are_left_is_lost_and_comes_back_from_them() {
    let (world, _) = healthy();
    fs::remove_dir_all(world.state("a")).unwrap();
    fs::create_dir(world.state("a")).unwrap();
    let lost = || {
        let (error, exit) = world.failure("a", &["issue", "list", "--direct"]);
        assert_eq!((&error["code"], exit), (&"integrity".into(), 8), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("grite rebuild"), "{error}");
    };
    lost();
    world.git("a", &["pack-refs", "--all", "--prune"]);
    lost();
    assert_eq!(fs::read_dir(world.state("a")).unwrap().count(), 0);
    world.done("a", &["rebuild"]);
    assert_eq!(world.data("a", &["issue", "list", "--direct"])["total"], 4);
}

/// Writes rubbish over the first page of a table in the store of `a`.
fn damage(world: &World, table: &str) {
    sql(world, "PRAGMA wal_checkpoint(TRUNCATE)");
    let root: i64 = rusqlite::Connection::open(store(world))
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))
        .unwrap();
    let mut file = File::options().write(true).open(store(world)).unwrap();
    file.seek(SeekFrom::Start((root.unsigned_abs() - 1) * 4096)).unwrap();
    file.write_all(&[0x5a; 4096]).unwrap();
}

#[test]
fn a_store_with_a_damaged_page_is_made_anew_and_the_old_one_kept() {
    let (world, export) = healthy();
    damage(&world, "events");
    finding(&world, "store");
    mend(&world, "store", &export);
    let files = fs::read_dir(world.state("a")).unwrap().flatten();
    assert!(files.map(|file| file.file_name()).any(|name| name.to_string_lossy().contains("replaced")));
}

/// A store of 300 issues outside of git, where nothing makes good what lay on a page of the log, and such a page is
/// damaged.
fn damaged_beyond_repair() -> Home {
    let home = Home::new();
    let lines = (0..300).map(|number| format!("[\"issue\",\"create\",\"{} {number}\"]\n", "x".repeat(200)));
    assert!(home.run(&["batch", "--direct"], &lines.collect::<String>()).status.success());
    let store = home.path("state/issues.db");
    let mut bytes = fs::read(&store).unwrap();
    let (event, title) = (br#""op":{"create""#, format!("{} 150", "x".repeat(200)));
    let holds = |page: &&mut [u8], what: &[u8]| page.windows(what.len()).any(|window| window == what);
    let mut pages = bytes.chunks_mut(4096);
    pages.find(|page| holds(page, event) && holds(page, title.as_bytes())).unwrap().fill(0xa5);
    fs::write(&store, &bytes).unwrap();
    home
}

#[test]
fn what_is_broken_or_lost_is_no_success_though_nobody_reads_of_it() {
    for command in [&["doctor"][..], &["doctor", "--fix"], &["rebuild"]] {
        let home = damaged_beyond_repair();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = home.command(command).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]), "{command:?}");
    }
}

#[test]
fn what_a_damaged_page_has_cost_is_said_and_is_no_success() {
    for command in [&["doctor", "--fix"][..], &["rebuild"]] {
        let home = damaged_beyond_repair();
        let ended = home.run(&[command, &["--json"]].concat(), "");
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
        let left = home.data(&["issue", "list", "--direct"])["total"].as_u64().unwrap();
        assert!((250..300).contains(&left), "{left}");
        let words = format!("{} places of the log could not be read", 300 - left);
        assert!(ended.stdout.contains(&words), "{words}: {}", ended.stdout);
        // Once it was said, the store is as good as any.
        assert!(home.run(&["doctor"], "").status.success());
        assert!(home.run(&["rebuild"], "").status.success());
    }
}

#[test]
fn a_row_that_was_changed_by_hand_is_folded_anew() {
    let (world, export) = healthy();
    // A daemon that has read the wrong row does not go on with it.
    sql(&world, "UPDATE issues SET folded = (SELECT folded FROM issues ORDER BY number DESC LIMIT 1)");
    world.done("a", &["daemon", "start"]);
    assert_ne!(world.done("a", &["export"]), export);
    finding(&world, "projection");
    mend(&world, "projection", &export);
    assert_eq!(world.done("a", &["export"]), export);
}

/// A sync has refs that the store does not follow yet, and the other way round.
#[cfg(target_os = "linux")]
#[test]
fn a_clone_that_syncs_just_now_is_not_called_broken() {
    let (world, _) = healthy();
    world.create("b", "on its way");
    world.done("b", &["sync", "--direct"]);
    let tracking = "refs/grite/remotes/origin/events/";
    let before = world.git("a", &["rev-parse", &format!("{tracking}{}", world.actor("b"))]);
    for ends in [true, false] {
        let turn = File::open(world.state("a").join("sync.lock")).unwrap();
        turn.lock().unwrap();
        world.git("a", &["fetch", "--quiet", "origin", &format!("+refs/grite/events/*:{tracking}*")]);
        let mut doctor = world.command("a", &["doctor", "--json"]).spawn().unwrap();
        let descriptors = format!("/proc/{}/fd", doctor.id());
        let waits = || {
            let links = fs::read_dir(&descriptors).into_iter().flatten().flatten();
            links.filter_map(|link| fs::read_link(link.path()).ok()).any(|file| file.ends_with("sync.lock"))
        };
        home::until("doctor's turn", || waits() || doctor.try_wait().unwrap().is_some());
        if ends {
            world.git("a", &["update-ref", &format!("{tracking}{}", world.actor("b")), &before]);
            drop(turn);
        }
        let ended = end(doctor, "");
        assert!(ended.status.success(), "{}", ended.stdout);
        assert_eq!(ended.stdout.contains("not looked at: another command of this clone"), !ends);
    }
}

#[test]
fn a_socket_of_a_daemon_that_is_gone_is_removed() {
    let (world, export) = healthy();
    let socket = runtime(&world).join("daemon.sock");
    drop(UnixListener::bind(&socket).unwrap());
    finding(&world, "socket");
    mend(&world, "socket", &export);
    assert!(!socket.exists());
}

#[test]
fn folders_that_others_may_enter_are_closed() {
    let (world, export) = healthy();
    for (check, folder) in [
        ("permissions", world.state("a")),
        ("daemon permissions", runtime(&world)),
        ("runtime permissions", world.path("session/grite")),
    ] {
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        finding(&world, check);
        mend(&world, check, &export);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_missing_runtime_folder_is_made() {
    let (world, export) = healthy();
    fs::remove_dir_all(world.path("session")).unwrap();
    finding(&world, "session");
    mend(&world, "session", &export);
    world.done("a", &["issue", "list"]);
}

#[test]
fn a_store_of_a_newer_program_is_left_alone() {
    let (world, _) = healthy();
    sql(&world, "UPDATE meta SET value = 99 WHERE name = 'schema'");
    sql(&world, "PRAGMA wal_checkpoint(TRUNCATE)");
    let before = fs::read(store(&world)).unwrap();
    let found = finding(&world, "store");
    assert!(found["detail"].as_str().unwrap().contains("format 99"), "{found}");
    let broken = world.broken("a", &["--fix"]);
    assert!(broken.iter().any(|item| item["check"] == "store" && item["fixed"] == false), "{broken:?}");
    assert_eq!(world.failure("a", &["rebuild"]).1, 8);
    assert!(fs::read(store(&world)).unwrap() == before);
}

/// Makes one of the events in the store of `a` a newer program's.
fn add_newer_event(world: &World) {
    let body = br#"{"v":9,"what":"only the newer program knows"}"#;
    let connection = rusqlite::Connection::open(store(world)).unwrap();
    let insert =
        "INSERT INTO events (hash, issue, received, body) SELECT ?1, issue, 0, ?2 FROM events LIMIT 1";
    connection.execute(insert, rusqlite::params![&Sha256::digest(body)[..], &body[..]]).unwrap();
    connection.execute_batch("UPDATE meta SET value = value + 1 WHERE name = 'events'").unwrap();
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

#[test]
fn an_event_of_a_newer_program_keeps_a_store_as_it_is_damaged_or_not() {
    for damaged in [false, true] {
        let (world, _) = healthy();
        add_newer_event(&world);
        if damaged {
            damage(&world, "issues");
        }
        let before = fs::read(store(&world)).unwrap();
        if !damaged {
            let found = finding(&world, "store");
            assert!(found["detail"].as_str().unwrap().contains("format 9"), "{found}");
            assert_eq!(found["fix"], "use the newer program");
        }
        let broken = world.broken("a", &["--fix"]);
        let found = broken.iter().find(|item| item["check"] == "store").unwrap();
        assert!(found["detail"].as_str().unwrap().contains("newer program"), "{found}");
        let (error, exit) = world.failure("a", &["rebuild"]);
        assert!(exit == 8 && error["message"].as_str().unwrap().contains("newer program"), "{error}");
        assert!(fs::read(store(&world)).unwrap() == before, "damaged: {damaged}");
    }
}

/// Appends a chunk that a newer program wrote to the ref of `a`, and sends it.
fn append_newer_chunk(world: &World) {
    let own = world.own_ref("a");
    let bytes = b"grite events 2 1\nonly the newer program knows\n";
    let name: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let blob = world.git_with_input("a", &["hash-object", "-w", "--stdin"], bytes);
    let tree = world.git_with_input("a", &["mktree"], format!("100644 blob {blob}\t{name}\n").as_bytes());
    let commit = ["-c", "user.name=x", "-c", "user.email=x@x", "commit-tree", &tree, "-p", &own, "-m", "x"];
    let commit = world.git("a", &commit);
    world.git("a", &["update-ref", &own, &commit]);
    world.git("a", &["push", "--quiet", "origin", &own]);
}

#[test]
fn chunks_of_a_newer_program_cost_no_ref_its_name_or_its_place_damaged_or_not() {
    for damaged in [false, true] {
        let (world, export) = healthy();
        append_newer_chunk(&world);
        if damaged {
            world.create("a", "not sent yet");
            world.git("a", &["remote", "add", "nowhere", "../nowhere.git"]);
            world.run("a", &["sync", "push", "--remote", "nowhere", "--direct"]);
            world.git("a", &["remote", "remove", "nowhere"]);
            let (blob, _) = world.chunks("a", &format!("{}^!", world.own_ref("a"))).remove(0);
            truncate(&world, &blob);
        }
        let (actor, remote) = (world.actor("a"), world.git("a", &["ls-remote", "origin"]));
        let refs = world.git("a", &["for-each-ref", "refs/grite"]);
        let found = finding(&world, "newer chunks");
        assert_eq!(found["fix"], "use the newer program");
        let broken = world.broken("a", &["--fix"]);
        assert!(broken.iter().any(|item| item["check"] == "newer chunks"), "{broken:?}");
        assert_eq!(broken.iter().any(|item| item["check"] == "chunks"), damaged, "{broken:?}");
        assert_eq!(world.actor("a"), actor);
        assert_eq!(world.git("a", &["ls-remote", "origin"]), remote, "damaged: {damaged}");
        assert_eq!(world.git("a", &["for-each-ref", "refs/grite"]), refs, "damaged: {damaged}");
        assert!(world.done("a", &["export", "--direct"]).starts_with(&export));
    }
}

#[test]
fn a_chunk_of_a_newer_program_in_the_own_ref_is_tried_again_after_a_rebuild() {
    let (world, export) = healthy();
    let own = world.own_ref("a");
    let sent = world.git("a", &["rev-parse", &own]);
    append_newer_chunk(&world);
    world.git("remote.git", &["update-ref", &own, &sent]);
    world.done("a", &["rebuild"]);
    for _ in 0..2 {
        let damaged = world.data("a", &["sync", "--direct"])["damaged"].to_string();
        assert!(damaged.contains("newer program"), "{damaged}");
    }
    world.done("b", &["sync", "--direct"]);
    assert_eq!(world.done("b", &["export", "--direct"]), export);
}

#[test]
fn a_lock_of_a_newer_program_is_left_to_it() {
    let (world, export) = healthy();
    let text =
        r#"{"v":2,"resource":"deploy","holder":"bob","clone":"c","key":"k","from":0,"until":1,"margin":0}"#;
    let record = world.git_with_input("a", &["hash-object", "-w", "--stdin"], text.as_bytes());
    let name: String = Sha256::digest("deploy").iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    world.git("a", &["push", "--quiet", "origin", &format!("{record}:refs/grite/locks/{name}")]);
    world.done("a", &["lock", "acquire", "other", "--direct"]);
    let locks = world.git("a", &["ls-remote", "origin", "refs/grite/locks/*"]);
    assert_eq!(locks.lines().count(), 2);

    assert!(world.broken("a", &["--fix"]).is_empty());
    let items = world.data("a", &["lock", "status", "--direct"])["items"].clone();
    let listed: Vec<_> =
        items.as_array().unwrap().iter().map(|item| (&item["resource"], &item["holder"])).collect();
    assert_eq!(listed, [(&"deploy".into(), &"bob".into()), (&"other".into(), &"a".into())]);
    for command in ["acquire", "renew", "release"] {
        let (error, exit) = world.failure("a", &["lock", command, "deploy", "--direct"]);
        assert_eq!((&error["code"], exit), (&"environment".into(), 5), "{command}: {error}");
        assert!(error["hint"].as_str().unwrap().contains("newer version"), "{error}");
    }
    assert_eq!(world.git("a", &["ls-remote", "origin", "refs/grite/locks/*"]), locks);
    assert_eq!(world.done("a", &["export", "--direct"]), export);
}

#[test]
fn a_lock_that_is_nobodys_is_taken_away() {
    let (world, export) = healthy();
    // Here: a ref that names nothing.
    let dangling = world.path("a/.git/refs/grite/locks/dangling");
    fs::create_dir_all(dangling.parent().unwrap()).unwrap();
    fs::write(&dangling, format!("{}\n", "1".repeat(40))).unwrap();
    finding(&world, "refs");
    mend(&world, "refs", &export);
    assert!(!dangling.exists());
    world.done("a", &["sync", "--direct"]);

    // On the remote: what is no record, and what has been over for long.
    let rubbish = world.git_with_input("a", &["hash-object", "-w", "--stdin"], b"rubbish");
    world.git("a", &["push", "--quiet", "origin", &format!("{rubbish}:refs/grite/locks/{}", "0".repeat(32))]);
    finding(&world, "locks");
    mend(&world, "locks", &export);
    assert_eq!(world.git("a", &["ls-remote", "origin", "refs/grite/locks/*"]), "");
}

#[test]
fn a_truncated_chunk_comes_back_from_the_remote() {
    let (world, export) = healthy();
    let (blob, name) = world.chunks("a", &world.own_ref("a")).remove(0);
    truncate(&world, &blob);
    let found = finding(&world, "chunks");
    assert!(found["detail"].as_str().unwrap().contains(&name), "{found}");
    mend(&world, "chunks", &export);
}

#[test]
fn a_truncated_chunk_that_nobody_else_has_is_written_from_the_store() {
    let (world, _) = healthy();
    world.create("a", "not sent yet");
    world.git("a", &["remote", "add", "nowhere", "../nowhere.git"]);
    let offline = world.run("a", &["sync", "push", "--remote", "nowhere", "--direct"]);
    assert_eq!(offline.status.code(), Some(7));
    world.git("a", &["remote", "remove", "nowhere"]);
    let export = world.done("a", &["export", "--direct"]);
    let own = world.own_ref("a");
    let (blob, _) = world.chunks("a", &format!("{own}^!")).remove(0);
    truncate(&world, &blob);
    finding(&world, "chunks");
    mend(&world, "chunks", &export);
    assert_ne!(world.own_ref("a"), own, "published under a new name");
    world.done("a", &["sync", "--direct"]);
    world.done("b", &["sync", "--direct"]);
    assert_eq!(world.done("b", &["export", "--direct"]), export);
    assert!(world.broken("b", &[]).is_empty());
}

fn truncate(world: &World, blob: &str) {
    let file = loose(&world.path("a"), blob);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let length = fs::metadata(&file).unwrap().len();
    File::options().write(true).open(&file).unwrap().set_len(length / 2).unwrap();
}

#[test]
fn a_wedged_daemon_is_ended() {
    let (world, export) = healthy();
    world.done("a", &["daemon", "start"]);
    let pid = world.data("a", &["daemon", "status"])["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    finding(&world, "socket");
    mend(&world, "socket", &export);
    world.done("a", &["issue", "list"]);
    assert_ne!(world.data("a", &["daemon", "status"])["pid"], pid.as_raw_nonzero().get());
}

/// Only a superuser can give a folder away.
#[test]
fn a_folder_of_somebody_else_is_reported() {
    let (world, _) = healthy();
    let folder = world.path("session/grite");
    runtime(&world);
    if chown(&folder, Some(12345), None).is_err() {
        return not_tested("a folder of somebody else: only root can give one away");
    }
    let found = finding(&world, "runtime folder");
    assert!(found["detail"].as_str().unwrap().contains("12345"), "{found}");
    let broken = world.broken("a", &["--fix"]);
    assert!(broken.iter().any(|item| item["check"] == "runtime folder"), "{broken:?}");
    chown(&folder, Some(rustix::process::getuid().as_raw()), None).unwrap();
    assert!(world.broken("a", &[]).is_empty());
}

#[test]
fn a_missing_git_is_reported_and_issues_go_on() {
    let (world, _) = healthy();
    let run = |arguments: &[&str]| {
        let mut command = world.command("a", arguments);
        end(command.env("PATH", world.path("tmp")).spawn().unwrap(), "")
    };
    let ended = run(&["doctor", "--json"]);
    assert_eq!(ended.status.code(), Some(1));
    let document = ended.document();
    let items = document["data"]["items"].as_array().unwrap();
    let git = items.iter().find(|item| item["check"] == "git").unwrap();
    assert!(git["ok"] == false && git["fix"].as_str().unwrap().contains("install git"), "{git}");
    assert!(run(&["issue", "list", "--direct"]).status.success());
    assert_eq!(run(&["sync", "--direct"]).status.code(), Some(7));
}

#[test]
fn a_rebuilt_store_is_the_same() {
    let (world, export) = healthy();
    world.create("a", "published nowhere");
    let export = export + world.done("a", &["export", "--direct"]).lines().last().unwrap() + "\n";
    world.done("a", &["rebuild"]);
    assert_eq!(world.done("a", &["export", "--direct"]), export);
    assert_eq!(world.data("a", &["sync", "--direct"])["sent"], 1);
    assert!(world.broken("a", &[]).is_empty());
}
