//! The daemon: one warm [`Engine`] for all who ask, for as long as somebody asks.
//!
//! [`run`] takes the lock of the state folder's place, opens the engine, listens, says that it is ready,
//! and serves until it is told to stop, or to make way for a newer release, or nobody has been connected for
//! the idle time, which whoever subscribes prevents as any connection does, or its store is gone from the
//! folder. [`desk`] answers, every change is published, whoever makes it, and [`background`] syncs where that is
//! wished. [`mod@terminate`] ends one by a signal; starting, finding and asking daemons from outside is `tracker`'s
//! and the command line's business.

mod background;
mod cache;
mod desk;
mod descriptors;
mod follower;
mod manner;
mod terminate;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use libgrite_ipc::grite::Notification;
use libgrite_ipc::{DaemonLock, Error, ErrorKind, IpcServer, Readiness, ServerHandle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::engine::Engine;
use crate::error::{CliError, Code};
use crate::git;
use crate::release;
use crate::runtime::Place;
use background::Background;
use desk::Desk;
use follower::Follower;

pub use manner::Manner;
pub use terminate::terminate;

/// Is the daemon of `place` until it is told to stop, or nobody was connected for the idle time.
///
/// # Errors
/// A [`CliError`] that whoever started this process has been told, too.
pub fn run(place: &Place, manner: Manner) -> Result<(), CliError> {
    descriptors::close_inherited();
    let readiness = Readiness::of_this_process();
    match Open::new(place, manner) {
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
    server: IpcServer,
    _background: Option<Background>,
    engine: Arc<Engine>,
    _lock: DaemonLock,
}

impl Open {
    fn new(place: &Place, manner: Manner) -> Result<Self, CliError> {
        place.prepare()?;
        let lock = DaemonLock::acquire(&place.runtime).map_err(taken)?;
        let engine = Arc::new(Engine::open(&place.state)?);
        let asked = Arc::clone(&engine);
        let server = IpcServer::builder()
            .idle_timeout(manner.idle)
            .release(release::own())
            .may_block(move |request| desk::may_block(request, || asked.is_written_to()))
            .bind(lock.socket_path())?;
        descriptors::allow_for_many_clients();
        // It is short: nothing stands in its way.
        let _ = server.publisher().publish_at_end(&Notification::Stopping);
        let signals = watch_signals(server.handle())?;
        let start = |every| Background::start(Arc::clone(&engine), every);
        let background = manner
            .sync_every
            .map(start)
            .transpose()
            .map_err(|error| CliError::io("start a thread of", Path::new("this process"), &error))?;
        Ok(Open { signals, server, _background: background, engine, _lock: lock })
    }

    fn serve(self) -> Result<(), CliError> {
        let publisher = self.server.publisher();
        let own = publisher.clone();
        self.engine.observe(Box::new(move |notification| {
            // It is short: nothing stands in its way.
            let _ = own.publish(&notification);
        }));
        let desk = Desk::new(&self.engine, self.server.handle());
        let ending = AtomicBool::new(false);
        let served = thread::scope(|scope| {
            let _follower = Follower::start(scope, &self.engine, publisher, self.server.handle(), &ending)?;
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
fn watch_signals(server: ServerHandle) -> Result<Handle, CliError> {
    let failed = |error| CliError::io("watch the signals of", Path::new("this process"), &error);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let handle = signals.handle();
    git::ends_in_order();
    let watch = move || signals.forever().for_each(|_| server.stop());
    thread::Builder::new().name("grite-signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(handle)
}
