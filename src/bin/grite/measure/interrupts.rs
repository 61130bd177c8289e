//! Ctrl-C as an error: [`Interrupts`], looked at between two steps of a long command.
//!
//! A process that a signal ends at once runs no destructors, so its children and folders would stay.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{CliError, Code};

/// Remembers that somebody wants this process to end.
#[derive(Clone, Debug)]
pub struct Interrupts(Arc<AtomicBool>);

impl Interrupts {
    /// Watches from now on: the signals that ask a process to end are only remembered.
    ///
    /// # Errors
    /// A [`CliError`] when the system does not let us.
    pub fn watch() -> Result<Self, CliError> {
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&seen))
                .map_err(|error| CliError::io("watch the signals of", Path::new("this process"), &error))?;
        }
        Ok(Interrupts(seen))
    }

    /// Fails once somebody has asked this process to end.
    #[inline]
    pub fn check(&self) -> Result<(), CliError> {
        if self.0.load(Ordering::Relaxed) { Err(interrupted()) } else { Ok(()) }
    }
}

fn interrupted() -> CliError {
    CliError::new(Code::Failure, "interrupted; all that was started is ended and removed", "")
}
