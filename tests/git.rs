//! Git as a child of a command: it neither asks nor stays, and a system that is short of threads is an error.
#![cfg(all(feature = "cli", target_os = "linux", not(loom)))]
#![allow(unsafe_code, reason = "signals that are heeded again")]

mod clones;
mod ended;
mod filter;
mod home;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use clones::World;
use ended::end;
use filter::{Calls, forbid};
use home::{signal, until};
use nix::libc::{self, CLONE_THREAD, EAGAIN, ENOSYS, SYS_clone, SYS_clone3};
use rustix::process::Signal;

/// A program in the place of ssh, which does what `script` says for the remote of the clone `a`.
fn ssh(world: &World, script: &str) -> PathBuf {
    world.git("a", &["remote", "set-url", "origin", "ssh://nowhere.invalid/x"]);
    let path = world.path("ssh");
    fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    path
}

/// Waits for the process whose id the file `pid` says, and forgets it.
fn started(pid: &Path) -> u32 {
    let mut started = None;
    until("ssh", || {
        started = fs::read_to_string(pid).ok().and_then(|text| text.trim().parse().ok());
        started.is_some()
    });
    fs::remove_file(pid).unwrap();
    started.unwrap()
}

/// Has what is started from now on heed signals, as at a terminal: a shell in the background has them ignored.
fn heed(signals: [Signal; 3]) {
    for signal in signals {
        // SAFETY: it is what a process has that says nothing of this signal.
        unsafe { libc::signal(signal.as_raw(), libc::SIG_DFL) };
    }
}

/// A killed process is gone once whoever inherited it has looked.
fn until_gone(pid: u32) {
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat"));
    until("the end of ssh", || stat().map_or(true, |stat| stat.contains(") Z ")));
}

#[test]
fn who_is_told_to_end_leaves_no_git_behind() {
    let world = World::new(&["a"]);
    world.create("a", "not sent");
    let pid = world.path("pid");
    // It heeds nothing but what cannot be helped.
    let ssh = ssh(&world, "trap '' TERM\necho $$ > \"$PID\"\nwhile :; do sleep 1; done\n");
    let commands = [&["sync", "--direct"][..], &["lock", "acquire", "deploy", "--direct"], &["doctor"]];
    let signals = [Signal::INT, Signal::TERM, Signal::HUP];
    heed(signals);
    for (arguments, told) in commands.into_iter().zip(signals) {
        let mut command = world.command("a", arguments);
        let child = command.env("GIT_SSH_COMMAND", &ssh).env("PID", &pid).spawn().unwrap();
        let remote = started(&pid);
        signal(child.id(), told);
        let ended = end(child, "");
        assert_eq!(ended.status.signal(), Some(told.as_raw()), "{arguments:?}: {}", ended.stderr);
        until_gone(remote);
    }
    // Nor does a daemon that ends while it syncs by itself.
    let mut start = world.command("a", &["daemon", "start"]);
    start.env("GRITE_SYNC_EVERY", "50ms").env("GIT_SSH_COMMAND", &ssh).env("PID", &pid);
    assert!(end(start.spawn().unwrap(), "").status.success());
    let remote = started(&pid);
    world.done("a", &["daemon", "stop"]);
    until_gone(remote);
}

#[test]
fn a_signal_that_a_command_was_started_to_ignore_is_ignored() {
    let world = World::new(&["a"]);
    let (pid, go) = (world.path("pid"), world.path("go"));
    let ssh = ssh(&world, "echo $$ > \"$PID\"\nwhile [ ! -e \"$GO\" ]; do sleep 0.01; done\nexit 255\n");
    let mut command = world.program("sh", "a");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_grite"), "sync", "--direct"]);
    let child = command.env("GIT_SSH_COMMAND", &ssh).env("PID", &pid).env("GO", &go).spawn().unwrap();
    started(&pid);
    signal(child.id(), Signal::HUP);
    fs::write(&go, "").unwrap();
    assert_eq!(end(child, "").status.code(), Some(7));
}

/// However the user has said that ssh is run: what it would ask is answered by a program that fails, and not on a
/// terminal, where it would be stopped.
#[test]
fn ssh_of_the_users_own_asks_nobody() {
    let world = World::new(&["a"]);
    world.create("a", "not sent");
    let asked = world.path("asked");
    let script = "echo \"$SSH_ASKPASS_REQUIRE\" > \"$ASKED\"\n\"$SSH_ASKPASS\" password >> \"$ASKED\"\n\
                  echo $? >> \"$ASKED\"\nexit 255\n";
    let ssh = ssh(&world, script);
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

/// Starts a command to which the system gives no thread.
fn without_threads(mut command: Command) -> Child {
    let start = move || {
        // Whose flags a filter can see.
        forbid(Calls::all(SYS_clone3), ENOSYS);
        forbid(Calls::with(SYS_clone, 0, CLONE_THREAD as u64), EAGAIN);
        command.spawn().unwrap()
    };
    thread::spawn(start).join().unwrap()
}

#[test]
fn who_had_no_thread_for_git_can_be_told_to_end() {
    let world = World::new(&["a"]);
    let mut batch = world.command("a", &["batch", "--direct"]);
    batch.stdin(Stdio::piped());
    let mut child = without_threads(batch);
    child.stdin.as_mut().unwrap().write_all(b"[\"lock\",\"acquire\",\"deploy\"]\n").unwrap();
    let (mut stdout, mut refused) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    stdout.read_line(&mut refused).unwrap();
    assert!(refused.contains("cannot be started"), "{refused}");
    child.stdout = Some(stdout.into_inner());
    signal(child.id(), Signal::TERM);
    let ended = end(child, "");
    assert_eq!(ended.status.signal(), Some(Signal::TERM.as_raw()), "{}", ended.stdout);
}

#[test]
fn where_the_system_gives_no_thread_git_is_not_run_without_a_deadline() {
    let world = World::new(&["a"]);
    world.create("a", "not sent");
    for arguments in [&["sync"][..], &["lock", "acquire", "deploy"]] {
        let command = world.command("a", &[arguments, &["--direct", "--json"]].concat());
        let ended = end(without_threads(command), "");
        let error = ended.document()["error"].take();
        assert_eq!((&error["code"], ended.status.code()), (&"git".into(), Some(7)), "{error}");
        assert!(error["message"].as_str().unwrap().contains("cannot be started"), "{error}");
    }
    assert_eq!(world.git("remote.git", &["for-each-ref"]), "");
}
