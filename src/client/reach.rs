//! Whether to start a daemon: the decision of [`reach`], and the [`System`] that it is made on.
//!
//! Everything that touches a file, a process or a clock is the system's, so that models run the same decision
//! through any order of steps, with crashes between them. One starter at a time has the right to start.
//! Whoever gets it looks again first: the starter before may have succeeded. All others wait and look.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::handshake::Stance;

/// How long to wait before looking again whether somebody else's daemon is there; doubled each time.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What comes of an attempt on the daemon of a directory.
pub(super) enum Found<T> {
    /// It was reached: this came of it.
    Done(Result<T, Error>),
    /// None is there, or one that has turned the attempt away before it began.
    Nobody,
    /// The one that listens here is of an older release, and has done nothing.
    Older(PathBuf),
}

/// The system as one starter sees it: a directory with its daemon, and a deadline.
pub(super) trait System {
    /// What an attempt gives.
    type Answer;
    /// A daemon that holds the directory's lock.
    type Holder: PartialEq;
    /// The right to start a daemon, which one starter has until it is dropped.
    type Right;

    /// Makes an attempt on the daemon.
    fn look(&mut self, stance: Stance) -> Result<Found<Self::Answer>, Error>;

    /// Who holds the daemon's lock.
    fn holder(&mut self) -> Result<Option<Self::Holder>, Error>;

    /// Takes the right to start, unless somebody else has it.
    fn try_take(&mut self) -> Result<Option<Self::Right>, Error>;

    /// Starts a daemon, and waits until it is ready, until the deadline at most.
    fn start(&mut self, right: &Self::Right) -> Result<(), Error>;

    /// Asks the older daemon at `socket` to end; says whether it does.
    fn retire(&mut self, socket: &Path) -> bool;

    /// Waits.
    fn pause(&mut self, pause: Duration);

    /// Whether the deadline has passed.
    fn is_late(&mut self) -> bool;

    /// The error of a starter whose deadline has passed.
    fn give_up(&mut self, waits_for: &str) -> Error;

    /// The error of a starter whose daemons end as soon as they are ready.
    fn give_up_starting(&mut self) -> Error;
}

/// How many daemons of one starter may say that they are ready and end. The first may have been killed.
const MOST_READY: u32 = 2;

/// Tries until somebody listens who is not older than this client, and sees to it that somebody does.
pub(super) fn reach<S: System>(system: &mut S) -> Result<S::Answer, Error> {
    let mut pause = FIRST_PAUSE;
    let mut ready = 0;
    loop {
        let older = match system.look(stance(ready))? {
            Found::Done(result) => return result,
            Found::Nobody => None,
            Found::Older(socket) => Some(socket),
        };
        let mut waits_for = "a daemon holds the lock but does not listen";
        if let Some(right) = system.try_take()? {
            if let Some(socket) = older {
                waits_for = "the daemon of an older release has not ended";
                // Nobody starts an older one again meanwhile: the right to start is ours.
                replace(system, &socket)?;
            }
            if let Some(answer) = start_ours(system, right, &mut ready)? {
                return Ok(answer);
            }
            if ready > 0 {
                waits_for = "the daemon that was started has ended, or does not listen";
            }
        } else {
            waits_for = "somebody else is starting a daemon, which is not ready";
        }
        if system.is_late() {
            return Err(system.give_up(waits_for));
        }
        system.pause(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// How to look at a daemon once so many of ours were ready: should one call itself older, another of it would be no
/// better.
fn stance(ready: u32) -> Stance {
    if ready > 0 { Stance::Take } else { Stance::Decline }
}

/// Starts a daemon if none holds the lock, counts it if it is `ready`, and makes an attempt on it.
fn start_ours<S: System>(
    system: &mut S,
    right: S::Right,
    ready: &mut u32,
) -> Result<Option<S::Answer>, Error> {
    if system.holder()?.is_some() {
        return Ok(None);
    }
    // Whoever had the right before may have started one that is ready by now.
    match system.look(stance(*ready))? {
        Found::Done(result) => return result.map(Some),
        Found::Older(_) => return Ok(None),
        Found::Nobody => {}
    }
    if *ready == MOST_READY {
        return Err(system.give_up_starting());
    }
    let started = system.start(&right);
    // Ours has come second where one that an earlier starter left behind, or somebody has started by hand, holds the
    // lock by now: that one is waited for.
    let is_second = started.is_err() && system.holder()?.is_some();
    drop(right);
    *ready += u32::from(started.is_ok());
    match (system.look(stance(*ready))?, started) {
        (Found::Done(result), _) => result.map(Some),
        (Found::Nobody, Err(error)) if !is_second => Err(error),
        (Found::Nobody | Found::Older(_), _) => Ok(None),
    }
}

/// Has the older daemon at `socket` end, and waits until it has.
fn replace<S: System>(system: &mut S, socket: &Path) -> Result<(), Error> {
    let older = system.holder()?;
    if system.retire(socket) {
        while older.is_some() && system.holder()? == older && !system.is_late() {
            system.pause(FIRST_PAUSE);
        }
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod models;
