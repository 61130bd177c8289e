//! A process that stops itself at a point where it is to be killed, and is killed there.

#![allow(dead_code, reason = "each test file uses its part")]

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::rounds::rounds;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// After this, a process that neither stops nor ends is taken for hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Killed and waited for when dropped.
pub struct Victim {
    child: Child,
}

/// What has become of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It runs.
    Running,
    /// It has come to its point.
    Stopped,
    /// It has ended without one.
    Ended,
}

impl Victim {
    /// Starts a process that is to stop where `fault` says.
    pub fn start(mut command: Command, fault: &str) -> Self {
        Victim { child: command.env("GRITE_FAULT", fault).spawn().unwrap() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn look(&self) -> Seen {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(Pid::from_child(&self.child)), options | WaitIdOptions::NOWAIT).unwrap() {
            None => Seen::Running,
            Some(status) if status.stopped() => Seen::Stopped,
            Some(_) => Seen::Ended,
        }
    }

    /// Waits until `done` says so, or the process stops or ends: what has become of it.
    pub fn until(&self, mut done: impl FnMut() -> bool) -> Seen {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.look() {
                Seen::Running if done() => return Seen::Running,
                Seen::Running => assert!(Instant::now() < end, "process {} does not end", self.id()),
                seen => return seen,
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The seeds of a test whose whole count is a long one, from `GRITE_TEST_SEED` on.
pub fn seeds(few: u64) -> std::ops::Range<u64> {
    let first = std::env::var("GRITE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    first..first + rounds(few)
}
