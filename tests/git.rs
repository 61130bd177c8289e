//! Git as a child of a command: it neither asks nor stays, and a system that is short of threads is an error.
#![cfg(all(feature = "cli", target_os = "linux", not(loom)))]

mod clones;
mod ended;
mod filter;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread;

use clones::World;
use ended::end;
use filter::{Calls, forbid};
use nix::libc::{CLONE_THREAD, EAGAIN, ENOSYS, SYS_clone, SYS_clone3};

/// However the user has said that ssh is run: what it would ask is answered by a program that fails, and not on a
/// terminal, where it would be stopped.
#[test]
fn ssh_of_the_users_own_asks_nobody() {
    let world = World::new(&["a"]);
    world.create("a", "not sent");
    world.git("a", &["remote", "set-url", "origin", "ssh://nowhere.invalid/x"]);
    let (ssh, asked) = (world.path("ssh"), world.path("asked"));
    let script = "#!/bin/sh\necho \"$SSH_ASKPASS_REQUIRE\" > \"$ASKED\"\n\"$SSH_ASKPASS\" password >> \"$ASKED\"\n\
                  echo $? >> \"$ASKED\"\nexit 255\n";
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, Permissions::from_mode(0o700)).unwrap();
    for way in ["GIT_SSH_COMMAND", "GIT_SSH", "core.sshCommand"] {
        let mut command = world.command("a", &["sync", "--direct", "--json"]);
        if way == "core.sshCommand" {
            world.git("a", &["config", way, ssh.to_str().unwrap()]);
        } else {
            command.env(way, &ssh);
        }
        // It would answer.
        command.env("ASKED", &asked).env("SSH_ASKPASS", "echo").env("GIT_SSH_VARIANT", "ssh");
        let ended = end(command.spawn().unwrap(), "");
        assert_eq!(ended.status.code(), Some(7), "{way}: {}", ended.stdout);
        assert_eq!(fs::read_to_string(&asked).unwrap(), "force\n1\n", "{way}");
        fs::remove_file(&asked).unwrap();
    }
}

#[test]
fn where_the_system_gives_no_thread_git_is_not_run_without_a_deadline() {
    let world = World::new(&["a"]);
    world.create("a", "not sent");
    for arguments in [&["sync"][..], &["lock", "acquire", "deploy"]] {
        let mut command = world.command("a", &[arguments, &["--direct", "--json"]].concat());
        let start = move || {
            // Whose flags a filter can see.
            forbid(Calls::all(SYS_clone3), ENOSYS);
            forbid(Calls::with(SYS_clone, 0, CLONE_THREAD as u64), EAGAIN);
            command.spawn().unwrap()
        };
        let ended = end(thread::spawn(start).join().unwrap(), "");
        let error = ended.document()["error"].take();
        assert_eq!((&error["code"], ended.status.code()), (&"git".into(), Some(7)), "{error}");
        assert!(error["message"].as_str().unwrap().contains("cannot be started"), "{error}");
    }
    assert_eq!(world.git("remote.git", &["for-each-ref"]), "");
}
