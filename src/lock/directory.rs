//! The directory: ours, closed to others, not a link; and the socket's path in it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::protocol::Layout;
use crate::stream::own_uid;

/// The socket's name.
const SOCKET: &str = "daemon.sock";

/// The longest path that fits a socket address on every Unix we know (macOS has 104 with the zero).
const MAX_SOCKET_PATH: usize = 103;

/// Makes `directory` if there is none, closed to others, and refuses one that is not as it must be.
pub(super) fn private_directory(directory: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(directory) {
        // The process's umask may have taken from our own rights, too.
        Ok(()) => fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
            .map_err(|error| failed(directory, error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => vet(directory).map(drop),
        Err(error) => Err(failed(directory, error)),
    }
}

/// Refuses a `directory` that is not as it must be, since others may have put anything there, such as a link to another
/// daemon's socket; says whether there is one at all.
pub(super) fn vet(directory: &Path) -> Result<bool, Error> {
    let refuse = |reason: &str| Err(failed(directory, io::ErrorKind::PermissionDenied.into()).saying(reason));
    let found = match fs::symlink_metadata(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(directory, error)),
    };
    if found.file_type().is_symlink() {
        refuse("it is a symbolic link")
    } else if !found.is_dir() {
        refuse("it is no directory")
    } else if found.uid() != own_uid() {
        refuse("it belongs to another user")
    } else if found.mode() & 0o077 != 0 {
        refuse("others may enter it: it must have mode 0700")
    } else {
        Ok(true)
    }
}

fn failed(directory: &Path, error: io::Error) -> Error {
    Error::io("use the daemon's directory", error).at(directory)
}

/// The directory by a name that holds wherever a process works, with no slash behind it: that would have the system
/// follow a link.
pub(super) fn absolute(directory: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(directory)
        .map(|path| path.components().collect())
        .map_err(|error| Error::io("find the daemon's directory", error).at(directory))
}

/// Where the daemon of `directory` listens.
pub(super) fn socket_path_in(directory: &Path) -> Result<PathBuf, Error> {
    let temporary = std::env::temp_dir();
    // From another working directory a relative one would lead elsewhere.
    socket_path_with(directory, if temporary.is_absolute() { &temporary } else { Path::new("/tmp") })
}

/// As [`socket_path_in`], with a folder of ours in `temporary` where the plain path is too long.
fn socket_path_with(directory: &Path, temporary: &Path) -> Result<PathBuf, Error> {
    let plain = directory.join(SOCKET);
    if plain.as_os_str().len() <= MAX_SOCKET_PATH {
        return Ok(plain);
    }
    let hash = Layout::named("socket").bytes(directory.as_os_str().as_bytes()).hash();
    let folder = temporary.join(format!("ipc-{}", own_uid()));
    let hashed = folder.join(format!("{hash:016x}.sock"));
    if hashed.as_os_str().len() > MAX_SOCKET_PATH {
        let error = io::Error::from(io::ErrorKind::InvalidFilename);
        let reason = format!("paths of sockets have at most {MAX_SOCKET_PATH} bytes");
        return Err(Error::io("find a path for the daemon's socket", error).at(hashed).saying(reason));
    }
    private_directory(&folder)?;
    Ok(hashed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_is_made_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("run");
        private_directory(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        private_directory(&directory).unwrap();
    }

    #[test]
    fn what_is_not_private_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let reason = |path: &Path| private_directory(path).unwrap_err().reason().unwrap().to_owned();

        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(reason(&open).contains("0700"));

        let link = folder.path().join("link");
        symlink(folder.path(), &link).unwrap();
        assert!(reason(&link).contains("symbolic link"));

        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(reason(&file).contains("no directory"));

        assert!(private_directory(&folder.path().join("missing/run")).is_err());
    }

    #[test]
    fn a_socket_path_may_be_as_long_as_the_system_allows_and_no_longer() {
        let home = tempfile::tempdir().unwrap();
        let long = Path::new("/").join("x".repeat(200));
        let tail = format!("/ipc-{}/0123456789abcdef.sock", own_uid()).len();
        let room = MAX_SOCKET_PATH - tail - home.path().as_os_str().len() - 1;
        for (length, fits) in [(room, true), (room + 1, false)] {
            let temporary = home.path().join("t".repeat(length));
            fs::create_dir(&temporary).unwrap();
            let found = socket_path_with(&long, &temporary);
            assert_eq!(found.ok().map(|path| path.as_os_str().len()), fits.then_some(MAX_SOCKET_PATH));
        }
    }

    #[test]
    fn a_long_path_gets_a_short_socket_that_follows_from_it() {
        let short = socket_path_in(Path::new("/run/x")).unwrap();
        assert_eq!(short, Path::new("/run/x/daemon.sock"));
        let temporary = tempfile::tempdir().unwrap();
        let long = |last: &str| {
            let directory = Path::new("/").join("a".repeat(150)).join(last);
            socket_path_with(&directory, temporary.path()).unwrap()
        };
        assert!(long("x").as_os_str().len() <= MAX_SOCKET_PATH);
        assert_eq!(long("x"), long("x"));
        assert_ne!(long("x"), long("y"));
    }
}
