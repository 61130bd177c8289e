//! How a daemon is told to end: [`Ending`], which tells its subscribers first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libgrite_ipc::grite::Notification;
use libgrite_ipc::{Grite, IpcServer, Publisher, ServerHandle};

/// Ends a server from any thread.
#[derive(Clone)]
pub struct Ending {
    server: ServerHandle,
    publisher: Publisher<Grite>,
    told: Arc<AtomicBool>,
}

impl Ending {
    pub fn of(server: &IpcServer) -> Self {
        Ending { server: server.handle(), publisher: server.publisher(), told: Arc::default() }
    }

    /// Tells all subscribers, once, and has the server end.
    pub fn begin(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            // It is short: nothing stands in its way.
            let _ = self.publisher.publish(&Notification::Stopping);
        }
        self.server.stop();
    }
}
