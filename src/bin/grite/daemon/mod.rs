//! The daemon: one warm [`Engine`] for all who ask, for as long as somebody asks.
//!
//! [`run`] takes the lock of the state folder's place, opens the engine, listens, says that it is ready,
//! and serves until it is told to stop or nobody has been connected for the idle time. [`desk`]
//! answers; starting, finding and stopping daemons from outside is `tracker`'s and the command
//! line's business.

mod cache;
mod desk;

use std::path::Path;
use std::thread;
use std::time::Duration;

use libgrite_ipc::{DaemonLock, Error, ErrorKind, IpcServer, Readiness, ServerHandle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::engine::Engine;
use crate::error::{CliError, Code};
use crate::runtime::Place;
use desk::Desk;

/// Is the daemon of `place` until it is told to stop, or nobody was connected for `idle`.
///
/// # Errors
/// A [`CliError`] that whoever started this process has been told, too.
pub fn run(place: &Place, idle: Duration) -> Result<(), CliError> {
    let readiness = Readiness::of_this_process();
    // The lock goes last: whoever finds it free finds the store and the socket let go.
    match open(place, idle) {
        Ok((_lock, server, engine)) => {
            let signals = watch_signals(server.handle())?;
            // A folder in which a process works cannot be unmounted.
            let _ = std::env::set_current_dir("/");
            readiness.ready();
            let served = serve(&server, &engine);
            signals.close();
            drop(server);
            drop(engine);
            served.map_err(CliError::from)
        }
        Err(error) => {
            readiness.failed(&error.message);
            Err(error)
        }
    }
}

fn open(place: &Place, idle: Duration) -> Result<(DaemonLock, IpcServer, Engine), CliError> {
    place.prepare()?;
    let lock = DaemonLock::acquire(&place.runtime).map_err(taken)?;
    let engine = Engine::open(&place.state)?;
    let server = IpcServer::builder().idle_timeout(idle).bind(lock.socket_path())?;
    Ok((lock, server, engine))
}

fn taken(error: Error) -> CliError {
    if error.kind() == ErrorKind::Refused {
        CliError::new(Code::Conflict, error, "see `grite daemon status`")
    } else {
        error.into()
    }
}

fn serve(server: &IpcServer, engine: &Engine) -> Result<(), Error> {
    let desk = Desk::new(engine, server.handle());
    server.serve_with(|request, responder| desk.answer(request, responder))
}

/// Lets the signals that ask a process to end stop the server in order.
fn watch_signals(server: ServerHandle) -> Result<Handle, CliError> {
    let failed = |error| CliError::io("watch the signals of", Path::new("this process"), &error);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let handle = signals.handle();
    let watch = move || signals.forever().for_each(|_| server.stop());
    thread::Builder::new().name("grite-signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(handle)
}
