//! What a [`Line`] says where it fails, and whether it is of use after that.

use std::time::Duration;

use rkyv::{Archived, rancor};

use super::{Line, RECEIVE};
use crate::error::{Error, ErrorKind, NothingDone};
use crate::frame::{Failure, FailureCode};
use crate::protocol::{Wire, check};
use crate::shm;
use crate::transport::{Broken, Interrupted};

/// What is said of a connection once it was said why it is lost.
const LOST: &str = "the connection was lost before";

impl Line {
    /// The error that the daemon sent in place of an answer.
    pub(in crate::client) fn failure(&self, payload: &[u8]) -> Error {
        let Some(failure) = Failure::from_bytes(payload) else {
            return self.lose(ErrorKind::PeerMisbehaved, RECEIVE).saying("a failure without a known code");
        };
        let refused = self.error(ErrorKind::Refused, RECEIVE);
        let error = match failure.code {
            FailureCode::TooLarge => self.error(ErrorKind::TooLarge, RECEIVE),
            FailureCode::Panicked | FailureCode::Dropped => refused,
            FailureCode::Stopping => refused.with_nothing_done(NothingDone::Stopping),
            FailureCode::Busy => refused.with_nothing_done(NothingDone::Busy),
            FailureCode::Expired => {
                self.error(ErrorKind::Timeout, RECEIVE).with_nothing_done(NothingDone::Late)
            }
        };
        error.saying(failure.text)
    }

    /// The payload that was received last, as a message of that kind.
    #[inline]
    pub(in crate::client) fn checked<T: Wire>(&self) -> Result<&Archived<T>, Error> {
        check::<T>(self.message()).map_err(|invalid| self.not_valid(invalid))
    }

    /// What it means that a payload is no valid message.
    pub(in crate::client) fn not_valid(&self, invalid: rancor::Error) -> Error {
        self.lose(ErrorKind::PeerMisbehaved, RECEIVE).because(invalid)
    }

    /// An error if this handle can do nothing any more.
    #[inline]
    pub(in crate::client) fn check_usable(&self, tried: &'static str) -> Result<(), Error> {
        self.check_process(tried)?;
        match self.broken.get() {
            Some((kind, reason)) => Err(self.error(kind, tried).saying(reason)),
            None => Ok(()),
        }
    }

    /// An error in a forked child of the process that made this handle.
    #[inline]
    pub(super) fn check_process(&self, tried: &'static str) -> Result<(), Error> {
        if self.process == shm::process() { Ok(()) } else { Err(self.error(ErrorKind::Forked, tried)) }
    }

    /// Whether this connection is of no more use.
    #[cfg(feature = "tokio")]
    pub(in crate::client) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    /// What it means that a wait was interrupted, which may take so long: the timeout, if nothing else was said.
    pub(in crate::client) fn interrupt(
        &self,
        interrupted: Interrupted,
        limit: Option<Duration>,
        tried: &'static str,
    ) -> Error {
        match interrupted {
            Interrupted::Deadline => {
                let limit = limit.unwrap_or(self.timeout);
                self.error(ErrorKind::Timeout, tried).saying(format!("not done within {limit:?}"))
            }
            Interrupted::Broken(broken) => self.break_with(broken, tried),
        }
    }

    pub(super) fn break_with(&self, broken: Broken, tried: &'static str) -> Error {
        let kind = match &broken {
            Broken::Severed => ErrorKind::PeerDied,
            Broken::Ring(_) | Broken::Stream(_) => ErrorKind::PeerMisbehaved,
            Broken::Io(_) => ErrorKind::Io,
        };
        self.lose(kind, tried).because(broken)
    }

    /// An error after which the connection is of no more use.
    pub(in crate::client) fn lose(&self, kind: ErrorKind, tried: &'static str) -> Error {
        self.broken.set(Some((kind, LOST)));
        self.error(kind, tried)
    }

    /// The same, for an error that says so itself.
    pub(in crate::client) fn lose_with(&self, error: Error) -> Error {
        self.broken.set(Some((error.kind(), LOST)));
        error
    }

    #[cold]
    pub(super) fn error(&self, kind: ErrorKind, tried: &'static str) -> Error {
        let error = Error::new(kind, tried);
        match &self.path {
            Some(path) => error.at(path),
            None => error,
        }
    }
}
