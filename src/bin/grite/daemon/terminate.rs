//! Ending a daemon by a signal, for one that does not understand us or does not answer.
//!
//! A number in a file is no reason to signal a process: it may be anybody's by now. So the process
//! is held first, where the system can do that; then the kernel is asked once more whether the lock
//! is held, and the record must still name this process, which must have the lock file open. Only then
//! is it sent the signal; SIGTERM is what a daemon of any version takes as a request to stop.

use std::path::Path;

use libgrite_ipc::DaemonLock;
use rustix::process::{Pid, Signal};

use crate::error::{CliError, Code};

/// Sends `signal` to the daemon of the folder `runtime`, if it lives.
///
/// # Errors
/// A [`CliError`] when it is not certain which process that is, or it may not be signalled.
pub fn terminate(runtime: &Path, signal: Signal) -> Result<(), CliError> {
    let Some(pid) = holder(runtime)? else { return Ok(()) };
    let failed = |error: rustix::io::Errno| {
        let message = format!("cannot signal the daemon, process {}: {error}", pid.as_raw_nonzero());
        CliError::new(Code::Environment, message, "end the process yourself")
    };
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        match holder(runtime)? {
            None => Ok(()),
            Some(now) if now == pid && has_open(pid, runtime) => {
                pidfd_send_signal(&process, signal).map_err(failed)
            }
            Some(_) => Err(uncertain(runtime)),
        }
    }
    #[cfg(not(target_os = "linux"))]
    rustix::process::kill_process(pid, signal).map_err(failed)
}

/// The process that holds the lock, by its own record.
fn holder(runtime: &Path) -> Result<Option<Pid>, CliError> {
    let Some(daemon) = DaemonLock::read(runtime)? else { return Ok(None) };
    let pid = daemon.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    pid.map(Some).ok_or_else(|| uncertain(runtime))
}

/// Whether the process has a file of the folder `runtime` open by the name of a lock.
#[cfg(target_os = "linux")]
fn has_open(pid: Pid, runtime: &Path) -> bool {
    let lock = runtime.join("daemon.lock");
    let Ok(lock) = std::fs::canonicalize(lock) else { return false };
    let Ok(files) = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == lock))
}

fn uncertain(runtime: &Path) -> CliError {
    let message =
        format!("a daemon holds the lock in {}, but which process it is cannot be told", runtime.display());
    CliError::new(Code::Environment, message, "end the process yourself")
}
