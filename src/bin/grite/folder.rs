//! Where the state is: `$GRITE_DIR`, else `grite` in the repository's common git folder, else the
//! nearest `.grite` upward.
//!
//! Git's own files are read, and no git is run: worktrees of a repository share its common folder, and
//! so one tracker.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{CliError, Code};
use crate::sync::Actor;

/// The name of the state folder inside a common git folder.
const IN_GIT: &str = "grite";

/// The name of the state folder elsewhere.
const BESIDE: &str = ".grite";

/// How long the file `changes` is, in bytes.
const CHANGES: u64 = 8;

/// What git's files that point elsewhere hold at most, in bytes: a path and a word.
const MAX_POINTER: u64 = 8192;

/// The state folder that is there.
///
/// # Errors
/// A [`CliError`] that says where it was looked for.
pub fn find() -> Result<PathBuf, CliError> {
    if let Some(dir) = from_environment() {
        return if dir.is_dir() {
            Ok(dir)
        } else {
            Err(missing(&format!("$GRITE_DIR is {}, and there is no such folder", dir.display())))
        };
    }
    let start = current_dir()?;
    find_from(&start)
        .ok_or_else(|| missing(&format!("no state folder was found at or above {}", start.display())))
}

/// Makes the state folder, and says whether it is new.
///
/// # Errors
/// A [`CliError`] when it cannot be made.
pub fn make() -> Result<(PathBuf, bool), CliError> {
    let dir = match from_environment() {
        Some(dir) => dir,
        None => {
            let start = current_dir()?;
            common_git_dir(&start).map_or_else(|| start.join(BESIDE), |git| within(&git))
        }
    };
    let new = !dir.is_dir();
    // Others have no business in it.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|error| CliError::io("make the state folder", &dir, &error))?;
    Ok((dir, new))
}

/// The git folder of the repository in which the state folder `state` lies.
pub fn repository(state: &Path) -> Option<PathBuf> {
    let parent = state.parent()?;
    // Inside a git folder, as `init` puts it.
    if is_git_dir(parent) { Some(parent.to_owned()) } else { common_git_dir(parent) }
}

/// Whether something in the folder `dir`, or in the git folder where it lies, tells that it had a store.
pub fn had_store(dir: &Path) -> bool {
    has_remains(dir) || dir.ends_with(IN_GIT) && dir.parent().is_some_and(has_refs)
}

/// Whether something in the folder `dir` itself tells that it had one.
pub fn has_remains(dir: &Path) -> bool {
    let of_ours = |entry: fs::DirEntry| {
        let name = entry.file_name();
        name == "changes" && entry.metadata().is_ok_and(|found| found.len() == CHANGES)
            // One that was replaced. What SQLite has beside a store may be of one that is just being made.
            || name.to_string_lossy().starts_with("issues.db.")
    };
    fs::read_dir(dir).into_iter().flatten().flatten().any(of_ours) || matches!(Actor::read(dir), Ok(Some(_)))
}

/// Whether the git folder `git` has refs of ours, as far as its files tell.
fn has_refs(git: &Path) -> bool {
    let loose = fs::read_dir(git.join("refs/grite")).is_ok_and(|mut entries| entries.next().is_some());
    loose || fs::read_to_string(git.join("packed-refs")).is_ok_and(|refs| refs.contains(" refs/grite/"))
}

fn missing(what: &str) -> CliError {
    CliError::new(Code::Environment, what, "run `grite init`, or set GRITE_DIR to a state folder")
}

fn current_dir() -> Result<PathBuf, CliError> {
    env::current_dir().map_err(|error| CliError::io("use the current folder", Path::new("."), &error))
}

fn from_environment() -> Option<PathBuf> {
    let dir = env::var_os("GRITE_DIR").filter(|dir| !dir.is_empty())?;
    // A daemon is started from it, and works elsewhere.
    std::path::absolute(&dir).ok()
}

fn find_from(start: &Path) -> Option<PathBuf> {
    let in_git = common_git_dir(start).map(|git| within(&git)).filter(|dir| dir.is_dir());
    in_git.or_else(|| start.ancestors().map(|dir| dir.join(BESIDE)).find(|dir| dir.is_dir()))
}

/// The state folder inside the common git folder `git`, whether it is there or not.
fn within(git: &Path) -> PathBuf {
    // A bare repository may have got the other one.
    let beside = git.join(BESIDE);
    let usual = git.join(IN_GIT);
    if beside.is_dir() && !usual.is_dir() { beside } else { usual }
}

/// Whether `dir` is what git takes for a git folder; a bare repository is one, too.
fn is_git_dir(dir: &Path) -> bool {
    let names_a_commit = |head: String| {
        head.starts_with("ref: refs/")
            || matches!(head.len(), 40 | 64) && head.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    dir.join("objects").is_dir()
        && dir.join("refs").is_dir()
        && read_pointer(&dir.join("HEAD")).is_ok_and(names_a_commit)
}

/// The git folder that all worktrees of the repository around `start` share.
fn common_git_dir(start: &Path) -> Option<PathBuf> {
    let git_dir = start.ancestors().find_map(|dir| {
        let git = dir.join(".git");
        if git.is_dir() {
            return Some(git);
        }
        // A worktree or submodule has a file there that names its git folder.
        let pointed = read_pointer(&git).ok().and_then(|pointer| {
            let target = dir.join(pointer.strip_prefix("gitdir:")?.trim());
            target.is_dir().then_some(target)
        });
        pointed.or_else(|| is_git_dir(dir).then(|| dir.to_owned()))
    })?;
    match read_pointer(&git_dir.join("commondir")) {
        Ok(common) => fs::canonicalize(git_dir.join(common)).ok(),
        Err(_) => Some(git_dir),
    }
}

fn read_pointer(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_POINTER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(fs::read_to_string(path)?.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worktree_shares_the_folder_of_its_repository() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        let (repository, worktree) = (root.join("repo"), root.join("tree"));
        let private = repository.join(".git/worktrees/tree");
        fs::create_dir_all(&private).unwrap();
        fs::write(private.join("commondir"), "../..\n").unwrap();
        fs::create_dir_all(worktree.join("src")).unwrap();
        fs::write(worktree.join(".git"), format!("gitdir: {}\n", private.display())).unwrap();
        assert_eq!(find_from(&worktree), None);
        let state = repository.join(".git/grite");
        fs::create_dir(&state).unwrap();
        assert_eq!(find_from(&worktree.join("src")), Some(state.clone()));
        assert_eq!(find_from(&repository), Some(state));
    }

    #[test]
    fn without_a_repository_the_nearest_folder_upward_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(root.path().join(".grite")).unwrap();
        assert_eq!(find_from(&deep), Some(root.path().join(".grite")));
        fs::create_dir(root.path().join("a/.grite")).unwrap();
        assert_eq!(find_from(&deep), Some(root.path().join("a/.grite")));
    }

    #[test]
    fn a_git_file_that_points_nowhere_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".git"), "gitdir: gone\n").unwrap();
        assert!(common_git_dir(root.path()).is_none_or(|dir| !dir.starts_with(root.path())));
    }
}
