//! A connected Unix stream socket: reads and writes with a deadline, descriptors beside the bytes,
//! who is on the other side, and whether that process still runs.
//!
//! Nothing here blocks without a deadline, and nothing raises SIGPIPE. Descriptors are received only
//! where they are asked for; everywhere else the kernel drops what a peer sends.
//!
//! A socket ends with the last process that has it, which may be a forked child of a peer that is dead: so a
//! wait that takes longer is also for the end of the peer's process, where the system tells.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recv, send, socket_with,
};
use rustix::time::Timespec;

/// That a peer is gone is told by an error alone: said with each message, or once of the socket.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// Says so of a socket, where it is not said with each message.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn forbid_signals(_: &OwnedFd) {}

/// Says so of a socket, where it is not said with each message.
#[cfg(target_vendor = "apple")]
pub(crate) fn forbid_signals(socket: &OwnedFd) {
    // Fails where the peer is gone already: no message gets as far as that.
    let _ = rustix::net::sockopt::set_socket_nosigpipe(socket, true);
}

/// A connected, non-blocking Unix stream socket.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    /// The peer's process, once somebody has asked for it: most connections are over before.
    process: OnceLock<Process<OwnedFd>>,
}

/// What is known of the process on the other side of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Process<F> {
    /// This descriptor can be read from its end on.
    Watched(F),
    /// It has ended, and nothing is left of it.
    Ended,
    /// The system does not tell, or has no descriptor for it just now.
    Unknown,
}

/// A wait that is over sooner is for the socket alone.
const UNWATCHED: Duration = Duration::from_millis(2);

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
        forbid_signals(&socket);
        Stream { socket, process: OnceLock::new() }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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
                Ok(()) => return Ok(Stream::from(socket)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(RETRY),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Reads what has come, without waiting: 0 at the end of the stream.
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        Ok(retry(|| recv(&self.socket, &mut *into, RecvFlags::DONTWAIT))?.0)
    }

    /// Writes what fits, without waiting.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry(|| send(&self.socket, bytes, SendFlags::DONTWAIT | NO_SIGNAL))?)
    }

    /// Whether there is something to read, or the peer has closed its side.
    pub(crate) fn is_readable(&self) -> bool {
        // What the system fails here it fails for a wait, too, which says so.
        poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&Timespec::default()))
            .is_ok_and(|ready| ready > 0)
    }

    /// Whether the peer has closed both sides, whatever is left to read.
    pub(crate) fn has_hung_up(&self) -> bool {
        // As in `is_readable`. This is told without being asked for.
        poll(&mut [PollFd::new(&self.socket, PollFlags::empty())], Some(&Timespec::default()))
            .is_ok_and(|ready| ready > 0)
    }

    /// Waits until there is something to read, or the peer is gone. Says whether the time sufficed.
    ///
    /// A peer whose process has ended and whose socket says nothing of that has reset the connection.
    pub(crate) fn wait_readable(&self, until: Instant) -> io::Result<bool> {
        self.wait(PollFlags::IN, until)
    }

    /// As [`wait_readable`](Self::wait_readable), until there is space to write.
    pub(crate) fn wait_writable(&self, until: Instant) -> io::Result<bool> {
        self.wait(PollFlags::OUT, until)
    }

    /// Whether the peer has closed its side or has ended, or has sent something.
    pub(crate) fn has_event(&self) -> bool {
        self.wait_for_both(PollFlags::IN, Instant::now()).unwrap_or(true)
    }

    /// Whether the peer's process has ended, whatever is left to read: its socket may be a child's by now.
    pub(crate) fn has_lost_its_peer(&self) -> bool {
        match self.process() {
            // As in `is_readable`.
            Process::Watched(process) => {
                poll_until(&mut [PollFd::from_borrowed_fd(process, PollFlags::IN)], Instant::now())
                    .is_ok_and(|ended| ended)
            }
            Process::Ended => true,
            Process::Unknown => false,
        }
    }

    fn wait(&self, events: PollFlags, until: Instant) -> io::Result<bool> {
        let soon = Instant::now() + UNWATCHED;
        match poll_until(&mut [PollFd::new(&self.socket, events)], until.min(soon))? {
            false if soon < until => self.wait_for_both(events, until),
            ready => Ok(ready),
        }
    }

    /// Waits for the socket, and for the end of the peer's process.
    fn wait_for_both(&self, events: PollFlags, until: Instant) -> io::Result<bool> {
        let socket = || PollFd::new(&self.socket, events);
        let ready = match self.process() {
            Process::Unknown => return poll_until(&mut [socket()], until),
            Process::Ended => true,
            Process::Watched(process) => {
                let mut both = [socket(), PollFd::from_borrowed_fd(process, PollFlags::IN)];
                let ready = poll_until(&mut both, until)?;
                if !both[0].revents().is_empty() {
                    return Ok(true);
                }
                ready
            }
        };
        // What the peer did before its end still counts, and may have come since the look at the socket.
        if !ready || poll_until(&mut [socket()], Instant::now())? {
            return Ok(ready);
        }
        Err(io::ErrorKind::ConnectionReset.into())
    }

    /// The process that has connected, or that listens.
    pub(crate) fn process(&self) -> Process<BorrowedFd<'_>> {
        if !self.knows_its_peer()
            && let Some(process) = open_peer(self)
        {
            // Another thread may have been faster.
            let _ = self.process.set(process);
        }
        match self.process.get() {
            Some(Process::Watched(process)) => Process::Watched(process.as_fd()),
            Some(Process::Ended) => Process::Ended,
            Some(Process::Unknown) | None => Process::Unknown,
        }
    }

    /// Whether what [`process`](Self::process) says is what it always will.
    pub(crate) fn knows_its_peer(&self) -> bool {
        self.process.get().is_some()
    }

    /// The descriptor of that process, if somebody has asked for it before.
    pub(crate) fn watched_process(&self) -> Option<BorrowedFd<'_>> {
        match self.process.get() {
            Some(Process::Watched(process)) => Some(process.as_fd()),
            _ => None,
        }
    }

    /// Ends both directions; the peer and any of our threads that wait on the socket notice.
    pub(crate) fn shut_down(&self) {
        // It fails only when the peer has gone already.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Who is on the other side.
    #[cfg(target_os = "linux")]
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        // A process of another namespace has the number 0 here, which rustix does not allow for.
        let peer = nix::sys::socket::getsockopt(&self.socket, nix::sys::socket::sockopt::PeerCredentials)?;
        Ok(Peer { uid: peer.uid(), pid: u32::try_from(peer.pid()).ok().filter(|&pid| pid > 0) })
    }

    /// Who is on the other side.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        let (uid, _gid) = nix::unistd::getpeereid(&self.socket)?;
        Ok(Peer { uid: uid.as_raw(), pid: None })
    }
}

/// Whether a socket can have this path.
pub(crate) fn fits_a_socket(path: &Path) -> bool {
    SocketAddrUnix::new(path).is_ok()
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

/// Waits for any of these, `until` at most; says whether the time sufficed.
fn poll_until(fds: &mut [PollFd<'_>], until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(fds, Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A descriptor of the process on the other side; nothing while there is none to be had.
#[cfg(all(target_os = "linux", not(grite_portable)))]
fn open_peer(stream: &Stream) -> Option<Process<OwnedFd>> {
    use nix::errno::Errno as NixErrno;
    use nix::sys::socket::{getsockopt, sockopt};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    match getsockopt(stream, sockopt::PeerPidfd) {
        Ok(process) => return Some(Process::Watched(process)),
        Err(NixErrno::ESRCH) => return Some(Process::Ended),
        Err(NixErrno::EMFILE | NixErrno::ENFILE | NixErrno::ENOMEM) => return None,
        // A kernel before 6.5, which knows no more than the number.
        Err(_) => {}
    }
    let number = stream.peer().ok().and_then(|peer| i32::try_from(peer.pid?).ok()).and_then(Pid::from_raw);
    let Some(number) = number else { return Some(Process::Unknown) };
    match pidfd_open(number, PidfdFlags::empty()) {
        Ok(process) => Some(Process::Watched(process)),
        Err(Errno::SRCH) => Some(Process::Ended),
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => None,
        Err(_) => Some(Process::Unknown),
    }
}

/// A descriptor of the process on the other side, which this system does not have.
#[cfg(not(all(target_os = "linux", not(grite_portable))))]
fn open_peer(_: &Stream) -> Option<Process<OwnedFd>> {
    Some(Process::Unknown)
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
pub(crate) use descriptors::refuse_descriptors;

#[cfg(all(target_os = "linux", not(grite_portable)))]
mod descriptors {
    use std::io::{IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;

    use nix::{libc, setsockopt_impl, sockopt_impl};

    use rustix::cmsg_space;
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        recvmsg, sendmsg,
    };

    use super::*;

    /// The most descriptors that the kernel puts into one message (`SCM_MAX_FD`).
    const MOST_DESCRIPTORS: usize = 253;

    /// Whether others may send descriptors to a socket: of Linux 6.16, and not in the C library's headers yet.
    const SO_PASSRIGHTS: libc::c_int =
        if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) { 92 } else { 83 };

    sockopt_impl!(PassRights, SetOnly, libc::SOL_SOCKET, SO_PASSRIGHTS, bool);

    /// Has the kernel refuse descriptors at their sender, for all connections of this listener.
    ///
    /// Without that, those that come are dropped unseen, see [`Stream::read_refusing`].
    pub(crate) fn refuse_descriptors(listener: &OwnedFd) {
        // It fails on older kernels.
        let _ = nix::sys::socket::setsockopt(listener, PassRights, &false);
    }

    impl Stream {
        /// Sends `bytes` and two descriptors as one message; fails rather than sending a part.
        pub(crate) fn write_with(&self, bytes: &[u8], descriptors: [BorrowedFd<'_>; 2]) -> io::Result<()> {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match retry(|| sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags))? {
                sent if sent == bytes.len() => Ok(()),
                _ => Err(io::ErrorKind::WriteZero.into()),
            }
        }

        /// Reads what has come with all descriptors that came with it, each owned and closed on
        /// exec before anybody looks at it. Fails where this process may not have them all.
        pub(crate) fn read_with(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received =
                retry(|| recvmsg(&self.socket, &mut [IoSliceMut::new(into)], &mut control, flags))?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    descriptors.extend(fds);
                }
            }
            // There was room for as many as one message can hold: it is the process that has none.
            if received.flags.contains(ReturnFlags::CTRUNC) {
                return Err(Errno::MFILE.into());
            }
            Ok(received.bytes)
        }

        /// Reads what has come; says so if descriptors came with it, which the kernel has dropped.
        ///
        /// There is no room for them, so they never enter this process.
        pub(crate) fn read_refusing(&self, into: &mut [u8]) -> io::Result<(usize, bool)> {
            let mut control = RecvAncillaryBuffer::default();
            let flags = RecvFlags::DONTWAIT;
            let received =
                retry(|| recvmsg(&self.socket, &mut [IoSliceMut::new(into)], &mut control, flags))?;
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
