//! The process groups that run, which end with this process: [`start`] and [`end_all`].
//!
//! They are no part of its own group, so nobody else would end them: a push would go on for a command that somebody has
//! broken off. A signal that is to end this process ends them first, unless the process has ways of its own
//! ([`ends_in_order`]). Where it is killed outright, they live on.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// For how long a child may clean up before it is killed.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long to wait before looking again whether all have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

static GROUPS: Mutex<Groups> = Mutex::new(Groups { running: Vec::new(), ending: false });

/// Whether signals are watched, or need not be.
static WATCHED: Mutex<bool> = Mutex::new(false);

struct Groups {
    /// None of their first processes has been waited for, so the numbers are still their own.
    running: Vec<Pid>,
    /// Whether this process ends, so that nothing more may start.
    ending: bool,
}

/// A process group that runs; dropped before its first process is waited for.
pub struct Running(Pid);

impl Running {
    /// The group's number.
    pub fn group(&self) -> Pid {
        self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut groups = groups();
        if groups.ending {
            // The first of it may have ended without the others.
            let _ = kill_process_group(self.0, Signal::KILL);
        }
        groups.running.retain(|group| *group != self.0);
        drop(rest_if_ending(groups));
    }
}

/// Starts `command` as the first process of a group of its own.
pub fn start(command: &mut Command) -> io::Result<(Child, Running)> {
    let mut watched = watched();
    if !*watched {
        watch_signals()?;
        *watched = true;
    }
    drop(watched);
    // Held meanwhile, so that whoever ends them all knows of this one.
    let groups = groups();
    let mut groups = rest_if_ending(groups);
    let child = command.process_group(0).spawn()?;
    let group = Pid::from_child(&child);
    groups.running.push(group);
    Ok((child, Running(group)))
}

/// Ends all groups that run, and those who wait for them go no further: this process ends.
pub fn end_all() {
    let kill = |signal| {
        let mut groups = groups();
        groups.ending = true;
        for group in &groups.running {
            let _ = kill_process_group(*group, signal);
        }
    };
    kill(Signal::TERM);
    let end = Instant::now() + GRACE;
    while !groups().running.is_empty() && Instant::now() < end {
        thread::sleep(LOOK_AGAIN);
    }
    kill(Signal::KILL);
}

/// For a process that ends in order when it is told to, and calls [`end_all`] where it cannot wait.
pub fn ends_in_order() {
    *watched() = true;
}

/// Whoever waited for a group must not say how it went: its end was this process's.
fn rest_if_ending(groups: MutexGuard<'static, Groups>) -> MutexGuard<'static, Groups> {
    if groups.ending {
        drop(groups);
        loop {
            thread::park();
        }
    }
    groups
}

/// Lets the signals that end a process end all groups first, but for those that it was started to ignore.
fn watch_signals() -> io::Result<()> {
    let (sender, receiver) = channel::<Signals>();
    let watch = move || {
        let Ok(mut signals) = receiver.recv() else { return };
        for signal in signals.forever() {
            end_all();
            let _ = emulate_default_handler(signal);
        }
    };
    // First, for a signal that is caught and that nobody hears of would end nothing.
    thread::Builder::new().name("grite-signals".to_owned()).spawn(watch)?;
    let heeded = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| !is_ignored(*signal));
    let _ = sender.send(Signals::new(heeded)?);
    Ok(())
}

/// Whether this process ignores a signal, where the system tells.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

fn watched() -> MutexGuard<'static, bool> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn groups() -> MutexGuard<'static, Groups> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
