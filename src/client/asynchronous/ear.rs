//! A connection's socket as one runtime waits for it: [`Ear`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::runtime::Id;

use crate::shm;
use crate::stream::{Process, Stream};
use crate::transport::Broken;

/// What of a daemon one runtime waits for.
///
/// A method that says `Pending` has arranged for a wake by this runtime; one that fails says that the
/// runtime is ending.
pub(super) struct Ear {
    pub(super) runtime: Id,
    /// The process that made this.
    process: u32,
    /// Nothing once this is dropped.
    registered: Option<Registered>,
}

/// The socket under a descriptor of its own, and the daemon's process, registered with the runtime.
struct Registered {
    socket: UnixStream,
    daemon: Process<AsyncFd<OwnedFd>>,
}

impl Ear {
    /// For the current runtime, which is `runtime`.
    pub(super) fn new(socket: &Stream, runtime: Id) -> io::Result<Self> {
        let daemon = match socket.process() {
            Process::Watched(daemon) => {
                let daemon = daemon.try_clone_to_owned()?;
                // Newer releases of Tokio want an unsafe call, for descriptors that are closed too early.
                #[allow(deprecated, reason = "this one is owned by what is registered")]
                let daemon = AsyncFd::with_interest(daemon, Interest::READABLE)?;
                Process::Watched(daemon)
            }
            Process::Ended => Process::Ended,
            Process::Unknown => Process::Unknown,
        };
        let socket = StdUnixStream::from(socket.as_fd().try_clone_to_owned()?);
        let registered = Some(Registered { socket: UnixStream::from_std(socket)?, daemon });
        Ok(Ear { runtime, process: shm::process(), registered })
    }

    fn registered(&self) -> &Registered {
        self.registered.as_ref().expect("it is there until this is dropped")
    }

    /// Whether the daemon's process has ended.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.registered().daemon {
            Process::Watched(daemon) => daemon.poll_read_ready(cx).map_ok(drop),
            Process::Ended => Poll::Ready(Ok(())),
            Process::Unknown => Poll::Pending,
        }
    }

    /// Over rings: hears until there is no more to hear; says why that is the end if it is.
    pub(super) fn poll_bell(&self, cx: &mut Context<'_>) -> Poll<io::Result<Broken>> {
        let (socket, mut rings) = (&self.registered().socket, [0; 64]);
        while socket.poll_read_ready(cx)?.is_ready() {
            match socket.try_read(&mut rings) {
                Ok(0) => return Poll::Ready(Ok(Broken::Severed)),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Ok(error.into()));
                }
                _ => {}
            }
        }
        self.poll_end(cx).map_ok(|()| Broken::Severed)
    }

    /// Over the socket: waits until it can be read, or written where that `writes`.
    pub(super) fn poll_ready(&self, writes: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &self.registered().socket;
        let readable = socket.poll_read_ready(cx)?;
        let writable = if writes { socket.poll_write_ready(cx)? } else { Poll::Pending };
        if readable.is_ready() || writable.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Uses the socket for as long as it is ready: `use_up` says whether it still is.
    pub(super) fn exhaust(&self, interest: Interest, use_up: impl FnOnce() -> bool) {
        // Whichever it is, the next look at the readiness tells.
        let _ = self.registered().socket.try_io(interest, || match use_up() {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::WouldBlock)),
        });
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // A forked child shares the runtime's list of what is waited for, from which it would strike the parent's.
        if self.process != shm::process() {
            std::mem::forget(self.registered.take());
        }
    }
}
