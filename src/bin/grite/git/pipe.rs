//! A pipe to a child that is of use no longer than the child: [`Pipe`].
//!
//! A process that the child leaves behind, such as the master of ssh's connections, may hold the other end for as
//! long as it likes. Nobody waits for its words, or for it to read.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How long to wait before looking whether the child has ended. Once it has, what its own children still say within
/// as long again is heard.
const STEP: Duration = Duration::from_millis(100);

/// A pipe to or from the child `pid`, which must not be waited for before it is dropped.
pub struct Pipe<S> {
    stream: S,
    pid: Pid,
    /// When it ends in any case, whoever is there still.
    end: Instant,
}

impl<S: AsFd> Pipe<S> {
    pub fn new(stream: S, pid: Pid, end: Instant) -> io::Result<Self> {
        // A write that is longer than what the pipe takes would wait for the whole of it.
        ioctl_fionbio(&stream, true)?;
        Ok(Pipe { stream, pid, end })
    }

    /// Waits until something can be done with the pipe; says no once the child has ended and nothing can be.
    fn wait(&self, until: PollFlags) -> io::Result<bool> {
        let step = Timespec::try_from(STEP).map_err(io::Error::other)?;
        let mut ended = false;
        while Instant::now() < self.end {
            let mut pipe = [PollFd::new(&self.stream, until)];
            match poll(&mut pipe, Some(&step)) {
                Ok(0) if ended => return Ok(false),
                Ok(0) => ended = self.child_has_ended()?,
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    fn child_has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options)?.is_some())
    }
}

impl<S: AsFd + Read> Read for Pipe<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.wait(PollFlags::IN)? { self.stream.read(buffer) } else { Ok(0) }
    }
}

impl<S: AsFd + Write> Write for Pipe<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.wait(PollFlags::OUT)? {
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
