//! The two processes of a cell: this program again, with a hidden command. Each has a deadline, is ended by
//! its own id, and does not outlive who started it.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::peer::Failure;

/// Called first in each child: should the parent be killed, so is the child.
pub fn end_with_parent() -> Result<(), Failure> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// A child of ours, ended and waited for when this is dropped.
pub struct Owned {
    child: Child,
    stdout: ChildStdout,
    said: Vec<u8>,
}

impl Owned {
    /// Starts this program with `args`; what it complains about goes to the file `complaints`.
    pub fn start(args: &[String], complaints: &Path) -> Result<Self, Failure> {
        let complaints = std::fs::File::create(complaints)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(args)
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

    /// The next line of its standard output, which has to come within `patience`. Waits without a look, so
    /// that what is measured meanwhile is left alone.
    pub fn line(&mut self, patience: Duration) -> Result<String, Failure> {
        let end = Instant::now() + patience;
        loop {
            if let Some(length) = self.said.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.said.drain(..=length).collect();
                return Ok(String::from_utf8(line)?.trim_end().to_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("nothing came within {patience:?}").into());
            }
            poll(&mut [PollFd::new(&self.stdout, PollFlags::IN)], Some(&Timespec::try_from(left)?))?;
            let mut part = [0; 4096];
            // Only after poll has said that something, or the end, is there; or time is up.
            if end > Instant::now() {
                match self.stdout.read(&mut part)? {
                    0 => return Err("it ended".into()),
                    come => self.said.extend_from_slice(&part[..come]),
                }
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
