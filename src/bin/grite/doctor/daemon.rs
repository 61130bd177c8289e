//! The daemon: whether it lives and answers, its socket, its lock, and which release it is.

use std::fs;
use std::path::Path;

use libgrite_ipc::grite::StatusResult;
use libgrite_ipc::{DaemonLock, Error, ErrorKind, IpcCommand, IpcResponse};

use super::checkup::Checkup;
use crate::release;

pub fn check(checkup: &mut Checkup<'_>) {
    let socket = match DaemonLock::socket_path_in(&checkup.place.runtime) {
        Ok(socket) => socket,
        Err(error) => {
            return checkup.bad("lock", error, "set XDG_RUNTIME_DIR to a folder with a shorter path");
        }
    };
    match DaemonLock::read(&checkup.place.runtime) {
        Err(error) => checkup.bad("lock", &error, error.advice()),
        Ok(None) => {
            checkup.good("lock", "free: no daemon runs");
            if socket.exists() {
                let detail = format!("{} is left of a daemon that is gone", socket.display());
                checkup.mend("socket", detail, &format!("rm {}", socket.display()), |checkup| {
                    remove(checkup, &socket).map(|()| "removed it".to_owned())
                });
            } else {
                checkup.good("socket", "none, since no daemon runs");
            }
        }
        Ok(Some(daemon)) => {
            let process = daemon.pid().map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
            checkup.good("lock", format!("held by {process}"));
            match ask(checkup) {
                Ok((status, other)) => answers(checkup, &status, other),
                Err(error) => silent(checkup, &process, &socket, &error),
            }
        }
    }
}

fn answers(checkup: &mut Checkup<'_>, status: &StatusResult, other: u32) {
    checkup.good("socket", format!("process {} answers", status.pid));
    let own = release::own();
    let detail = format!(
        "the daemon is {}, release {other}; this program is {}, release {own}",
        status.version,
        env!("CARGO_PKG_VERSION")
    );
    if other == own {
        checkup.good("version", detail);
    } else if other < own {
        checkup.good("version", format!("{detail}; the next command replaces it"));
    } else {
        checkup.bad("version", detail, "upgrade this program");
    }
}

fn silent(checkup: &mut Checkup<'_>, process: &str, socket: &Path, error: &Error) {
    if error.kind() == ErrorKind::VersionMismatch {
        let detail = format!("the daemon speaks another version: {error}");
        return checkup.bad(
            "version",
            detail,
            "upgrade this program if it is the older one; else run `grite daemon stop`",
        );
    }
    let detail = format!("{process} holds the lock and does not answer: {error}");
    checkup.mend("socket", detail, "end the process", |checkup| {
        checkup.end_by_signal()?;
        remove(checkup, socket)?;
        Ok::<_, String>("ended it; the next command starts another".to_owned())
    });
}

/// Removes the socket of a daemon that is gone, while no other one can start.
fn remove(checkup: &mut Checkup<'_>, socket: &Path) -> Result<(), String> {
    checkup.quiesce()?;
    match fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// The daemon's status, and its release.
fn ask(checkup: &Checkup<'_>) -> Result<(StatusResult, u32), Error> {
    let mut client = checkup.connect()?;
    let release = client.daemon_release();
    match client.send(&IpcCommand::Status)?.to_value()? {
        IpcResponse::Status(status) => Ok((status, release)),
        _ => {
            let (pid, version) = (0, "of unknown version".to_owned());
            Ok((StatusResult { pid, version, store: String::new(), issues: 0, open: 0, events: 0 }, release))
        }
    }
}
