//! A connected Unix stream socket: reads and writes with a deadline, descriptors beside the bytes,
//! and who is on the other side.
//!
//! Nothing here blocks without a deadline, and nothing raises SIGPIPE. Descriptors are received only
//! where they are asked for; everywhere else the kernel drops what a peer sends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recv, send, socket_with,
};
use rustix::time::Timespec;

/// A connected, non-blocking Unix stream socket.
#[derive(Debug)]
pub(crate) struct Stream(OwnedFd);

/// Who is on the other side of a socket, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its effective user when it connected or listened.
    pub(crate) uid: u32,
    /// Its process when it connected or listened, where the system tells.
    pub(crate) pid: Option<u32>,
}

impl From<OwnedFd> for Stream {
    /// Takes a socket that is non-blocking and closed on exec already.
    fn from(socket: OwnedFd) -> Self {
        Stream(socket)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Stream {
    /// Connects to the socket at `path`.
    ///
    /// A listener whose backlog is full is tried again until the deadline: `WouldBlock` then.
    pub(crate) fn connect(path: &Path, until: Instant) -> io::Result<Self> {
        /// How long a listener gets to empty its backlog before the next try.
        const RETRY: Duration = Duration::from_millis(2);
        let address = SocketAddrUnix::new(path)?;
        let socket = new_socket()?;
        loop {
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Ok(Stream(socket)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(RETRY),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Reads what has come, without waiting: 0 at the end of the stream.
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        Ok(retry(|| recv(&self.0, &mut *into, RecvFlags::DONTWAIT))?.0)
    }

    /// Writes what fits, without waiting.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry(|| send(&self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))?)
    }

    /// Waits until there is something to read, or the peer is gone. Says whether the time sufficed.
    pub(crate) fn wait_readable(&self, until: Instant) -> io::Result<bool> {
        self.wait(PollFlags::IN, until)
    }

    /// Waits until there is space to write, or the peer is gone. Says whether the time sufficed.
    pub(crate) fn wait_writable(&self, until: Instant) -> io::Result<bool> {
        self.wait(PollFlags::OUT, until)
    }

    /// Whether the peer has closed its side, or has sent something.
    pub(crate) fn has_event(&self) -> bool {
        self.wait(PollFlags::IN, Instant::now()).unwrap_or(true)
    }

    fn wait(&self, events: PollFlags, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.0, events)], Some(&left)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Ends both directions; the peer and any of our threads that wait on the socket notice.
    pub(crate) fn shut_down(&self) {
        // It fails only when the peer has gone already.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }

    /// Who is on the other side.
    #[cfg(target_os = "linux")]
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        // A process of another namespace has the number 0 here, which rustix does not allow for.
        let peer = nix::sys::socket::getsockopt(&self.0, nix::sys::socket::sockopt::PeerCredentials)?;
        Ok(Peer { uid: peer.uid(), pid: u32::try_from(peer.pid()).ok().filter(|&pid| pid > 0) })
    }

    /// Who is on the other side.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        let (uid, _gid) = nix::unistd::getpeereid(&self.0)?;
        Ok(Peer { uid: uid.as_raw(), pid: None })
    }
}

/// A Unix stream socket that is non-blocking and closed on exec from its first moment.
#[cfg(target_os = "linux")]
pub(crate) fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// A Unix stream socket that is non-blocking and closed on exec.
#[cfg(not(target_os = "linux"))]
pub(crate) fn new_socket() -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&socket, rustix::fs::OFlags::NONBLOCK)?;
    Ok(socket)
}

/// Calls again for as long as a signal interrupts.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The user whose daemons and clients this process talks to: its own.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(all(target_os = "linux", not(grite_portable)))]
mod descriptors {
    use std::io::{IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;

    use rustix::cmsg_space;
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        recvmsg, sendmsg,
    };

    use super::*;

    /// The most descriptors that the kernel puts into one message (`SCM_MAX_FD`).
    const MOST_DESCRIPTORS: usize = 253;

    impl Stream {
        /// Sends `bytes` and two descriptors as one message; fails rather than sending a part.
        pub(crate) fn write_with(&self, bytes: &[u8], descriptors: [BorrowedFd<'_>; 2]) -> io::Result<()> {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match retry(|| sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags))? {
                sent if sent == bytes.len() => Ok(()),
                _ => Err(io::ErrorKind::WriteZero.into()),
            }
        }

        /// Reads what has come with all descriptors that came with it, each owned and closed on
        /// exec before anybody looks at it.
        pub(crate) fn read_with(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received = retry(|| recvmsg(&self.0, &mut [IoSliceMut::new(into)], &mut control, flags))?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    descriptors.extend(fds);
                }
            }
            Ok(received.bytes)
        }

        /// Reads what has come; says so if descriptors came with it, which the kernel has dropped.
        ///
        /// There is no room for them, so they never enter this process.
        pub(crate) fn read_refusing(&self, into: &mut [u8]) -> io::Result<(usize, bool)> {
            let mut control = RecvAncillaryBuffer::default();
            let flags = RecvFlags::DONTWAIT;
            let received = retry(|| recvmsg(&self.0, &mut [IoSliceMut::new(into)], &mut control, flags))?;
            Ok((received.bytes, received.flags.contains(ReturnFlags::CTRUNC)))
        }
    }
}

#[cfg(not(all(target_os = "linux", not(grite_portable))))]
impl Stream {
    /// Reads what has come; descriptors that came with it were dropped, unnoticed on this system.
    pub(crate) fn read_refusing(&self, into: &mut [u8]) -> io::Result<(usize, bool)> {
        Ok((self.read(into)?, false))
    }
}
