//! Syncing with a remote that is not as it was left: put back, under another name, or out of reach.
#![cfg(feature = "cli")]

mod clones;
mod ended;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use clones::World;
use ended::end;

#[test]
fn a_remote_that_was_put_back_to_an_earlier_state_gets_what_it_lacks() {
    let mut world = World::new(&["a"]);
    world.create("a", "in the backup");
    world.done("a", &["sync"]);
    let own = world.own_ref("a");
    let backup = world.git("remote.git", &["rev-parse", &own]);
    world.create("a", "made after it");
    world.done("a", &["sync"]);
    // What a pull sees, a later sync makes good.
    for (reader, before) in [("b", None), ("c", Some("pull"))] {
        world.git("remote.git", &["update-ref", &own, &backup]);
        before.iter().for_each(|direction| drop(world.done("a", &["sync", direction])));
        let synced = world.data("a", &["sync"]);
        assert_eq!((&synced["sent"], &synced["renamed"]), (&2.into(), &false.into()), "for {reader}");
        assert_eq!(world.data("a", &["sync"])["sent"], 0);
        world.clone(reader);
        assert_eq!(world.data(reader, &["sync"])["received"], 2, "by {reader}");
    }
}

/// The remote is made anew, put back to what it was once, or another one; whoever syncs next brings it all back.
#[test]
fn what_a_remote_does_not_have_of_a_clone_that_is_gone_is_sent_by_another_one() {
    for loss in ["made anew", "made anew before a pull", "put back", "put back before a pull", "another one"]
    {
        let mut world = World::new(&["gone", "a"]);
        let id = world.create("gone", "of a clone that is gone");
        world.done("gone", &["sync"]);
        let own = world.own_ref("gone");
        let backup = world.git("remote.git", &["rev-parse", &own]);
        world.done("gone", &["issue", "comment", &id, "after the backup"]);
        world.done("gone", &["sync"]);
        world.done("a", &["sync"]);

        let mut remote = "origin";
        if loss.starts_with("put back") {
            world.git("remote.git", &["update-ref", &own, &backup]);
        } else if loss == "another one" {
            remote = "second";
            world.git("", &["init", "--quiet", "--bare", "second.git"]);
            world.git("a", &["remote", "add", remote, "../second.git"]);
        } else {
            fs::remove_dir_all(world.path("remote.git")).unwrap();
            world.git("", &["init", "--quiet", "--bare", "remote.git"]);
        }
        if loss.ends_with("pull") {
            world.done("a", &["sync", "pull"]);
        }
        let sync = || world.data("a", &["sync", "--remote", remote])["sent"].as_u64().unwrap();
        assert_eq!(sync(), if loss.starts_with("put back") { 1 } else { 2 }, "{loss}");
        let published = world.git("a", &["rev-parse", &world.own_ref("a")]);
        assert_eq!([sync(), sync()], [0, 0], "{loss}");
        assert_eq!(
            world.git("a", &["rev-parse", &world.own_ref("a")]),
            published,
            "{loss}: it is there once"
        );

        world.clone("b");
        let url = world.git("a", &["remote", "get-url", remote]);
        world.git("b", &["remote", "set-url", "origin", &url]);
        world.done("b", &["sync"]);
        let exported = world.done("b", &["export"]);
        assert!(exported.contains("after the backup"), "{loss}: {exported}");
        assert_eq!(world.done("a", &["export"]), exported, "{loss}");
        assert!(world.broken("a", &[]).is_empty() && world.broken("b", &[]).is_empty(), "{loss}");
    }
}

#[test]
fn a_clone_with_nothing_to_send_keeps_its_name_whatever_a_copy_of_it_has_sent() {
    let mut world = World::new(&["a"]);
    world.create("a", "before the copy");
    world.done("a", &["sync", "--direct"]);
    world.copy("a", "b");
    world.create("b", "by the copy");
    assert_eq!(world.data("b", &["sync", "--direct"])["sent"], 1);
    let synced = world.data("a", &["sync", "--direct"]);
    let numbers = (&synced["received"], &synced["sent"], &synced["renamed"]);
    assert_eq!(numbers, (&1.into(), &0.into(), &false.into()));
}

#[test]
fn a_sync_goes_to_the_remote_that_there_is_once_the_usual_one_has_another_name() {
    let world = World::new(&["a", "b"]);
    world.create("a", "under the old name");
    world.done("a", &["sync"]);
    world.git("a", &["remote", "rename", "origin", "upstream"]);
    world.create("a", "under the new one");
    for arguments in [&["sync", "push"][..], &["sync", "pull"], &["sync"]] {
        assert_eq!(world.data("a", arguments)["remote"], "upstream", "{arguments:?}");
    }
    assert_eq!(world.data("b", &["sync"])["received"], 2);
    // Only what nobody has named is looked for.
    let (error, exit) = world.failure("a", &["sync", "--remote", "origin"]);
    assert_eq!((&error["code"], exit), (&"git".into(), 7), "{error}");
    world.git("a", &["remote", "add", "second", "../remote.git"]);
    let (error, _) = world.failure("a", &["sync"]);
    assert!(error["message"].as_str().unwrap().contains("no remote \"origin\""), "{error}");
    world.git("a", &["remote", "remove", "second"]);
    world.git("a", &["remote", "remove", "upstream"]);
    let (error, _) = world.failure("a", &["sync"]);
    assert!(error["hint"].as_str().unwrap().contains("git remote add"), "{error}");
}

/// Creates an issue in `a` and syncs while the remote is away: the issue is in the clone's own ref and nowhere else.
fn publish_unsent(world: &World, title: &str) {
    world.create("a", title);
    fs::rename(world.path("remote.git"), world.path("away.git")).unwrap();
    let (error, _) = world.failure("a", &["sync", "push", "--direct"]);
    assert_eq!(error["code"], "git", "{error}");
    fs::rename(world.path("away.git"), world.path("remote.git")).unwrap();
}

/// Syncs `a`, and looks whether all that it has comes to another clone.
fn all_arrives(world: &World, sent: u64, case: &str) {
    assert_eq!(world.data("a", &["sync", "--direct"])["sent"], sent, "{case}");
    world.done("b", &["sync", "--direct"]);
    assert_eq!(world.done("b", &["export", "--direct"]), world.done("a", &["export", "--direct"]), "{case}");
    assert_eq!(world.data("a", &["sync", "--direct"])["sent"], 0, "{case}");
    assert!(world.broken("a", &[]).is_empty(), "{case}");
}

#[test]
fn what_is_in_no_ref_any_more_before_it_was_sent_is_sent_all_the_same() {
    for loss in ["ref removed", "ref put back", "name removed", "name removed before a write"] {
        let world = World::new(&["a", "b"]);
        world.create("a", "sent");
        world.done("a", &["sync", "--direct"]);
        publish_unsent(&world, "published while the remote is away");
        let mut sent = 2;
        match loss {
            "ref removed" => drop(world.git("a", &["update-ref", "-d", &world.own_ref("a")])),
            "ref put back" => {
                let mirror = ["fetch", "--quiet", "origin", "+refs/grite/events/*:refs/grite/events/*"];
                world.git("a", &mirror);
            }
            _ => fs::remove_file(world.state("a").join("actor")).unwrap(),
        }
        if loss.ends_with("write") {
            world.create("a", "under the next name");
            sent += 1;
        }
        all_arrives(&world, sent, loss);
    }
}

#[test]
fn what_becomes_of_the_own_ref_amid_a_sync_costs_no_event() {
    for change in ["put back", "moved on"] {
        let world = World::new(&["a", "b"]);
        world.create("a", "sent");
        world.done("a", &["sync", "--direct"]);
        let (own, store, copy) = (world.own_ref("a"), world.state("a").join("issues.db"), world.path("copy"));
        let sent = world.git("a", &["rev-parse", &own]);
        fs::copy(&store, &copy).unwrap();
        publish_unsent(&world, "published while the remote is away");
        let published = world.git("a", &["rev-parse", &own]);
        let mut then = &sent;
        if change == "moved on" {
            fs::copy(&copy, &store).unwrap();
            world.git("a", &["update-ref", &own, &sent]);
            then = &published;
        }
        // Git runs this for what it fetches from: a write and the change come between what a sync publishes.
        let script = world.path("upload-pack");
        let lines = format!(
            "#!/bin/sh\nset -e\n{{ git -C {clone} update-ref {own} {then}; cd {clone}\n\
             {grite} issue create amid --direct; }} >&2\nexec git-upload-pack \"$@\"\n",
            clone = world.path("a").display(),
            grite = env!("CARGO_BIN_EXE_grite"),
        );
        fs::write(&script, lines).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        world.git("a", &["config", "remote.origin.uploadpack", script.to_str().unwrap()]);
        let synced = world.run("a", &["sync", "--direct"]);
        assert!(world.done("a", &["issue", "list", "--direct"]).contains("amid"), "{}", synced.stderr);
        world.git("a", &["config", "--unset", "remote.origin.uploadpack"]);
        world.done("a", &["sync", "--direct"]);
        all_arrives(&world, 0, change);
        assert_eq!(world.done("a", &["export", "--direct"]).lines().count(), 3, "{change}");
    }
}

#[test]
fn a_state_folder_in_a_new_repository_sends_all_that_it_has() {
    let world = World::new(&["a", "b"]);
    world.create("a", "sent to the old remote");
    world.done("a", &["sync", "--direct"]);
    for repository in ["remote.git", "a/.git"] {
        fs::rename(world.path(repository), world.path("old")).unwrap();
        let (folder, bare): (_, &[&str]) =
            repository.strip_suffix("/.git").map_or((repository, &["--bare"]), |folder| (folder, &[]));
        world.git("", &[&["init", "--quiet", folder][..], bare].concat());
        if bare.is_empty() {
            fs::rename(world.path("old/grite"), world.state("a")).unwrap();
        }
        fs::remove_dir_all(world.path("old")).unwrap();
    }
    world.git("a", &["remote", "add", "origin", "../remote.git"]);
    world.create("a", "in the new repository");
    all_arrives(&world, 2, "a new repository");
}

#[test]
fn what_the_own_ref_has_and_an_earlier_copy_of_the_store_does_not_is_read_and_sent() {
    for write in [false, true] {
        let world = World::new(&["a", "b"]);
        world.create("a", "in the copy");
        world.done("a", &["sync", "--direct"]);
        let (store, copy) = (world.state("a").join("issues.db"), world.path("copy"));
        fs::copy(&store, &copy).unwrap();
        publish_unsent(&world, "behind the copy");
        fs::copy(&copy, &store).unwrap();
        if write {
            world.create("a", "behind the loss");
        }
        all_arrives(&world, 1 + u64::from(write), "an earlier copy");
        assert_eq!(world.done("a", &["export", "--direct"]).lines().count(), 2 + usize::from(write));
    }
}

#[test]
fn a_bare_repository_and_its_worktrees_have_one_tracker() {
    for made_in in ["x.git", "tree"] {
        let world = World::new(&["a"]);
        let identity = ["-c", "user.name=x", "-c", "user.email=x@x"];
        world.git("a", &[&identity[..], &["commit", "--quiet", "--allow-empty", "-m", "x"]].concat());
        world.git("", &["clone", "--quiet", "--bare", "a", "x.git"]);
        world.git("x.git", &["worktree", "add", "--quiet", "../tree"]);
        world.done(made_in, &["init", "--direct"]);
        assert!(world.path("x.git/grite").is_dir(), "{made_in}");
        let id = world.create("x.git", "seen by all");
        for clone in ["tree", "x.git", "x.git/hooks"] {
            assert_eq!(world.data(clone, &["issue", "show", &id, "--direct"])["title"], "seen by all");
        }
        // One that lies there by its other name is found by all, too.
        fs::rename(world.path("x.git/grite"), world.path("x.git/.grite")).unwrap();
        for clone in ["tree", "x.git"] {
            world.done(clone, &["init", "--direct"]);
            assert_eq!(world.data(clone, &["issue", "show", &id, "--direct"])["title"], "seen by all");
        }
        world.git("x.git", &["remote", "set-url", "origin", "../remote.git"]);
        assert_eq!(world.data("tree", &["sync", "--direct"])["sent"], 1);
    }
}

#[test]
fn a_remote_that_mirrors_the_repository_is_synced_with_and_keeps_locks() {
    let world = World::new(&["a", "b"]);
    world.git("a", &["config", "remote.origin.mirror", "true"]);
    world.create("a", "sent to a mirror");
    assert_eq!(world.data("a", &["sync", "--direct"])["sent"], 1);
    world.done("a", &["lock", "acquire", "deploy", "--direct"]);
    assert_eq!(world.data("b", &["sync", "--direct"])["received"], 1);
    assert_eq!(world.failure("b", &["lock", "acquire", "deploy", "--direct"]).1, 4);
}

#[test]
fn a_partial_clone_takes_in_what_the_others_have() {
    let world = World::new(&["a"]);
    world.git("remote.git", &["config", "uploadpack.allowFilter", "true"]);
    for title in ["in a chunk", "in another one"] {
        world.create("a", title);
        world.done("a", &["sync"]);
    }
    let url = format!("file://{}", world.path("remote.git").display());
    for clone in ["fetched-by-us", "fetched-by-git"] {
        world.git("", &["clone", "--quiet", "--filter=blob:none", &url, clone]);
        world.done(clone, &["init"]);
        let mut sync = world.command(clone, &["sync", "--direct", "--json"]);
        if clone == "fetched-by-git" {
            // Which leaves the chunks on the remote, to be fetched when they are read.
            let spec = "+refs/grite/events/*:refs/grite/remotes/origin/events/*";
            world.git(clone, &["fetch", "--quiet", "origin", spec]);
            let listed = world.git(clone, &["rev-list", "--objects", "--missing=print", "--all"]);
            assert_eq!(listed.lines().filter(|line| line.starts_with('?')).count(), 2, "{listed}");
        } else {
            // One by one would take as many connections.
            sync.env("GIT_NO_LAZY_FETCH", "1");
        }
        let ended = end(sync.spawn().unwrap(), "");
        let data = ended.data();
        assert_eq!((&data["received"], &data["damaged"]), (&2.into(), &serde_json::json!([])), "{clone}");
        assert!(world.broken(clone, &[]).is_empty(), "{clone}");
    }
}

#[test]
fn a_damaged_chunk_is_named_for_as_long_as_a_ref_has_it() {
    let world = World::new(&["a"]);
    let identity = ["-c", "user.name=x", "-c", "user.email=x@x"];
    let [gone, kept] = ["1", "2"].map(|digit| {
        let blob = world.git_with_input("remote.git", &["hash-object", "-w", "--stdin"], digit.as_bytes());
        let entry = format!("100644 blob {blob}\t{}\n", digit.repeat(64));
        let tree = world.git_with_input("remote.git", &["mktree"], entry.as_bytes());
        let commit = world.git("remote.git", &[&identity[..], &["commit-tree", &tree, "-m", "x"]].concat());
        let name = format!("refs/grite/events/{}", digit.repeat(32));
        world.git("remote.git", &["update-ref", &name, &commit]);
        (name, blob)
    });
    let damaged = || world.data("a", &["sync", "pull", "--direct"])["damaged"].to_string();
    for _ in 0..2 {
        let damaged = damaged();
        assert!(damaged.contains(&gone.1) && damaged.contains(&kept.1), "{damaged}");
    }
    world.git("remote.git", &["update-ref", "-d", &gone.0]);
    for _ in 0..2 {
        let damaged = damaged();
        assert!(!damaged.contains(&gone.1) && damaged.contains(&kept.1), "{damaged}");
    }
    world.git("remote.git", &["update-ref", "-d", &kept.0]);
    assert_eq!(damaged(), "[]");
}
