//! Processes that end when their owners do: [`Owned`], and the [`DaemonProcess`] of a scratch folder.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libgrite_ipc::{DaemonLock, ErrorKind, IpcClient, Transport};
use rustix::process::{Pid, Signal, kill_process};

use super::Interrupts;
use crate::error::{CliError, Code};
use crate::runtime::Place;
use crate::tracker::daemon_command;

/// For how long a process may take to start or to end before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A child of ours, ended and waited for when this is dropped.
pub struct Owned(Child);

impl Owned {
    /// Starts `command`, out of reach of what is typed at our terminal: we end it ourselves.
    pub fn start(command: &mut Command) -> Result<Self, CliError> {
        command
            .process_group(0)
            .spawn()
            .map(Owned)
            .map_err(|error| CliError::io("start", Path::new(command.get_program()), &error))
    }

    /// The child.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // It is not waited for yet, so the number is still its own.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while !self.has_ended() {
            if Instant::now() > end {
                let _ = self.0.kill();
                let _ = self.0.wait();
                return;
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

/// The daemon of a store in a scratch folder.
pub struct DaemonProcess {
    place: Place,
    /// As long as it is connected the daemon does not end for idleness; over its socket it costs nobody any time.
    _client: IpcClient,
    _process: Owned,
}

impl DaemonProcess {
    /// Starts the daemon of the store in `state`, with its files in the folder `session`, and waits until
    /// it answers.
    ///
    /// # Errors
    /// A [`CliError`] with the daemon's own words where it said some.
    pub fn start(state: &Path, session: &Path, interrupts: &Interrupts) -> Result<Self, CliError> {
        let place = Place::within(state, session)?;
        let mut command = daemon_command(&place);
        // Should this process be killed, the daemon soon ends by itself.
        command
            .args(["--idle-timeout", "20s"])
            .env("XDG_RUNTIME_DIR", session)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Owned::start(&mut command)?;
        let socket = DaemonLock::socket_path_in(&place.runtime)?;
        let end = Instant::now() + PATIENCE;
        loop {
            interrupts.check()?;
            match IpcClient::builder().transport(Transport::Socket).connect(&socket) {
                Ok(client) => return Ok(DaemonProcess { place, _client: client, _process: process }),
                Err(error) if error.kind() != ErrorKind::NotRunning || Instant::now() > end => {
                    return Err(error.into());
                }
                Err(_) if process.has_ended() => return Err(ended(&mut process)),
                Err(_) => thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Where it can be found.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

fn ended(process: &mut Owned) -> CliError {
    let mut said = String::new();
    if let Some(stderr) = &mut process.child().stderr {
        let _ = stderr.take(4096).read_to_string(&mut said);
    }
    let said = said.trim().trim_start_matches("grite: ");
    let message = if said.is_empty() { "it ended without a word" } else { said };
    CliError::new(Code::Failure, format!("cannot start a daemon: {message}"), "")
}
