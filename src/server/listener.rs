//! The socket file: made under another name, closed to others from its first moment, renamed into
//! place, and removed by who made it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrUnix, bind, listen, shutdown};
use rustix::process::Pid;

use crate::error::Error;
use crate::fault;
use crate::shm;
use crate::stream::{Stream, new_socket};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listening socket, and the file that leads to it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// The file's inode, so that only our own file is removed: no other has its number while the socket
    /// is open.
    inode: u64,
    /// The process that accepts: a forked child that drops its copy of this value takes nothing away.
    process: AtomicU32,
}

impl Listener {
    pub(super) fn bind(path: &Path) -> Result<Self, Error> {
        let failed = |tried: &'static str| move |error: io::Error| Error::io(tried, error).at(path);
        refuse_what_must_stay(path)?;
        let socket = new_socket().map_err(failed("make the daemon's socket"))?;
        #[cfg(all(target_os = "linux", not(grite_portable)))]
        crate::stream::refuse_descriptors(&socket);
        // Where the system heeds it, the file is closed to others before it exists.
        let _ = rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR);
        fault::point("bind.socket");
        // Shorter than most names, so that it fits where the name fits.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{:x}.{count:x}", std::process::id()));
        let _ = fs::remove_file(&temporary);
        let made = || -> io::Result<u64> {
            bind(&socket, &SocketAddrUnix::new(&temporary)?)?;
            fault::point("bind.bound");
            fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))?;
            listen(&socket, BACKLOG)?;
            fault::point("bind.listening");
            let inode = fs::symlink_metadata(&temporary)?.ino();
            // The name itself must fit as well, or nobody could connect to it.
            SocketAddrUnix::new(path)?;
            fs::rename(&temporary, path)?;
            fault::point("bind.renamed");
            Ok(inode)
        };
        match made() {
            Ok(inode) => {
                path.parent().map(clear_away);
                let process = AtomicU32::new(shm::process());
                Ok(Listener { socket, path: path.to_path_buf(), inode, process })
            }
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(failed("listen on the daemon's socket")(error))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this socket, as far as can be told.
    pub(super) fn is_in_place(&self) -> bool {
        use io::ErrorKind::{NotADirectory, NotFound};
        match fs::symlink_metadata(&self.path) {
            Ok(found) => found.ino() == self.inode,
            Err(error) => !matches!(error.kind(), NotFound | NotADirectory),
        }
    }

    /// From now on it is the calling process that serves: those who connect take its end for the daemon's.
    pub(super) fn serve_from_this_process(&self) -> io::Result<()> {
        self.process.store(shm::process(), Ordering::Relaxed);
        // The kernel notes who has listened last.
        Ok(listen(&self.socket, BACKLOG)?)
    }

    /// Takes the socket's file away, if it is still ours, and lets nobody connect who has found it
    /// before. Who is connected already can still be accepted.
    pub(super) fn withdraw(&self) {
        if self.process.load(Ordering::Relaxed) != shm::process() {
            return;
        }
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
        // Where the system does not do this for a listener, closing it ends the same connections later.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    /// The next connection, if one waits.
    pub(super) fn accept(&self) -> Result<Stream, Errno> {
        accept(&self.socket).map(Stream::from)
    }
}

#[cfg(target_os = "linux")]
fn accept(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    use rustix::net::SocketFlags;
    rustix::net::accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

#[cfg(not(target_os = "linux"))]
fn accept(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    let accepted = rustix::net::accept(socket)?;
    rustix::io::fcntl_setfd(&accepted, rustix::io::FdFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&accepted, rustix::fs::OFlags::NONBLOCK)?;
    Ok(accepted)
}

/// Removes the temporary names in `folder` whose makers were killed before they could rename them.
fn clear_away(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let maker = entry.file_name().to_str().and_then(maker);
        if maker.is_some_and(has_ended) && entry.file_type().is_ok_and(|found| found.is_socket()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The process that has made a temporary name, if `name` is one.
fn maker(name: &str) -> Option<Pid> {
    let (process, count) = name.strip_prefix('.')?.split_once('.')?;
    u32::from_str_radix(count, 16).ok()?;
    u32::from_str_radix(process, 16).ok().and_then(|process| Pid::from_raw(process.try_into().ok()?))
}

/// Whether `process` is none any more, waited for or not.
#[cfg(target_os = "linux")]
fn has_ended(process: Pid) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, pidfd_open};
    use rustix::time::Timespec;

    // One that was killed just now gives its lock back some moments before it has ended.
    let patience = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)) == Ok(1),
        Err(errno) => errno == Errno::SRCH,
    }
}

#[cfg(not(target_os = "linux"))]
fn has_ended(process: Pid) -> bool {
    rustix::process::test_kill_process(process) == Err(Errno::SRCH)
}

/// A live daemon's socket stays, and so does whatever is no socket, a link among it.
fn refuse_what_must_stay(path: &Path) -> Result<(), Error> {
    let refuse = |reason: &str| {
        Err(Error::io("listen on the daemon's socket", io::Error::from(io::ErrorKind::AddrInUse))
            .at(path)
            .saying(reason))
    };
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if found.file_type().is_socket() {
        match Stream::connect(path, std::time::Instant::now()) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            // Gone meanwhile, or a backlog that is full: the latter is a live daemon.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => refuse("a live daemon listens there"),
        }
    } else {
        refuse("something else than a socket is there")
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn names_that_a_killed_daemon_left_are_cleared_away_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        let gone = format!(".{:x}.0", dead.id());
        dead.wait().unwrap();
        let stays = [
            format!(".{:x}.ff", std::process::id()),
            ".1.x".to_owned(),
            ".0.0".to_owned(),
            "a.1.0".to_owned(),
        ];
        for name in stays.iter().chain([&gone]) {
            drop(UnixListener::bind(folder.path().join(name)).unwrap());
        }
        let file = format!("{gone}1");
        fs::write(folder.path().join(&file), "no socket").unwrap();
        let listener = Listener::bind(&folder.path().join("daemon.sock")).unwrap();
        let found = |name: &str| fs::symlink_metadata(folder.path().join(name)).is_ok();
        assert!(!found(&gone));
        assert!(stays.iter().all(|name| found(name)) && found(&file) && found("daemon.sock"));
        drop(listener);
    }
}
