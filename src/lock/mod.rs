//! The one daemon of a directory: [`DaemonLock`] is it, or knows who is.
//!
//! The truth is a lock that the kernel keeps on a file which is never unlinked: it is held exactly
//! for as long as the daemon lives, whatever kills it. What stands in the file is for people, and
//! for finding the socket; it never decides who lives. No clocks, no leases, no signals to processes.

mod directory;
mod file;
pub(crate) mod record;
mod spawn;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};
use crate::fault;
use crate::shm;

pub use record::Daemon;
pub use spawn::Readiness;
pub(crate) use spawn::SpawnLock;

use directory::{absolute, private_directory, socket_path_in, vet};
use file::Holder;

/// The name of the file whose lock is the truth.
const LOCK_FILE: &str = "daemon.lock";

/// The right to be the one daemon of a directory, held until dropped or until the process ends.
///
/// It is the right of the process that has acquired it. A forked child that drops its copy leaves the lock with the
/// parent; one that keeps it keeps the lock from the next daemon when the parent is killed. So a program that
/// becomes a daemon by a fork acquires the lock after it, in the child: the parent gives back what is its own.
///
/// ```
/// use libgrite_ipc::DaemonLock;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path().join("run");
/// let lock = DaemonLock::acquire(&dir)?;
/// let daemon = DaemonLock::read(&dir)?.expect("we are the daemon");
/// assert_eq!(daemon.pid(), Some(std::process::id()));
///
/// drop(lock);
/// assert!(DaemonLock::read(&dir)?.is_none());
/// # Ok::<(), libgrite_ipc::Error>(())
/// ```
#[derive(Debug)]
pub struct DaemonLock {
    /// Holds the kernel's lock for as long as it is open.
    file: File,
    socket: PathBuf,
    /// The process that has acquired it.
    process: u32,
}

impl Drop for DaemonLock {
    fn drop(&mut self) {
        // A forked child shares the open file, and to unlock that would take the lock from its parent.
        if self.process == shm::process() {
            // Closing the file gives the lock back anyway, if somewhat later.
            let _ = file::unlock(&self.file);
        }
    }
}

impl DaemonLock {
    /// Becomes the one daemon of `directory`, which is made if there is none. Its parent must exist. A directory that
    /// exists must belong to this user and be closed to all others (mode 0700): `$XDG_RUNTIME_DIR/NAME` is a good place,
    /// or where that is not set, a folder of the user's own in the temporary one. On network file systems nothing of
    /// this was tested.
    ///
    /// # Errors
    /// - [`ErrorKind::Refused`]: another daemon is; the reason names its process.
    /// - [`ErrorKind::Io`]: the directory is a link, or not ours, or open to others, or the system
    ///   fails a call.
    /// - [`ErrorKind::Sandboxed`]: the system forbids it: a sandbox, a read-only file system, or wrong
    ///   permissions.
    pub fn acquire(directory: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = &absolute(directory.as_ref())?;
        private_directory(directory)?;
        fault::point("lock.directory");
        let path = directory.join(LOCK_FILE);
        let failed = |error: io::Error| Error::io("take the daemon's lock", error).at(&path);
        let file = file::open(&path).map_err(failed)?;
        if let Holder::Another = file::try_lock(&file).map_err(failed)? {
            let holder = record::read(&file).ok().flatten().and_then(|daemon| daemon.pid());
            let reason = match holder {
                Some(pid) => format!("process {pid} is the daemon here"),
                None => "another process is the daemon here".to_owned(),
            };
            return Err(Error::new(ErrorKind::Refused, "take the daemon's lock").at(&path).saying(reason));
        }
        fault::point("lock.taken");
        let socket = socket_path_in(directory)?;
        record::write(&file, &Daemon::this(socket.clone())).map_err(failed)?;
        fault::point("lock.written");
        Ok(DaemonLock { file, socket, process: shm::process() })
    }

    /// The live daemon of `directory`, if there is one. Files that a dead one left count as none.
    ///
    /// Asks the kernel without taking the lock, so it disturbs no daemon that is starting.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]: the directory is a link, or not ours, or open to others, or the lock file is there
    /// but cannot be opened or asked about; [`ErrorKind::Sandboxed`] where the system forbids that.
    pub fn read(directory: impl AsRef<Path>) -> Result<Option<Daemon>, Error> {
        let directory = &absolute(directory.as_ref())?;
        if !vet(directory)? {
            return Ok(None);
        }
        let path = directory.join(LOCK_FILE);
        let failed = |error: io::Error| Error::io("ask about the daemon's lock", error).at(&path);
        let file = match file::open_existing(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match file::holder(&file).map_err(failed)? {
            Holder::Nobody => Ok(None),
            Holder::Another => {
                // A daemon that holds the lock and has not written its record yet is alive, too.
                match record::read(&file).map_err(failed)? {
                    Some(daemon) => Ok(Some(daemon)),
                    None => socket_path_in(directory).map(Daemon::unknown).map(Some),
                }
            }
        }
    }

    /// The directory by a name that holds wherever this process works. Refuses one in which others may have put
    /// what a client would follow; a missing one is none.
    pub(crate) fn vet(directory: &Path) -> Result<PathBuf, Error> {
        let directory = absolute(directory)?;
        vet(&directory)?;
        Ok(directory)
    }

    /// Where the daemon of this lock listens: in the directory, or, where that path is too long for
    /// a socket, in a folder of ours in the temporary directory, under a name that follows from it.
    pub fn socket_path(&self) -> &Path {
        &self.socket
    }

    /// Where the daemon of `directory` listens, whether it lives or not.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the path is too long and there is no folder to stand in for it;
    /// [`ErrorKind::Sandboxed`] where the system forbids to make one.
    pub fn socket_path_in(directory: impl AsRef<Path>) -> Result<PathBuf, Error> {
        socket_path_in(&absolute(directory.as_ref())?)
    }
}
