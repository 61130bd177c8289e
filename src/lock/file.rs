//! The kernel's lock on a file: taking it, and asking who holds it.
//!
//! On Linux it is an open file description lock, which can be asked about without being taken, and
//! which no close of another descriptor of the file releases. Elsewhere it is flock, where asking
//! means trying, so a taker tries for a while.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

pub(super) use system::{holder, try_lock, unlock};

/// Nobody else reads or writes a lock file.
const MODE: u32 = 0o600;

/// Whether another open file holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    Another,
}

/// Opens the lock file, makes it if there is none, and never follows a link.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = options().write(true).create(true).truncate(false).open(path)?;
    // The umask may have taken our own rights, too.
    if file.metadata()?.permissions().mode() & 0o777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

/// Opens the lock file if it is there.
pub(super) fn open_existing(path: &Path) -> io::Result<File> {
    options().open(path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Neither a link nor a pipe in the file's place leads anywhere.
    options.read(true).mode(MODE).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    options
}

#[cfg(target_os = "linux")]
mod system {
    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    use super::*;

    /// Takes the lock if nobody else holds it; says who has it otherwise.
    pub(in super::super) fn try_lock(file: &File) -> io::Result<Holder> {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => Ok(Holder::Nobody),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(Holder::Another),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether another open file holds the lock.
    pub(in super::super) fn holder(file: &File) -> io::Result<Holder> {
        let mut lock = whole_file(libc::F_WRLCK);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(if i32::from(lock.l_type) == libc::F_UNLCK { Holder::Nobody } else { Holder::Another })
    }

    /// Gives the lock back, also where a child that is being forked has the file open for a moment.
    pub(in super::super) fn unlock(file: &File) -> io::Result<()> {
        fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)))?;
        Ok(())
    }

    fn whole_file(kind: libc::c_int) -> libc::flock {
        libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::TryLockError;
    use std::time::{Duration, Instant};

    use super::*;

    /// For how long a taker believes that it meets somebody who only asks.
    const PATIENCE: Duration = Duration::from_millis(200);

    pub(in super::super) fn try_lock(file: &File) -> io::Result<Holder> {
        let end = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Holder::Nobody),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => return Ok(Holder::Another),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    pub(in super::super) fn unlock(file: &File) -> io::Result<()> {
        file.unlock()
    }

    pub(in super::super) fn holder(file: &File) -> io::Result<Holder> {
        match file.try_lock_shared() {
            Ok(()) => file.unlock().map(|()| Holder::Nobody),
            Err(TryLockError::WouldBlock) => Ok(Holder::Another),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
