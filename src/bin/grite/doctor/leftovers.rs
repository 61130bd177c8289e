//! What processes that were killed have left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checkup::Checkup;
use crate::git::Git;
use crate::store::REPLACED;

/// For how long what looks like a leftover may be somebody's work.
const FRESH: Duration = Duration::from_secs(600);

/// How deep refs of ours lie.
const DEPTH: usize = 4;

pub fn check(checkup: &mut Checkup<'_>, git: Option<&Git>) {
    let state = checkup.place.state.clone();
    let mut stale = Vec::new();
    let mut kept = 0;
    for entry in fs::read_dir(&state).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        kept += u32::from(name.contains(&format!(".{REPLACED}-")));
        if (name.starts_with("actor.") || name == "issues.db.new") && is_old(&entry.path()) {
            stale.push(entry.path());
        }
    }
    if let Some(git) = git {
        git_locks(&git.dir().join("refs/grite"), DEPTH, &mut stale);
    }
    if stale.is_empty() {
        let kept = if kept > 0 {
            format!("{kept} files of stores that were replaced are kept")
        } else {
            "none".to_owned()
        };
        return checkup.good("leftovers", kept);
    }
    let detail =
        format!("{} are left of processes that were killed, such as {}", stale.len(), stale[0].display());
    checkup.mend("leftovers", detail, &format!("rm -r {}", stale[0].display()), |_| {
        for path in &stale {
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok::<_, std::io::Error>("removed them".to_owned())
    });
}

/// Lock files of git below `folder`, which make every change of their refs fail.
fn git_locks(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            git_locks(&path, depth - 1, found);
        } else if path.extension().is_some_and(|extension| extension == "lock") && is_old(&path) {
            found.push(path);
        }
    }
}

fn is_old(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > FRESH))
}
