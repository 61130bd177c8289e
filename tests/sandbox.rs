//! Systems that lack a call: the daemon serves all the same, and says what it cannot.
//!
//! The daemon is this test program itself, started again behind a filter that answers the call as a kernel
//! without it does, or as a sandbox that forbids it.
#![cfg(all(not(loom), target_os = "linux", not(grite_portable)))]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Order, Work, pattern, work};
use libgrite_ipc::{Client, ErrorKind, Server, Transport};
use nix::libc::{EINVAL, ENOSYS, EPERM, SYS_futex_waitv, SYS_memfd_create, SYS_sched_setaffinity};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

const ROLE: &str = "SANDBOX_ROLE";
const FOLDER: &str = "SANDBOX_FOLDER";

/// The part that this program plays when a test starts it again: a daemon without one system call.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (call, answer) = role.split_once(' ').unwrap();
    forbid(call.parse().unwrap(), answer.parse().unwrap());
    let folder = std::env::var(FOLDER).unwrap();
    let server = Server::<Work>::bind(Path::new(&folder).join("work.sock")).unwrap();
    println!("ready");
    server.serve(work).unwrap();
}

/// From now on the kernel answers this call of this process with an error, and does nothing.
fn forbid(call: i64, error: i32) {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(error as u32),
        architecture,
    );
    apply_filter(&BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
}

/// A daemon in a folder of its own; both end with this value.
struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn without(call: i64, error: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["role", "--exact", "--nocapture", "--quiet"]);
        command.env(ROLE, format!("{call} {error}")).env(FOLDER, folder.path());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let daemon = Daemon { child, folder };
        assert!(said.lines().any(|line| line.unwrap() == "ready"), "it serves without {call}");
        daemon
    }

    fn connect(&self, transport: Transport) -> Result<Client<Work>, libgrite_ipc::Error> {
        Client::builder().transport(transport).connect(self.folder.path().join("work.sock"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(client: &mut Client<Work>) {
    for length in [0, 100, 1 << 20] {
        assert!(client.send(&Order::Echo(pattern(length))).unwrap().bytes == pattern(length)[..]);
    }
}

#[test]
fn without_futex_waitv_or_memfd_create_clients_get_the_socket() {
    for call in [SYS_futex_waitv, SYS_memfd_create] {
        for error in [ENOSYS, EPERM] {
            let daemon = Daemon::without(call, error);
            let mut client = daemon.connect(Transport::Auto).unwrap();
            assert!(!client.uses_ring(), "call {call}");
            ask(&mut client);
            ask(&mut daemon.connect(Transport::Socket).unwrap());
            let refused = daemon.connect(Transport::Ring).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Refused, "call {call}: {refused}");
            assert!(refused.to_string().contains("socket"), "{refused}");
        }
    }
}

#[test]
fn who_may_not_choose_a_cpu_is_answered_all_the_same() {
    for error in [EPERM, EINVAL] {
        let daemon = Daemon::without(SYS_sched_setaffinity, error);
        let mut client = daemon.connect(Transport::Ring).unwrap();
        for _ in 0..3 {
            ask(&mut client);
        }
    }
}
