//! The folders: the state folder and the daemon's, who owns them, and who may enter.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::checkup::Checkup;

/// What nobody but the owner may have.
const OTHERS: u32 = 0o077;

pub fn check(checkup: &mut Checkup<'_>) {
    // A link says nothing of who may enter.
    let state = fs::canonicalize(&checkup.place.state).unwrap_or_else(|_| checkup.place.state.clone());
    session(checkup);
    owner(checkup, "state folder", &state);
    private(checkup, "permissions", &state);
    if let Some(parent) = checkup.place.runtime.parent().map(Path::to_owned)
        && parent.exists()
    {
        owner(checkup, "runtime folder", &parent);
        private(checkup, "runtime permissions", &parent);
    }
    let runtime = checkup.place.runtime.clone();
    if runtime.exists() {
        owner(checkup, "daemon folder", &runtime);
        private(checkup, "daemon permissions", &runtime);
    }
}

/// The session's folder, if the environment names one.
fn session(checkup: &mut Checkup<'_>) {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    match named {
        None => checkup
            .good("session", "XDG_RUNTIME_DIR names no folder; the daemon's is among the temporary files"),
        Some(folder) if folder.is_dir() => checkup.good("session", folder.display()),
        Some(folder) => {
            let detail = format!("XDG_RUNTIME_DIR is {}, and there is no such folder", folder.display());
            let fix = format!("mkdir -m 700 {}", folder.display());
            checkup.mend("session", detail, &fix, |_| {
                DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
                Ok::<_, std::io::Error>("made it".to_owned())
            });
        }
    }
}

fn owner(checkup: &mut Checkup<'_>, check: &str, folder: &Path) {
    let own = rustix::process::getuid().as_raw();
    match fs::symlink_metadata(folder) {
        Err(error) => checkup.bad(check, format!("{}: {error}", folder.display()), "make it accessible"),
        Ok(found) if !found.is_dir() => {
            checkup.bad(check, format!("{} is no folder", folder.display()), "move it out of the way");
        }
        Ok(found) if found.uid() != own => {
            let detail =
                format!("{} belongs to user {}, and we are user {own}", folder.display(), found.uid());
            checkup.bad(check, detail, &format!("sudo chown -R {own} {}", folder.display()));
        }
        Ok(_) => checkup.good(check, folder.display()),
    }
}

fn private(checkup: &mut Checkup<'_>, check: &str, folder: &Path) {
    let Ok(found) = fs::symlink_metadata(folder) else { return };
    let mode = found.mode() & 0o7777;
    let own = found.uid() == rustix::process::getuid().as_raw();
    // Without all three rights of its owner nobody can work in it.
    if mode & OTHERS == 0 && mode & 0o700 == 0o700 {
        checkup.good(check, format!("{} has mode {mode:04o}", folder.display()));
        return;
    }
    let detail = format!("{} has mode {mode:04o}, and should have 0700", folder.display());
    let fix = format!("chmod 700 {}", folder.display());
    if !own {
        return checkup.bad(check, detail, &fix);
    }
    checkup.mend(check, detail, &fix, |_| {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        Ok::<_, std::io::Error>("set it".to_owned())
    });
}
