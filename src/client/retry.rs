//! Asking again where that is safe: [`Client::send_with_retry`].

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{Client, Reply};
use crate::error::{Error, ErrorKind, NothingDone};
use crate::protocol::Protocol;
use crate::wait::Deadline;

/// How a client came to its daemon, and can come to the next one.
pub(super) enum Origin {
    /// The socket at the connection's path.
    Socket,
    /// The daemon of a directory, whose path is absolute, started where none lives.
    Directory { directory: PathBuf, command: Box<dyn FnMut() -> Command + Send> },
    /// A pair in one process: there is no other daemon.
    Pair,
}

/// How long to wait before a daemon that is not there, or has turned a request away, is asked again;
/// doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

impl<P: Protocol> Client<P> {
    /// Asks as [`send`](Self::send) does, and again where that is safe: when the daemon did nothing of the
    /// request, or was lost before its answer came and [`Protocol::may_repeat`] says yes. Connects anew where the
    /// connection is lost, and starts a daemon where this client was made to. Nothing is asked again once the builder's
    /// timeout has passed; what was asked by then has the whole timeout, and connecting has its own.
    ///
    /// # Errors
    /// As [`send`](Self::send): the last error where no attempt has succeeded. Connecting anew fails as
    /// [`ClientBuilder::connect`](super::ClientBuilder::connect) does, or as
    /// [`connect_or_spawn`](super::ClientBuilder::connect_or_spawn) where the client was made so: a daemon that does
    /// not start is started once.
    pub fn send_with_retry(&mut self, request: &P::Request) -> Result<Reply<'_, P>, Error> {
        let line = self.line.get_mut();
        let mut deadline = Deadline::starting_now(line.timeout());
        let mut pause = FIRST_PAUSE;
        // No daemon has seen this request yet.
        if line.was_lost() {
            self.reach_the_next(&mut deadline, &mut pause)?;
        }
        while let Err(error) = self.exchange(request) {
            let lost = matches!(error.kind(), ErrorKind::PeerDied | ErrorKind::Io);
            let safe = error.is_retryable() || lost && P::may_repeat(request);
            if !safe {
                return Err(error);
            }
            rest(&mut pause, &mut deadline);
            // A daemon that was only too busy for this request has not lost the connection.
            if !matches!(error.nothing_done(), Some(NothingDone::Busy | NothingDone::Late)) {
                self.reach_the_next(&mut deadline, &mut pause)?;
            }
            if deadline.is_over() {
                return Err(error);
            }
        }
        self.reply()
    }

    /// Connects anew, and goes on trying while a daemon may be there in a moment.
    fn reach_the_next(&mut self, deadline: &mut Deadline, pause: &mut Duration) -> Result<(), Error> {
        loop {
            match self.reconnect() {
                Err(failed) if self.is_transient(&failed) && !deadline.is_over() => rest(pause, deadline),
                reached => return reached,
            }
        }
    }

    /// A connection in place of the one that is lost or not wanted any more.
    fn reconnect(&mut self) -> Result<(), Error> {
        let line = self.line.get_mut();
        let fresh = match &mut self.origin {
            Origin::Pair => return line.check_usable("connect again"),
            Origin::Socket => {
                let path = line.path.clone().unwrap_or_default();
                self.builder.connect(path)?
            }
            Origin::Directory { directory, command } => self.builder.reach_or_spawn(directory, command)?,
        };
        self.line = fresh.line;
        Ok(())
    }

    /// Whether a daemon may be there in a moment.
    fn is_transient(&self, error: &Error) -> bool {
        let lost = matches!(error.kind(), ErrorKind::NotRunning | ErrorKind::PeerDied);
        match self.origin {
            Origin::Socket => error.is_retryable() || lost,
            // Who was looked for there was waited for, too: none is running where ours has failed to start.
            Origin::Directory { .. } => error.is_retryable(),
            Origin::Pair => false,
        }
    }
}

/// Waits for as long as `pause` says, twice as long the next time.
fn rest(pause: &mut Duration, deadline: &mut Deadline) {
    std::thread::sleep((*pause).min(deadline.left()));
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}
