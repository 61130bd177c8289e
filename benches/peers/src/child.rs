//! The two processes of a cell: this program again, with a hidden command. Each has a deadline, is ended by
//! its own id, and does not outlive who started it.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::peer::Failure;

/// For how long a child may go on whose other side has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Called first in each child: should the parent be killed, so is the child.
pub fn end_with_parent() -> Result<(), Failure> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Where a child's complaints go.
pub fn complaints(folder: &Path, role: &str) -> PathBuf {
    folder.join(format!("{role}.stderr"))
}

/// A child of ours, ended and waited for when this is dropped.
pub struct Owned {
    child: Child,
    stdout: ChildStdout,
    said: Vec<u8>,
}

impl Owned {
    /// Starts this program with `args`, out of reach of what is typed at our terminal: we end it ourselves. Its
    /// temporary files go to `folder`, and what it complains about to a file there.
    pub fn start(role: &str, args: &[String], folder: &Path) -> Result<Self, Failure> {
        let complaints = std::fs::File::create(complaints(folder, role))?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .args(args)
            .env("TMPDIR", folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("a child without standard output")?;
        Ok(Owned { child, stdout, said: Vec::new() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output, which has to come within `patience`, and soon after `other`, if
    /// there is one, has ended. Sleeps until then, so that what is measured meanwhile is left alone.
    pub fn line(&mut self, patience: Duration, mut other: Option<&Owned>) -> Result<String, Failure> {
        let mut end = Instant::now() + patience;
        let mut lonely = false;
        loop {
            if let Some(length) = self.said.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.said.drain(..=length).collect();
                return Ok(String::from_utf8(line)?.trim_end().to_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(if lonely { "the other side ended" } else { "it said nothing in time" }.into());
            }
            let mut waits = vec![PollFd::new(&self.stdout, PollFlags::IN)];
            waits.extend(other.map(|other| PollFd::new(&other.stdout, PollFlags::empty())));
            match poll(&mut waits, Some(&Timespec::try_from(left)?)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !waits[0].revents().is_empty() {
                let mut part = [0; 4096];
                match self.stdout.read(&mut part)? {
                    0 => return Err("it ended".into()),
                    come => self.said.extend_from_slice(&part[..come]),
                }
            } else if waits.get(1).is_some_and(|other| !other.revents().is_empty()) {
                // A server ends when its client is done, which then has yet to say what it saw.
                (other, lonely) = (None, true);
                end = end.min(Instant::now() + LAST_WORDS);
            }
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
