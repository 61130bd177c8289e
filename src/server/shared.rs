//! What a server's threads and its handles share: the limits, and the ways to reach each thread.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::connection::Connection;
use super::control::{Control, Note, Owner};
use super::crew::Crew;
use super::history::History;
use crate::handshake::Sizes;
use crate::identity::Party;
use crate::payload::Bytes;
use crate::wait::WaitStrategy;

/// What a server allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Clients that have shaken hands.
    pub(crate) connections: usize,
    /// Connections that have not.
    pub(crate) unauthenticated: usize,
    pub(crate) sizes: Sizes,
    /// The bytes of all rings together; as many more for the requests that wait for a thread.
    pub(crate) memory: u64,
    /// Requests of one client that are not answered yet.
    pub(crate) in_flight: u32,
    /// Threads that answer clients over rings.
    pub(crate) pollers: usize,
    /// Threads for requests that may block.
    pub(crate) workers: usize,
    /// Requests that may block and wait for a thread.
    pub(crate) waiting: usize,
    /// For the whole handshake.
    pub(crate) handshake: Duration,
    /// Without any connection, before the server ends by itself.
    pub(crate) idle: Option<Duration>,
}

/// What the server's threads and handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) party: Party,
    pub(super) limits: Limits,
    pub(super) wait: WaitStrategy,
    /// A way to each poller.
    pub(super) controls: Vec<Arc<Control>>,
    pub(super) waker: Arc<Waker>,
    pub(super) history: Arc<History>,
    pub(super) crew: Arc<Crew>,
    /// What subscribers are told when the server begins to stop.
    pub(super) farewell: Mutex<Option<Bytes>>,
    /// Those whom the reactor has left, of whom requests may still be worked on.
    left: Mutex<Vec<Weak<Connection>>>,
    stopping: AtomicBool,
    served: AtomicBool,
}

impl Shared {
    pub(crate) fn new(party: Party, limits: Limits, wait: WaitStrategy) -> io::Result<Self> {
        Ok(Shared {
            party,
            limits,
            wait,
            controls: (0..limits.pollers).map(|_| Arc::default()).collect(),
            waker: Arc::new(Waker::new()?),
            history: Arc::default(),
            crew: Arc::default(),
            farewell: Mutex::default(),
            left: Mutex::default(),
            stopping: AtomicBool::new(false),
            served: AtomicBool::new(false),
        })
    }

    /// Notes that the server serves.
    ///
    /// # Panics
    /// When it does or did already: its threads would take each other's notes.
    pub(super) fn mark_served(&self) {
        assert!(!self.served.swap(true, Ordering::Relaxed), "a server serves once");
    }

    /// Makes all threads look for notifications to send.
    pub(super) fn rouse(&self) {
        self.controls.iter().for_each(|control| control.nudge());
        self.waker.wake();
    }

    /// Publishes what was left for the end.
    pub(super) fn bid_farewell(&self) {
        if let Some(archive) = self.farewell.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.history.publish(archive);
            self.rouse();
        }
    }

    /// Makes all pollers answer what has come, and end.
    pub(super) fn stop_pollers(&self) {
        self.controls.iter().for_each(|control| control.tell(Note::Stop));
    }

    /// Notes who is to be cut off at the server's end, unless nothing keeps the connection until then.
    pub(super) fn leave(&self, connection: &Arc<Connection>) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(connection));
    }

    /// Cuts those off who still wait when all threads of the server have ended: somebody has kept the right to
    /// answer them, and they would wait for their whole time.
    pub(super) fn cut_off(&self) {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        left.iter().filter_map(Weak::upgrade).for_each(|connection| connection.give_back());
    }

    /// Makes the reactor end at its next look. The time to answer begins here: until the reactor looks, it may work on a
    /// request itself.
    pub(super) fn stop(&self) {
        self.crew.stop();
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether a handle or a newer release has stopped the server.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Does something when it is dropped, and so also when a panic passes.
pub(crate) struct AtEnd<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Ends a server from any thread.
#[derive(Clone, Debug)]
pub struct ServerHandle(Arc<Shared>);

impl ServerHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        ServerHandle(shared)
    }

    /// Makes [`Server::serve`](super::Server::serve) answer what it has taken from sockets and what lies in rings, turn
    /// away all else, which can be asked again elsewhere, and return: it answers for five seconds at most, and tells for
    /// one more those who ask on that it has ended. Only a handler that takes longer keeps it, whose answer is not
    /// [wanted](super::Responder::is_wanted) then.
    pub fn stop(&self) {
        self.0.stop();
        self.0.waker.wake();
    }
}

/// The way to the reactor.
#[derive(Debug)]
pub(crate) struct Waker {
    /// Sessions to look at.
    stirred: Mutex<Vec<u64>>,
    near: UnixStream,
    /// The reactor's thread.
    pub(super) owner: Owner,
    /// The reactor waits until this can be read.
    pub(super) far: UnixStream,
}

impl Waker {
    fn new() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Waker { stirred: Mutex::default(), near, owner: Owner::default(), far })
    }

    /// Makes the reactor look at the connection of this session.
    pub(super) fn stir(&self, session: u64) {
        self.stirred.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        self.wake();
    }

    fn wake(&self) {
        // A full socket wakes the reactor as well as another byte would.
        let _ = io::Write::write(&mut &self.near, &[1]);
    }

    /// Takes the sessions to look at, and hears no more of earlier calls.
    pub(super) fn take(&self) -> Vec<u64> {
        let mut bytes = [0; 64];
        while matches!(io::Read::read(&mut &self.far, &mut bytes), Ok(1..)) {}
        std::mem::take(&mut *self.stirred.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
