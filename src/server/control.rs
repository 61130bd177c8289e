//! The way to a poller: what other threads tell it, and which thread it is.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::connection::Connection;
use super::mailbox::Mailbox;
use super::port::Port;
use crate::payload::Bytes;

/// What other threads tell a poller.
#[derive(Debug)]
pub(crate) enum Note {
    /// A client over rings.
    Arrived(Box<Port>),
    /// The client of this session is gone.
    Left(u64),
    /// Something has changed for the client of this session: it has asked, or replies have gone.
    Stirred(u64),
    /// A request that came over a socket.
    Request { connection: Arc<Connection>, id: u64, bytes: Bytes },
    /// Answer what has come, then end.
    Stop,
}

/// The way to a poller.
#[derive(Debug, Default)]
pub(crate) struct Control {
    mailbox: Mailbox<Note>,
    /// The thread that polls.
    pub(super) owner: Owner,
}

impl Deref for Control {
    type Target = Mailbox<Note>;

    fn deref(&self) -> &Self::Target {
        &self.mailbox
    }
}

/// Which thread attends to connections, and to which of them just now: it need not be told what it has done
/// to that one itself.
#[derive(Debug, Default)]
pub(super) struct Owner {
    thread: AtomicUsize,
    session: AtomicU64,
}

impl Owner {
    /// From now on it is the calling thread.
    pub(super) fn bind_to_this_thread(&self) {
        self.thread.store(here(), Ordering::Relaxed);
    }

    /// Whether it is the calling thread.
    pub(super) fn is_here(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == here()
    }

    /// From now on the thread attends to this session; it looks at it again before it attends to another.
    pub(super) fn attend(&self, session: u64) {
        self.session.store(session, Ordering::Relaxed);
    }

    /// From now on the thread attends to no session: it is to be told of all that changes.
    pub(super) fn attend_to_none(&self) {
        self.attend(NONE);
    }

    /// Whether the calling thread attends to this session.
    pub(super) fn attends(&self, session: u64) -> bool {
        self.is_here() && self.session.load(Ordering::Relaxed) == session
    }
}

/// Which no session is.
const NONE: u64 = 0;

/// A number that no two threads have at once.
fn here() -> usize {
    thread_local! {
        static PLACE: u8 = const { 0 };
    }
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}
