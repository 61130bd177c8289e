//! `grite daemon`: runs, starts, looks at or stops the daemon of the state folder.
//!
//! Looking and stopping never start one.

use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use libgrite_ipc::grite::StatusResult;
use libgrite_ipc::{DaemonLock, Error, ErrorKind, IpcCommand, IpcResponse, Transport};
use rustix::process::Signal;
use serde::Serialize;

use super::Global;
use crate::daemon::{self, Manner};
use crate::duration::duration;
use crate::engine;
use crate::error::{CliError, Code};
use crate::folder;
use crate::output::{Output, line};
use crate::release;
use crate::runtime::Place;
use crate::tracker::{self, builder};

/// For how long a daemon may hold its lock without a socket: between the two it opens its store, or closes it.
const UNHEARD: Duration = Duration::from_secs(1);

/// How long to wait before looking again whether the daemon has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What to do with the daemon.
#[derive(Subcommand)]
pub enum Daemon {
    /// Be the daemon, in the foreground
    Run(Run),
    /// Start it in the background, unless it runs
    ///
    /// It runs as $GRITE_IDLE_TIMEOUT and $GRITE_SYNC_EVERY say, like one that any command starts; see `grite daemon
    /// run --help`
    Start,
    /// Say whether it runs, and what it holds
    Status,
    /// End it, once what it accepted is answered
    Stop,
}

/// Arguments of `grite daemon run`.
#[derive(Args)]
pub struct Run {
    /// End when nobody was connected for this long; $GRITE_IDLE_TIMEOUT, or 10m, where it is not given
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub idle_timeout: Option<Duration>,

    /// Sync with the usual remote now, and again this often; $GRITE_SYNC_EVERY, or not at all, where it is not given
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub sync_every: Option<Duration>,
}

#[derive(Serialize)]
struct Ran {
    stopped: bool,
}

#[derive(Serialize)]
struct Started {
    started: bool,
    #[serde(flatten)]
    status: Status,
}

/// What is known of a daemon. What it did not say itself is from the record in its lock file.
#[derive(Serialize)]
struct Status {
    running: bool,
    /// Whether it answered just now.
    answers: bool,
    pid: Option<u32>,
    version: Option<String>,
    /// As a number that grows from one release to the next.
    release: Option<u32>,
    socket: Option<String>,
    store: String,
    issues: Option<u64>,
    open: Option<u64>,
    events: Option<u64>,
    /// Why it did not answer.
    problem: Option<String>,
    program: Program,
}

/// This program, beside the daemon.
#[derive(Serialize)]
struct Program {
    version: &'static str,
    release: u32,
}

impl Program {
    fn this() -> Self {
        Program { version: env!("CARGO_PKG_VERSION"), release: release::own() }
    }
}

#[derive(Serialize)]
pub struct Stopped {
    /// Whether one ran.
    stopped: bool,
    pid: Option<u32>,
    /// Whether a signal had to ask it, since it speaks another version or has no socket.
    by_signal: bool,
}

pub fn run(command: &Daemon, global: &Global, output: &Output) -> Result<(), CliError> {
    let place = Place::of(&folder::find()?)?;
    match command {
        Daemon::Run(run) => {
            daemon::run(&place, Manner::of(run.idle_timeout, run.sync_every)?)?;
            output.report(&Ran { stopped: true }, |_| String::new())
        }
        Daemon::Start => start(&place, global, output),
        Daemon::Status => {
            let status = status(&place, global)?;
            output.report(&status, |_| describe(&status))
        }
        Daemon::Stop => stop(&place, global, output),
    }
}

fn start(place: &Place, global: &Global, output: &Output) -> Result<(), CliError> {
    engine::check(&place.state)?;
    place.prepare()?;
    let before = DaemonLock::read(&place.runtime)?;
    let builder = tracker::builder_for(&global.wishes()).transport(Transport::Socket);
    let client = tracker::connect(place, &builder, true);
    let mut client = client.map_err(|error| tracker::unreached(place, true, error))?;
    let Ok(IpcResponse::Status(result)) = client.send_with_retry(&IpcCommand::Status)?.to_value() else {
        return Err(CliError::mismatched());
    };
    let started = before.is_none_or(|before| before.pid() != Some(result.pid));
    let pid = result.pid;
    let socket = DaemonLock::socket_path_in(&place.runtime)?.display().to_string();
    let status = Status::told(result, client.daemon_release(), socket);
    output.report(&Started { started, status }, |_| {
        if started { format!("started, process {pid}\n") } else { format!("runs already, process {pid}\n") }
    })
}

fn status(place: &Place, global: &Global) -> Result<Status, CliError> {
    let store = place.state.display().to_string();
    let Some(record) = DaemonLock::read(&place.runtime)? else {
        return Ok(Status {
            running: false,
            answers: false,
            pid: None,
            version: None,
            release: None,
            socket: None,
            store,
            issues: None,
            open: None,
            events: None,
            problem: None,
            program: Program::this(),
        });
    };
    let socket = record.socket_path().display().to_string();
    match ask(place, global.timeout(), &IpcCommand::Status) {
        Ok((Some(IpcResponse::Status(result)), release)) => Ok(Status::told(result, release, socket)),
        other => Ok(Status {
            running: true,
            answers: false,
            pid: record.pid(),
            version: record.version().map(str::to_owned),
            release: other.as_ref().ok().map(|(_, release)| *release),
            socket: Some(socket),
            store,
            issues: None,
            open: None,
            events: None,
            problem: Some(match other {
                Err(error) => error.to_string(),
                Ok(_) => CliError::mismatched().message,
            }),
            program: Program::this(),
        }),
    }
}

impl Status {
    /// What a daemon says of itself.
    fn told(result: StatusResult, release: u32, socket: String) -> Self {
        let StatusResult { pid, version, store, issues, open, events } = result;
        Status {
            running: true,
            answers: true,
            pid: Some(pid),
            version: Some(version),
            release: Some(release),
            socket: Some(socket),
            store,
            issues: Some(issues),
            open: Some(open),
            events: Some(events),
            problem: None,
            program: Program::this(),
        }
    }
}

fn describe(status: &Status) -> String {
    if !status.running {
        return format!("no daemon runs for {}\n", line(&status.store));
    }
    let mut text = String::new();
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!("{name:<9}{}\n", line(&value));
        }
    };
    field("process", status.pid.map(|pid| pid.to_string()));
    let release = status.release.map_or_else(String::new, |release| format!(", release {release}"));
    field("version", status.version.as_ref().map(|version| format!("{version}{release}")));
    let Program { version, release } = status.program;
    field("program", Some(format!("{version}, release {release}")));
    field("socket", status.socket.clone());
    field("store", Some(status.store.clone()));
    if let (Some(issues), Some(open)) = (status.issues, status.open) {
        field("issues", Some(format!("{issues}, {open} of them open")));
    }
    field("problem", status.problem.clone());
    text
}

fn stop(place: &Place, global: &Global, output: &Output) -> Result<(), CliError> {
    let stopped = end(place, global)?;
    output.report(&stopped, |_| {
        if !stopped.stopped {
            return "no daemon runs\n".to_owned();
        }
        let process = stopped.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
        let how = if stopped.by_signal {
            "; it could not be asked over its socket, so a signal asked it"
        } else {
            ""
        };
        format!("stopped{process}{how}\n")
    })
}

/// Ends the daemon of `place`, if one runs, and waits for its end.
pub fn end(place: &Place, global: &Global) -> Result<Stopped, CliError> {
    let Some(mut record) = DaemonLock::read(&place.runtime)? else {
        return Ok(Stopped { stopped: false, pid: None, by_signal: false });
    };
    let start = Instant::now();
    let (mut asked, mut by_signal, mut heard) = (false, false, false);
    loop {
        let left = global.timeout().saturating_sub(start.elapsed());
        if !asked {
            match ask(place, left, &IpcCommand::Stop) {
                Ok(_) => asked = true,
                Err(error) if needs_signal(&error, start.elapsed()) => {
                    daemon::terminate(&place.runtime, Signal::TERM)?;
                    (asked, by_signal) = (true, true);
                }
                // It has just begun, has others to answer, or ends already.
                Err(error) if may_listen_soon(&error) => heard |= error.kind() != ErrorKind::NotRunning,
                Err(error) => return Err(error.into()),
            }
        }
        match DaemonLock::read(&place.runtime)? {
            Some(now) if now.pid() == record.pid() => {}
            // It has just begun, and what stood there was of the one before.
            Some(now) if !asked && !heard => record = now,
            // A daemon that another command has started meanwhile is not the one that was to end.
            _ => return Ok(Stopped { stopped: true, pid: record.pid(), by_signal }),
        }
        if left.is_zero() {
            let message = format!("the daemon has not ended within {:?}", global.timeout());
            let late = CliError::new(Code::Timeout, message, "see `grite daemon status`");
            return Err(CliError { retryable: true, ..late });
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Whether the daemon can be asked by a signal alone: it speaks another version, or has no socket.
fn needs_signal(error: &Error, after: Duration) -> bool {
    match error.kind() {
        ErrorKind::VersionMismatch => true,
        ErrorKind::NotRunning => after > UNHEARD,
        _ => false,
    }
}

fn may_listen_soon(error: &Error) -> bool {
    error.is_retryable() || matches!(error.kind(), ErrorKind::NotRunning | ErrorKind::PeerDied)
}

/// Asks the daemon that runs, whatever release it is, which comes with the answer. The answer is nothing
/// where it is no value of its type.
fn ask(place: &Place, timeout: Duration, command: &IpcCommand) -> Result<(Option<IpcResponse>, u32), Error> {
    let socket = DaemonLock::socket_path_in(&place.runtime)?;
    let mut client = builder(timeout).transport(Transport::Socket).connect(socket)?;
    let release = client.daemon_release();
    Ok((client.send(command)?.to_value().ok(), release))
}
