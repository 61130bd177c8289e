//! The daemon: one warm [`Engine`] for all who ask, for as long as somebody asks.
//!
//! [`run`] takes the lock of the state folder's place, opens the engine, listens, says that it is ready,
//! and serves until it is told to stop, or to make way for a newer release, or nobody has been connected for
//! the idle time, which whoever subscribes prevents as any connection does. [`desk`] answers, and every
//! change is published, whoever makes it; starting, finding and stopping daemons from outside is `tracker`'s and the command
//! line's business.

mod cache;
mod desk;
mod ending;
mod follower;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use libgrite_ipc::grite::Notification;
use libgrite_ipc::{DaemonLock, Error, ErrorKind, IpcServer, Readiness};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::engine::Engine;
use crate::error::{CliError, Code};
use crate::release;
use crate::runtime::Place;
use desk::Desk;
use ending::Ending;
use follower::Follower;

/// Is the daemon of `place` until it is told to stop, or nobody was connected for `idle`.
///
/// # Errors
/// A [`CliError`] that whoever started this process has been told, too.
pub fn run(place: &Place, idle: Duration) -> Result<(), CliError> {
    let readiness = Readiness::of_this_process();
    match Open::new(place, idle) {
        Ok(open) => {
            // A folder in which a process works cannot be unmounted.
            let _ = std::env::set_current_dir("/");
            readiness.ready();
            open.serve()
        }
        Err(error) => {
            readiness.failed(&error.message);
            Err(error)
        }
    }
}

/// All that a daemon has. The fields are let go in this order: whoever finds the lock free finds the
/// socket and the store free, too.
struct Open {
    signals: Handle,
    ending: Ending,
    server: IpcServer,
    engine: Engine,
    _lock: DaemonLock,
}

impl Open {
    fn new(place: &Place, idle: Duration) -> Result<Self, CliError> {
        place.prepare()?;
        let lock = DaemonLock::acquire(&place.runtime).map_err(taken)?;
        let engine = Engine::open(&place.state)?;
        let server =
            IpcServer::builder().idle_timeout(idle).release(release::own()).bind(lock.socket_path())?;
        let ending = Ending::of(&server);
        let signals = watch_signals(ending.clone())?;
        Ok(Open { signals, ending, server, engine, _lock: lock })
    }

    fn serve(self) -> Result<(), CliError> {
        let publisher = self.server.publisher();
        let own = publisher.clone();
        self.engine.observe(Box::new(move |change| {
            // It is short: nothing stands in its way.
            let _ = own.publish(&Notification::IssueChanged(change));
        }));
        let desk = Desk::new(&self.engine, self.ending.clone());
        let ending = AtomicBool::new(false);
        let served = thread::scope(|scope| {
            let _follower = Follower::start(scope, &self.engine, publisher, &ending)?;
            Ok(self.server.serve_with(|request, responder| desk.answer(request, responder))?)
        });
        self.signals.close();
        served
    }
}

fn taken(error: Error) -> CliError {
    if error.kind() == ErrorKind::Refused {
        CliError::new(Code::Conflict, error, "see `grite daemon status`")
    } else {
        error.into()
    }
}

/// Lets the signals that ask a process to end stop the server in order.
fn watch_signals(ending: Ending) -> Result<Handle, CliError> {
    let failed = |error| CliError::io("watch the signals of", Path::new("this process"), &error);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let handle = signals.handle();
    let watch = move || signals.forever().for_each(|_| ending.begin());
    thread::Builder::new().name("grite-signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(handle)
}
