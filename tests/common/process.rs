//! Real processes: the test program itself, started again to play a part, and ended with the test.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

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
        let mut command = role_command(role, folder);
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
