//! What is broken, and how to mend it: [`examine`].
//!
//! Each check says what it found and what mends it. With `fix` it mends what is safe to mend, and says what
//! it did: nothing is lost that could be kept, no process is ended that might be somebody else's, and what
//! belongs to another user or to a newer program is left alone. It works in its own process, so that a
//! daemon that is wedged, or a store that no daemon can open, keeps nobody from an answer.

mod checkup;
mod daemon;
mod files;
mod git;
mod leftovers;
mod locks;
mod refs;
mod store;
mod system;

use std::path::Path;

use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{DoctorResult, Finding, Refusal, RefusalCode};

use crate::git::GitError;
use crate::runtime::Place;

pub use store::{Anew, rebuild};

use checkup::Checkup;

/// Looks at everything that belongs to `place`; with `fix`, mends what is safe to mend.
pub fn examine(place: &Place, fix: bool) -> Vec<Finding> {
    let mut checkup = Checkup::new(place, fix);
    files::check(&mut checkup);
    daemon::check(&mut checkup);
    let git = git::check(&mut checkup);
    if git.is_some() {
        checkup.take_turn();
    }
    let sound = store::check(&mut checkup, git.as_ref());
    if let Some(git) = &git {
        let turn = checkup.turn.take();
        match &turn {
            Some(Err(GitError::Busy)) => checkup.good("refs", format!("not looked at: {}", GitError::Busy)),
            Some(Err(error)) => checkup.bad("refs", error, "look who may write to the state folder"),
            _ => refs::check(&mut checkup, git, sound.as_ref()),
        }
        drop(turn);
        locks::check(&mut checkup, git);
    }
    leftovers::check(&mut checkup, git.as_ref());
    system::check(&mut checkup);
    checkup.into_findings()
}

/// The answer to a command, for the store in the folder `state`.
///
/// # Errors
/// A refusal where something is to be mended: a daemon cannot take its own store apart.
pub fn answer(state: &Path, fix: bool) -> Result<IpcResponse, Refusal> {
    let refuse = |code, message: String, hint: &str| Refusal {
        code,
        message,
        hint: hint.to_owned(),
        retryable: false,
    };
    if fix {
        let message = "the daemon cannot fix what it works on".to_owned();
        return Err(refuse(RefusalCode::Unsupported, message, "run `grite doctor --fix`"));
    }
    let place = Place::of(state).map_err(|error| refuse(RefusalCode::Storage, error.message, &error.hint))?;
    Ok(IpcResponse::Doctor(DoctorResult { findings: examine(&place, false) }))
}
