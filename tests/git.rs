//! Git as a child of a command: it neither asks nor stays, and a system that is short of threads is an error.
#![cfg(all(feature = "cli", target_os = "linux", not(loom)))]

mod clones;
mod ended;
mod filter;

use std::thread;

use clones::World;
use ended::end;
use filter::{Calls, forbid};
use nix::libc::{CLONE_THREAD, EAGAIN, ENOSYS, SYS_clone, SYS_clone3};

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
