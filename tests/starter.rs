//! What a daemon keeps of the command that started it: nothing that others wait for.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod ended;
mod home;

use std::process::{Command, Stdio};

use ended::{Ended, end};
use home::Home;

/// Runs a shell's script with the program as `$0`.
fn script(home: &Home, script: &str) -> Ended {
    // All that a command of this home is given.
    let model = home.command(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_grite")]).current_dir(home.path("")).env_clear();
    shell.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PATH", std::env::var_os("PATH").unwrap());
    end(shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), "")
}

/// Whoever reads what a script writes learns of its end, although the daemon lives, and a lock on a file that
/// the script's shell holds is given back.
#[test]
fn a_daemon_keeps_no_descriptor_of_the_command_that_started_it() {
    let home = Home::new();
    let ended = script(&home, "exec 3>&1 9>lock; flock -n 9 || exit 3; \"$0\" issue list; echo done");
    assert!(ended.status.success() && ended.stdout.ends_with("done\n"), "{}{}", ended.stdout, ended.stderr);
    let daemon = home.pid().expect("the daemon lives on when nobody writes any more");
    let ended = script(&home, "exec 9>lock; flock -n 9");
    assert!(ended.status.success(), "the lock is free");
    assert_eq!(home.pid(), Some(daemon));
}

/// One in the foreground is a command like any other: what it was given stays open.
#[test]
fn a_daemon_in_the_foreground_keeps_what_it_was_given() {
    let home = Home::new();
    let script = "exec 9>lock; \"$0\" daemon run & until \"$0\" ping --no-spawn; do sleep 0.1; done; \
                  ls -l /proc/$!/fd; \"$0\" daemon stop; wait";
    let ended = self::script(&home, script);
    assert!(ended.stdout.contains("/lock"), "{}{}", ended.stdout, ended.stderr);
}
