//! Where the daemon of a state folder keeps its lock and its socket: [`Place`].
//!
//! `$XDG_RUNTIME_DIR/grite/<hash>`, else `<temporary folder>/grite-<uid>/<hash>`, where the hash is that
//! of the state folder's true path. The daemon and everybody who looks for it ask here, so they agree.
//! Both folders are ours alone. The last one is made and judged by the library's lock.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{CliError, Code};
use crate::folder;

/// How many bytes of the hash name the folder: enough that no two of one user's folders meet, and few
/// enough that socket paths stay as short as the system wants them.
const NAME: usize = 8;

/// The name of the folder of all our daemons' folders, where the system has one for the session.
const SESSION: &str = "grite";

/// A state folder, and where its daemon can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The state folder: its true path, but for a link in a repository that it may be itself. The issues are those of
    /// the repository in which that lies.
    pub state: PathBuf,
    /// The daemon's folder, whether it is there or not: one for each state folder and repository.
    pub runtime: PathBuf,
}

impl Place {
    /// The place of the state folder `state`, which must exist. Makes nothing.
    ///
    /// # Errors
    /// A [`CliError`] when the folder cannot be reached.
    pub fn of(state: &Path) -> Result<Self, CliError> {
        Self::below(state, &parent())
    }

    /// The place that [`of`](Place::of) finds where `$XDG_RUNTIME_DIR` is the folder `session`.
    ///
    /// # Errors
    /// As `of`.
    pub fn within(state: &Path, session: &Path) -> Result<Self, CliError> {
        Self::below(state, &session.join(SESSION))
    }

    fn below(state: &Path, parent: &Path) -> Result<Self, CliError> {
        let place = || {
            let (real, link) = (fs::canonicalize(state)?, but_for_itself(state)?);
            let repository = |state| folder::repository(state).and_then(|git| fs::canonicalize(git).ok());
            let of_link = repository(&link);
            let state = if of_link.is_none() || of_link == repository(&real) { real } else { link };
            Ok(Place { runtime: parent.join(name(&state)), state })
        };
        place().map_err(|error| CliError::io("find the folder", state, &error))
    }

    /// Makes the folder that holds the daemon's folder, closed to others, or says why it must not be
    /// used.
    ///
    /// # Errors
    /// A [`CliError`] with [`Code::Environment`].
    pub fn prepare(&self) -> Result<(), CliError> {
        match self.runtime.parent() {
            Some(parent) => make_private(parent),
            None => Ok(()),
        }
    }
}

/// The true path of `path`, but for a link that it may be itself.
fn but_for_itself(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => fs::canonicalize(path),
    }
}

/// The folder of all our daemons' folders.
fn parent() -> PathBuf {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    // Without a folder there nobody has logged in by way of it, whatever the variable says.
    let session = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).and_then(absolute);
    match session.filter(|folder| folder.is_dir()) {
        Some(folder) => folder.join(SESSION),
        None => {
            // A relative one would be another folder for a daemon, which works elsewhere.
            let temporary = absolute(env::temp_dir()).unwrap_or_else(|| PathBuf::from("/tmp"));
            temporary.join(format!("grite-{}", own_uid()))
        }
    }
}

fn name(state: &Path) -> String {
    let digest = Sha256::digest(state.as_os_str().as_bytes());
    digest.iter().take(NAME).map(|byte| format!("{byte:02x}")).collect()
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn make_private(folder: &Path) -> Result<(), CliError> {
    let failed = |error: io::Error| CliError::io("make the daemon's folder", folder, &error);
    match DirBuilder::new().mode(0o700).create(folder) {
        // The process's umask may have taken from our own rights, too.
        Ok(()) => return fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let found = fs::symlink_metadata(folder).map_err(failed)?;
    let problem = if !found.is_dir() {
        "it is no folder"
    } else if found.uid() != own_uid() {
        "it belongs to another user"
    } else if found.mode() & 0o077 != 0 {
        "others may enter it: it must have mode 0700"
    } else {
        return Ok(());
    };
    let message = format!("cannot use the daemon's folder {}: {problem}", folder.display());
    Err(CliError::new(Code::Environment, message, "fix the folder, or use --direct"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_way_to_a_state_folder_leads_to_the_same_place() {
        let root = tempfile::tempdir().unwrap();
        let (state, other) = (root.path().join("state"), root.path().join("other"));
        fs::create_dir(&state).unwrap();
        fs::create_dir(&other).unwrap();
        symlink(&state, root.path().join("link")).unwrap();
        let place = Place::of(&state).unwrap();
        assert_eq!(Place::of(&root.path().join("link")).unwrap(), place);
        assert_eq!(Place::of(&root.path().join("link/../state")).unwrap(), place);
        assert_eq!(Place::of(&root.path().join("other/../state")).unwrap(), place);
        assert_ne!(Place::of(&other).unwrap().runtime, place.runtime);
        assert!(Place::of(&root.path().join("missing")).is_err());
    }

    #[test]
    fn a_link_belongs_to_the_repository_in_which_it_lies_and_has_a_daemon_for_that() {
        let root = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| {
            let git = root.path().join(name).join(".git");
            fs::create_dir_all(git.join("objects")).unwrap();
            fs::create_dir(git.join("refs")).unwrap();
            fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
            git
        });
        let (state, outside) = (one.join("grite"), root.path().join("link"));
        fs::create_dir(&state).unwrap();
        symlink(&state, two.join("grite")).unwrap();
        symlink(&state, one.join("again")).unwrap();
        symlink(&state, &outside).unwrap();
        let place = Place::of(&state).unwrap();
        for link in [one.join("again"), outside] {
            assert_eq!(Place::of(&link).unwrap(), place, "{}", link.display());
        }
        let of_two = Place::of(&two.join("grite")).unwrap();
        assert_eq!(of_two.state, fs::canonicalize(&two).unwrap().join("grite"));
        assert_ne!(of_two.runtime, place.runtime);
    }

    #[test]
    fn a_folder_is_made_private_and_one_that_is_not_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("grite");
        make_private(&folder).unwrap();
        make_private(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);

        fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
        assert!(make_private(&folder).unwrap_err().message.contains("0700"));
        symlink(root.path(), root.path().join("link")).unwrap();
        assert!(make_private(&root.path().join("link")).unwrap_err().message.contains("no folder"));
        assert!(make_private(&root.path().join("missing/grite")).is_err());
    }
}
