//! Real processes: the test program itself, started again to play a part, and ended with the test.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use libgrite_ipc::{Client, Error, Pending, Server};
use rustix::process::{Pid, Signal, kill_process};

use super::{Way, Work, builder_for, work};

const ROLE: &str = "TEST_ROLE";
const FOLDER: &str = "TEST_FOLDER";

/// No child lives longer than its test, and no test waits longer than this for one.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Which part this process was started to play, and in which folder; nothing where it runs the tests. A
/// program whose tests start it again plays it in its test `role`.
pub fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(FOLDER)?.into()))
}

/// This program, to be started again with a role.
pub fn role_command(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["role", "--exact", "--nocapture", "--quiet"]).env(ROLE, role).env(FOLDER, folder);
    command
}

/// Serves in `folder`, as the part of a child that says when it is ready.
pub fn serve(folder: &Path) {
    let server = Server::<Work>::bind(folder.join("work.sock")).unwrap();
    println!("ready");
    server.serve(work).unwrap();
}

/// A child that is killed and waited for when dropped.
pub struct Process {
    /// The child.
    pub child: Child,
    /// What it says, line by line.
    pub lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this program again.
    pub fn start(role: &str, folder: &Path) -> Self {
        Self::run(role_command(role, folder))
    }

    /// The same, of a command that was changed.
    pub fn run(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines }
    }

    /// Waits for a line that starts so, and gives back the rest of it.
    pub fn line(&mut self, start: &str) -> Option<String> {
        for line in self.lines.by_ref() {
            // The test harness writes before and after what the role says.
            if let Some(rest) = line.unwrap().strip_prefix(start) {
                return Some(rest.to_owned());
            }
        }
        None
    }

    /// Kills it, and leaves it to be waited for.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon that this program plays, in a folder of its own; both end with this value.
pub struct Daemon {
    /// It.
    pub process: Process,
    /// Where it listens, at `work.sock`.
    pub folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts it, and waits until it says that it is ready.
    pub fn start(role: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(role, folder.path());
        process.line("ready").unwrap_or_else(|| panic!("the {role} does not serve"));
        Daemon { process, folder }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("work.sock")
    }

    /// A client that is patient.
    pub fn client(&self, way: Way) -> Client<Work> {
        builder_for(way).timeout(PATIENCE).connect(self.path()).unwrap()
    }
}

/// Stops a child of the test, and waits until all of its threads stand still.
pub fn stop(child: u32) {
    signal(child, Signal::STOP);
    let child = Pid::from_raw(child as i32);
    let stopped = || rustix::process::waitpid(child, rustix::process::WaitOptions::UNTRACED);
    rustix::io::retry_on_intr(stopped).unwrap();
}

/// Signals a process that the test has started, by itself or by a visitor.
pub fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

/// Waits until `done` says so; says how long that took.
pub fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    begin.elapsed()
}

/// Looks whether an answer has come that will not, and says why that is known in the end.
pub fn looks_in_vain(answer: &Pending<'_, Work>) -> Error {
    let mut error = None;
    until("it is known that no answer comes", || match answer.is_ready() {
        Ok(ready) => {
            assert!(!ready, "no answer comes");
            false
        }
        Err(told) => {
            error = Some(told);
            true
        }
    });
    error.expect("it was told")
}
